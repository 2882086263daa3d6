"""Requests that are sent again in parts."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from raw_server import RawServer, Request, reply
from scripted_api import Ending, ScriptedApi

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
