"""Plain values: what callers pass, and the hosts of URLs."""
