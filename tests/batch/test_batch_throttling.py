"""Batches respect Retry-After on every path."""

from __future__ import annotations

import asyncio
import time

import pytest
from batch_support import (
    client_of,
    collect,
    collect_until_error,
    failure,
    in_order,
    indexes,
    register_rows,
    registered,
    rows,
    states,
)
from raw_server import reply

from prefactor_http import PrefactorApiError, PrefactorRetryExhaustedError

CODES = {429: "rate_limited", 503: "service_unavailable"}


def refusal(status: int, retry_after: str | None = None) -> bytes:
    headers = {} if retry_after is None else {"Retry_After": retry_after}
    return reply(status, failure(CODES.get(status, "odd")), **headers)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_retry_after_beyond_max_outage_ends_the_run_immediately(
    raw_server, raw_client, status
):
    raw_server.answer = lambda _: refusal(status, "30")
    started = time.monotonic()
    stream = register_rows(raw_client, rows(50), chunk_size=10, max_outage=5, concurrency=1)
    outcomes, error = await collect_until_error(stream, PrefactorApiError)
    assert time.monotonic() - started < 2
    assert error.status_code == status
    assert error.retry_after == 30
    assert len(raw_server.requests) == 1
    assert indexes(outcomes) == list(range(20))
    # A gateway can answer 503 to a request that the API applies later.
    assert states(outcomes) == ({"failed": 20} if status == 429 else {"unknown": 10, "failed": 10})


@pytest.mark.parametrize("status", [429, 503, 500])
async def test_nothing_is_sent_before_retry_after_has_passed(raw_server, status):
    moments: list[float] = []
    raw_server.on_request = lambda: moments.append(time.monotonic())
    raw_server.script(refusal(status, "1"))
    raw_server.answer = in_order(registered)
    async with client_of(raw_server, max_retry_delay=0.1) as client:
        outcomes = await collect(register_rows(client, rows(60), chunk_size=10, concurrency=1))
    assert states(outcomes) == {"ok": 60}
    assert moments[1] - moments[0] >= 0.99


async def test_a_success_does_not_shorten_retry_after(raw_server):
    moments: list[float] = []
    fine = in_order(registered)

    def answer(request):
        moments.append(time.monotonic())
        return refusal(503, "1") if len(moments) == 1 else fine(request)

    raw_server.answer = answer
    async with client_of(raw_server, max_retry_delay=0.1) as client:
        outcomes = await collect(register_rows(client, rows(60), chunk_size=10, concurrency=2))
    assert states(outcomes) == {"ok": 60}
    assert len([moment for moment in moments if moment - moments[0] < 0.95]) <= 2


async def test_after_a_429_one_request_probes_before_others_are_sent(raw_server, raw_client):
    fine = in_order(registered)
    number = in_flight = 0
    most: list[int] = []

    async def answer(request):
        nonlocal number, in_flight
        number += 1
        own, in_flight = number, in_flight + 1
        if 10 < own < 30:
            most.append(in_flight)
        await asyncio.sleep(0.002)
        in_flight -= 1
        return refusal(429) if 10 <= own < 30 else fine(request)

    raw_server.answer = answer
    outcomes = await collect(register_rows(raw_client, rows(800), chunk_size=5, concurrency=8))
    assert states(outcomes) == {"ok": 800}
    assert most[-10:] == [1] * 10


async def test_429s_fail_no_row_and_split_no_request(raw_server, raw_client):
    fine = in_order(registered)
    number = 0

    def answer(request):
        nonlocal number
        number += 1
        return refusal(429) if number % 3 else fine(request)

    raw_server.answer = answer
    outcomes = await collect(register_rows(raw_client, rows(300), chunk_size=50))
    assert states(outcomes) == {"ok": 300}
    assert {len(request.json["items"]) for request in raw_server.requests} == {50}


async def test_429s_for_longer_than_max_outage_end_the_run(raw_server, raw_client):
    raw_server.answer = lambda _: refusal(429)
    started = time.monotonic()
    stream = register_rows(raw_client, rows(30), chunk_size=10, max_outage=0.3)
    outcomes, error = await collect_until_error(stream, PrefactorRetryExhaustedError)
    assert 0.3 <= time.monotonic() - started < 2
    assert error.last_error.status_code == 429
    assert "failed" in str(error)
    assert error.attempts > 4
    assert {outcome.state.value for outcome in outcomes} == {"failed"}
