"""``prefactor-http register``: one instance, or one for each row of a file."""
