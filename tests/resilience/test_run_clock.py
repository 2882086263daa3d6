"""A clock that is set back during a run: timestamps never decrease."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import pytest
from resilience_support import SCHEMA, VERSION

from prefactor_http._http.clock import SystemClock


class AdjustedClock(SystemClock):
    offset = timedelta(0)

    def set_back(self, seconds: float) -> None:
        self.offset -= timedelta(seconds=seconds)

    def utcnow(self) -> datetime:
        return super().utcnow() + self.offset


@pytest.fixture
def wall_clock() -> AdjustedClock:
    return AdjustedClock()


@pytest.fixture
async def run(api, client_for, wall_clock):
    client = await client_for(api, clock=wall_clock)
    return client.agent_instances.run(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
    )


@pytest.fixture
def timestamps(api):
    """Returns the timestamps that were sent, in the order of the requests."""

    def of() -> list[datetime]:
        sent = []
        for request in api.requests:
            body = json.loads(request.body or b"{}")
            text = body.get("timestamp") or body.get("details", {}).get("started_at")
            if text is not None:
                sent.append(datetime.fromisoformat(text))
        return sent

    return of


def statuses(api):
    return {item["status"] for kept in (api.instances, api.spans) for item in kept.values()}


@pytest.mark.parametrize("seconds", [0.5, 3600, 10 * 365 * 86400])
async def test_a_run_never_finishes_before_it_started(api, run, wall_clock, timestamps, seconds):
    async with run:
        wall_clock.set_back(seconds)
    assert statuses(api) == {"complete"}
    start, finish = timestamps()
    assert start == finish


async def test_spans_are_ordered_within_the_run(api, run, wall_clock, timestamps):
    async with run as handle:
        async with handle.span("first"):
            wall_clock.set_back(60)
            async with handle.span("inner"):
                wall_clock.set_back(60)
        async with handle.span("second"):
            wall_clock.set_back(60)
    assert statuses(api) == {"complete"}
    sent = timestamps()
    assert len(sent) == 8
    assert sent == sorted(sent)


async def test_concurrent_spans_never_finish_before_they_started(api, run, wall_clock, timestamps):
    async def step(name: str, seconds: float) -> None:
        async with handle.span(name):
            await asyncio.sleep(seconds)
            wall_clock.set_back(10)

    async with run as handle:
        await asyncio.gather(*(step(f"step {number}", number / 100) for number in range(5)))
    assert statuses(api) == {"complete"}
    (instance,) = api.instances.values()
    for span in api.spans.values():
        assert instance["started_at"] <= span["started_at"] <= span["finished_at"]
        assert span["finished_at"] <= instance["finished_at"]


async def test_a_failed_run_never_finishes_before_it_started(api, run, wall_clock, timestamps):
    async def fail() -> None:
        async with run as handle, handle.span("step"):
            wall_clock.set_back(1)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert statuses(api) == {"failed"}
    sent = timestamps()
    assert sent == sorted(sent)


async def test_timestamps_follow_a_clock_that_moves_forward(run, wall_clock, timestamps):
    async with run:
        wall_clock.set_back(-3600)
    start, finish = timestamps()
    assert finish - start >= timedelta(hours=1)
