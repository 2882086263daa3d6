"""Stores the response to each idempotency key (contract §10)."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from prefactor_http.testing.resources.response import ApiError, Success, invalid_field

_MAX_KEY_LENGTH = 64


class KeyedWrite(NamedTuple):
    """A write with a key.

    Attributes:
        action: The action, such as ``agent_instances.register``.
        key: The idempotency key.
        in_bulk: Whether it is an item of a bulk request.
    """

    action: str
    key: str
    in_bulk: bool = False


class KeyScope(enum.StrEnum):
    """Where a key is known. A key is always scoped to its action as well."""

    API = "api"
    ROUTE = "route"


class OnMismatch(enum.StrEnum):
    """The response to a known key with other content."""

    CONFLICT = "conflict"
    REPLAY = "replay"


class OnConcurrent(enum.StrEnum):
    """The response to a key whose first request is still in progress."""

    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyPolicy:
    """How the server treats keys where the contract leaves it open.

    Attributes:
        scope: Where a key is known: ``API`` for everywhere, ``ROUTE`` for only the route on which
            it was used, the call itself or ``/bulk``. A write that is sent on both routes then
            takes effect twice.
        mismatch: The response to a known key with other content: ``CONFLICT`` for 409
            ``idempotency_conflict``, ``REPLAY`` for the first response.
        concurrent: The response to a key that is in use: ``WAIT`` for the result of the first
            request, ``REFUSE`` for 409 ``idempotency_in_progress``.
        expires_after: Seconds until a key expires; None for never.
        store_refusals: Whether 4xx errors are stored and replayed like successes.
        forget_when_lost: Actions whose key is forgotten when their response is lost. The effect
            stays, so the next attempt finds the changed state.
        longest_bulk_key: Maximum length of a bulk item's key: 64, or 128 as newer documentation
            says.
    """

    scope: KeyScope = KeyScope.API
    mismatch: OnMismatch = OnMismatch.CONFLICT
    concurrent: OnConcurrent = OnConcurrent.WAIT
    expires_after: float | None = None
    store_refusals: bool = False
    forget_when_lost: frozenset[str] = frozenset()
    longest_bulk_key: int = _MAX_KEY_LENGTH


@dataclass(frozen=True, slots=True)
class _Stored:
    digest: bytes
    result: Success | ApiError
    stored_at: float


class KeyStore:
    """Results by write."""

    def __init__(self, policy: IdempotencyPolicy, clock: Callable[[], float]) -> None:
        self.policy = policy
        self._clock = clock
        self._stored: dict[KeyedWrite, _Stored] = {}
        self._in_progress: dict[KeyedWrite, asyncio.Event] = {}

    def find(self, write: KeyedWrite) -> _Stored | None:
        """Return the stored result of a write, unless it has expired.

        Raises:
            ApiError: 409, the first request with the key is still in progress.
        """
        self.check_free(write)
        entry = self._entry(write)
        stored = self._stored.get(entry)
        expiry = self.policy.expires_after
        if stored is not None and expiry is not None and self._clock() - stored.stored_at >= expiry:
            del self._stored[entry]
            return None
        return stored

    def store(self, write: KeyedWrite, digest: bytes, result: Success | ApiError) -> None:
        """Store a result, if the policy stores results of its kind."""
        if isinstance(result, Success) or self.policy.store_refusals:
            self._stored[self._entry(write)] = _Stored(digest, result, self._clock())

    def forget(self, actions: Iterable[str]) -> None:
        """Forget every key of these actions, as if they had expired."""
        forgotten = frozenset(actions)
        self._stored = {
            entry: stored for entry, stored in self._stored.items() if entry.action not in forgotten
        }

    def response_lost(self, write: KeyedWrite) -> None:
        """Forget the key of a lost response, if the policy says so for its action."""
        if write.action in self.policy.forget_when_lost:
            self._stored.pop(self._entry(write), None)

    @contextmanager
    def in_progress(self, writes: Iterable[KeyedWrite]) -> Generator[None]:
        """Mark keys as in progress for the duration of the block."""
        done = asyncio.Event()
        for write in writes:
            self._in_progress.setdefault(self._entry(write), done)
        try:
            yield
        finally:
            self._in_progress = {
                entry: event for entry, event in self._in_progress.items() if event is not done
            }
            done.set()

    async def wait_for_concurrent(self, writes: Iterable[KeyedWrite]) -> None:
        """Wait until none of the keys is in progress, if the policy is ``WAIT``."""
        if self._in_progress and self.policy.concurrent is OnConcurrent.WAIT:
            for write in writes:
                while (event := self._in_progress.get(self._entry(write))) is not None:
                    await event.wait()

    def check_free(self, write: KeyedWrite) -> None:
        """Refuse a write whose key is in progress.

        Raises:
            ApiError: 409, the first request with the key is still in progress.
        """
        if self._entry(write) in self._in_progress:
            message = "A request with this idempotency key is in progress."
            raise ApiError(409, "idempotency_in_progress", message)

    def _entry(self, write: KeyedWrite) -> KeyedWrite:
        """Return the entry of a write: one for both routes, unless keys are scoped to a route."""
        if self.policy.scope is KeyScope.ROUTE or not write.in_bulk:
            return write
        return write._replace(in_bulk=False)


def check_key(key: object, *, min_length: int = 1, max_length: int = _MAX_KEY_LENGTH) -> str | None:
    """Return the key of a request, or None for a request without one.

    Raises:
        ApiError: 422, the key is not a string, its length is out of bounds, or it has characters
            other than printable ASCII.
    """
    if key is None:
        return None
    if not isinstance(key, str):
        raise invalid_field("idempotency_key", "must be a string")
    if not min_length <= len(key) <= max_length:
        message = f"must have {min_length} to {max_length} characters"
        raise invalid_field("idempotency_key", message)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise invalid_field("idempotency_key", "must be printable ASCII without spaces")
    return key
