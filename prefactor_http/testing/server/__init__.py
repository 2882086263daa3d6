"""The server: HTTP, routing, idempotency keys, rate limit and records."""
