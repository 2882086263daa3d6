"""Edge cases of a batch."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import aclosing
from itertools import chain, combinations

from batch_support import (
    SCHEMA,
    VERSION,
    client_of,
    collect,
    collect_until_error,
    plain,
    register,
    registration,
    rows,
)
from raw_server import reply

from prefactor_http import Attempt, PrefactorClientError
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.testing import FaultKind


async def test_a_run_that_ends_gives_held_items_and_their_groups_an_outcome(api):
    api.fail_next_item("rate_limited", key="key-of-a-1")
    items = [
        registration(api, "key-of-a-1", external_identifier="a-1"),
        registration(api, "key-of-a-2", external_identifier="a-2"),
        registration(api, "key-of-bad", id="bad"),
    ]
    client = client_of(api, initial_retry_delay=30.0, max_retry_delay=30.0)
    async with client:
        stream = client.bulk.stream(
            items, max_failures=1, group=lambda item: item.idempotency_key[:8]
        )
        outcomes, error = await collect_until_error(stream, PrefactorClientError)
    assert "max_failures" in str(error)
    assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2]
    assert not any(outcome.ok for outcome in outcomes)
    assert len(api.instances) == 0


async def test_an_async_source_can_exceed_the_window(api):
    async def source():
        for row in rows(9):
            yield row

    async with client_of(api) as client:
        outcomes = await collect(register(client, api, source(), chunk_size=1, concurrency=1))
    assert len([outcome for outcome in outcomes if outcome.ok]) == 9


async def test_rows_can_have_any_number_of_shapes(api):
    own = {
        "agent_id": api.agent_id,
        "environment_id": api.environment_id,
        "agent_version": VERSION,
        "agent_schema_version": SCHEMA,
        "purpose": "eval",
        "update_current_version": False,
        "id": None,
    }
    names = chain.from_iterable(combinations(own, size) for size in range(len(own) + 1))
    shapes = [{name: own[name] for name in chosen} for chosen in names]
    async with client_of(api) as client:
        outcomes = await collect(register(client, api, shapes, purpose="live"))
    assert len(outcomes) == len(shapes) == 128
    assert all(outcome.ok for outcome in outcomes)
    for outcome in outcomes:
        expected = shapes[outcome.index].get("purpose", "live")
        assert outcome.instance.purpose == expected


async def test_structs_can_be_grouped_by_a_field(api):
    structs = [
        RegisterAgentInstanceRequest(external_identifier=f"s-{number}", purpose="eval")
        for number in range(5)
    ]
    async with client_of(api) as client:
        outcomes = await collect(register(client, api, structs, group="purpose"))
    assert [outcome.index for outcome in outcomes if outcome.ok] == [0, 1, 2, 3, 4]


async def test_two_items_with_transient_errors_in_one_response_are_both_sent_again(raw_server):
    busy = {"status": "error", "code": "service_unavailable"}
    done = {"status": "success"}
    keys = ["key-one-1", "key-two-2"]
    raw_server.script(
        reply(200, {"status": "success", "outputs": dict.fromkeys(keys, busy)}),
        *[reply(200, {"status": "success", "outputs": dict.fromkeys(keys, done)})] * 2,
    )
    async with client_of(raw_server) as client:
        outcomes = await collect(client.bulk.stream([plain(key) for key in keys]))
    assert sorted(outcome.index for outcome in outcomes if outcome.ok) == [0, 1]


async def test_leaving_the_loop_waits_at_most_request_timeout(api):
    api.fail_next(FaultKind.UNAVAILABLE)
    async with client_of(
        api, request_timeout=1.0, initial_retry_delay=60.0, max_retry_delay=60.0
    ) as client:
        stream = register(client, api, rows(3), chunk_size=1, concurrency=2)
        async with asyncio.timeout(5), aclosing(stream):
            async for outcome in stream:
                assert outcome.ok
                break
    assert len(api.instances) in {1, 2}


async def test_a_falsy_on_attempt_hook_sees_the_attempts_of_a_batch(api):
    class Recorder(list[Attempt]):
        def __call__(self, attempt: Attempt) -> None:
            self.append(attempt)

    recorder = Recorder()
    async with client_of(api, on_attempt=recorder) as client:
        await collect(register(client, api, rows(3)))
    assert recorder


async def test_an_ordered_dict_has_the_key_of_an_equal_dict(api):
    moved = OrderedDict(purpose="live", agent_id=api.agent_id)
    moved.move_to_end("purpose")
    source = [moved], [dict(moved)]
    async with client_of(api) as client:
        first, second = [await collect(register(client, api, one, job="j")) for one in source]
    assert first[0].idempotency_key == second[0].idempotency_key
    assert len(api.instances) == 1


async def test_a_source_ends_when_its_own_task_is_cancelled(api):
    async def source():
        for row in rows(7):
            yield row
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    async with client_of(api) as client:
        stream = register(client, api, source())
        outcomes, _ = await collect_until_error(stream, asyncio.CancelledError)
    assert [outcome.ok for outcome in outcomes] == [True] * 7
