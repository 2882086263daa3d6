"""Packages built on release 0.4.3 work unchanged on this version."""

import json
from collections import Counter

import pytest

from prefactor_http import __version__
from prefactor_http.testing import FaultKind, LocalPrefactor, serving

# All tests share one environment, so run them without -n.
pytestmark = [pytest.mark.dropin, pytest.mark.timeout(900)]

LIFECYCLES = 24
SPANS_FINISHED = 7  # a turn, and three steps with a tool each
SPANS = SPANS_FINISHED + 1  # with one that is cancelled before it starts


@pytest.fixture
def api():
    with serving(LocalPrefactor()) as server:
        yield server


def assert_everything_was_applied_once(api, effects):
    stats = api.stats()
    assert stats["effects"] == effects
    assert api.doubled == api.lost == api.bytes_changed == api.keys_reused == api.violations == []
    assert stats["keyless_writes"] == 0


def writes(api, operation):
    return [request for request in api.requests if request.operation == operation]


def test_this_package_satisfies_the_requirements_of_core(with_core):
    checked = with_core.check()
    assert checked.returncode == 0, checked.stdout
    assert with_core.version_of("prefactor-http") == __version__


@pytest.mark.parametrize(("seed", "batched"), [(4, False), (20261124, False), (4, True)])
def test_core_applies_every_write_once_while_a_quarter_of_attempts_fails(with_core, seed, batched):
    with serving(LocalPrefactor(faults=0.25, seed=seed)) as api:
        done = with_core.run(
            "core_lifecycles.py",
            api,
            clients=4,
            lifecycles=LIFECYCLES,
            agent_id=api.agent_id,
            environment_id=api.environment_id,
            batched=batched,
        )

        assert sum(api.faults_injected.values()) > LIFECYCLES  # faults did happen
        assert api.replays > 0
        assert_everything_was_applied_once(
            api,
            {
                "agent_instances.register": LIFECYCLES,
                "agent_instances.start": LIFECYCLES,
                "agent_instances.finish": LIFECYCLES,
                "agent_spans.create": LIFECYCLES * SPANS,
                "agent_spans.finish": LIFECYCLES * SPANS,
            },
        )
        assert {each["id"]: each["status"] for each in done} == {
            instance["id"]: instance["status"] for instance in api.instances.values()
        }
        assert len(done) == LIFECYCLES
        recorded = {
            span["id"]: [span["parent_span_id"], span["status"]]
            for span in api.spans.values()
            if span["status"] != "cancelled"
        }
        assert recorded == {key: span for each in done for key, span in each["spans"].items()}
        assert Counter(span["status"] for span in api.spans.values()) == {
            "complete": LIFECYCLES * (SPANS_FINISHED - 1),
            "failed": LIFECYCLES,
            "cancelled": LIFECYCLES,
        }


def test_core_notices_that_its_instance_was_terminated(with_core, api):
    result = with_core.run(
        "core_termination.py", api, agent_id=api.agent_id, environment_id=api.environment_id
    )
    assert result == {"reason": "over budget"}


def test_langchain_registers_and_records_once_although_responses_are_lost(with_langchain, api):
    for operation in ("agent_instances.register", "agent_instances.finish", "agent_spans.create"):
        api.fail_next(FaultKind.APPLIED_THEN_RESET, operation=operation)
    done = with_langchain.run(
        "langchain_registration.py", api, agent_id=api.agent_id, environment_id=api.environment_id
    )
    assert api.faults_pending == 0
    assert_everything_was_applied_once(
        api,
        {
            "agent_instances.register": 1,
            "agent_instances.start": 1,
            "agent_instances.finish": 1,
            "agent_spans.create": 1,
            "agent_spans.finish": 1,
        },
    )
    assert api.instances[done["id"]]["status"] == "complete"
    assert_adapter_is_named_first(api, done["sdk"])


def test_livekit_registers_once_although_responses_are_lost(with_livekit, api):
    for operation in ("agent_instances.register", "agent_instances.start"):
        api.fail_next(FaultKind.APPLIED_THEN_RESET, operation=operation)
    done = with_livekit.run(
        "livekit_registration.py", api, token=api.deployment_token, agent_id=None
    )
    assert api.faults_pending == 0
    assert_everything_was_applied_once(
        api,
        {
            "agent_instances.register": 1,
            "agent_instances.start": 1,
            "agent_instances.finish": 1,
        },
    )
    assert api.instances[done["id"]]["status"] == "complete"
    assert_adapter_is_named_first(api, done["sdk"])


@pytest.mark.parametrize(
    ("fixture", "program"),
    [
        ("with_core", "core_termination.py"),
        ("with_langchain", "langchain_registration.py"),
        ("with_livekit", "livekit_registration.py"),
    ],
)
def test_each_package_calls_an_api_by_its_host_name_in_a_container_network(
    request, api, fixture, program
):
    drop_in = request.getfixturevalue(fixture)
    ids = {"agent_id": api.agent_id, "environment_id": api.environment_id}
    livekit = fixture == "with_livekit"  # its configuration has no environment_id
    drop_in.run(
        "in_a_container_network.py",
        api,
        token=api.deployment_token if livekit else None,
        inside=program,
        **({"agent_id": None} if livekit else ids),
    )
    assert [request.headers["Host"].partition(":")[0] for request in api.requests[:1]] == [
        "prefactor-api"
    ]
    assert len(api.instances) == 1


def assert_adapter_is_named_first(api, entry):
    register = writes(api, "agent_instances.register")[0]
    assert register.headers["X-Prefactor-SDK"].split()[0] == entry
    runtime = json.loads(register.body)["agent_version"]["runtime_environment"]
    assert runtime["agent_sdk"] == [entry]
    assert f"prefactor-http@{__version__}" in runtime["prefactor_sdk"]


def test_all_packages_can_be_installed_together(with_langchain, with_livekit):
    checked = with_livekit.check()
    assert checked.returncode == 0, checked.stdout
