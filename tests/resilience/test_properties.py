"""Properties that hold for any response, any delay and any deadline."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import pickle
import string
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtual_time import SCHEMA, VERSION, VirtualServer, in_virtual_time, response, serving

from prefactor_http import (
    BulkItem,
    BulkRequest,
    PrefactorApiError,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorRateLimitError,
    PrefactorRetryExhaustedError,
)

MONTH = 31 * 24 * 3600
HANG = b""
CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " "
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(9000, 1, 1))  # noqa: DTZ001 # UTC is added
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def without_logs() -> Iterator[None]:
    """Do not keep the warnings about thousands of failures."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def elapsed() -> float:
    return asyncio.get_running_loop().time()


# Retry-After


async def reported_retry_after(**headers: str) -> float | None:
    async with serving(lambda *_: response(429, **headers), max_retries=0) as (_, client):
        with pytest.raises(PrefactorRateLimitError) as caught:
            await client.agent_instances.start("i1")
    return caught.value.retry_after


@few
@given(st.text(CHARACTERS, max_size=40), st.text(CHARACTERS, max_size=40))
def test_any_retry_after_is_a_wait_of_at_most_a_month_or_ignored(value: str, date: str) -> None:
    wait = in_virtual_time(reported_retry_after(Retry_After=value, Date=date))
    assert wait is None or 0 <= wait <= MONTH


@few
@given(st.integers(-10, 2 * MONTH) | st.floats(-10, 2 * MONTH))
def test_a_number_is_the_wait_in_seconds(seconds: float) -> None:
    wait = in_virtual_time(reported_retry_after(Retry_After=str(seconds)))
    assert wait == (seconds if 0 <= seconds <= MONTH else None)


@few
@given(MOMENTS, st.integers(-MONTH, 2 * MONTH))
def test_a_date_is_relative_to_the_date_of_the_response(date: datetime, seconds: int) -> None:
    date = date.replace(tzinfo=UTC, microsecond=0)
    until = format_datetime(date + timedelta(seconds=seconds), usegmt=True)
    headers = {"Retry_After": until, "Date": format_datetime(date, usegmt=True)}
    wait = in_virtual_time(reported_retry_after(**headers))
    assert wait == (max(0, seconds) if seconds <= MONTH else None)


# Delays


@few
@given(
    initial=st.floats(0.001, 5),
    ratio=st.floats(1, 1000),
    multiplier=st.floats(1, 10),
    retries=st.integers(1, 8),
)
def test_a_delay_is_between_half_and_all_of_a_growing_bound(
    initial: float, ratio: float, multiplier: float, retries: int
) -> None:
    longest = initial * ratio

    async def scenario() -> list[float]:
        options = {
            "max_retries": retries,
            "initial_retry_delay": initial,
            "retry_multiplier": multiplier,
            "max_retry_delay": longest,
            "retry_budget": None,
        }
        async with serving(lambda *_: response(500), latency=0, **options) as (server, client):
            with pytest.raises(PrefactorRetryExhaustedError):
                await client.agent_instances.start("i1")
            return server.requests

    times = in_virtual_time(scenario())
    assert len(times) == retries + 1
    for retry, (before, after) in enumerate(pairwise(times)):
        bound = min(longest, initial * multiplier**retry)
        assert bound / 2 * 0.999 <= after - before <= bound * 1.001 + 0.001


@few
@given(wait=st.floats(0, 30), initial=st.floats(0.001, 1))
def test_retry_after_is_a_lower_bound_of_the_delay(wait: float, initial: float) -> None:
    async def scenario() -> list[float]:
        refusals = iter([response(503, Retry_After=wait)])
        options = {"initial_retry_delay": initial, "max_retry_delay": 60.0}
        async with serving(lambda *_: next(refusals, None), latency=0, **options) as (
            server,
            client,
        ):
            await client.agent_instances.start("i1")
            return server.requests

    first, second = in_virtual_time(scenario())
    assert second - first >= wait - 0.001
    assert second - first <= max(wait, initial) * 1.5 + 0.1


# Deadlines

FAILURES = st.sampled_from(
    [
        HANG,
        VirtualServer.RESET,
        response(500),
        response(503, Retry_After=1),
        response(429, Retry_After=2),
        response(429, Retry_After=500),
        response(409, b'{"status":"error","code":"idempotency_in_progress"}'),
        response(200, b"<html>"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"no HTTP\r\n\r\n",
    ]
)


@few
@given(
    failures=st.lists(FAILURES, min_size=1, max_size=30),
    deadline=st.floats(0.001, 30),
    latency=st.floats(0, 3),
    request_timeout=st.floats(0.01, 10),
)
def test_a_deadline_is_never_exceeded_by_more_than_50_ms(
    failures: list[bytes], deadline: float, latency: float, request_timeout: float
) -> None:
    async def scenario() -> float:
        left: Iterator[bytes] = iter(failures * 30)
        options = {
            "max_retries": 50,
            "deadline": deadline,
            "request_timeout": request_timeout,
            "retry_budget": None,
        }
        async with serving(lambda *_: next(left, None), latency=latency, **options) as (_, client):
            started = elapsed()
            with suppress(PrefactorHttpError):
                await client.agent_instances.start("i1")
            return elapsed() - started

    assert in_virtual_time(scenario()) <= deadline + 0.05


@few
@given(deadline=st.floats(0.1, 5), delay=st.floats(10, 100))
def test_a_delay_beyond_the_deadline_is_not_waited_for(deadline: float, delay: float) -> None:
    async def scenario() -> float:
        options = {
            "deadline": deadline,
            "initial_retry_delay": delay,
            "max_retry_delay": delay,
            "max_retries": 1,
        }
        async with serving(lambda *_: response(500), **options) as (_, client):
            started = elapsed()
            with pytest.raises(PrefactorApiError) as caught:
                await client.agent_instances.start("i1")
            assert any("the deadline ends" in note for note in caught.value.__notes__)
            return elapsed() - started

    assert in_virtual_time(scenario()) < 0.05


# Any response

KEY = "key-00001"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "status",
                    "details",
                    "outputs",
                    "id",
                    "code",
                    "errors",
                    "summaries",
                    "control",
                    KEY,
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
STATUSES = st.sampled_from([200, 201, 204, 301, 400, 401, 404, 409, 422, 429, 500, 503])
ON_THE_WIRE = (
    st.binary(min_size=1, max_size=80)
    | st.builds(response, STATUSES, BODIES)
    | st.builds(
        lambda whole, cut, junk: whole[: max(1, len(whole) - cut)] + junk,
        st.builds(response, STATUSES, BODIES),
        st.integers(0, 30),
        st.binary(max_size=10),
    )
)


async def call_each_kind(client: PrefactorHttpClient) -> None:
    """Make one call of each kind; each may fail only with an error of the package."""
    item = BulkItem(_type="agent_instances/start", idempotency_key=KEY, agent_instance_id="i1")
    register_many = client.agent_instances.register_many
    calls: list[Any] = [
        client.agent_instances.register("a1", VERSION, SCHEMA),
        client.agent_instances.start("i1"),
        client.agent_spans.create("i1", "step", "active", {}),
        client.agent_instances.get("i1"),
        client.agent_instances.list("a1"),
        client.validate_token(),
        client.request("POST", "/api/v1/agent"),
        _decoded(client, item),
    ]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            assert isinstance(result, PrefactorHttpError), repr(result)
            assert str(pickle.loads(pickle.dumps(result))) == str(result)
            assert math.isfinite(getattr(result, "retry_after", None) or 0.0)
    row = {"agent_id": "a1", "agent_version": VERSION, "agent_schema_version": SCHEMA}
    try:
        outcomes = [outcome async for outcome in register_many([row], max_outage=0.01)]
    except PrefactorHttpError:
        return
    (outcome,) = outcomes
    assert outcome.ok or isinstance(outcome.error, PrefactorHttpError)


async def _decoded(client: PrefactorHttpClient, item: BulkItem) -> None:
    response = await client.bulk.execute(BulkRequest(items=[item]))
    for output in response.outputs.values():
        output.decode()


@few
@given(ON_THE_WIRE)
def test_any_bytes_from_a_server_raise_only_errors_of_the_package(answer: bytes) -> None:
    async def scenario() -> None:
        options = {"max_retries": 1, "request_timeout": 1.0, "initial_retry_delay": 0.001}
        async with serving(lambda *_: answer, **options) as (_, client):
            await call_each_kind(client)

    in_virtual_time(scenario())
