"""Requests that fail as a whole: each call ends as its direct call would."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from batching_support import (
    SCHEMA,
    VERSION,
    FakeApi,
    batching,
    config_of,
    failing,
    failures,
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
from refusals import facts_of, keys_in

from prefactor_http import (
    PrefactorClientError,
    PrefactorHttpClient,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
)
from prefactor_http._http.clock import SystemClock
from prefactor_http.testing import BulkPolicy, LocalPrefactor

A, B, C, D = names("call", 4)
LONG = {"initial_retry_delay": 60.0, "max_retry_delay": 60.0}


@pytest.mark.parametrize(
    ("answer", "config", "attempts"),
    [
        pytest.param(failing(), {"max_retries": 2}, 3, id="exhausted"),
        pytest.param(failing(), {"max_retries": 0}, 1, id="no retries"),
        pytest.param(b"", {"max_retries": 2}, 3, id="connection lost"),
        pytest.param(failing(Retry_After="60"), {}, 1, id="Retry-After too long"),
        pytest.param(failing(500), {"retry_on_status_codes": {503}}, 1, id="status not retried"),
        pytest.param(failing(301), {}, 1, id="redirect"),
        pytest.param(failing(401), {}, 1, id="token refused"),
        pytest.param(failing(503), {"retry_budget": 0}, 1, id="no retry budget"),
        pytest.param(failing(503), {"retry_budget": 5}, 2, id="retry budget exhausted"),
        pytest.param(reply(200, b"<html>"), {"max_retries": 2}, 3, id="not JSON"),
    ],
)
async def test_calls_raise_what_their_direct_calls_raise(
    api: FakeApi, answer: bytes, config: dict[str, Any], attempts: int
) -> None:
    api.answer = lambda _: answer
    settings = {"max_retries": 3, **config}
    async with batching(api.server, **settings) as view:
        errors = await failures(registers(view, A, B))
    assert api.sent == [[A, B]] * attempts
    for error, key in zip(errors, (A, B), strict=True):
        async with PrefactorHttpClient(config_of(api.server, **settings)) as client:
            [direct] = await failures([register(client, key)])
        assert facts_of(error) == facts_of(direct)
        assert (error.idempotency_key, error.attempts) == (key, attempts)


async def test_exhausted_retries_are_counted_for_each_call(api: FakeApi) -> None:
    """A call that joins later has as many attempts as the others."""
    api.answer = lambda _: failing()
    async with batching(api.server, max_retries=2) as view:
        tasks = registers(view, A, B)
        await until(lambda: len(api.sent) == 2)
        tasks += registers(view, C, D)
        errors = await failures(tasks)
    assert all(isinstance(error, PrefactorRetryExhaustedError) for error in errors)
    assert [error.idempotency_key for error in errors] == [A, B, C, D]
    assert [error.attempts for error in errors] == [3] * 4
    sent = [key for request in api.sent for key in request if key != "direct"]
    assert {key: sent.count(key) for key in (A, B, C, D)} == dict.fromkeys((A, B, C, D), 3)


async def test_only_the_call_whose_deadline_ends_before_the_retry_fails(api: FakeApi) -> None:
    api.server.script(failing())
    async with batching(api.server, initial_retry_delay=0.8, max_retry_delay=0.8) as view:
        early = register(view.with_options(deadline=0.35), A)
        late = register(view, B)
        [error] = await failures([early])
        assert error.status_code == 503
        assert "not retried: the deadline ends before the next attempt" in error.__notes__
        assert not late.done()
        assert (await late).external_identifier == B
    assert api.sent == [[A, B], [B]]


async def test_a_request_is_not_retried_if_the_deadline_of_all_its_calls_ends(
    api: FakeApi,
) -> None:
    api.answer = lambda _: failing()
    async with batching(api.server, deadline=20.0, **LONG) as view:
        for error in await failures(registers(view, A, B)):
            assert "not retried: the deadline ends before the next attempt" in error.__notes__
    assert api.sent == [[A, B]]


async def test_retries_of_a_request_that_is_refused_in_the_end_cost_no_budget(
    api: FakeApi,
) -> None:
    async with batching(api.server, retry_budget=5) as view:
        for number in range(3):
            api.server.script(failing(), failing(403))
            for error in await failures(registers(view, *names(f"round-{number}", 2))):
                assert (error.status_code, error.attempts) == (403, 2)


async def test_retries_of_a_request_that_is_split_cost_no_budget_in_the_end(api: FakeApi) -> None:
    gate = asyncio.Event()
    answered: list[bytes] = [failing(500)]

    async def answer(request: Request) -> bytes:
        if A in keys_in(request) and answered:
            return answered.pop()
        if C in keys_in(request):
            await gate.wait()
        return api.respond(request)

    api.server.answer = answer
    async with batching(
        api.server,
        {"max_items": 2},
        max_retries=1,
        initial_retry_delay=0.4,  # the other request succeeds in the meantime
        max_retry_delay=0.4,
        retry_budget=5,
        on_retry=lambda _: gate.set(),
    ) as view:
        await asyncio.gather(*registers(view, A, B, C, D))
        assert sorted(api.sent) == [[A], [A, B], [B], [C, D]]
        api.server.script(failing())
        await asyncio.gather(*registers(view, *names("more", 2)))


async def test_only_the_first_retry_after_a_lost_connection_is_immediate(api: FakeApi) -> None:
    waits: list[float] = []
    api.server.script(b"", b"")
    async with batching(api.server, on_retry=lambda event: waits.append(event.wait_for)) as view:
        await asyncio.gather(*registers(view, A, B))
    assert waits[0] == 0 < waits[1]
    assert api.sent == [[A, B]] * 3


async def test_a_poison_call_ends_alone_and_the_others_succeed(api: FakeApi) -> None:
    """The request with the poison call fails, and another one succeeds in the meantime."""
    poison, *others = names("poison", 4)
    gate = api.hold()

    async def answer(request: Request) -> bytes:
        keys = keys_in(request)
        if poison in keys:
            return failing(500)
        if C in keys:
            await gate.wait()
        return api.respond(request)

    def on_retry(_: object) -> None:
        gate.set()

    api.server.answer = answer
    async with batching(api.server, {"max_items": 4}, max_retries=3, on_retry=on_retry) as view:
        tasks = registers(view, poison, *others, C, *names("more", 3))
        [error], results = await asyncio.gather(failures(tasks[:1]), asyncio.gather(*tasks[1:]))
    assert isinstance(error, PrefactorRetryExhaustedError)
    assert (error.idempotency_key, error.attempts) == (poison, 4)
    assert [result.external_identifier for result in results[:3]] == others
    with_poison = [request for request in api.sent if poison in request]
    assert with_poison[0] == [poison, *others]
    assert with_poison[-1] == [poison]
    assert len(with_poison) == 4


async def test_an_outage_does_not_split_requests(api: FakeApi) -> None:
    api.answer = lambda _: failing()
    async with batching(api.server, max_retries=3) as view:
        await failures(registers(view, A, B, C))
    assert api.sent == [[A, B, C]] * 4


async def test_requests_are_smaller_after_a_timeout(api: FakeApi) -> None:
    api.hold()
    async with batching(api.server, request_timeout=0.2, max_retries=0) as view:
        for error in await failures(registers(view, *names("late", 8))):
            assert isinstance(error, PrefactorTimeoutError)
            assert error.outcome_unknown
        api.release()
        await asyncio.gather(*registers(view, *names("more", 8)))
    sizes = [len(request) for request in api.sent[1:]]
    assert max(sizes) <= 4


@pytest.mark.parametrize("times", [1, 2])
async def test_a_malformed_response_is_repeated_once_on_a_new_connection(
    api: FakeApi, times: int
) -> None:
    malformed = reply(200, {"status": "success", "outputs": []})
    api.server.script(*[malformed] * times)
    async with batching(api.server, max_retries=5) as view:
        tasks = registers(view, A, B)
        if times == 1:
            results = await asyncio.gather(*tasks)
            assert [result.external_identifier for result in results] == [A, B]
        else:
            for error, key in zip(await failures(tasks), (A, B), strict=True):
                assert isinstance(error, PrefactorResponseContractError)
                assert (error.idempotency_key, error.attempts) == (key, 2)
                assert error.outcome_unknown
    assert api.sent == [[A, B]] * 2
    first, second = api.server.requests
    assert first.connection != second.connection


@pytest.mark.parametrize("times", [1, 2])
async def test_a_refusal_on_a_suspect_connection_is_confirmed_on_a_new_one(
    api: FakeApi, times: int
) -> None:
    """Another call has received a response that was not its own, so the next ones may be, too."""
    async with batching(api.server) as view:
        api.server.script(reply(200, success(instance("i-9", "active"))))
        assert (await start(view, C)).id == "i-1"  # after the response about i-9
        api.server.script(*[failing(422)] * times)
        results = await asyncio.gather(*registers(view, A, B), return_exceptions=True)
    suspect, repeated = api.server.requests[2:4]
    assert api.sent[2:4] == [[A, B], [A, B]]
    assert suspect.connection != repeated.connection
    if times == 1:
        assert [result.external_identifier for result in results] == [A, B]
        assert len(api.sent) == 4
    else:  # it is the API's own answer: the request is divided
        assert sorted(api.sent[4:]) == [[A], [B]]


async def test_a_request_that_is_too_large_is_sent_in_smaller_ones(api: FakeApi) -> None:
    def answer(request: Request) -> bytes | None:
        return failing(413) if len(request.body) > 700 else None

    api.answer = answer
    async with batching(api.server) as view:
        keys = names("call", 8)
        results = await asyncio.gather(*registers(view, *keys))
        assert [result.external_identifier for result in results] == keys
        number = len(api.sent)
        await asyncio.gather(*registers(view, *names("more", 8)))
    assert len(api.server.requests[0].body) > 700
    # It has been learned.
    assert all(len(request.body) <= 700 for request in api.server.requests[number:])


async def test_the_limit_of_items_is_learned() -> None:
    async with (
        LocalPrefactor(bulk_policy=BulkPolicy(max_items=3)) as local,
        batching(local) as view,
    ):

        async def register_all(prefix: str) -> list[str]:
            calls = [
                view.agent_instances.register(
                    local.agent_id,
                    VERSION,
                    SCHEMA,
                    environment_id=local.environment_id,
                    external_identifier=name,
                )
                for name in names(prefix, 10)
            ]
            return [each.external_identifier for each in await asyncio.gather(*calls)]

        assert await register_all("first") == names("first", 10)
        number = len(local.requests)
        assert await register_all("second") == names("second", 10)
        assert all(request.status == 200 for request in local.requests[number:])


async def test_a_limit_of_items_is_logged(api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    def answer(request: Request) -> bytes | None:
        return failing(422) if len(items_in(request)) > 2 else None

    api.answer = answer
    with caplog.at_level("INFO", "prefactor_http"):
        async with batching(api.server) as view:
            await asyncio.gather(*registers(view, A, B, C, D))
            await asyncio.gather(*registers(view, *names("more", 4)))
    assert api.sent[:3] == [[A, B, C, D], [A, B], [C, D]]
    assert [len(request) for request in api.sent[3:]] == [2, 2]
    assert "bulk.execute: requests contain up to 2 calls now" in caplog.messages


async def test_a_call_that_is_cancelled_during_the_backoff_is_not_sent_again(
    api: FakeApi,
) -> None:
    api.server.script(failing())
    tasks: list[asyncio.Task[Any]] = []
    async with batching(api.server, on_retry=lambda _: tasks[0].cancel()) as view:
        tasks += registers(view, A, B, C)
        cancelled, *results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(cancelled, asyncio.CancelledError)
        assert [result.external_identifier for result in results] == [B, C]
    assert api.sent == [[A, B, C], [B, C]]


async def test_a_request_is_not_repeated_if_all_its_calls_are_cancelled_during_the_backoff(
    api: FakeApi,
) -> None:
    """What the retry would have cost returns to the budget."""
    api.server.script(failing())
    tasks: list[asyncio.Task[Any]] = []

    def cancel_all(_: object) -> None:
        for task in tasks:
            task.cancel()

    async with batching(api.server, on_retry=cancel_all, retry_budget=5) as view:
        tasks += [start(view, A), register(view, B)]
        for error in await failures(tasks):
            assert isinstance(error, asyncio.CancelledError)
        tasks.clear()
        await start(view, C)  # behind the cancelled call
        api.server.script(failing())
        results = await asyncio.gather(*registers(view, D, "another-call"))
        assert [result.external_identifier for result in results] == [D, "another-call"]
    assert api.sent == [[A, B], ["direct", C], *[[D, "another-call"]] * 2]


async def test_a_request_whose_calls_are_cancelled_in_flight_is_not_repeated(
    api: FakeApi,
) -> None:
    api.answer = lambda _: failing()
    api.hold()
    async with batching(api.server) as view:
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        for task in tasks:
            task.cancel()
        await failures(tasks)
        api.release()
    assert api.sent == [[A, B]]


async def test_each_call_ends_if_the_session_raises_an_unexpected_exception(
    api: FakeApi,
) -> None:
    async def fail(*_: object) -> None:
        raise KeyError("in a trace")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(fail)  # type: ignore[arg-type]
    tracing.on_request_end.freeze()
    async with (
        asyncio.timeout(20),
        aiohttp.ClientSession(trace_configs=[tracing]) as session,
        PrefactorHttpClient(config_of(api.server), session=session) as client,
        client.batched() as view,
    ):
        tasks = [start(view, A), register(view, B)]
        for error, key in zip(await failures(tasks), (A, B), strict=True):
            assert isinstance(error, PrefactorClientError)
            assert str(error) == "unexpected KeyError: 'in a trace'"
            assert isinstance(error.__cause__, KeyError)
            assert (error.idempotency_key, error.attempts) == (key, 1)
            assert error.outcome_unknown
        # The instance is not blocked.
        again = [start(view, C), register(view, D)]
        assert len(await failures(again)) == 2
    assert api.sent == [[A, B], [C, D]]


async def test_each_call_ends_in_doubt_if_the_clock_raises_an_exception(api: FakeApi) -> None:
    """Nothing is known about a request whose handling has failed."""

    class BrokenClock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            raise LookupError(seconds)

    api.server.script(failing(429, Retry_After="0"))
    async with (
        asyncio.timeout(20),
        PrefactorHttpClient(config_of(api.server), clock=BrokenClock()) as client,
        client.batched() as view,
    ):
        for error in await failures(registers(view, A, B)):
            assert isinstance(error, PrefactorClientError)
            assert "unexpected LookupError" in str(error)
            assert error.outcome_unknown
    assert api.sent == [[A, B]]
