"""`register_partition` is a synchronous function that can run any number of times."""

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from prefactor_http import HttpClientConfig, PrefactorAuthError, PrefactorHttpClient, batch
from prefactor_http.batch import register_partition
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.testing import LocalPrefactor, serving

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
NAMED = [{"external_identifier": f"ticket-{number}"} for number in range(30)]
NAMELESS = [{"purpose": "eval"} for _ in range(30)]


@pytest.fixture
def api():
    with serving(LocalPrefactor()) as server:
        yield server


@pytest.fixture
def register(api):
    """Registers rows as a partition of the job `import`."""
    return partial(
        register_partition,
        job="import",
        config=HttpClientConfig(api.url, api.deployment_token, initial_retry_delay=0.01),
        agent_version=VERSION,
        agent_schema_version=SCHEMA,
        chunk_size=7,
    )


def keys(results):
    return [result["idempotency_key"] for result in results]


def test_each_row_has_a_result_in_the_order_of_the_rows(api, register):
    results = register([*NAMED, *NAMELESS], partition=0)
    assert [result["index"] for result in results] == list(range(60))
    assert {result["state"] for result in results} == {"ok"}
    assert {result["id"] for result in results} == api.instances.keys()
    assert {result["error"] for result in results} == {None}


def test_the_function_and_its_results_can_be_pickled(api, register):
    task = pickle.loads(pickle.dumps(register))
    results = task(NAMED, partition="a")
    assert pickle.loads(pickle.dumps(results)) == results
    assert {type(result) for result in results} == {dict}


def test_a_partition_that_runs_again_registers_nothing_more(api, register):
    first = register([*NAMED, *NAMELESS], partition=0)
    assert register([*NAMED, *NAMELESS], partition=0) == first
    assert len(api.effects) == len(api.instances) == 60
    assert api.doubled == api.lost == api.keys_reused == []


def test_a_partition_that_runs_twice_concurrently_registers_each_row_once(api, register):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda rows: register(rows, partition=0), [NAMELESS, NAMELESS])
    assert first == second
    assert len(api.effects) == len(api.instances) == 30


def test_keys_of_rows_without_a_name_differ_between_partitions_and_jobs(register):
    here, there, later = (
        keys(register(NAMELESS, partition=0)),
        keys(register(NAMELESS, partition=1)),
        keys(register(NAMELESS, partition=0, job="another")),
    )
    assert len({*here, *there, *later}) == 90


def test_keys_of_rows_with_a_name_are_the_same_in_all_partitions(api, register):
    first = register(NAMED, partition=0)
    second = register(NAMED[::-1], partition=1)
    assert keys(first) == keys(second)[::-1]
    assert len(api.instances) == 30


async def test_rows_with_a_name_have_the_keys_of_register_many(api, register):
    results = await asyncio.to_thread(register, NAMED, partition=0)
    config = HttpClientConfig(api.url, api.deployment_token)
    async with PrefactorHttpClient(config) as client:
        outcomes = client.agent_instances.register_many(
            NAMED, job="import", agent_version=VERSION, agent_schema_version=SCHEMA, ordered=True
        )
        assert [outcome.idempotency_key async for outcome in outcomes] == keys(results)


def test_the_order_of_a_rows_fields_does_not_matter(register):
    row = {"purpose": "eval", "agent_version": VERSION}
    again = dict(reversed(row.items()))
    assert keys(register([row], partition=0)) == keys(register([again], partition=0))


def test_a_row_can_be_a_request_or_have_its_own_key(api, register):
    rows = [
        RegisterAgentInstanceRequest(agent_version=VERSION, agent_schema_version=SCHEMA),
        RegisterAgentInstanceRequest(
            agent_version=VERSION, agent_schema_version=SCHEMA, external_identifier="ticket-1"
        ),
        {"idempotency_key": "a-key-of-mine"},
    ]
    results = register(rows, partition=0)
    assert register(rows, partition=0) == results
    assert keys(results)[2] == "a-key-of-mine"
    assert len(api.instances) == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("no row", "TypeError: a row must be a dict"),
        ({"colour": "red"}, "ValueError: unknown field 'colour'"),
        ({"agent_version": object()}, "TypeError: "),
    ],
)
def test_an_invalid_row_fails_alone(api, register, row, reason):
    good, bad, other = register([{}, row, {}], partition=0)
    assert (good["state"], bad["state"], other["state"]) == ("ok", "failed", "ok")
    assert bad["id"] is None
    assert bad["error"].startswith(reason)


def test_a_row_that_the_api_refuses_fails_alone(register):
    results = register([{}, {"id": "not-an-id"}, {}], partition=0)
    assert [result["state"] for result in results] == ["ok", "failed", "ok"]
    assert results[1]["error"].startswith("PrefactorValidationError: ")


def test_the_configuration_comes_from_the_environment_of_the_process(api, register, monkeypatch):
    monkeypatch.setenv("PREFACTOR_API_URL", api.url)
    monkeypatch.setenv("PREFACTOR_API_TOKEN", api.deployment_token)
    assert [row["state"] for row in register(NAMED, partition=0, config=None)] == ["ok"] * 30


def test_an_error_that_ends_the_run_is_raised_and_can_be_pickled(api, register):
    api.set_token_active(api.deployment_token, False)
    with pytest.raises(PrefactorAuthError) as caught:
        register(NAMED, partition=0)
    assert type(pickle.loads(pickle.dumps(caught.value))) is PrefactorAuthError
    api.set_token_active(api.deployment_token, True)
    register(NAMED, partition=0)
    assert len(api.instances) == 30


async def test_a_thread_that_runs_an_event_loop_raises_a_runtime_error():
    config = HttpClientConfig("https://api.example", "token")
    with pytest.raises(RuntimeError, match="running event loop"):
        register_partition([], job="import", partition=0, config=config)


def test_a_partition_must_be_text_or_a_number(register):
    with pytest.raises(TypeError, match="not float"):
        register(NAMED, partition=1.0)


def test_patience_warns_with_the_callers_file_as_location(register):
    with pytest.warns(DeprecationWarning, match="patience is now called max_outage") as warned:
        results = register(NAMED, partition=0, patience=60)
    assert [warning.filename for warning in warned] == [__file__]
    assert {result["state"] for result in results} == {"ok"}


def test_patience_and_max_outage_together_are_an_error(register):
    with pytest.raises(TypeError, match="pass only max_outage"):
        register(NAMED, partition=0, patience=60, max_outage=60)


def test_an_unknown_option_raises_an_error_that_lists_the_options(register):
    with pytest.raises(TypeError, match="unknown option chunks; the options are chunk_size, "):
        register(NAMED, partition=0, chunks=3)


def test_the_module_has_no_lazy_attributes():
    with pytest.raises(AttributeError, match="no attribute 'unheard_of'"):
        _ = batch.unheard_of
