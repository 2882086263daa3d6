"""The same lifecycles as grouped items of `bulk.stream`, and rows of `register_many`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from truth_lifecycles import CREATE_SPAN, FINISH, FINISH_SPAN, REGISTER, SCHEMA, START, TERMINATE
from truth_oracle import Oracle, Reported, Violation, Write

from prefactor_http import BulkItem, Outcome, PrefactorHttpClient, PrefactorHttpError

VERSION = {"external_identifier": "v1"}
POISON = "poison"
_BEGIN = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
_OPERATIONS = {
    "agent_instances/register": REGISTER,
    "agent_instances/start": START,
    "agent_instances/finish": FINISH,
    "agent_instances/terminate": TERMINATE,
    "agent_spans/create": CREATE_SPAN,
    "agent_spans/finish": FINISH_SPAN,
}


class GroupedItems:
    """Lifecycles as items, one group per instance.

    Args:
        oracle: Records each item.
        seed: Makes ids and keys differ from those of other seeds.
        numbers: The lifecycles.
        poison: Probability that a lifecycle has an item that makes its requests fail.
    """

    def __init__(self, oracle: Oracle, seed: int, numbers: range, poison: float) -> None:
        self._oracle = oracle
        self._seed = seed
        self._numbers = numbers
        self._poison = poison
        self.writes: list[Write] = []
        self.poisoned: set[int] = set()

    def __iter__(self) -> Iterator[BulkItem]:
        for number in self._numbers:
            yield from self._lifecycle(number)

    def _item(self, type_: str, mark: str, number: int, **fields: Any) -> BulkItem:
        operation = _OPERATIONS[type_]
        key = f"{type_.partition('/')[2]}-{self._seed}-{number}-{len(self.writes)}"
        write = self._oracle.write(operation, mark)
        write.keys.add(key)
        self.writes.append(write)
        return BulkItem(
            _type=type_,
            idempotency_key=key,
            **{name: value for name, value in fields.items() if value is not None},
        )

    def _lifecycle(self, number: int) -> Iterator[BulkItem]:
        rng = random.Random(f"{self._seed}/{number}")
        id_ = f"3{self._seed % 1000:07d}{number:024d}"
        name = f"item {self._seed}-{number}" if rng.random() < 0.5 else None
        moments = (
            (_BEGIN + timedelta(seconds=n, microseconds=number)).isoformat() for n in range(99)
        )
        # Not in the second half: successes after an item show that it is poison.
        may_be_poison = number < self._numbers[len(self._numbers) // 2]
        poisoned = rng.randrange(2) if rng.random() < self._poison * may_be_poison else None
        if poisoned == 0:
            name = f"{POISON} {self._seed}-{number}"
        mark = id_
        if rng.random() < 0.5:
            # Only its key tells a repetition of this write: it has no id, no name and no state.
            unnamed = f"unnamed {self._seed}-{number}"
            yield self._item(
                "agent_instances/register",
                unnamed,
                number,
                agent_id="1" * 32,
                environment_id="3" * 32,
                agent_version={"name": unnamed, **VERSION},
                agent_schema_version=SCHEMA,
            )
        if poisoned is not None:
            self.poisoned.add(len(self.writes) + poisoned * 2)
        yield self._item(
            "agent_instances/register",
            mark,
            number,
            id=id_,
            external_identifier=name,
            agent_id="1" * 32,
            environment_id="3" * 32,
            agent_version=VERSION,
            agent_schema_version=SCHEMA,
        )
        yield self._item(
            "agent_instances/start", id_, number, agent_instance_id=id_, timestamp=next(moments)
        )
        span_id = f"2{self._seed % 1000:07d}{number:024d}"
        span_mark = f"{POISON if poisoned == 1 else 'span'} {self._seed}-{number}"
        yield self._item(
            "agent_spans/create",
            span_mark,
            number,
            details={
                "agent_instance_id": id_,
                "id": span_id,
                "schema_name": "step",
                "status": "active",
                "payload": {"mark": span_mark},
                "started_at": next(moments),
            },
        )
        yield self._item(
            "agent_spans/finish",
            span_id,
            number,
            agent_span_id=span_id,
            result_payload={"sum": 2.50} if rng.random() < 0.5 else None,
            timestamp=next(moments),
        )
        if rng.random() < 0.5:
            unnamed_mark = f"unnamed {self._seed}-{number}"
            yield self._item(
                "agent_spans/create",
                unnamed_mark,
                number,
                details={
                    "agent_instance_id": id_,
                    "schema_name": "step",
                    "status": "complete",
                    "payload": {"mark": unnamed_mark},
                    "started_at": next(moments),
                },
            )
        if rng.random() < 0.1:
            yield self._item(
                "agent_instances/terminate",
                id_,
                number,
                agent_instance_id=id_,
                reason=" over budget ",
            )
            return
        yield self._item(
            "agent_instances/finish", id_, number, agent_instance_id=id_, timestamp=next(moments)
        )


def instance_of(item: BulkItem) -> str:
    """Return the group of an item: the ids of one lifecycle end in the same digits."""
    fields = vars(item)
    id_ = fields.get("agent_instance_id") or fields.get("agent_span_id") or fields.get("id")
    if id_ is None and "details" in fields:
        id_ = fields["details"]["agent_instance_id"]
    return item.idempotency_key if id_ is None else str(id_)[1:]


async def stream(
    client: PrefactorHttpClient, oracle: Oracle, items: GroupedItems, **options: Any
) -> Counter[str]:
    """Send items and report each outcome to the oracle.

    Returns:
        Number of outcomes by state.
    """
    outcomes = client.bulk.stream(items, group=instance_of, **options)
    return await _collect(outcomes, oracle, items.writes)


async def _collect(
    outcomes: AsyncIterable[Outcome], oracle: Oracle, writes: list[Write]
) -> Counter[str]:
    states: Counter[str] = Counter()
    counts: Counter[int] = Counter()
    try:
        async for outcome in outcomes:
            counts[outcome.index] += 1
            states[outcome.state.value] += 1
            _record(oracle, writes[outcome.index], outcome)
    except PrefactorHttpError as error:
        oracle.report(Violation.RUN_ENDED, None, repr(error))
    except Exception as error:  # noqa: BLE001 # any other exception is a violation
        oracle.report(Violation.UNEXPECTED, None, repr(error))
    for index, write in enumerate(writes):
        if counts[index] != 1:
            oracle.report(Violation.NO_OUTCOME, write, f"{counts[index]} outcomes")
    return states


def _record(oracle: Oracle, write: Write, outcome: Outcome) -> None:
    error = outcome.error
    write.note(f"{outcome.state.value}: {type(error).__name__}: {error}"[:400])
    is_unknown = outcome.unknown
    failed = Reported.UNKNOWN if is_unknown else Reported.NOT_APPLIED
    write.reported = Reported.OK if outcome.ok else failed
    if not write.keys:  # derived by the client
        write.keys.add(outcome.idempotency_key or "")
    if outcome.idempotency_key not in write.keys:
        oracle.report(Violation.WRONG_KEY, write, f"{outcome.idempotency_key}")
    if isinstance(error, PrefactorHttpError) and error.outcome_unknown != is_unknown:
        oracle.report(
            Violation.CONTRACT,
            write,
            f"{outcome.state.value}, but outcome_unknown is {error.outcome_unknown}: {error!r}",
        )
    if outcome.ok:
        write.resource = _resource_of(outcome)


def _resource_of(outcome: Outcome) -> str | None:
    if outcome.instance is not None:
        return outcome.instance.id
    if outcome.output is None:
        return None
    return str(outcome.output.fields["details"]["id"])


class Rows:
    """Rows to register: with an id, a name, both, or neither.

    Args:
        oracle: Records each row.
    """

    def __init__(self, oracle: Oracle, seed: int, count: int) -> None:
        self._oracle = oracle
        self._seed = seed
        self._count = count
        self.writes: list[Write] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self._count):
            rng = random.Random(f"{self._seed}/{number}")
            mark = f"row {self._seed}-{number}"
            row: dict[str, Any] = {"agent_version": {"name": mark, **VERSION}}
            identity = rng.choice(("id", "name", "both", "none"))
            if identity in {"id", "both"}:
                row["id"] = f"1{self._seed % 1000:07d}{number:024d}"
            if identity in {"name", "both"}:
                row["external_identifier"] = mark
            self.writes.append(self._oracle.write(REGISTER, mark))
            yield row


async def register_twice(
    client: PrefactorHttpClient, oracle: Oracle, seed: int, count: int, **options: Any
) -> Counter[str]:
    """Run half of a job, then all of it, with keys derived from the name of the job."""
    arguments = {
        "agent_id": "1" * 32,
        "environment_id": "3" * 32,
        "agent_schema_version": SCHEMA,
        "job": f"job {seed}",
        **options,
    }
    register_many = client.agent_instances.register_many
    async with aclosing(register_many(Rows(oracle, seed, count), **arguments)) as outcomes:
        await _take_some(outcomes, oracle, count // 2)
    rows = Rows(oracle, seed, count)
    return await _collect(register_many(rows, **arguments), oracle, rows.writes)


async def _take_some(outcomes: AsyncIterable[Outcome], oracle: Oracle, left: int) -> None:
    try:
        async for _ in outcomes:
            left -= 1
            if not left:
                return
    except PrefactorHttpError as error:
        oracle.report(Violation.RUN_ENDED, None, repr(error))
