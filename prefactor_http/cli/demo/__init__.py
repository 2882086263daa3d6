"""``prefactor-http demo``: agents run with two clients against local APIs that fail on purpose."""
