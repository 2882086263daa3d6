"""Error reporters show local variables: no frame shows a body, headers or the token."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import pytest
from raw_server import reply
from resilience_support import until

from prefactor_http import HttpClientConfig, PrefactorHttpClient, PrefactorHttpError
from prefactor_http._http.response import Response

HERE = str(Path(__file__).parent)
TOKEN = "token-of-the-test"
SENT = "what-was-sent"
RECEIVED = "what-was-received"
HEADER = "header-of-the-response"
SECRETS = (TOKEN, SENT, RECEIVED, HEADER)
# The caller's own arguments. Error reporters filter such dicts by key.
ARGUMENTS = {"payload", "result_payload"}


def shown_by(error: BaseException | None) -> set[str]:
    """Return the names of variables, in all frames, that show a secret."""
    found: set[str] = set()
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        found |= _shown_by_traceback(error)
        error = error.__cause__ or error.__context__
    return found


def _shown_by_traceback(error: BaseException) -> set[str]:
    found = set()
    traceback = error.__traceback__
    while traceback is not None:
        frame: FrameType = traceback.tb_frame
        if not frame.f_code.co_filename.startswith(HERE):
            for name, value in frame.f_locals.items():
                if name not in ARGUMENTS and any(secret in repr(value) for secret in SECRETS):
                    found.add(f"{frame.f_code.co_qualname}: {name}")
        traceback = traceback.tb_next
    return found


@pytest.fixture(params=["own session", "borrowed session"])
async def client_of(request, raw_server):
    clients = []
    session = aiohttp.ClientSession() if request.param == "borrowed session" else None

    async def make(**options: Any) -> PrefactorHttpClient:
        config = HttpClientConfig(raw_server.url, TOKEN, **{"max_retries": 0, **options})
        client = PrefactorHttpClient(config, session=session)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
    if session is not None:
        await session.close()


def create(client: PrefactorHttpClient) -> Any:
    return client.agent_spans.create("i-1", "step", "active", {"secret": SENT})


NEVER = b"HTTP/1.1 200 OK\r\nEcho: " + HEADER.encode() + b"\r\nContent-Length: 99\r\n\r\n"
ANSWERS = {
    "nothing": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a head": NEVER,
    "a part of the body": NEVER + RECEIVED.encode(),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_the_frames_of_a_cancelled_call_show_no_secrets(raw_server, client_of, answer):
    raw_server.script(answer)
    client = await client_of()
    task = asyncio.create_task(create(client))
    await until(lambda: raw_server.requests)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert shown_by(caught.value) == set()


@pytest.mark.parametrize("options", [{"request_timeout": 0.1}, {"deadline": 0.1}])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_the_frames_of_a_timed_out_call_show_no_secrets(
    raw_server, client_of, answer, options
):
    raw_server.script(answer)
    client = await client_of(**options)
    with pytest.raises(PrefactorHttpError) as caught:
        await create(client)
    assert shown_by(caught.value) == set()


@pytest.mark.parametrize("max_retries", [0, 1])
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        reply(500, {"echo": RECEIVED}, Echo=HEADER),
        reply(401, {"status": "error", "code": "x", "echo": RECEIVED}, Echo=HEADER),
        reply(200, {"echo": RECEIVED}, Echo=HEADER),
        NEVER,
    ],
)
async def test_the_frames_of_a_failed_call_show_no_secrets(
    raw_server, client_of, answer, max_retries
):
    raw_server.script(answer, answer)
    client = await client_of(
        max_retries=max_retries, initial_retry_delay=0.001, request_timeout=0.2
    )
    with pytest.raises(PrefactorHttpError) as caught:
        await create(client)
    assert shown_by(caught.value) == set()


async def test_the_frames_of_a_call_cancelled_during_backoff_show_no_secrets(raw_server, client_of):
    raw_server.script(reply(500, {"echo": RECEIVED}, Echo=HEADER))
    client = await client_of(max_retries=1, initial_retry_delay=30, max_retry_delay=30)
    task = asyncio.create_task(create(client))
    await until(lambda: raw_server.requests)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert shown_by(caught.value) == set()


async def test_the_frames_of_a_call_cancelled_during_reconciliation_show_no_secrets(
    raw_server, client_of
):
    raw_server.script(reply(500), reply(409, {"status": "error", "code": "invalid_action"}), NEVER)
    client = await client_of(max_retries=1, initial_retry_delay=0.001)
    call = client.agent_spans.finish("s-1", result_payload={"secret": SENT})
    task = asyncio.create_task(call)
    await until(lambda: len(raw_server.requests) == 3)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert shown_by(caught.value) == set()


async def test_the_frames_of_a_request_that_cannot_be_encoded_show_no_secrets(
    raw_server, client_of
):
    client = await client_of()
    with pytest.raises(TypeError) as caught:
        await client.agent_spans.create("i-1", "step", "active", {SENT: object()})
    assert shown_by(caught.value) == set()


def test_the_repr_of_a_response_shows_only_status_and_length():
    assert repr(Response(200, {"Echo": HEADER}, RECEIVED.encode())) == "<Response 200, 17 bytes>"
