"""Each item is applied once and reported once, whatever happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from batch_support import (
    SCHEMA,
    VERSION,
    assert_nothing_doubled_or_lost,
    client_of,
    collect,
    indexes,
    register,
    registration,
    rows,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefactor_http import PrefactorApiError
from prefactor_http.idempotency import derive_key, new_id, new_key
from prefactor_http.models.bulk import BulkItem
from prefactor_http.testing import RANDOM_FAULTS, FaultKind, LocalPrefactor

# Without faults that never answer: each costs a timeout. The resilience tests cover those.
QUICK_FAULTS = tuple(
    kind
    for kind in RANDOM_FAULTS
    if kind not in {FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY}
)


async def test_six_thousand_rows_with_five_bad_ones_are_registered_once_at_twenty_percent_faults():
    bad = {1200, 1201, 3333, 4700, 5999}

    def source():
        for number, row in enumerate(rows(6000)):
            yield {**row, "purpose": 7} if number in bad else row

    async with (
        LocalPrefactor(faults=0.2, seed=20261124) as api,
        client_of(api, request_timeout=0.5) as client,
    ):
        outcomes = await collect(register(client, api, source()))
        assert indexes(outcomes) == list(range(6000))
        by_index = {outcome.index: outcome for outcome in outcomes}
        for number in range(6000):
            outcome = by_index[number]
            if number in bad:
                assert outcome.failed
                assert isinstance(outcome.error, PrefactorApiError)
                assert outcome.error.status_code == 422
                assert outcome.error.idempotency_key == outcome.idempotency_key
            else:
                assert outcome.ok
                assert outcome.error is None
                assert outcome.instance.external_identifier == f"row-{number}"
        names = Counter(instance["external_identifier"] for instance in api.instances.values())
        assert set(names) == {f"row-{number}" for number in range(6000) if number not in bad}
        assert set(names.values()) == {1}
        assert_nothing_doubled_or_lost(api)
        assert api.stats()["largest_bulk"] <= 100
        assert sum(api.faults_injected.values()) >= 5
        assert api.replays > 0


async def test_a_job_that_runs_twice_registers_once(api):
    source = [
        {"external_identifier": "by-name"},
        {"id": new_id(api.agent_id)},
        {"purpose": "eval"},
        {"purpose": "eval"},
    ]
    keys = []
    for _ in range(2):
        async with client_of(api) as client:
            outcomes = await collect(register(client, api, source, job="import-7", ordered=True))
        assert all(outcome.ok for outcome in outcomes)
        keys.append([outcome.idempotency_key for outcome in outcomes])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == len(source) == len(api.instances)
    assert keys[0][0] == derive_key("register", "import-7", "external_identifier", "by-name")
    async with client_of(api) as client:
        other = await collect(register(client, api, source[2:3], job="import-8"))
    assert other[0].idempotency_key not in keys[0]
    assert_nothing_doubled_or_lost(api)


async def test_a_rows_own_key_takes_precedence_over_the_jobs(api, client):
    source = [{"external_identifier": "x", "idempotency_key": "of-the-row"}]
    (outcome,) = await collect(register(client, api, source, job="j"))
    assert outcome.idempotency_key == "of-the-row"
    assert api.effects[0].idempotency_key == "of-the-row"


async def test_rows_with_the_same_key_are_applied_once_and_never_share_a_request(api, client):
    source = [{"external_identifier": f"row-{number % 3}"} for number in range(12)]
    outcomes = await collect(register(client, api, source, job="again"))
    assert indexes(outcomes) == list(range(12))
    assert all(outcome.ok for outcome in outcomes)
    assert len(api.instances) == 3
    for outcome in outcomes:
        assert outcome.instance.external_identifier == f"row-{outcome.index % 3}"
    assert_nothing_doubled_or_lost(api)


def imported(api: LocalPrefactor, number: int, *, is_bad: bool) -> list[BulkItem]:
    """The calls of an instance that is already finished: register, start, finish."""
    instance_id = new_id(api.agent_id)
    extra = {"purpose": "no such purpose"} if is_bad else {}
    first = registration(api, id=instance_id, external_identifier=f"x-{number}", **extra)
    later = [
        BulkItem(
            _type=f"agent_instances/{action}",
            idempotency_key=new_key(),
            agent_instance_id=instance_id,
            timestamp=f"2026-01-01T00:00:0{second}Z",
        )
        for second, action in enumerate(("start", "finish"), 1)
    ]
    return [first, *later]


async def run_example(case: dict[str, Any]) -> None:
    async with (
        LocalPrefactor(
            faults=case["faults"],
            item_faults=case["item_faults"],
            seed=case["seed"],
            fault_kinds=QUICK_FAULTS,
        ) as api,
        client_of(api) as client,
    ):
        groups = [
            imported(api, number, is_bad=number in case["bad"]) for number in range(case["groups"])
        ]
        # Interleaved, so that the items of a group are not adjacent.
        items = [group[step] for step in range(3) for group in groups]
        items += [registration(api, external_identifier=f"y-{n}") for n in range(case["singles"])]
        group_of = {item.idempotency_key: n for n, group in enumerate(groups) for item in group}
        outcomes = await collect(
            client.bulk.stream(
                items,
                chunk_size=case["chunk_size"],
                max_chunk_bytes=case["max_chunk_bytes"],
                concurrency=case["concurrency"],
                ordered=case["ordered"],
                group=lambda item: group_of.get(item.idempotency_key),
            )
        )
        check_example(case, api, items, outcomes, groups)


def check_example(case, api, items, outcomes, groups) -> None:
    assert indexes(outcomes) == list(range(len(items)))
    if case["ordered"]:
        assert [outcome.index for outcome in outcomes] == list(range(len(items)))
    took_effect = Counter(effect.idempotency_key for effect in api.effects)
    for outcome in outcomes:
        assert outcome.idempotency_key == items[outcome.index].idempotency_key
        assert outcome.ok + outcome.failed + outcome.unknown + outcome.blocked == 1
        assert not outcome.unknown
        assert took_effect[outcome.idempotency_key] == outcome.ok
    by_key = {outcome.idempotency_key: outcome for outcome in outcomes}
    order = {effect.idempotency_key: place for place, effect in enumerate(api.effects)}
    for number, group in enumerate(groups):
        ends = [by_key[item.idempotency_key].state.value for item in group]
        if number in case["bad"]:
            assert ends == ["failed", "blocked", "blocked"]
        else:
            assert ends == ["ok"] * 3
            places = [order[item.idempotency_key] for item in group]
            assert places == sorted(places)
    # A blocked item may have been sent behind the one that failed, without being attempted.
    blocked = {outcome.idempotency_key for outcome in outcomes if outcome.blocked}
    assert_nothing_doubled_or_lost(api, except_for=blocked)
    assert api.stats()["largest_bulk"] <= case["chunk_size"]


@pytest.mark.long
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    case=st.fixed_dictionaries(
        {
            "groups": st.integers(0, 12),
            "singles": st.integers(0, 15),
            "bad": st.sets(st.integers(0, 11), max_size=4),
            "chunk_size": st.integers(1, 12),
            "max_chunk_bytes": st.sampled_from([1, 700, 2500, 1_000_000]),
            "concurrency": st.integers(1, 6),
            "ordered": st.booleans(),
            "faults": st.sampled_from([0.0, 0.2, 0.4]),
            "item_faults": st.sampled_from([0.0, 0.1, 0.3]),
            "seed": st.integers(0, 2**16),
        }
    )
)
def test_each_item_has_one_outcome_and_is_applied_at_most_once(case):
    asyncio.run(run_example(case))


async def test_rows_can_be_complete_requests(api, client):
    from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest

    row = RegisterAgentInstanceRequest(
        agent_id=api.agent_id,
        environment_id=api.environment_id,
        agent_version=VERSION,
        agent_schema_version=SCHEMA,
        external_identifier="typed",
    )
    (outcome,) = await collect(client.agent_instances.register_many([row]))
    assert outcome.ok
    assert outcome.instance.external_identifier == "typed"
    assert outcome.output.details["external_identifier"] == "typed"


async def test_a_row_with_any_fields_takes_the_others_from_the_arguments(api, client):
    fields = {
        "agent_id": api.agent_id,
        "environment_id": api.environment_id,
        "agent_version": VERSION,
        "agent_schema_version": SCHEMA,
        "purpose": "live",
        "update_current_version": False,
        "external_identifier": "x",
    }
    shapes = [
        {name: value for bit, (name, value) in enumerate(fields.items()) if number >> bit & 1}
        for number in range(1 << len(fields))
    ]
    for number, row in enumerate(shapes):
        if "external_identifier" in row:
            row["external_identifier"] = f"x-{number}"
    outcomes = await collect(register(client, api, shapes, purpose="live"))
    assert indexes(outcomes) == list(range(128))
    assert all(outcome.ok for outcome in outcomes)


async def test_an_async_source_can_be_longer_than_the_window(api, client):
    async def source():
        for row in rows(300):
            yield row

    outcomes = await collect(register(client, api, source(), chunk_size=5, concurrency=2))
    assert indexes(outcomes) == list(range(300))
    assert all(outcome.ok for outcome in outcomes)


async def test_a_jobs_keys_are_derived_from_id_then_external_identifier_then_position(api, client):
    pfid = new_id(api.agent_id)
    source = [
        {"id": pfid, "external_identifier": "named"},
        {"id": None, "external_identifier": "only named"},
        {"purpose": "live"},
    ]
    outcomes = await collect(register(client, api, source, job="j", ordered=True))
    assert [outcome.idempotency_key for outcome in outcomes] == [
        derive_key("register", "j", "id", pfid),
        derive_key("register", "j", "external_identifier", "only named"),
        derive_key("register", "j", 2, b'{"purpose":"live"}'),
    ]
