"""Outages, refused tokens, large requests, rate limits, and the bytes on the wire."""

from __future__ import annotations

import json
import time
from itertools import accumulate

import pytest
from batch_support import (
    SCHEMA,
    VERSION,
    assert_nothing_doubled_or_lost,
    bulk_requests,
    client_of,
    collect,
    collect_until_error,
    indexes,
    items_sent,
    plain,
    register,
    registration,
    rows,
)
from raw_server import reply

from prefactor_http import (
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorClientError,
    PrefactorRetryExhaustedError,
)
from prefactor_http.exceptions import is_transient_http_error
from prefactor_http.testing import Fault, FaultKind, LocalPrefactor, RateLimit


async def test_an_outage_shorter_than_max_outage_costs_no_row(api):
    # The first twelve attempts get no response.
    api.fail_next(*[FaultKind.RESET_BEFORE_READING] * 6, *[FaultKind.APPLIED_THEN_503] * 6)
    async with client_of(api, max_retries=1) as client:
        outcomes = await collect(register(client, api, rows(500), chunk_size=50))
    assert indexes(outcomes) == list(range(500))
    assert all(outcome.ok for outcome in outcomes)
    assert api.faults_pending == 0
    assert_nothing_doubled_or_lost(api)


async def test_during_an_outage_no_items_are_pulled_and_one_request_probes(api):
    api.fail_next(*[FaultKind.UNAVAILABLE] * 40)
    pulled = 0

    def source():
        nonlocal pulled
        for row in rows(2000):
            pulled += 1
            yield row

    async with client_of(api, max_retries=0) as client:
        stream = register(client, api, source(), chunk_size=10, concurrency=4)
        first = await anext(stream)
        assert first.ok
        assert pulled <= 5 * 10 + 10
        assert len(api.requests) >= 40
        rest = await collect(stream)
    assert indexes([first, *rest]) == list(range(2000))
    assert len({request.body for request in bulk_requests(api)[:41]}) <= 4  # repeated unchanged


@pytest.mark.parametrize(
    ("kind", "state"),
    [(FaultKind.APPLIED_THEN_503, "unknown"), (FaultKind.RATE_LIMITED, "failed")],
)
async def test_after_max_outage_the_run_ends_and_reports_each_items_outcome(kind, state):
    pulled = 0

    def source():
        nonlocal pulled
        for row in rows(5000):
            pulled += 1
            yield row

    async with (
        LocalPrefactor(faults=1.0, fault_kinds=[kind]) as api,
        client_of(api, max_retries=1) as client,
    ):
        stream = register(client, api, source(), chunk_size=5, concurrency=2, max_outage=0.05)
        outcomes, error = await collect_until_error(stream, PrefactorRetryExhaustedError)
    assert is_transient_http_error(error)
    assert indexes(outcomes) == list(range(pulled))
    assert pulled <= 3 * 5
    sent_keys = {
        item["idempotency_key"] for request in bulk_requests(api) for item in items_sent(request)
    }
    for outcome in outcomes:
        is_sent = outcome.idempotency_key in sent_keys
        assert outcome.state.value == (state if is_sent else "failed")
        assert is_sent or "not sent" in str(outcome.error)
    assert any(outcome.idempotency_key in sent_keys for outcome in outcomes)


async def test_a_refused_token_ends_the_run_without_sending_the_rows(api, client):
    api.set_token_active(api.token, active=False)
    stream = register(client, api, rows(10_000), chunk_size=10, concurrency=2)
    outcomes, error = await collect_until_error(stream, PrefactorAuthError)
    assert error.status_code == 401
    assert indexes(outcomes) == list(range(30))
    assert all(outcome.failed and "not sent" in str(outcome.error) for outcome in outcomes)
    assert len(api.requests) <= 2


@pytest.mark.parametrize("status", [400, 404, 405, 422, 307])
async def test_an_error_that_is_not_the_apis_own_counts_as_an_outage(
    raw_server, raw_client, status
):
    raw_server.answer = lambda request: reply(status, b"<html>", Content_Type="text/html")
    items = [plain(f"key-{number:04}") for number in range(40)]
    stream = raw_client.bulk.stream(items, chunk_size=10, concurrency=2, max_outage=0.1)
    outcomes, error = await collect_until_error(stream, PrefactorRetryExhaustedError)
    assert error.last_error.status_code == status
    assert len(outcomes) == 30
    assert not any(isinstance(outcome.error, PrefactorApiError) for outcome in outcomes)
    assert all(outcome.failed or outcome.unknown for outcome in outcomes)


async def test_held_items_and_their_groups_have_outcomes_when_the_run_ends(api):
    api.fail_next_item("rate_limited", key="held-000")
    async with client_of(api, initial_retry_delay=60.0, max_retry_delay=60.0) as client:
        items = [registration(api, f"held-{n:03}", agent="g") for n in range(3)]
        stream = client.bulk.stream(
            [*items, registration(api, "other-00", purpose="none", agent="h")],
            group="agent",
            chunk_size=2,
            max_failures=1,
        )
        outcomes, error = await collect_until_error(stream, PrefactorClientError)
    assert "after 1 failures" in str(error)
    assert indexes(outcomes) == [0, 1, 2, 3]
    assert all(outcome.failed for outcome in outcomes)


async def test_a_closed_client_ends_the_run(api):
    async with client_of(api) as client:
        pass
    stream = register(client, api, rows(3))
    outcomes, _ = await collect_until_error(stream, PrefactorClientError)
    assert indexes(outcomes) == [0, 1, 2]
    assert all(outcome.failed for outcome in outcomes)


async def test_a_request_that_is_too_large_is_halved_until_it_fits():
    async with LocalPrefactor(largest_request=2500) as api, client_of(api) as client:
        outcomes = await collect(register(client, api, rows(300)))
        assert indexes(outcomes) == list(range(300))
        assert all(outcome.ok for outcome in outcomes)
        assert_nothing_doubled_or_lost(api)
        too_large = [request for request in api.requests if request.status == 413]
        assert 1 <= len(too_large) <= 20  # once, not for each request


async def test_an_item_that_is_too_large_by_itself_fails_alone():
    async with LocalPrefactor(largest_request=2500) as api, client_of(api) as client:
        source = list(rows(20))
        source[7]["external_identifier"] = "x" * 5000
        outcomes = await collect(register(client, api, source, ordered=True))
        assert [outcome.index for outcome in outcomes if not outcome.ok] == [7]
        assert outcomes[7].failed
        assert outcomes[7].error.status_code == 413
        assert len(api.instances) == 19


async def test_no_request_exceeds_max_chunk_bytes_unless_a_single_item_does(api, client):
    source = list(rows(50))
    source[20]["external_identifier"] = "x" * 3000
    stream = register(client, api, source, max_chunk_bytes=2000)
    assert all(outcome.ok for outcome in await collect(stream))
    sizes = [len(request.body) for request in api.requests]
    assert len([size for size in sizes if size > 2000]) == 1
    assert max(size for size in sizes if size <= 2000) > 1500
    assert all(len(items_sent(r)) == 1 for r in api.requests if len(r.body) > 2000)


async def test_a_refused_request_is_split_until_the_refused_item_is_alone(raw_server, raw_client):
    def fine(*keys):
        outputs = {key: {"status": "success"} for key in keys}
        return reply(body={"status": "success", "outputs": outputs})

    refused = reply(400, {"status": "error", "code": "bad_request", "message": "no"})
    raw_server.script(refused, fine("key-0000"), refused)
    items = [plain("key-0000"), plain("key-0001")]
    outcomes = await collect(raw_client.bulk.stream(items, ordered=True, concurrency=1))
    assert [outcome.state.value for outcome in outcomes] == ["ok", "failed"]
    assert outcomes[1].error.status_code == 400


async def test_429s_reduce_the_number_of_requests_in_flight():
    limit = RateLimit(per_second=200, burst=4, says_when=False)
    async with (
        LocalPrefactor(rate_limit=limit) as api,
        client_of(api, initial_retry_delay=0.01, max_retry_delay=0.1, max_retries=10) as client,
    ):
        outcomes = await collect(register(client, api, rows(400), chunk_size=4, concurrency=16))
        assert all(outcome.ok for outcome in outcomes)
        refused = [request for request in api.requests if request.status == 429]
        assert 0 < len(refused) < 100
        assert_nothing_doubled_or_lost(api)


async def test_the_callers_on_attempt_sees_the_attempts_of_a_batch(api):
    seen = []
    api.fail_next(Fault(FaultKind.RATE_LIMITED))
    async with client_of(api, on_attempt=seen.append) as client:
        await collect(register(client, api, rows(2)))
    assert [attempt.status for attempt in seen] == [429, 200]


async def test_requests_in_flight_start_low_and_grow_up_to_the_limit(api):
    api.fail_next(*[Fault(FaultKind.DELAYED, seconds=0.03)] * 60)
    edges: list[tuple[float, int]] = []

    def record(attempt):
        now = time.monotonic()
        edges.extend([(now - attempt.seconds, 1), (now, -1)])

    async with client_of(api, on_attempt=record) as client:
        outcomes = await collect(register(client, api, rows(60), chunk_size=1, concurrency=6))
    assert len(outcomes) == 60
    in_flight = list(accumulate(step for _, step in sorted(edges)))
    assert in_flight[2] < 3
    assert 3 < max(in_flight) <= 6


async def test_shared_arguments_are_in_each_item_and_a_rows_own_fields_take_precedence(api, client):
    own = {"external_identifier": "own", "name": "own"}
    source = [{"external_identifier": "a"}, {"agent_version": own, "purpose": "eval"}, {}]
    stream = register(client, api, source, purpose="smoke_test", job="wire")
    outcomes = await collect(stream)
    assert all(outcome.ok for outcome in outcomes)
    (request,) = api.requests
    assert request.path == "/api/v1/bulk"
    shared = {
        "_type": "agent_instances/register",
        "agent_id": api.agent_id,
        "environment_id": api.environment_id,
        "agent_version": VERSION,
        "agent_schema_version": SCHEMA,
        "update_current_version": True,
        "purpose": "smoke_test",
    }
    own_fields = [source[0], source[1], {}]
    for item, fields, outcome in zip(items_sent(request), own_fields, outcomes, strict=True):
        assert item == {**shared, **fields, "idempotency_key": outcome.idempotency_key}
    assert_no_repeated_names(request.body)


def assert_no_repeated_names(body: bytes) -> None:
    def check(pairs):
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names))
        return dict(pairs)

    json.loads(body, object_pairs_hook=check)


async def test_without_failures_nothing_is_sent_twice(api, client):
    started = time.monotonic()
    outcomes = await collect(register(client, api, rows(1050)))
    assert len(outcomes) == 1050
    keys = [item["idempotency_key"] for r in api.requests for item in items_sent(r)]
    assert len(keys) == len(set(keys)) == 1050
    assert len(api.requests) == 11
    assert api.replays == 0
    assert time.monotonic() - started < 20
