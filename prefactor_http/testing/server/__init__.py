"""The server: HTTP, routing, idempotency keys, rate limit, request log and ledger."""
