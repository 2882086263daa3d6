"""``prefactor-http outbox``: look at an outbox, deliver it, and handle its dead letters."""
