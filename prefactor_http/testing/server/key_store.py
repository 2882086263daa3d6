"""Remembers what each idempotency key was answered with (contract §10)."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prefactor_http.testing.resources.response import ApiError, Success, invalid_field

_LONGEST_KEY = 64


class OnMismatch(enum.StrEnum):
    """What a known key with other content gets."""

    CONFLICT = "conflict"
    REPLAY = "replay"


class OnConcurrent(enum.StrEnum):
    """What a key gets whose first request is still at work."""

    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyPolicy:
    """How the server treats keys, where the contract leaves it open.

    Attributes:
        mismatch: ``CONFLICT`` answers a known key with other content with 409
            ``idempotency_conflict``; ``REPLAY`` with the first reply.
        concurrent: ``WAIT`` lets a key wait for its first request; ``REFUSE`` answers 409
            ``idempotency_in_progress``.
        expires_after: Seconds after which a key is forgotten; None for never.
        store_refusals: Whether refusals (4xx) are kept and replayed like successes.
        forget_when_lost: Actions whose key is forgotten when their reply is lost on the way: the
            effect stays, so that the next attempt meets the changed state.
        longest_bulk_key: Most characters of a bulk item's key, 64 or, as newer docs say, 128.
    """

    mismatch: OnMismatch = OnMismatch.CONFLICT
    concurrent: OnConcurrent = OnConcurrent.WAIT
    expires_after: float | None = None
    store_refusals: bool = False
    forget_when_lost: frozenset[str] = frozenset()
    longest_bulk_key: int = _LONGEST_KEY


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: bytes
    answer: Success | ApiError
    at: float


class KeyStore:
    """Answers by action and key."""

    def __init__(self, policy: IdempotencyPolicy, clock: Callable[[], float]) -> None:
        self.policy = policy
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._at_work: dict[tuple[str, str], asyncio.Event] = {}

    def find(self, action: str, key: str) -> _Kept | None:
        """Return what a key was answered with, unless that is too long ago.

        Raises:
            ApiError: 409, the key's first request is still at work.
        """
        if (action, key) in self._at_work:
            message = "A request with this idempotency key is in progress."
            raise ApiError(409, "idempotency_in_progress", message)
        kept = self._kept.get((action, key))
        expiry = self.policy.expires_after
        if kept is not None and expiry is not None and self._clock() - kept.at >= expiry:
            del self._kept[action, key]
            return None
        return kept

    def keep(self, action: str, key: str, digest: bytes, answer: Success | ApiError) -> None:
        """Remember the answer, if it is one that is remembered."""
        if isinstance(answer, Success) or self.policy.store_refusals:
            self._kept[action, key] = _Kept(digest, answer, self._clock())

    def forget(self, actions: Iterable[str]) -> None:
        """Forget every key of these actions, as expiry would."""
        gone = frozenset(actions)
        self._kept = {write: kept for write, kept in self._kept.items() if write[0] not in gone}

    def reply_lost(self, action: str, key: str) -> None:
        """Forget one key, if the policy says so for its action."""
        if action in self.policy.forget_when_lost:
            self._kept.pop((action, key), None)

    def begin(self, writes: Iterable[tuple[str, str]]) -> asyncio.Event:
        """Mark keys as at work until the returned event is passed to ``end``."""
        done = asyncio.Event()
        for write in writes:
            self._at_work.setdefault(write, done)
        return done

    def end(self, done: asyncio.Event) -> None:
        """Mark the keys of ``begin`` as no longer at work."""
        self._at_work = {
            write: event for write, event in self._at_work.items() if event is not done
        }
        done.set()

    async def settled(self, writes: Iterable[tuple[str, str]]) -> None:
        """Wait until none of the keys is at work, if the policy is to wait."""
        if self._at_work and self.policy.concurrent is OnConcurrent.WAIT:
            for write in writes:
                while (event := self._at_work.get(write)) is not None:
                    await event.wait()


def check_key(key: object, *, shortest: int = 1, longest: int = _LONGEST_KEY) -> str | None:
    """Return a request's key, or None for a request without one.

    Raises:
        ApiError: 422, not a text of the allowed length, or a character is not printable ASCII.
    """
    if key is None:
        return None
    if not isinstance(key, str):
        raise invalid_field("idempotency_key", "must be a string")
    if not shortest <= len(key) <= longest:
        raise invalid_field("idempotency_key", f"must have {shortest} to {longest} characters")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise invalid_field("idempotency_key", "must be printable ASCII without spaces")
    return key
