"""Views of a client: what they share with it, and what they do not."""

from __future__ import annotations

from functools import cached_property

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.endpoints.agent_instance import AgentInstanceClient


class TracingClient(PrefactorHttpClient):
    """A subclass with attributes, and with endpoints that use them."""

    def __init__(self, config: HttpClientConfig, trace_id: str) -> None:
        super().__init__(config)
        self.trace_id = trace_id
        self.spans: list[str] = []

    @cached_property
    def named_instances(self) -> tuple[str, AgentInstanceClient]:
        return self.trace_id, self.agent_instances

    async def traced(self) -> str:
        await self.validate_token()
        return f"{self.trace_id}, {self.config.max_retries}"


@pytest.fixture
async def client(raw_server):
    async with TracingClient(HttpClientConfig(raw_server.url, "token-1234"), "t-1") as client:
        yield client


async def test_a_view_of_a_subclass_has_its_attributes(client):
    view = client.with_options(max_retries=7)
    assert type(view) is TracingClient
    assert await view.traced() == "t-1, 7"
    assert await client.traced() == "t-1, 3"
    assert view.spans is client.spans


async def test_a_view_of_a_view_has_the_attributes_too(client):
    assert await client.with_options(max_retries=7).with_options(max_retries=1).traced() == "t-1, 1"


async def test_later_assignments_affect_only_one_of_client_and_view(client):
    view = client.with_options(max_retries=7)
    view.trace_id = "t-2"
    client.spans = ["s"]
    assert (client.trace_id, view.spans) == ("t-1", [])


async def test_a_view_has_its_own_endpoints(client):
    assert client.named_instances[1] is client.agent_instances
    view = client.with_options(deadline=0.5)
    assert view.agent_instances is not client.agent_instances
    assert view.agent_instances is view.agent_instances
    assert view.named_instances[1] is view.agent_instances


async def test_closing_a_view_of_a_subclass_leaves_the_client_open(client):
    async with client.with_options(max_retries=0):
        pass
    await client.validate_token()
