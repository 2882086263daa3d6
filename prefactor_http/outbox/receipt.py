"""Receipts of recorded writes, and how their calls learn of the delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast
from weakref import ref

import msgspec
from msgspec import Struct

from prefactor_http._bulk.outcome import Outcome
from prefactor_http._http.codec import DECODE_ERRORS
from prefactor_http._http.reporting import LOG
from prefactor_http.models.base import Control

T = TypeVar("T")
_MIN_RECEIPTS = 10_000

OnSignal = Callable[[str | None], object]


class Receipt(Generic[T]):
    """A write that has been recorded.

    Attributes:
        id: Id of the instance or span that the write creates or changes.
        idempotency_key: Idempotency key of the write.
        sequence: Position of the write in the outbox.
        agent_instance_id: Instance that the write belongs to; of a span's finish, None if the
            outbox did not create the span lately.
    """

    __slots__ = (
        "__weakref__",
        "_error",
        "_is_resolved",
        "_outcome",
        "_receipts",
        "_waiters",
        "agent_instance_id",
        "id",
        "idempotency_key",
        "sequence",
    )

    def __init__(
        self, receipts: Receipts, id: str, idempotency_key: str, agent_instance_id: str | None
    ) -> None:
        self.id: str = id
        self.idempotency_key: str = idempotency_key
        self.sequence: int = 0
        self.agent_instance_id: str | None = agent_instance_id
        self._receipts = receipts
        self._is_resolved = False
        self._outcome: Outcome | None = None
        self._error: Exception | None = None
        self._waiters: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"<Receipt {self.sequence} of {self.id} (key {self.idempotency_key})>"

    async def delivered(self, timeout: float | None = None) -> T | None:  # noqa: ASYNC109 # raises TimeoutError
        """Wait until the write has been delivered.

        Args:
            timeout: Seconds to wait; None for no limit.

        Returns:
            The result of the call; None if another process has delivered the write.

        Raises:
            PrefactorHttpError: The write is a dead letter, was dropped, or the outbox was closed.
            TimeoutError: It was not delivered in time. It stays in the outbox.
        """
        if not self._is_resolved:
            if self._waiters is None:
                self._waiters = asyncio.Event()
            self._receipts.add_awaited(self)
            async with asyncio.timeout(timeout):
                await self._waiters.wait()
        if self._error is not None:
            raise self._error
        outcome = self._outcome
        if outcome is None:
            return None
        if outcome.instance is not None:
            return cast("T", outcome.instance)
        output = outcome.output
        return None if output is None else cast("T", output.decode())

    def resolve(self, outcome: Outcome | None, error: Exception | None) -> None:
        """Record how the delivery ended."""
        self._is_resolved = True
        self._outcome, self._error = outcome, error
        if self._waiters is not None:
            self._waiters.set()


class Receipts:
    """The receipts that callers still have, and the callbacks for control signals."""

    def __init__(self) -> None:
        # A WeakValueDictionary costs three times as much per receipt.
        self._receipts: dict[int, ref[Receipt[Any]]] = {}
        self._max_receipts = _MIN_RECEIPTS
        self._signals: dict[int, OnSignal] = {}
        self._awaited: dict[int, Receipt[Any]] = {}
        self._closed: Exception | None = None

    @property
    def awaited(self) -> list[int]:
        """Sequences of the writes that a task waits for."""
        return [*self._awaited]

    def add(self, receipt: Receipt[Any]) -> None:
        """Add the receipt of a write that was recorded."""
        receipts = self._receipts
        receipts[receipt.sequence] = ref(receipt)
        if len(receipts) > self._max_receipts:
            self._receipts = {key: each for key, each in receipts.items() if each() is not None}
            self._max_receipts = max(_MIN_RECEIPTS, 2 * len(self._receipts))

    def on_signal(self, receipt: Receipt[Any], callback: OnSignal) -> None:
        """Call a function when the response to a write says that its instance was terminated."""
        self._signals[receipt.sequence] = callback

    def add_awaited(self, receipt: Receipt[Any]) -> None:
        """Add a receipt that a task waits for."""
        if self._closed is not None:
            receipt.resolve(None, self._closed)
        else:
            self._awaited[receipt.sequence] = receipt

    def resolve_ok(self, outcomes: Iterable[Outcome]) -> None:
        """Resolve the receipts of writes that this process has delivered."""
        receipts, signals, awaited = self._receipts, self._signals, self._awaited
        for outcome in outcomes:
            sequence = outcome.index
            if signals:
                callback = signals.pop(sequence, None)
                if callback is not None:
                    _signal(outcome, callback)
            reference = receipts.pop(sequence, None)
            receipt = None if reference is None else reference()
            if receipt is not None:
                awaited.pop(sequence, None)
                receipt.resolve(outcome, None)

    def resolve(self, sequence: int, error: Exception | None) -> None:
        """Resolve the receipt of a write that another process delivered, or that has failed."""
        self._signals.pop(sequence, None)
        self._awaited.pop(sequence, None)
        reference = self._receipts.pop(sequence, None)
        receipt = None if reference is None else reference()
        if receipt is not None:
            receipt.resolve(None, error)

    def close(self, error: Exception) -> None:
        """Resolve all receipts that a task waits for, or will wait for, with an error."""
        self._closed = error
        for sequence in self.awaited:
            self.resolve(sequence, error)


def _signal(outcome: Outcome, callback: OnSignal) -> None:
    if outcome.raw is None or b'"control"' not in outcome.raw:
        return
    with suppress(*DECODE_ERRORS):
        control = _read_control(outcome.raw).control
        if control is not None and control.terminate:
            try:
                callback(control.reason)
            except Exception:  # noqa: BLE001 # the caller's own; delivery must go on
                LOG.exception("a control_signal_callback raised")


class _Output(Struct):
    control: Control | None = None


_read_control = msgspec.json.Decoder(_Output).decode
