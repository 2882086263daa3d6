"""The same lifecycles recorded in an outbox, which may be closed and opened again in between."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fault_server.process import FaultServer
from truth_lifecycles import (
    CREATE_SPAN,
    FINISH,
    FINISH_SPAN,
    REGISTER,
    SCHEMA,
    START,
    TERMINATE,
)
from truth_oracle import Oracle, Reported, Violation, Write
from truth_streams import POISON, VERSION

from prefactor_http import PrefactorHttpError
from prefactor_http.outbox import DeadLetter, Outbox, OutboxError, Receipt

RECORD_QUALITY = "agent_instances.record_quality"
_BEGIN = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
_AGENT = "1" * 32
_PARTITION = _AGENT[10:16]  # all ids of an account share it
_ENDLESS = 60.0  # seconds; many times what the delivery of a wave takes
_MAX_WORK = 0.02  # seconds between two writes of a lifecycle
_MAX_OPEN = 0.3  # seconds between two restarts
_HEARTBEAT = 0.05  # seconds

Record = Callable[[str | None], Awaitable[Receipt[Any]]]


@dataclass
class Recorded:
    """A write that is in the outbox.

    Attributes:
        write: The write, for the oracle.
        lifecycle: Number of its lifecycle.
        receipt: Its receipt.
        opening: Number of restarts before it was recorded.
        is_unneeded: Whether it finishes a terminated instance: delivered, but not applied.
        may_be_refused: Whether the API may refuse it.
    """

    write: Write
    lifecycle: int
    receipt: Receipt[Any]
    opening: int
    is_unneeded: bool
    may_be_refused: bool


class _Lifecycle:
    """One lifecycle: its random choices and its timestamps."""

    def __init__(self, seed: int, number: int) -> None:
        self.number = number
        self.rng = random.Random(f"{seed}/{number}")
        self.mark = f"{seed}-{number}"
        self._moments = (_BEGIN + timedelta(seconds=n, microseconds=number) for n in range(99))
        self._ids = (
            f"0{seed % 1000:03d}{number:06d}{_PARTITION}{place:016d}" for place in range(99)
        )

    def is_hit(self, probability: float) -> bool:
        return self.rng.random() < probability

    def moment(self) -> datetime:
        return next(self._moments)

    def id_or_none(self) -> str | None:
        """Choose whether the caller or the outbox makes an id."""
        return next(self._ids) if self.is_hit(0.5) else None


@dataclass
class OutboxLifecycles:
    """Records lifecycles and compares what the outbox says about each write with the ledger.

    Attributes:
        outbox: An open outbox on a file of its own.
        oracle: Records each write.
        server: The server that it delivers to.
        seed: Makes ids and keys differ from those of other seeds.
        restarts: How often the outbox is closed and opened again in each wave.
        poison: Probability that a lifecycle has a write that makes its requests fail.
        counts: Number of final outcomes by kind, and of recorded writes.
    """

    outbox: Outbox
    oracle: Oracle
    server: FaultServer
    seed: int
    restarts: int
    poison: float
    counts: Counter[str] = field(default_factory=Counter)
    _recorded: list[Recorded] = field(default_factory=list)
    _is_open: asyncio.Event = field(default_factory=asyncio.Event)
    _restarts_begun: int = 0
    _heartbeats: int = 0

    async def run(self, numbers: range, at_a_time: int) -> None:
        """Record lifecycles, deliver all of them, and report the outcomes to the oracle."""
        self._is_open.set()
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                await self._lifecycle(_Lifecycle(self.seed, number))

        recording = asyncio.gather(*(work() for _ in range(at_a_time)))
        rng = random.Random(f"{self.seed}/{numbers.start}/restarts")
        for _ in range(self.restarts):
            await asyncio.sleep(rng.uniform(0, _MAX_OPEN))
            await self._restart()
        await recording
        await self._deliver()
        await self._learn_outcomes()
        self._check_order()
        self._recorded.clear()

    async def _restart(self) -> None:
        self._restarts_begun += 1
        self._is_open.clear()
        await self.outbox.close(drain_timeout=0)
        await self.outbox.open()
        self._is_open.set()

    # Recording

    async def _lifecycle(self, life: _Lifecycle) -> None:
        poisoned = life.rng.randrange(2) if life.is_hit(self.poison) else None
        word = POISON if poisoned == 0 else "run"
        name = f"{word} {life.mark}" if poisoned == 0 or life.is_hit(0.5) else None
        instance_id = await self._register(life, life.mark, name)
        if life.is_hit(0.05):
            await self._finish(life, instance_id, "cancelled")
            await self._start(life, instance_id, may_be_refused=True)
            return
        await self._start(life, instance_id)
        for place in range(life.rng.choice((1, 1, 2))):
            word = POISON if poisoned == 1 and not place else "span"
            await self._span(life, instance_id, f"{word} {life.mark}/{place}")
        if life.is_hit(0.5):
            await self._record_quality(life, instance_id, "score")
        is_terminated = life.is_hit(0.1)
        if is_terminated:
            await self._record(
                life,
                TERMINATE,
                instance_id,
                lambda key: self.outbox.agent_instances.terminate(
                    instance_id, " over budget ", key
                ),
            )
        if not is_terminated or life.is_hit(0.5):
            status = life.rng.choice((None, "complete", "failed"))
            await self._finish(life, instance_id, status, is_unneeded=is_terminated)
        if life.is_hit(0.2):
            await self._record_quality(life, instance_id, "later")

    async def _register(self, life: _Lifecycle, mark: str, name: str | None) -> str:
        id_ = life.id_or_none()
        receipt = await self._record(
            life,
            REGISTER,
            mark,
            lambda key: self.outbox.agent_instances.register(
                _AGENT,
                {**VERSION, "name": mark},
                SCHEMA,
                id_,
                key,
                external_identifier=name,
            ),
        )
        return receipt.id

    async def _start(
        self, life: _Lifecycle, instance_id: str, *, may_be_refused: bool = False
    ) -> None:
        moment = life.moment()
        await self._record(
            life,
            START,
            instance_id,
            lambda key: self.outbox.agent_instances.start(instance_id, moment, key),
            may_be_refused=may_be_refused,
        )

    async def _finish(
        self, life: _Lifecycle, instance_id: str, status: Any, *, is_unneeded: bool = False
    ) -> None:
        moment = life.moment()
        await self._record(
            life,
            FINISH,
            instance_id,
            lambda key: self.outbox.agent_instances.finish(instance_id, status, moment, key),
            is_unneeded=is_unneeded,
            may_be_refused=is_unneeded,
        )

    async def _record_quality(self, life: _Lifecycle, instance_id: str, name: str) -> None:
        await self._record(
            life,
            RECORD_QUALITY,
            f"{instance_id}/{name}",
            lambda key: self.outbox.agent_instances.record_quality(
                instance_id, name, {"of": life.mark}, key
            ),
        )

    async def _span(self, life: _Lifecycle, instance_id: str, mark: str) -> None:
        id_ = life.id_or_none()
        status = life.rng.choice(("active", "active", "active", "pending"))
        started, ended = life.moment(), life.moment()
        span = await self._record(
            life,
            CREATE_SPAN,
            mark,
            lambda key: self.outbox.agent_spans.create(
                instance_id,
                "step",
                status,
                {"mark": mark},
                id=id_,
                started_at=started,
                idempotency_key=key,
            ),
        )
        end = "cancelled" if status == "pending" else life.rng.choice((None, "complete", "failed"))
        result = life.rng.choice((None, {"sum": 2.50, "words": ["a", None]}))
        await self._record(
            life,
            FINISH_SPAN,
            span.id,
            lambda key: self.outbox.agent_spans.finish(span.id, end, result, ended, key),
        )

    async def _record(
        self,
        life: _Lifecycle,
        operation: str,
        mark: str,
        record: Record,
        *,
        is_unneeded: bool = False,
        may_be_refused: bool = False,
    ) -> Receipt[Any]:
        """Record a write, again if the outbox was closed: then it is not in the file."""
        write = self.oracle.write(operation, mark)
        key = f"{operation}-{mark}"[-64:].replace(" ", "_") if life.is_hit(0.5) else None
        await asyncio.sleep(life.rng.uniform(0, _MAX_WORK))
        while True:
            opening = self._restarts_begun
            try:
                receipt = await record(key)
            except OutboxError as error:
                write.note(f"not recorded: {error!r}")
                if self._restarts_begun == opening and self._is_open.is_set():
                    raise
                await self._is_open.wait()
                continue
            write.keys.add(receipt.idempotency_key)
            self._recorded.append(
                Recorded(write, life.number, receipt, opening, is_unneeded, may_be_refused)
            )
            return receipt

    # Outcomes

    async def _deliver(self) -> None:
        """Wait for all deliveries.

        If nothing but poison is left after a restart, it cannot be told from an outage until
        another write succeeds. So there is another one at times, as in a program.
        """
        end = asyncio.get_running_loop().time() + _ENDLESS
        while not await self.outbox.flush(_HEARTBEAT):
            if asyncio.get_running_loop().time() > end:
                self.oracle.report(Violation.ENDLESS, None, f"{await self.outbox.stats()}")
                return
            self._heartbeats += 1
            number = 10**6 - self._heartbeats
            life = _Lifecycle(self.seed, number)
            await self._register(life, life.mark, None)

    async def _learn_outcomes(self) -> None:
        """Report what the receipts and the dead letters say."""
        errors = await asyncio.gather(*map(self._wait_for, self._recorded))
        letters: dict[int, DeadLetter] = {}
        while page := await self.outbox.dead_letters(after=max(letters, default=0)):
            letters |= {letter.sequence: letter for letter in page}
        skipped = self.server.skipped_keys()
        out_of_order = {
            each.lifecycle for each in self._recorded if each.receipt.idempotency_key in skipped
        }
        for each, error in zip(self._recorded, errors, strict=True):
            letter = letters.pop(each.receipt.sequence, None)
            self._report(each, error, letter, is_in_order=each.lifecycle not in out_of_order)
        for letter in letters.values():
            self.oracle.report(Violation.NO_OUTCOME, None, f"not recorded, but dead: {letter}")
        await self.outbox.drop()
        stats = await self.outbox.stats()
        self.counts["recorded"] += len(self._recorded)
        if stats.pending or stats.delivered + self.counts["dead"] != self.counts["recorded"]:
            self.oracle.report(Violation.NO_OUTCOME, None, f"{stats}, {self.counts}")

    async def _wait_for(self, each: Recorded) -> Exception | None:
        try:
            result = await each.receipt.delivered(_ENDLESS)
        except Exception as error:  # noqa: BLE001 # any exception is compared
            return error
        each.write.resource = each.receipt.id if result is None else result.id
        if each.write.resource != each.receipt.id:
            self.oracle.report(Violation.MIXED_UP, each.write, f"{each.receipt}")
        return None

    def _report(
        self,
        each: Recorded,
        error: Exception | None,
        letter: DeadLetter | None,
        *,
        is_in_order: bool,
    ) -> None:
        """Report what is known of a write.

        If the server has executed the writes of the lifecycle in another order than they were
        sent, it may refuse what it would have accepted, and accept what it would have refused.
        """
        write = each.write
        write.note(f"receipt: {error!r}; letter: {letter}"[:600])
        write.resource = each.receipt.id
        if type(error) is OutboxError and each.opening < self._restarts_begun:
            error = None if letter is None else letter.exception  # its outbox was closed
        if (error is None) != (letter is None):
            self.oracle.report(Violation.NO_OUTCOME, write, f"{error!r}, but {letter}")
        if letter is None:
            write.reported = Reported.OK
            if each.is_unneeded:
                write.reported = Reported.NOT_APPLIED if is_in_order else Reported.UNKNOWN
            self.counts["ok"] += 1
            return
        self.counts["dead"] += 1
        self.counts[letter.state] += 1
        is_unknown = letter.state == "unknown"
        write.reported = Reported.UNKNOWN if is_unknown else Reported.NOT_APPLIED
        if letter.state == "refused" and is_in_order and not each.may_be_refused:
            self.oracle.report(Violation.DENIED, write, f"refused without a reason: {letter}")
        for told in (error, letter.exception):
            if not isinstance(told, PrefactorHttpError):
                self.oracle.report(Violation.UNEXPECTED, write, repr(told))
            elif told.outcome_unknown != is_unknown:
                self.oracle.report(
                    Violation.CONTRACT, write, f"{letter}, but {told.outcome_unknown=}: {told!r}"
                )
            elif told.idempotency_key not in write.keys:
                self.oracle.report(Violation.WRONG_KEY, write, f"{told.idempotency_key}: {told!r}")

    def _check_order(self) -> None:
        """Check that the writes of each instance were applied in the order of recording."""
        places: dict[str, int] = {}
        for place, key in enumerate(self.server.applied_keys()):
            places.setdefault(key, place)
        by_lifecycle: dict[int, list[Recorded]] = defaultdict(list)
        for each in sorted(self._recorded, key=lambda each: each.receipt.sequence):
            by_lifecycle[each.lifecycle].append(each)
        for own in by_lifecycle.values():
            last = -1
            for each in own:
                place = places.get(each.receipt.idempotency_key, last)
                if place < last:
                    self.oracle.report(Violation.OUT_OF_ORDER, each.write, f"{each.receipt}")
                last = max(last, place)


def threads_left() -> list[threading.Thread]:
    """Wait for the threads of closed outboxes, and return those that do not end."""
    threads = [each for each in threading.enumerate() if each.name.startswith("outbox ")]
    for thread in threads:
        thread.join(_ENDLESS)
    return [each for each in threads if each.is_alive()]
