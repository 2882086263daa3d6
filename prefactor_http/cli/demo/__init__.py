"""``prefactor-http demo``: lifecycles against a local API that fails on purpose."""
