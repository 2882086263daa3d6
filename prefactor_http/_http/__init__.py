"""One call: encoded once, attempted until it has an outcome, decoded and checked."""
