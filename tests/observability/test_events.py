"""Hooks and log lines for retries and throttling."""

import asyncio
import logging
import re

import pytest
from raw_server import reply

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.events import Attempt, Retry, Throttling
from prefactor_http.exceptions import PrefactorHttpError
from prefactor_http.testing import Fault, FaultKind, LocalPrefactor

TOKEN = "token-that-must-not-be-shown"
PONG = reply(200, {"status": "success"})
AWAY = reply(503, {"status": "error", "code": "maintenance"}, Retry_After="0.05")
LIMITED = reply(429, {"status": "error", "code": "rate_limited"}, Retry_After="0.05")


def client_of(server, **options):
    settings = {"initial_retry_delay": 0.002, "max_retries": 3, **options}
    return PrefactorHttpClient(HttpClientConfig(server.url, TOKEN, **settings))


def lines(caplog, level):
    return [r.getMessage() for r in caplog.records if r.levelno == level]


async def test_a_retry_is_reported_before_the_wait(raw_server, caplog):
    caplog.set_level(logging.INFO, "prefactor_http")
    events: list[Retry | Attempt] = []
    raw_server.script(reply(502, b"<html>"), b"", reply(500, {"status": "error", "code": "x"}))
    raw_server.answer = lambda _: reply(404, {"status": "error", "code": "not_found"})
    async with client_of(raw_server, on_retry=events.append, on_attempt=events.append) as client:
        with pytest.raises(PrefactorHttpError):
            await client.agents.update("agent-1", {"name": "A"}, idempotency_key="key-1")
    assert [type(event) for event in events] == [Attempt, Retry] * 3 + [Attempt]
    retries = [event for event in events if isinstance(event, Retry)]
    assert [(r.number, r.reason) for r in retries] == [
        (1, "502"),
        (2, "PrefactorConnectionError"),
        (3, "500"),
    ]
    assert {(r.operation, r.method, r.path, r.max_retries, r.items) for r in retries} == {
        ("agents.update", "PUT", "/api/v1/agent/agent-1", 3, None)
    }
    assert {r.idempotency_key for r in retries} == {"key-1"}
    assert retries[0].waited_so_far == 0
    assert 0.001 <= retries[0].wait_for <= 0.002
    assert retries[1].wait_for == 0  # a lost connection is replaced immediately
    assert retries[2].waited_so_far == retries[0].wait_for
    logged = lines(caplog, logging.INFO)
    assert logged[0] == "agents.update: 502, retry 1 of 3 in 0.00 s"
    assert re.fullmatch(
        r"agents\.update: connection to 127\.0\.0\.1:\d+ lost: .+, retry 2 of 3 in 0\.00 s",
        logged[1],
    )


async def test_a_view_has_its_own_retry_hook(raw_server):
    ours: list[Retry] = []
    theirs: list[Retry] = []
    raw_server.script(AWAY, PONG)
    async with client_of(raw_server, on_retry=ours.append) as client:
        await client.with_options(on_retry=theirs.append).validate_token()
    assert (len(ours), len(theirs)) == (0, 1)


async def test_an_error_in_a_hook_changes_nothing(raw_server, caplog):
    def hook(_):
        raise ZeroDivisionError

    raw_server.script(AWAY, PONG)
    async with client_of(raw_server, on_retry=hook, on_throttle=hook) as client:
        assert await client.validate_token() == {"status": "success"}
    raised = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert raised == ["on_throttle raised", "on_retry raised", "on_throttle raised"]


@pytest.mark.parametrize("name", ["on_retry", "on_throttle"])
def test_a_coroutine_function_is_not_a_hook(name):
    async def hook(_): ...

    with pytest.raises(ValueError, match=f"{name} must be a plain function"):
        HttpClientConfig("https://api.example", TOKEN, **{name: hook})


async def test_on_throttle_is_an_option_of_the_client(raw_server):
    async with client_of(raw_server) as client:
        with pytest.raises(TypeError, match="on_throttle"):
            client.with_options(on_throttle=print)


async def test_throttling_is_reported_when_it_starts_and_ends(raw_server, caplog):
    caplog.set_level(logging.INFO, "prefactor_http")
    events: list[Throttling] = []
    raw_server.script(AWAY, PONG, PONG)
    async with client_of(raw_server, on_throttle=events.append) as client:
        await client.validate_token()
        await client.validate_token()
    started, ended = events
    assert (started.operation, started.started, started.reason) == ("validate_token", True, "503")
    assert started.wait_for == pytest.approx(0.05, abs=0.02)
    assert started.seconds == 0
    assert (ended.operation, ended.started, ended.wait_for) == ("validate_token", False, 0)
    assert 0.05 <= ended.seconds < 5
    logged = [line for line in lines(caplog, logging.INFO) if "throttled" in line]
    assert logged[0].startswith("validate_token: throttled after 503, next call in 0.0")
    assert logged[1].startswith("validate_token: no longer throttled, after ")


async def test_pacing_after_a_rate_limit_is_still_throttling(raw_server):
    events: list[Throttling] = []
    raw_server.script(LIMITED, PONG)
    async with client_of(raw_server, on_throttle=events.append) as client:
        await client.validate_token()
    assert [event.started for event in events] == [True]


async def test_requests_of_a_batch_that_fail_report_their_retries(caplog):
    caplog.set_level(logging.INFO, "prefactor_http")
    events: list[Retry] = []
    async with LocalPrefactor() as api:
        config = HttpClientConfig(
            api.url, api.token, initial_retry_delay=0.002, on_retry=events.append
        )
        async with PrefactorHttpClient(config) as client:
            api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET), Fault(FaultKind.BAD_GATEWAY))
            stream = client.agent_instances.register_many(
                ({"external_identifier": f"row-{number}"} for number in range(30)),
                agent_id=api.agent_id,
                environment_id=api.environment_id,
                agent_version={"external_identifier": "v1"},
                agent_schema_version={"external_identifier": "s1", "span_type_schemas": []},
            )
            assert [outcome.state.value async for outcome in stream] == ["ok"] * 30
    assert [event.reason for event in events] == ["PrefactorConnectionError", "502"]
    assert {event.operation for event in events} == {"agent_instances.register_many"}
    assert [event.number for event in events] == [1, 2]
    assert {event.max_retries for event in events} == {None}
    assert events[0].items == 30
    assert all(event.wait_for >= 0 for event in events)
    logged = lines(caplog, logging.INFO)
    assert "agent_instances.register_many: 502, retry 2 in" in logged[1]


async def test_attempts_have_the_request_id_and_the_number_of_items(raw_server):
    attempts: list[Attempt] = []
    raw_server.script(reply(200, {"status": "success"}, X_Request_Id=f"r-{TOKEN}-1"), PONG)
    async with client_of(raw_server, on_attempt=attempts.append) as client:
        await client.validate_token()
        await client.validate_token()
    assert attempts[0].request_id is not None
    assert TOKEN not in attempts[0].request_id
    assert attempts[0].request_id.startswith("r-")
    assert attempts[1].request_id is None
    assert attempts[0].items is None


async def test_debug_logs_the_chain_of_causes_without_the_token(raw_server, caplog):
    caplog.set_level(logging.DEBUG, "prefactor_http")
    raw_server.script(f"HTTP/1.1 {TOKEN} ???\r\n\r\n".encode(), PONG)
    async with client_of(raw_server) as client:
        await client.validate_token()
    (chain,) = [line for line in lines(caplog, logging.DEBUG) if "request failed" in line]
    assert "aiohttp.client_exceptions.ClientResponseError: " in chain
    assert " <- aiohttp.http_exceptions." in chain
    assert TOKEN not in caplog.text


async def test_a_cancelled_wait_reports_no_further_retry(raw_server):
    events: list[Retry] = []
    waiting = asyncio.Event()

    def hook(event):
        events.append(event)
        waiting.set()

    raw_server.answer = lambda _: reply(503)
    async with client_of(raw_server, initial_retry_delay=30, on_retry=hook) as client:
        task = asyncio.create_task(client.validate_token())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(events) == 1
