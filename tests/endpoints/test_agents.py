"""Agents: life cycle, updates, arguments and reconciliation."""

import pytest
from raw_server import reply

from prefactor_http import (
    PrefactorConflictError,
    PrefactorNotFoundError,
    PrefactorValidationError,
)
from prefactor_http.models import AgentForCreate, AgentForUpdate
from prefactor_http.testing import FaultKind, IdempotencyPolicy

AGENT = {"type": "agent", "id": "a-1", "name": "An agent", "status": "active"}
INVALID_ACTION = reply(409, {"status": "error", "code": "invalid_action", "message": "not now"})


def answer_with_an_agent(raw_server, **fields):
    raw_server.script(reply(body={"status": "success", "details": {**AGENT, **fields}}))


async def test_an_agent_from_its_creation_to_its_deletion(api, client):
    agent = await client.agents.create(AgentForCreate(name="One", external_identifier="mine"))
    assert (agent.name, agent.status) == ("One", "pending")
    assert await client.agents.get(agent.id) == agent
    assert await client.agents.show(external_identifier="mine") == agent
    assert await client.agents.show(agent_id=agent.id) == agent
    assert (await client.agents.retire(agent.id)).status == "retired"
    with pytest.raises(PrefactorConflictError):
        await client.agents.retire(agent.id)
    assert (await client.agents.reinstate(agent.id)).status == "pending"
    assert (await client.agents.delete(agent.id)).id == agent.id
    with pytest.raises(PrefactorNotFoundError):
        await client.agents.get(agent.id)


async def test_an_update_keeps_what_is_left_out_and_clears_what_is_none(client):
    agent = await client.agents.create(
        AgentForCreate(name="One", description="Does things", team_id="t-1")
    )
    updated = await client.agents.update(agent.id, AgentForUpdate(name="Two", team_id=None))
    assert (updated.name, updated.description, updated.team_id) == ("Two", "Does things", None)


async def test_a_dict_of_details_is_sent_unchanged(raw_server, raw_client):
    fields = {"name": "One", "field_of_tomorrow": [None]}
    answer_with_an_agent(raw_server)
    answer_with_an_agent(raw_server)
    await raw_client.agents.create(fields)
    await raw_client.agents.update("a-1", fields)
    assert [request.json["details"] for request in raw_server.requests] == [fields, fields]


@pytest.mark.parametrize("details", [None, "One", AgentForUpdate(name="One")], ids=repr)
async def test_details_of_another_type_are_refused(raw_server, raw_client, details):
    with pytest.raises(TypeError, match="details must be a dict or AgentForCreate, not"):
        await raw_client.agents.create(details)
    assert raw_server.requests == []


async def test_an_update_refuses_the_details_of_a_creation(raw_server, raw_client):
    with pytest.raises(TypeError, match="details must be a dict or AgentForUpdate, not"):
        await raw_client.agents.update("a-1", AgentForCreate(name="One"))
    assert raw_server.requests == []


@pytest.mark.parametrize("ids", [{}, {"agent_id": "a", "external_identifier": "b"}], ids=str)
async def test_show_takes_exactly_one_of_id_and_external_identifier(raw_server, raw_client, ids):
    with pytest.raises(ValueError, match="exactly one of agent_id and external_identifier"):
        await raw_client.agents.show(**ids)
    assert raw_server.requests == []


@pytest.mark.parametrize("name", ["agent_id", "external_identifier"])
async def test_show_refuses_a_blank_identifier(raw_server, raw_client, name):
    with pytest.raises(ValueError, match=f"{name} must not be blank"):
        await raw_client.agents.show(**{name: ""})
    assert raw_server.requests == []


async def test_omitted_options_are_not_sent(raw_server, raw_client):
    answer_with_an_agent(raw_server)
    await raw_client.agents.show(agent_id="a-1")
    assert raw_server.request.target == "/api/v1/agent/show?agent_id=a-1"


async def test_instances_are_counted_on_request(api, client, instance):
    agent = await client.agents.show(agent_id=api.agent_id, include_counts=True)
    assert agent.instance_counts.active == agent.instance_counts.total == 1


async def test_an_error_names_the_refused_field(client):
    with pytest.raises(PrefactorValidationError) as caught:
        await client.agents.create(AgentForCreate(name="One", id="not-a-pfid"))
    assert "details.id" in caught.value.errors


async def test_iterating_a_list_reads_all_pages(client):
    for number in range(4):
        await client.agents.create(AgentForCreate(name=f"Agent {number}", team_id="t-1"))
    page = await client.agents.list_agents(team_id="t-1", sorting="-name", page_size=3)
    names = ["Agent 3", "Agent 2", "Agent 1", "Agent 0"]
    assert [agent.name async for agent in page] == names
    listed = client.agents.list(team_id="t-1", sorting="-name", page_size=3)
    assert [agent.name async for agent in listed] == names


FORGETFUL = IdempotencyPolicy(forget_when_lost=frozenset({"agents.retire", "agents.reinstate"}))


@pytest.mark.parametrize("policy", [FORGETFUL])
async def test_a_refused_retirement_succeeds_if_a_lost_attempt_was_applied(api, client):
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    assert (await client.agents.retire(api.agent_id)).status == "retired"
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    assert (await client.agents.reinstate(api.agent_id)).status != "retired"
    assert [r.method for r in api.requests] == ["POST", "POST", "GET"] * 2


@pytest.mark.parametrize(("call", "status"), [("retire", "active"), ("reinstate", "retired")])
async def test_a_retirement_that_may_have_been_reversed_stays_unknown(
    raw_server, raw_client, call, status
):
    raw_server.script(b"", INVALID_ACTION)
    answer_with_an_agent(raw_server, status=status)
    with pytest.raises(PrefactorConflictError) as caught:
        await getattr(raw_client.agents, call)("a-1")
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    "call",
    [
        lambda agents, key: agents.create({"name": "n"}, key),
        lambda agents, key: agents.update("a-1", {"name": "n"}, key),
        lambda agents, key: agents.retire("a-1", key),
        lambda agents, key: agents.reinstate("a-1", key),
        lambda agents, key: agents.delete("a-1", key),
    ],
)
async def test_a_key_is_created_for_each_call_or_checked(raw_server, raw_client, call):
    answer_with_an_agent(raw_server)
    answer_with_an_agent(raw_server)
    await call(raw_client.agents, None)
    await call(raw_client.agents, None)
    keys = [request.json["idempotency_key"] for request in raw_server.requests]
    assert [len(key) for key in keys] == [36, 36]
    assert keys[0] != keys[1]
    with pytest.raises(ValueError, match="idempotency_key must have 1 to 64"):
        await call(raw_client.agents, "x" * 65)
    assert len(raw_server.requests) == 2
