"""The durable outbox: calls do not wait for the API, and no write is lost with the process."""

from prefactor_http.outbox.endpoints import OutboxInstances, OutboxSpans
from prefactor_http.outbox.errors import (
    OutboxBlockedError,
    OutboxDroppedError,
    OutboxError,
    OutboxFileError,
    OutboxFullError,
    OutboxStorageError,
)
from prefactor_http.outbox.outbox import Outbox
from prefactor_http.outbox.receipt import Receipt
from prefactor_http.outbox.rows import DeadLetter, OutboxStats
from prefactor_http.outbox.run import OutboxRun

__all__ = [
    "DeadLetter",
    "Outbox",
    "OutboxBlockedError",
    "OutboxDroppedError",
    "OutboxError",
    "OutboxFileError",
    "OutboxFullError",
    "OutboxInstances",
    "OutboxRun",
    "OutboxSpans",
    "OutboxStats",
    "OutboxStorageError",
    "Receipt",
]
