"""``prefactor-http demo``: agent lifecycles against a local API that fails on purpose."""
