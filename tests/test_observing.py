"""Observability: the on_attempt hook and the log, neither of which shows the token."""

import asyncio
import logging
import pickle
import traceback

import pytest
from raw_server import reply

from prefactor_http import (
    Attempt,
    HttpClientConfig,
    PrefactorApiError,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorNotFoundError,
    PrefactorRetryExhaustedError,
)

TOKEN = "secret-token-9f8e7d"
PATH = "/api/v1/agent_instance/i-1/terminate"
MOMENT = "2024-05-01T12:00:00Z"
INSTANCE = {
    "type": "agent_instance",
    "id": "i-1",
    "account_id": "acc-1",
    "agent_id": "a-1",
    "agent_version_id": "v-1",
    "environment_id": "e-1",
    "status": "terminated",
    "inserted_at": MOMENT,
    "updated_at": MOMENT,
}
DONE = reply(body={"status": "success", "details": INSTANCE})
FAULT = reply(503, {"code": "unavailable", "message": "later"})


def client_of(server, **options):
    options = {"max_retries": 2, "initial_retry_delay": 0.001, **options}
    return PrefactorHttpClient(HttpClientConfig(server.url, TOKEN, **options))


def terminate(client):
    return client.agent_instances.terminate("i-1", "private words", "key-1")


def records(caplog, level):
    return [r.getMessage() for r in caplog.records if r.levelno == level]


async def test_the_hook_sees_each_attempt(raw_server):
    seen = []
    raw_server.script(FAULT, b"", DONE)
    async with client_of(raw_server, on_attempt=seen.append) as client:
        await terminate(client)
    assert all(isinstance(attempt, Attempt) for attempt in seen)
    assert {(a.operation, a.method, a.path, a.idempotency_key) for a in seen} == {
        ("agent_instances.terminate", "POST", PATH, "key-1")
    }
    assert [(a.number, a.status) for a in seen] == [(1, 503), (2, None), (3, 200)]
    assert seen[0].error == "503 unavailable: later"
    assert seen[1].error.startswith("PrefactorConnectionError: connection to ")
    assert seen[2].error is None
    assert all(0 < attempt.seconds < 60 for attempt in seen)


async def test_the_hook_sees_reads_without_a_key(raw_server):
    seen = []
    async with client_of(raw_server, on_attempt=seen.append) as client:
        await client.validate_token()
        await client.request("GET", "/api/v1/agent", params={"q": "x"})
    assert [(a.operation, a.path, a.idempotency_key) for a in seen] == [
        ("validate_token", "/api/v1/ping", None),
        ("request GET /api/v1/agent", "/api/v1/agent", None),
    ]


async def test_a_view_can_have_its_own_hook(raw_server):
    ours, theirs = [], []
    async with client_of(raw_server, on_attempt=ours.append) as client:
        await client.with_options(on_attempt=theirs.append).validate_token()
        assert (len(ours), len(theirs)) == (0, 1)
        await client.validate_token()
        assert (len(ours), len(theirs)) == (1, 1)


async def test_an_exception_in_the_hook_is_logged_and_does_not_affect_the_call(raw_server, caplog):
    def hook(attempt):
        raise LookupError("hook trouble")

    raw_server.script(FAULT, DONE)
    async with client_of(raw_server, on_attempt=hook) as client:
        assert (await terminate(client)).status == "terminated"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [(e.name, e.getMessage()) for e in errors] == [
        ("prefactor_http", "on_attempt raised")
    ] * 2
    assert all(isinstance(error.exc_info[1], LookupError) for error in errors)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
async def test_a_hook_can_stop_the_program(raw_server, stop):
    def hook(attempt):
        raise stop

    async with client_of(raw_server, on_attempt=hook) as client:
        with pytest.raises(stop):
            await client.validate_token()


async def test_each_attempt_is_a_debug_line_with_its_key(raw_server, caplog):
    caplog.set_level(logging.DEBUG, "prefactor_http")
    raw_server.script(FAULT, b"", DONE)
    async with client_of(raw_server) as client:
        await terminate(client)
    lines = [line for line in records(caplog, logging.DEBUG) if " attempt " in line]
    assert len(lines) == 3
    for number, (line, outcome) in enumerate(
        zip(lines, ["503 unavailable: later", "lost: the server closed it", "200"], strict=True), 1
    ):
        assert line.startswith(f"POST {PATH} attempt {number}: ")
        assert outcome in line
        assert line.endswith(" ms (key key-1)")
    assert records(caplog, logging.WARNING) == []


async def test_giving_up_is_a_warning_without_key_or_body(raw_server, caplog):
    caplog.set_level(logging.INFO)
    raw_server.script(FAULT, FAULT, FAULT)
    async with client_of(raw_server) as client:
        with pytest.raises(PrefactorRetryExhaustedError):
            await terminate(client)
    assert records(caplog, logging.WARNING) == [
        f"POST {PATH} gave up after 3 attempts: 503 unavailable: later, outcome unknown"
    ]
    assert "key-1" not in caplog.text
    assert "private words" not in caplog.text
    # The other two lines announce the retries.
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 2 + [logging.WARNING]


async def test_the_warning_counts_a_single_attempt_in_the_singular(raw_server, caplog):
    raw_server.script(FAULT)
    async with client_of(raw_server, max_retries=0) as client:
        with pytest.raises(PrefactorApiError) as caught:
            await terminate(client)
    assert records(caplog, logging.WARNING) == [
        f"POST {PATH} gave up after 1 attempt: 503 unavailable: later, outcome unknown"
    ]
    assert caught.value.__notes__ == [
        f"POST {PATH}, 1 attempt: it may have succeeded on the server"
    ]


async def test_an_api_error_without_retries_is_not_logged(raw_server, caplog):
    caplog.set_level(logging.INFO)
    raw_server.script(reply(404, {"code": "not_found", "message": "no"}))
    async with client_of(raw_server) as client:
        with pytest.raises(PrefactorNotFoundError):
            await terminate(client)
    assert caplog.records == []


async def test_no_log_line_contains_a_body(raw_server, caplog):
    caplog.set_level(logging.DEBUG)
    raw_server.script(FAULT, DONE)
    async with client_of(raw_server) as client:
        await terminate(client)
    assert "private words" not in caplog.text


def everything_shown(error):
    """Everything that a program could print, log or store about an error."""
    yield repr(error)
    yield str(error)
    yield "".join(traceback.format_exception(error))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals["__name__"].startswith("prefactor_http"):
            yield repr(frame.f_locals)  # as error reporters show them
    yield repr(vars(error))
    yield pickle.dumps(error).decode("latin-1")
    if isinstance(error, PrefactorRetryExhaustedError):
        yield from everything_shown(error.last_error)


ECHOES = {
    "in an error's fields": reply(
        422,
        {
            "code": f"bad {TOKEN}",
            "message": f"Bearer {TOKEN}\nis bad",
            "errors": {TOKEN: [TOKEN, {"token": TOKEN}]},
        },
    ),
    "in an error page": reply(401, f"<html>Authorization: Bearer {TOKEN}</html>".encode()),
    "at the end of a snippet": reply(500, b"x" * 190 + TOKEN.encode()),
    "in a success that is no JSON": reply(200, f"Authorization: Bearer {TOKEN}".encode()),
    "in a success of the wrong shape": reply(200, {"status": TOKEN, "details": {"id": TOKEN}}),
    "in a redirect": reply(302, {"message": TOKEN}, Location=f"https://x.example/?t={TOKEN}"),
    "in a request id": reply(500, {"code": "internal"}, X_Request_Id=f"r-{TOKEN}"),
    "in a wait": reply(503, {"code": "unavailable"}, Retry_After=TOKEN),
    "in an encoding": reply(200, {"a": 1}, Content_Encoding="gzip", Echo=TOKEN),
    "nowhere, for the connection is cut": b"",
}


# For an invalid HTTP response, aiohttp raises an error that quotes it.
GARBAGE = {
    "in place of a status line": f"Bearer {TOKEN}\r\n\r\n".encode(),
    "in a status": f"HTTP/1.1 {TOKEN} OK\r\n\r\n".encode(),
    "in a header that is none": f"HTTP/1.1 200 OK\r\nBearer {TOKEN}\r\n\r\n".encode(),
    "in a header's bad value": f"HTTP/1.1 200 OK\r\nEcho: {TOKEN}\0\r\n\r\n".encode(),
    "in a length": f"HTTP/1.1 200 OK\r\nContent-Length: {TOKEN}\r\n\r\n".encode(),
    "in a chunk": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n".encode(),
}


@pytest.mark.parametrize(
    "echo",
    [*ECHOES.values(), *GARBAGE.values()],
    ids=[*ECHOES, *GARBAGE],
)
@pytest.mark.parametrize("max_retries", [0, 1])
async def test_a_token_repeated_by_the_server_is_redacted_everywhere(
    raw_server, caplog, echo, max_retries
):
    caplog.set_level(logging.DEBUG)
    attempts = []
    raw_server.script(*[echo] * (max_retries + 1))
    options = {"max_retries": max_retries, "on_attempt": attempts.append}
    async with client_of(raw_server, **options) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await terminate(client)
    assert f"Bearer {TOKEN}" in raw_server.requests[0].raw.decode()
    for shown in everything_shown(caught.value):
        assert TOKEN not in shown
    assert TOKEN not in repr(attempts)
    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert TOKEN not in caplog.text
    assert attempts


async def test_no_repr_of_a_client_shows_the_token(raw_server):
    async with client_of(raw_server) as client:
        view = client.with_options(max_retries=0)
        for thing in (client, view, client.config, view.config, client.agent_instances):
            assert TOKEN not in repr(thing)
            assert TOKEN not in str(thing)
        assert raw_server.url in repr(client)
        assert "view" in repr(view)


async def test_a_call_that_never_reaches_a_server_does_not_show_the_token(unused_tcp_port, caplog):
    caplog.set_level(logging.DEBUG)
    config = HttpClientConfig(f"http://127.0.0.1:{unused_tcp_port}", TOKEN, max_retries=0)
    async with PrefactorHttpClient(config) as client:
        with pytest.raises(PrefactorHttpError) as refused:
            await terminate(client)
    with pytest.raises(PrefactorHttpError) as closed:
        await terminate(client)
    for error in (refused.value, closed.value):
        assert all(TOKEN not in shown for shown in everything_shown(error))
    assert TOKEN not in caplog.text


async def test_a_deadline_that_passes_does_not_show_the_token(raw_server, caplog):
    caplog.set_level(logging.DEBUG)
    raw_server.script(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    async with client_of(raw_server, deadline=0.05) as client:
        with pytest.raises(TimeoutError) as caught:
            await terminate(client)
    assert all(TOKEN not in shown for shown in everything_shown(caught.value))
    assert TOKEN not in caplog.text


async def test_a_cancelled_call_does_not_show_the_token(raw_server):
    raw_server.script(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    sent = asyncio.Event()
    async with client_of(raw_server) as client:
        task = asyncio.create_task(terminate(client))
        raw_server.on_request = sent.set
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
