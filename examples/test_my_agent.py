"""Tests of an agent against a local API, with faults.

The fixture ``prefactor_server`` comes with the package: a Prefactor API in memory, new for each
test. Run the tests with

    pytest examples/test_my_agent.py
"""

import asyncio

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient, PrefactorRetryExhaustedError
from prefactor_http.testing import FaultKind, LocalPrefactor

# --- The code under test, which would be in a module of its own. ---


async def answer_ticket(client: PrefactorHttpClient, ticket: int, *, required: bool = True) -> str:
    """Answer a ticket and record how."""
    async with client.agent_instances.run(
        agent_version={"external_identifier": "v1"},
        agent_schema_version={
            "external_identifier": "s1",
            "span_type_schemas": [{"name": "llm_call", "params_schema": {"type": "object"}}],
        },
        external_identifier=f"ticket-{ticket}",
        required=required,
        start_timeout=0.5,
    ) as run:
        async with run.span("llm_call", {"ticket": ticket}) as call:
            answer = "It is not urgent."
            call.result_payload = {"answer": answer}
    return answer


# --- The tests. ---


def run_agent(server: LocalPrefactor, *, required: bool = True, max_retries: int = 3) -> str:
    """Let the agent answer a ticket; the waits are short, so that tests with faults are fast."""
    config = HttpClientConfig(
        server.url,
        server.deployment_token,
        max_retries=max_retries,
        initial_retry_delay=0.01,
    )

    async def scenario() -> str:
        async with PrefactorHttpClient(config) as client:
            return await answer_ticket(client, 4711, required=required)

    return asyncio.run(scenario())


def test_an_answer_is_recorded(prefactor_server: LocalPrefactor) -> None:
    """The ledger of the server has each write once, in order."""
    assert run_agent(prefactor_server) == "It is not urgent."
    assert [effect.action for effect in prefactor_server.effects] == [
        "agent_instances.register",
        "agent_instances.start",
        "agent_spans.create",
        "agent_spans.finish",
        "agent_instances.finish",
    ]
    (instance,) = prefactor_server.instances.values()
    assert instance["external_identifier"] == "ticket-4711"
    assert instance["status"] == "complete"


@pytest.mark.parametrize(
    "fault",
    [FaultKind.RESET_BEFORE_READING, FaultKind.APPLIED_THEN_RESET, FaultKind.BAD_GATEWAY],
)
def test_a_fault_changes_nothing(prefactor_server: LocalPrefactor, fault: FaultKind) -> None:
    """Each call fails once, before or after the write; each write takes effect once."""
    for operation in ("agent_instances.register", "agent_spans.create", "agent_instances.finish"):
        prefactor_server.fail_next(fault, operation=operation)
    assert run_agent(prefactor_server) == "It is not urgent."
    assert prefactor_server.faults_injected[fault] == 3
    assert len(prefactor_server.instances) == 1
    assert prefactor_server.doubled == prefactor_server.lost == []


def test_the_agent_works_without_its_record(prefactor_server: LocalPrefactor) -> None:
    """With ``required=False`` the ticket is answered while the API is down."""
    prefactor_server.fail_next(*[FaultKind.UNAVAILABLE] * 2, operation="agent_instances.register")
    assert run_agent(prefactor_server, required=False, max_retries=1) == "It is not urgent."
    # An instance that was registered after all is cancelled when the client is closed.
    assert [each["status"] for each in prefactor_server.instances.values()] == ["cancelled"]


def test_the_agent_fails_if_its_record_is_required(prefactor_server: LocalPrefactor) -> None:
    """By default an instance that cannot be registered is an error."""
    prefactor_server.fail_next(*[FaultKind.UNAVAILABLE] * 2, operation="agent_instances.register")
    with pytest.raises(PrefactorRetryExhaustedError):
        run_agent(prefactor_server, max_retries=1)
