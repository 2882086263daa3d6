"""Errors of the outbox. A write that fails with one of them was not recorded."""

from __future__ import annotations

from prefactor_http.exceptions import PrefactorHttpError

DROPPED = "the write was dropped to make room in the outbox (drop_oldest)"


class OutboxError(PrefactorHttpError):
    """Base class of the errors of an outbox: closed, or used in another process or event loop."""


class OutboxFileError(OutboxError):
    """The file cannot be used: corrupt, read-only, of another account, or of a newer release."""


class OutboxStorageError(OutboxError):
    """The write could not be stored, for example because the disk is full."""


class OutboxFullError(OutboxError):
    """The write does not fit within ``max_items`` or ``max_bytes``."""


class OutboxBlockedError(OutboxError):
    """The write was not sent, because the API refused the resource that it refers to."""


class OutboxDroppedError(OutboxError):
    """The write was dropped to make room (``drop_oldest``), or by an operator."""
