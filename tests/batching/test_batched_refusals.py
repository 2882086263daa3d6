"""Calls that /bulk refuses: the cause is found, and the others are not affected."""

from __future__ import annotations

import asyncio

import pytest
from batching_support import (
    FakeApi,
    batching,
    config_of,
    error,
    failing,
    failures,
    finish,
    instance,
    items_in,
    names,
    register,
    registers,
    start,
    success,
    until,
)
from raw_server import Request, reply
from refusals import first_time, is_bulk, keys_in, refuse_in_bulk, types_in

from prefactor_http import PrefactorApiError, PrefactorConflictError, PrefactorHttpClient
from prefactor_http._http.clock import SystemClock

A, B, C, D, E = names("call", 5)
START = "agent_instances/start"
UNKNOWN_TYPE = error("bad_request")
WARNING = "agent_instances/start is not known to /bulk: from now on, these calls are sent directly"


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("code", ["bad_request", "unknown_type"])
async def test_a_call_of_an_unknown_type_is_made_directly(
    api: FakeApi, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    """The API refuses the item, and does not attempt those behind it."""
    refuse_in_bulk(api, lambda item: error(code) if item["_type"] == START else None)
    async with batching(api.server) as view:
        results = await asyncio.gather(
            register(view, A), start(view, B, "i-1"), start(view, C, "i-2"), register(view, D)
        )
        assert [result.id for result in results] == [f"of-{A}", "i-1", "i-2", f"of-{D}"]
        number = len(api.sent)
        await asyncio.gather(start(view, E, "i-3"), *registers(view, *names("more", 2)))
    assert api.sent[0] == [A, B, C, D]
    assert api.sent.count(["direct", B]) == api.sent.count(["direct", C]) == 1
    # From now on, such calls do not even try.
    assert sorted(api.sent[number:]) == [["direct", E], names("more", 2)]
    assert warnings_in(caplog) == [WARNING]


async def test_an_unknown_type_that_fails_requests_is_found_by_type(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: Request) -> bytes | None:
        return reply(400, UNKNOWN_TYPE) if is_bulk(request) and START in types_in(request) else None

    api.answer = answer
    async with batching(api.server) as view:
        tasks = [register(view, A), start(view, B, "i-1"), register(view, C), start(view, D, "i-2")]
        results = await asyncio.gather(*tasks)
        assert [result.id for result in results] == [f"of-{A}", "i-1", f"of-{C}", "i-2"]
        number = len(api.sent)
        keys = names("more", 6)
        await asyncio.gather(start(view, E, "i-3"), *registers(view, *keys))
    assert api.sent[0] == [A, B, C, D]
    assert sorted(api.sent[1:5]) == [[A, C], [B], [B, D], [D]]
    assert sorted(api.sent[5:number]) == [["direct", B], ["direct", D]]
    # A limit of items was not the cause.
    assert sorted(api.sent[number:]) == [["direct", E], keys]
    assert warnings_in(caplog) == [WARNING]


async def test_calls_behind_one_of_another_type_keep_their_order(api: FakeApi) -> None:
    def answer(request: Request) -> bytes | None:
        return reply(400, UNKNOWN_TYPE) if is_bulk(request) and START in types_in(request) else None

    api.answer = answer
    async with batching(api.server) as view:
        tasks = [finish(view, A), start(view, B), finish(view, C), finish(view, D, "i-2")]
        results = await asyncio.gather(*tasks)
        assert [result.id for result in results] == ["i-1", "i-1", "i-1", "i-2"]
    accepted = [request for request in api.sent if B not in request or "direct" in request]
    order = [key for request in accepted for key in request if key in {A, B, C}]
    assert order == [A, B, C]


class StoppedClock(SystemClock):
    """A clock for which no request ever takes long."""

    monotonic = staticmethod(lambda: 0.0)


async def test_one_call_that_requests_are_refused_for_is_found_by_halves(api: FakeApi) -> None:
    """It is made directly, and its caller gets the error of that."""

    def answer(request: Request) -> bytes | None:
        return reply(422, error("validation_errors")) if C in keys_in(request) else None

    api.answer = answer
    async with (
        PrefactorHttpClient(config_of(api.server), clock=StoppedClock()) as client,
        client.batched() as view,
    ):
        tasks = registers(view, A, B, C, D)
        [refused], *results = await asyncio.gather(failures(tasks[2:3]), *tasks[:2], tasks[3])
        assert [result.external_identifier for result in results] == [A, B, D]
        number = len(api.sent)
        await asyncio.gather(*registers(view, *names("more", 4)))
    assert isinstance(refused, PrefactorApiError)
    assert (refused.status_code, refused.idempotency_key) == (422, C)
    assert not refused.outcome_unknown
    assert api.sent[0] == [A, B, C, D]
    assert sorted(api.sent[1:number]) == [[A, B], [C], [C, D], [D], ["direct", C]]
    assert api.sent[number:] == [names("more", 4)]


async def test_a_type_is_not_unknown_if_the_direct_call_is_refused_as_well(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: Request) -> bytes | None:
        return reply(400, UNKNOWN_TYPE) if A in keys_in(request) else None

    api.answer = answer
    async with batching(api.server) as view:
        tasks = [start(view, A, "i-1"), register(view, B)]
        [refused], _ = await asyncio.gather(failures(tasks[:1]), tasks[1])
        assert refused.status_code == 400
        number = len(api.sent)
        await asyncio.gather(start(view, C, "i-2"), register(view, D))
    assert api.sent[number:] == [[C, D]]
    assert not [message for message in warnings_in(caplog) if "not known to /bulk" in message]


async def test_an_item_error_of_a_refused_call_is_that_of_its_direct_call(api: FakeApi) -> None:
    """`bad_request` for a field: the call is made directly, and refused again."""

    def refuse(item: dict[str, object]) -> dict[str, object]:
        if item["idempotency_key"] == A:
            return error("bad_request", purpose=["is invalid"])
        return success(instance(f"of-{item['external_identifier']}"))

    api.output_of = refuse
    async with batching(api.server) as view:
        tasks = registers(view, A, B)
        [refused], _ = await asyncio.gather(failures(tasks[:1]), tasks[1])
    assert (refused.status_code, refused.errors) == (400, {"purpose": ["is invalid"]})
    assert (refused.path, refused.attempts) == ("/api/v1/agent_instance/register", 2)
    assert ["direct", A] in api.sent


async def test_keys_that_are_too_short_for_bulk_requests_go_directly(api: FakeApi) -> None:
    async with batching(api.server) as view:
        await asyncio.gather(*registers(view, A, "1234567", B, "7654321", "12345678"))
    assert sorted(api.sent) == [[A, B, "12345678"], ["direct", "1234567"], ["direct", "7654321"]]


async def test_a_call_that_an_earlier_request_may_have_applied_is_not_made_directly(
    api: FakeApi,
) -> None:
    """The response to the first request is lost, and then /bulk refuses all requests."""
    api.server.script(b"")
    api.answer = lambda request: (
        reply(422, error("validation_errors")) if is_bulk(request) else None
    )
    async with batching(api.server) as view:
        errors = await failures(registers(view, A, B))
    for each, key in zip(errors, (A, B), strict=True):
        assert isinstance(each, PrefactorApiError)
        assert (each.status_code, each.idempotency_key) == (422, key)
        assert each.outcome_unknown
    assert sorted(api.sent) == [[A], [A, B], [A, B], [B]]


@pytest.mark.parametrize("status", ["active", "cancelled"])
async def test_a_refusal_of_a_request_is_verified_if_an_earlier_one_is_in_doubt(
    api: FakeApi, status: str
) -> None:
    api.server.script(b"")

    def answer(request: Request) -> bytes | None:
        if request.method == "GET":
            return reply(200, success(instance(request.target.rpartition("/")[2], status)))
        return reply(409, error("invalid_action"))

    api.answer = answer
    async with batching(api.server) as view:
        tasks = [start(view, A, "i-1"), start(view, B, "i-2")]
        if status == "active":
            results = await asyncio.gather(*tasks)
            assert [result.status for result in results] == ["active", "active"]
        else:
            for each in await failures(tasks):
                assert isinstance(each, PrefactorConflictError)
                assert not each.outcome_unknown
    assert sorted(api.sent) == [[A], [A, B], [A, B], [B]]


async def test_calls_on_an_instance_wait_while_the_refusal_of_a_request_is_verified(
    api: FakeApi,
) -> None:
    reading, gate = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> bytes:
        if request.method == "GET":
            reading.set()
            await gate.wait()
            return reply(200, success(instance("i-1", "active")))
        items = items_in(request)
        is_refused = items[0]["idempotency_key"] == A
        return reply(409, error("invalid_action")) if is_refused else api.respond(request)

    api.server.script(b"")
    api.server.answer = answer
    async with batching(api.server) as view:
        tasks = [start(view, A), register(view, B)]
        await reading.wait()
        tasks += [finish(view, C), register(view, D), register(view, E)]
        await asyncio.gather(*tasks[3:])
        assert not any(C in request for request in api.sent)
        gate.set()
        started, _, finished, *_ = await asyncio.gather(*tasks)
    assert (started.status, finished.status) == ("active", "complete")


async def test_an_item_of_an_unknown_type_is_made_directly_although_a_request_was_lost(
    api: FakeApi,
) -> None:
    """The lost request has not applied it, or this one would have been answered as a repeat."""
    api.server.script(b"")
    refuse_in_bulk(api, lambda item: UNKNOWN_TYPE if item["_type"] == START else None)
    async with batching(api.server) as view:
        started, _ = await asyncio.gather(start(view, A), register(view, B))
    assert started.id == "i-1"
    assert ["direct", A] in api.sent


async def test_an_item_error_without_a_known_code_that_names_the_id_may_be_an_own_success(
    api: FakeApi,
) -> None:
    api.server.script(b"")
    refuse_in_bulk(api, lambda item: error("taken", id=["is taken"]) if "id" in item else None)
    async with batching(api.server) as view:
        tasks = [register(view, A, id="i-1"), register(view, B)]
        [refused], _ = await asyncio.gather(failures(tasks[:1]), tasks[1])
    assert refused.outcome_unknown
    assert ["direct", A] not in api.sent


async def test_a_call_that_is_cancelled_before_it_is_made_directly_is_not_sent(
    api: FakeApi,
) -> None:
    gate = api.hold()
    refuse_in_bulk(api, lambda item: UNKNOWN_TYPE if item["_type"] == START else None)
    async with batching(api.server) as view:
        tasks = [start(view, A), start(view, B), register(view, C)]
        await until(lambda: api.sent)
        tasks[1].cancel()
        gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert api.sent[0] == [A, B, C]
    assert ["direct", A] in api.sent
    assert ["direct", B] not in api.sent


async def test_the_limit_of_items_is_the_size_of_the_largest_accepted_part(api: FakeApi) -> None:
    sizes: list[int] = []

    def answer(request: Request) -> bytes | None:
        sizes.append(len(items_in(request)))
        return reply(422, error("validation_errors")) if sizes[-1] > 3 else None

    api.answer = answer
    async with batching(api.server) as view:
        await asyncio.gather(*registers(view, *names("call", 6)))
        assert sizes == [6, 3, 3]
        await asyncio.gather(*registers(view, *names("more", 6)))
    assert sizes[3:] == [3, 3]


async def test_a_call_whose_retry_alone_is_refused_is_made_directly(api: FakeApi) -> None:
    def answer(request: Request) -> bytes | None:
        is_alone = is_bulk(request) and keys_in(request) == [A]
        return reply(422, error("validation_errors")) if is_alone else None

    api.answer = answer
    api.output_of = first_time(A, error("service_unavailable"))
    async with batching(api.server) as view:
        results = await asyncio.gather(*registers(view, A, B))
    assert [result.external_identifier for result in results] == [A, B]
    assert [request for request in api.sent if A in request] == [[A, B], [A], ["direct", A]]


async def test_a_call_that_is_too_large_for_a_bulk_request_is_made_directly(api: FakeApi) -> None:
    def answer(request: Request) -> bytes | None:
        return failing(413) if is_bulk(request) and A in keys_in(request) else None

    api.answer = answer
    async with batching(api.server) as view:
        results = await asyncio.gather(*registers(view, A, B, C))
    assert [result.external_identifier for result in results] == [A, B, C]
    assert [request for request in api.sent if A in request][-1] == ["direct", A]
