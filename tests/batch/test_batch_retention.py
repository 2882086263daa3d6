"""What a batch keeps in memory: outcomes keep only their own output, groups are released."""

from __future__ import annotations

import gc
import pickle
import weakref

from batch_support import (
    collect,
    failure,
    in_order,
    instance_of,
    plain,
    register_rows,
    registered,
    rows,
    states,
    success,
)

from prefactor_http import BulkItem


async def test_an_outcome_keeps_only_its_own_output_in_memory(raw_server, raw_client):
    raw_server.answer = in_order(registered)
    outcomes = await collect(register_rows(raw_client, rows(100), ordered=True))
    kept = outcomes[7]
    own = len(kept.output.raw)
    assert len(pickle.dumps(kept)) < own + 2000
    again = pickle.loads(pickle.dumps(kept))
    assert again.instance == kept.instance
    assert again.output == kept.output
    assert again.output.decode() == kept.instance
    assert again.output.details["external_identifier"] == "row-7"
    assert b"row-8" not in pickle.dumps(kept)


async def test_an_outcome_of_a_stream_has_the_apis_output_byte_for_byte(raw_server, raw_client):
    extra = {"status": "success", "details": {"new_field": 1}, "control": {"terminate": True}}
    raw_server.answer = in_order(lambda _: extra)
    items = [plain(f"key-{number:04}") for number in range(50)]
    outcomes = await collect(raw_client.bulk.stream(items))
    assert len(pickle.dumps(outcomes[3])) < 1000
    again = pickle.loads(pickle.dumps(outcomes[3]))
    assert again.output.control == {"terminate": True}
    assert again.output.details == {"new_field": 1}


async def test_a_failed_outcome_can_be_pickled_with_its_error(raw_server, raw_client):
    raw_server.answer = in_order(lambda _: failure("validation_errors", id=["taken"]))
    (outcome,) = await collect(register_rows(raw_client, rows(1)))
    again = pickle.loads(pickle.dumps(outcome))
    assert again.error.errors == {"id": ["taken"]}
    assert again.error.idempotency_key == outcome.idempotency_key
    assert again.output.code == "validation_errors"


async def test_an_item_that_was_never_sent_has_no_output(raw_client):
    (outcome,) = await collect(register_rows(raw_client, [{"odd": 1}]))
    assert outcome.output is None
    assert pickle.loads(pickle.dumps(outcome)).failed


class Group:
    def __init__(self, name: int) -> None:
        self.name = name

    def __hash__(self) -> int:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and other.name == self.name


async def test_completed_groups_are_released(raw_server, raw_client):
    raw_server.answer = in_order(lambda _: success({}))
    seen: list[weakref.ref[Group]] = []

    def group(item: BulkItem) -> Group:
        made = Group(int(item.idempotency_key[4:]) // 3)
        seen.append(weakref.ref(made))
        return made

    items = (plain(f"key-{number:04}") for number in range(900))
    stream = raw_client.bulk.stream(items, group=group, chunk_size=20, concurrency=2)
    number = 0
    async for outcome in stream:
        assert outcome.ok
        number += 1
        if number == 800:
            gc.collect()
            assert sum(ref() is not None for ref in seen) <= 150
    assert number == 900


async def test_a_bounded_number_of_failed_groups_is_remembered(raw_server, raw_client):
    raw_server.answer = in_order(
        lambda item: failure("bad_request") if item["n"] % 2 == 0 else success({})
    )
    alive = 0

    class Counted(Group):
        def __init__(self, name: int) -> None:
            super().__init__(name)
            nonlocal alive
            alive += 1

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def items():
        for number in range(10_000):
            yield BulkItem(_type="some/thing", idempotency_key=f"key-{number:06}", n=number)

    outcomes = 0
    stream = raw_client.bulk.stream(
        items(), group=lambda item: Counted(item.n // 2), max_same_refusals=None
    )
    most = 0
    async for _ in stream:
        outcomes += 1
        most = max(most, alive)
    assert outcomes == 10_000
    assert most <= 4096 + 1500


async def test_a_later_item_of_a_group_that_failed_long_ago_is_blocked(raw_server, raw_client):
    raw_server.answer = in_order(
        lambda item: failure("bad_request") if item["n"] == 0 else success({})
    )

    def items():
        for number in range(3000):
            key = f"key-{number:06}"
            yield BulkItem(_type="some/thing", idempotency_key=key, n=number, g=number % 2999)

    outcomes = await collect(raw_client.bulk.stream(items(), group="g", ordered=True))
    assert states(outcomes) == {"failed": 1, "blocked": 1, "ok": 2998}
    assert outcomes[-1].blocked


async def test_the_output_of_a_row_is_rebuilt_from_its_instance(raw_server, raw_client):
    raw_server.answer = in_order(lambda _: success(instance_of("i-1", external_identifier="x")))
    (outcome,) = await collect(register_rows(raw_client, [{"external_identifier": "x"}]))
    assert outcome.output.ok
    assert outcome.output.details["id"] == "i-1"
    assert outcome.output.decode() == outcome.instance
