"""Poison items, requests that time out, and outages are distinguished."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import pairwise

import pytest
from batch_support import (
    client_of,
    collect,
    collect_until_error,
    failure,
    in_order,
    indexes,
    items_sent,
    plain,
    register_rows,
    registered,
    rows,
    states,
    success,
)
from raw_server import reply
from virtual_time import LoopClock

from prefactor_http import PrefactorApiError, PrefactorRetryExhaustedError
from prefactor_http.exceptions import is_transient_http_error

CRASH = reply(500, b"<html>oops</html>", Content_Type="text/html")
API_CRASH = reply(500, {"status": "error", "code": "internal_server_error", "message": "oops"})
CUT = b""


def poisoned(bad: set[int], crash: bytes = CRASH):
    """Answer registers of `rows`, and fail each request that contains a bad one."""
    names = {f"row-{number}" for number in bad}
    fine = in_order(registered)

    def answer(request):
        if names & {item.get("external_identifier") for item in request.json["items"]}:
            return crash
        return fine(request)

    return answer


def names_of(outcomes) -> set[str]:
    return {o.instance.external_identifier for o in outcomes if o.ok}


@pytest.mark.parametrize("crash", [CRASH, API_CRASH, CUT], ids=["proxy", "api", "cut"])
@pytest.mark.parametrize(
    "bad", [{500, 501, 2000}, {0, 1, 1500}, {99, 100, 101}, {549, 550, 1250}, {2997, 2998, 2999}]
)
async def test_poison_rows_are_isolated_with_few_requests(raw_server, raw_client, bad, crash):
    raw_server.answer = poisoned(bad, crash)
    outcomes = await collect(register_rows(raw_client, rows(3000)))
    assert indexes(outcomes) == list(range(3000))
    assert {o.index for o in outcomes if o.unknown} == bad
    assert sum(o.ok for o in outcomes) == 2997
    assert len(raw_server.requests) <= 30 + 60
    for outcome in outcomes:
        if outcome.unknown:
            assert outcome.error.outcome_unknown
            assert outcome.error.idempotency_key == outcome.idempotency_key
            assert outcome.error.method == "POST"
            assert outcome.error.path == "/api/v1/bulk"
            assert outcome.error.attempts >= 5
            assert is_transient_http_error(outcome.error)


async def test_each_part_of_a_split_request_is_sent_once(raw_server, raw_client):
    raw_server.answer = poisoned({250})
    await collect(register_rows(raw_client, rows(1000)))
    attempts = Counter(
        request.body for request in raw_server.requests if b'"row-250"' in request.body
    )
    whole, *parts = attempts
    assert len(items_sent(raw_server.requests[0])) == 100
    assert attempts[whole] <= 2  # it is repeated once before it is split
    assert all(attempts[part] == 1 for part in parts if part.count(b'"_type"') > 1)
    sizes = sorted({part.count(b'"_type"') for part in attempts}, reverse=True)
    assert all(smaller <= larger // 2 + 1 for larger, smaller in pairwise(sizes))


@pytest.mark.parametrize(
    ("bad", "count", "chunk_size"),
    [({2}, 3, 1), ({0}, 2, 1), ({0}, 10, 10), ({9}, 10, 10), ({0, 9}, 10, 10), ({100}, 101, 100)],
)
async def test_a_poison_row_is_isolated_at_any_position(
    raw_server, raw_client, bad, count, chunk_size
):
    raw_server.answer = poisoned(bad)
    async with asyncio.timeout(10):
        outcomes = await collect(
            register_rows(raw_client, rows(count), chunk_size=chunk_size, max_outage=100)
        )
    assert {o.index for o in outcomes if o.unknown} == bad
    assert sum(o.ok for o in outcomes) == count - len(bad)


@pytest.mark.virtual_time
async def test_a_poison_row_is_isolated_when_one_request_is_sent_at_a_time(raw_server):
    answer_at_once = poisoned({3, 96, 250})

    async def answer(request):
        await asyncio.sleep(0.005)
        return answer_at_once(request)

    raw_server.answer = answer
    async with client_of(raw_server, LoopClock()) as client:
        outcomes = await collect(register_rows(client, rows(400), concurrency=1))
    assert {o.index for o in outcomes if o.unknown} == {3, 96, 250}
    assert len(raw_server.requests) <= 4 + 60


async def test_groups_stay_together_when_a_request_is_split(raw_server, raw_client):
    fine = in_order(lambda _: success({}))
    sent: list[list[str]] = []

    def answer(request):
        keys = [item["idempotency_key"] for item in items_sent(request)]
        sent.append(keys)
        return CRASH if "key-a-00" in keys else fine(request)

    raw_server.answer = answer
    items = [plain("key-a-00"), *(plain(f"key-b-{n:02}") for n in range(9))]
    others = [plain(f"other-{n:03}") for n in range(30)]
    stream = raw_client.bulk.stream(
        [*items, *others],
        group=lambda item: "b" if "-b-" in item.idempotency_key else None,
        chunk_size=10,
    )
    outcomes = await collect(stream)
    assert states(outcomes) == {"ok": 39, "unknown": 1}
    halves = [keys for keys in sent if keys == ["key-a-00"] or len(keys) == 9]
    assert ["key-a-00"] in halves
    assert [f"key-b-{n:02}" for n in range(9)] in halves


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_request_of_poison_rows_affects_no_other_row(raw_server, raw_client, concurrency):
    bad = set(range(20, 30))
    raw_server.answer = poisoned(bad)
    stream = register_rows(raw_client, rows(100), chunk_size=10, concurrency=concurrency)
    outcomes = await collect(stream)
    assert {o.index for o in outcomes if o.unknown} == bad
    assert states(outcomes) == {"ok": 90, "unknown": 10}


async def test_one_poison_row_in_ten_affects_no_other_row(raw_server, raw_client):
    bad = set(range(3, 80, 10))
    raw_server.answer = poisoned(bad)
    outcomes = await collect(register_rows(raw_client, rows(80), chunk_size=20))
    assert {o.index for o in outcomes if o.unknown} == bad
    assert sum(o.ok for o in outcomes) == 72


async def test_a_single_poison_row_ends_the_run_after_max_outage(raw_server, raw_client):
    raw_server.answer = poisoned({0})
    started = time.monotonic()
    stream = register_rows(raw_client, rows(1), max_outage=0.3)
    (outcome,), error = await collect_until_error(stream, PrefactorRetryExhaustedError)
    assert outcome.unknown
    assert outcome.error.idempotency_key == outcome.idempotency_key
    assert error.last_error.status_code == 500
    assert 0.3 <= time.monotonic() - started < 1


async def test_the_wait_before_the_last_attempt_does_not_exceed_max_outage(raw_server):
    raw_server.answer = poisoned({0})
    async with client_of(raw_server, initial_retry_delay=0.2, max_retry_delay=60.0) as client:
        started = time.monotonic()
        stream = register_rows(client, rows(1), max_outage=1.0)
        await collect_until_error(stream, PrefactorRetryExhaustedError)
    assert 0.9 <= time.monotonic() - started < 1.5


async def test_a_poison_item_blocks_only_its_group(raw_server, raw_client):
    fine = in_order(lambda _: success({}))

    def answer(request):
        return CRASH if b"key-0-04" in request.body else fine(request)

    raw_server.answer = answer
    items = [plain(f"key-{n % 2}-{n:02}") for n in range(12)]
    stream = raw_client.bulk.stream(items, group=lambda item: item.idempotency_key[4], chunk_size=6)
    by_key = {o.idempotency_key: o.state.value for o in await collect(stream)}
    ones = [state for key, state in by_key.items() if key.startswith("key-1")]
    assert ones == ["ok"] * 6
    zeros = [by_key[f"key-0-{n:02}"] for n in range(0, 12, 2)]
    assert zeros[:3] == ["ok", "ok", "unknown"]
    # They were sent behind the poison item, or never.
    assert set(zeros[3:]) <= {"unknown", "blocked"}
    assert "blocked" in zeros[3:] or "unknown" in zeros[3:]


async def test_an_item_that_the_api_refuses_with_an_unusual_status_fails(raw_server, raw_client):
    gone = reply(410, {"status": "error", "code": "gone", "message": "no"})
    raw_server.answer = poisoned({7}, gone)
    outcomes = await collect(register_rows(raw_client, rows(40), chunk_size=10))
    assert {o.index for o in outcomes if o.failed} == {7}
    assert states(outcomes) == {"ok": 39, "failed": 1}
    assert [o.error.code for o in outcomes if o.failed] == ["gone"]


async def test_an_item_with_repeated_server_errors_ends_when_others_succeed(raw_server, raw_client):
    def output_of(item):
        if item["external_identifier"] == "row-3":
            return failure("internal_server_error")
        return registered(item)

    raw_server.answer = in_order(output_of)
    async with asyncio.timeout(10):
        outcomes = await collect(register_rows(raw_client, rows(60), max_outage=300))
    assert {o.index for o in outcomes if o.failed} == {3}
    (failed,) = [o for o in outcomes if o.failed]
    assert failed.error.status_code == 500
    assert failed.error.attempts >= 4
    assert failed.output.code == "internal_server_error"


async def test_half_a_second_of_proxy_errors_fails_no_row(raw_server, raw_client):
    fine = in_order(registered)
    ends_at = time.monotonic() + 0.5

    def answer(request):
        if time.monotonic() < ends_at:
            return reply(400, b"<html>bad</html>", Content_Type="text/html")
        return fine(request)

    raw_server.answer = answer
    outcomes = await collect(register_rows(raw_client, rows(500), chunk_size=50))
    assert states(outcomes) == {"ok": 500}


async def test_an_outage_does_not_multiply_requests(raw_server, raw_client):
    fine = in_order(registered)
    left = 60

    def answer(request):
        nonlocal left
        left -= 1
        return CRASH if 0 <= left < 50 else fine(request)

    raw_server.answer = answer
    outcomes = await collect(register_rows(raw_client, rows(2000), chunk_size=50, concurrency=8))
    assert states(outcomes) == {"ok": 2000}
    failed = raw_server.requests[10:60]
    # Nothing was split: the requests in flight failed, then one item at a time was sent.
    sizes = [len(items_sent(request)) for request in failed]
    assert set(sizes) == {1, 50}
    assert sizes == sorted(sizes, reverse=True)
    assert sizes.count(50) <= 8
    assert len(raw_server.requests) <= 40 + 50 + 5


async def test_after_an_outage_requests_are_repeated_unchanged(raw_server, raw_client):
    fine = in_order(registered)
    seen = 0

    def answer(request):
        nonlocal seen
        seen += 1
        return CRASH if seen <= 2 else fine(request)

    raw_server.answer = answer
    outcomes = await collect(register_rows(raw_client, rows(200), chunk_size=100))
    assert states(outcomes) == {"ok": 200}
    assert max(len(items_sent(request)) for request in raw_server.requests[2:]) >= 99


async def test_an_api_that_fails_two_requests_in_five_costs_no_row(raw_server, raw_client):
    fine = in_order(registered)
    number = 0

    def answer(request):
        nonlocal number
        number += 1
        return (CRASH, fine(request), CUT, fine(request), fine(request))[number % 5]

    raw_server.answer = answer
    outcomes = await collect(register_rows(raw_client, rows(60), chunk_size=1, concurrency=4))
    assert states(outcomes) == {"ok": 60}


def slow(seconds_per_item: float):
    """Answer after a delay for each item."""
    fine = in_order(registered)

    async def answer(request):
        await asyncio.sleep(seconds_per_item * len(items_sent(request)))
        return fine(request)

    return answer


@pytest.mark.virtual_time
async def test_requests_that_time_out_shrink_until_they_fit(raw_server):
    raw_server.answer = slow(0.003)
    async with client_of(raw_server, LoopClock(), request_timeout=0.1) as client:
        outcomes = await collect(register_rows(client, rows(300), max_outage=10))
    assert states(outcomes) == {"ok": 300}
    sizes = [len(items_sent(request)) for request in raw_server.requests]
    assert sizes[0] == 100
    # From then on requests fit, and have more than one row.
    assert max(sizes[-5:]) <= 33
    assert len(sizes) <= 40


@pytest.mark.virtual_time
async def test_a_size_learned_from_a_timeout_grows_back_slowly(raw_server):
    seconds = 0.01

    async def answer(request):
        await asyncio.sleep(seconds * len(items_sent(request)))
        return in_order(registered)(request)

    raw_server.answer = answer
    async with client_of(raw_server, LoopClock(), request_timeout=0.2) as client:
        stream = register_rows(client, rows(700), chunk_size=40, concurrency=1)
        outcomes = []
        async for outcome in stream:
            outcomes.append(outcome)
            if len(outcomes) == 60:
                seconds = 0.0  # the API is fast now
    assert states(outcomes) == {"ok": 700}
    sizes = [len(items_sent(request)) for request in raw_server.requests]
    grown = sizes[sizes.index(10) :]
    assert all(later <= earlier + 1 for earlier, later in pairwise(grown))
    assert max(grown) > 25


@pytest.mark.virtual_time
async def test_a_row_that_hangs_does_not_shrink_other_requests(raw_server):
    fine = in_order(registered)

    async def answer(request):
        if b'"row-150"' in request.body:
            await asyncio.sleep(0.2)
            return CUT
        await asyncio.sleep(0.01)
        return fine(request)

    raw_server.answer = answer
    async with client_of(raw_server, LoopClock(), request_timeout=0.1) as client:
        outcomes = await collect(register_rows(client, rows(3000), chunk_size=50))
    assert {o.index for o in outcomes if not o.ok} == {150}
    sizes = [len(items_sent(request)) for request in raw_server.requests]
    assert sizes.count(50) >= 55


@pytest.mark.virtual_time
async def test_single_lost_requests_do_not_make_the_others_smaller(raw_server):
    fine = in_order(registered)

    async def answer(request):
        if len(raw_server.requests) % 10 == 5:
            await asyncio.sleep(0.2)
        return fine(request)

    raw_server.answer = answer
    async with client_of(raw_server, LoopClock(), request_timeout=0.1) as client:
        outcomes = await collect(register_rows(client, rows(1000), chunk_size=20, concurrency=1))
    assert states(outcomes) == {"ok": 1000}
    sizes = [len(items_sent(request)) for request in raw_server.requests]
    # Only the lost ones are split, and sent again in parts.
    assert sizes.count(20) >= 45


@pytest.mark.virtual_time
async def test_requests_shrink_when_the_api_becomes_slow(raw_server):
    fine = in_order(registered)

    async def answer(request):
        if len(raw_server.requests) > 5 and len(items_sent(request)) > 5:
            await asyncio.sleep(0.2)
        return fine(request)

    raw_server.answer = answer
    async with client_of(raw_server, LoopClock(), request_timeout=0.1) as client:
        outcomes = await collect(register_rows(client, rows(300), chunk_size=40, concurrency=1))
    assert states(outcomes) == {"ok": 300}
    sizes = [len(items_sent(request)) for request in raw_server.requests]
    assert max(sizes[5:]) == 40
    assert max(sizes[20:]) <= 6


@pytest.mark.parametrize("status", [408, 504, 524])
async def test_a_gateway_timeout_counts_as_a_timeout(raw_server, raw_client, status):
    fine = in_order(registered)

    def answer(request):
        return reply(status, b"") if len(items_sent(request)) > 10 else fine(request)

    raw_server.answer = answer
    outcomes = await collect(register_rows(raw_client, rows(200), chunk_size=100))
    assert states(outcomes) == {"ok": 200}


async def test_no_probe_is_sent_while_another_request_is_in_flight(raw_server, raw_client):
    in_flight = most = 0

    async def answer(_):
        nonlocal in_flight, most
        in_flight += 1
        if len(raw_server.requests) > 2:
            most = max(most, in_flight)
        await asyncio.sleep(0.002)
        in_flight -= 1
        return CRASH

    raw_server.answer = answer
    stream = register_rows(raw_client, rows(50), chunk_size=5, max_outage=0.2)
    outcomes, _ = await collect_until_error(stream, PrefactorRetryExhaustedError)
    assert most == 1
    assert not any(isinstance(o.error, PrefactorApiError) and o.failed for o in outcomes)


async def test_probes_reach_a_good_item_between_bad_ones(raw_server):
    raw_server.answer = poisoned(set(range(7)) - {3})
    async with client_of(raw_server, initial_retry_delay=0.05, max_retry_delay=0.1) as client:
        outcomes = await collect(register_rows(client, rows(7), max_outage=30))
    assert {o.index for o in outcomes if o.ok} == {3}
    assert sum(o.unknown for o in outcomes) == 6


async def test_an_ordered_stream_isolates_a_poison_row(raw_server, raw_client):
    raw_server.answer = poisoned({250})
    outcomes = await collect(register_rows(raw_client, rows(600), ordered=True))
    assert [o.index for o in outcomes] == list(range(600))
    assert states(outcomes) == {"ok": 599, "unknown": 1}


async def test_a_single_group_isolates_a_poison_item(raw_server, raw_client):
    fine = in_order(lambda _: success({}))

    def answer(request):
        return CRASH if b"key-0020" in request.body else fine(request)

    raw_server.answer = answer
    items = [plain(f"key-{n:04}") for n in range(30)]
    others = [plain(f"other-{n:02}") for n in range(4)]
    stream = raw_client.bulk.stream(
        [*items, *others], group=lambda item: item.idempotency_key[0], ordered=True, chunk_size=40
    )
    outcomes = await collect(stream)
    ends = [o.state.value for o in outcomes]
    assert ends[:20] == ["ok"] * 20
    assert ends[20] == "unknown"
    assert set(ends[21:30]) <= {"unknown", "blocked"}
    assert ends[30:] == ["ok"] * 4
