"""Requests that are sent again, as a whole or in parts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable

from raw_server import RawServer, Request, reply
from scripted_api import Ending, Fault, ScriptedApi

from prefactor_http import HttpClientConfig, PrefactorHttpClient

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


async def test_a_call_behind_another_one_of_a_divided_request_is_sent(
    raw_server: RawServer,
) -> None:
    """A request with both calls on an instance fails; each of them succeeds alone."""
    api = ScriptedApi(raw_server, defaultdict(lambda: Ending.OK), ())
    api.add_instance("instance-1")
    answer = raw_server.answer

    def answer_single_calls(request: Request) -> object:
        if request.target.endswith("/bulk") and len(request.json["items"]) > 1:
            return reply(500, {"status": "error", "code": "internal_server_error"})
        return answer(request)

    raw_server.answer = answer_single_calls  # type: ignore[assignment]
    arrived = asyncio.Event()
    raw_server.on_request = arrived.set
    config = HttpClientConfig(
        raw_server.url, "token-1234", max_retries=1, initial_retry_delay=0.2, max_retry_delay=0.2
    )
    async with (
        asyncio.timeout(10),
        PrefactorHttpClient(config) as client,
        client.batched() as batched,
    ):
        instances = batched.agent_instances
        both = asyncio.gather(instances.start("instance-1"), instances.finish("instance-1"))
        await arrived.wait()
        # Something else succeeds, so one of the two may be the cause.
        await instances.register("agent", VERSION, SCHEMA, external_identifier="other")
        started, finished = await both
    assert (started.status, finished.status) == ("active", "complete")


async def test_a_request_is_sent_again_after_a_direct_call_that_it_waited_for(
    raw_server: RawServer,
) -> None:
    ScriptedApi(raw_server, defaultdict(lambda: Ending.OK), [Fault.UNAVAILABLE])
    answer = raw_server.answer

    async def answer_slowly_alone(request: Request) -> bytes:
        response = await answer(request)  # type: ignore[misc]
        if not request.target.endswith("/bulk"):
            await asyncio.sleep(0.3)  # the other request is due long before
        elif len(raw_server.requests) == 1:
            failed.set()
        return response

    raw_server.answer = answer_slowly_alone
    failed = asyncio.Event()
    config = HttpClientConfig(
        raw_server.url, "token-1234", initial_retry_delay=0.1, max_retry_delay=0.1
    )
    async with (
        asyncio.timeout(10),
        PrefactorHttpClient(config) as client,
        client.batched(concurrency=1) as batched,
    ):

        def register(name: str) -> Awaitable[object]:
            return batched.agent_instances.register(
                "agent", VERSION, SCHEMA, external_identifier=name
            )

        both = asyncio.gather(register("a"), register("b"))
        await failed.wait()
        await asyncio.sleep(0.02)  # the client has the response
        await asyncio.gather(register("alone"), both)
    paths = [request.target.rpartition("/")[2] for request in raw_server.requests]
    assert paths == ["bulk", "register", "bulk"]
