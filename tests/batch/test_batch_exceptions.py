"""Each pulled item has one outcome, whatever raises."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from batch_support import (
    client_of,
    collect,
    collect_until_error,
    failure,
    in_order,
    indexes,
    plain,
    register_rows,
    registered,
    rows,
    states,
    success,
    until,
)
from raw_server import reply

from prefactor_http import (
    HttpClientConfig,
    PrefactorClientError,
    PrefactorHttpClient,
)


class FailingClock:
    """A clock that raises on demand."""

    def __init__(self) -> None:
        self.left = 10**9
        self.sleep_error: Exception | None = None

    def monotonic(self) -> float:
        self.left -= 1
        if self.left < 0:
            raise KeyError("the clock is broken")
        return time.monotonic()

    def utcnow(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        if self.sleep_error is not None:
            raise self.sleep_error
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("readings", range(1, 60, 3))
async def test_a_clock_that_raises_ends_the_run_with_an_outcome_for_each_item(raw_server, readings):
    raw_server.answer = in_order(registered)
    clock = FailingClock()
    config = HttpClientConfig(raw_server.url, "token-1234")
    pulled = 0

    def source():
        nonlocal pulled
        for row in rows(500):
            pulled += 1
            yield row

    async with PrefactorHttpClient(config, clock=clock) as client:
        clock.left = readings
        stream = register_rows(client, source(), chunk_size=10, concurrency=2)
        outcomes, error = await collect_until_error(stream, Exception)
        clock.left = 10**9
    assert indexes(outcomes) == list(range(pulled))
    if isinstance(error, PrefactorClientError):
        assert "unexpected KeyError" in str(error)
        assert isinstance(error.__cause__, KeyError)
    sent = {item["idempotency_key"] for r in raw_server.requests for item in r.json["items"]}
    assert {o.idempotency_key for o in outcomes if o.failed}.isdisjoint(sent)


async def test_a_sleep_that_raises_ends_the_run_with_an_outcome_for_each_item(raw_server):
    raw_server.answer = lambda _: reply(503, failure("service_unavailable"))
    clock = FailingClock()
    config = HttpClientConfig(raw_server.url, "token-1234")
    async with PrefactorHttpClient(config, clock=clock) as client:
        clock.sleep_error = OSError("no timer")
        stream = register_rows(client, rows(5))
        outcomes, error = await collect_until_error(stream, PrefactorClientError)
    assert indexes(outcomes) == list(range(5))
    assert isinstance(error.__cause__, OSError)
    assert states(outcomes) == {"unknown": 5}


class Group:
    """A group whose comparison raises after a number of comparisons."""

    left = 10**9

    def __init__(self, name: int) -> None:
        self.name = name

    def __hash__(self) -> int:
        return self.name

    def __eq__(self, other: object) -> bool:
        Group.left -= 1
        if Group.left < 0:
            raise LookupError("the database is gone")
        return isinstance(other, Group) and other.name == self.name


@pytest.mark.parametrize("comparisons", [*range(0, 40, 2), 60, 90, 150, 250])
async def test_a_group_whose_comparison_raises_costs_no_item_its_outcome(
    raw_server, raw_client, comparisons
):
    number = 0

    def answer(request):
        nonlocal number
        number += 1
        if number % 3 == 2:
            return b""
        busy = failure("rate_limited")
        return in_order(
            lambda item: (
                busy if number % 5 == 1 and item["idempotency_key"] > "key-0010" else success({})
            )
        )(request)

    raw_server.answer = answer
    items = [plain(f"key-{n:04}") for n in range(60)]
    stream = raw_client.bulk.stream(
        items, group=lambda item: Group(int(item.idempotency_key[4:]) % 4), chunk_size=7
    )
    Group.left = comparisons
    outcomes, error = [], None
    try:
        async for outcome in stream:
            outcomes.append(outcome)  # noqa: PERF401 # kept when the next one raises
    except PrefactorClientError as exc:
        error = exc
    finally:
        Group.left = 10**9
        await stream.aclose()
    assert len(indexes(outcomes)) == len(set(indexes(outcomes)))
    if error is None:
        assert len(outcomes) == 60
    else:
        assert isinstance(error.__cause__, LookupError)
        assert indexes(outcomes) == list(range(len(outcomes)))
    sent = {item["idempotency_key"] for r in raw_server.requests for item in r.json["items"]}
    for outcome in outcomes:
        assert (
            outcome.ok
            or outcome.unknown
            or outcome.blocked
            or (outcome.failed and (outcome.idempotency_key not in sent or error is not None))
        )


class Colliding:
    """A group with the hash of all others, whose comparison raises once `is_broken` is set."""

    is_broken = False

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        if Colliding.is_broken:
            raise LookupError("the database is gone")
        return self is other


async def test_an_item_with_an_outcome_gets_no_second_one_after_an_exception(
    raw_server, raw_client
):
    def answer(request):
        Colliding.is_broken = True
        outputs = {i["idempotency_key"]: failure("bad_request") for i in request.json["items"]}
        return reply(200, {"status": "success", "outputs": outputs})

    raw_server.answer = answer
    items = [plain(f"key-{n:04}") for n in range(4)]
    stream = raw_client.bulk.stream(items, group=lambda _: Colliding())
    try:
        outcomes, error = await collect_until_error(stream, PrefactorClientError)
    finally:
        Colliding.is_broken = False
    assert isinstance(error.__cause__, LookupError)
    assert indexes(outcomes) == [0, 1, 2, 3]
    assert states(outcomes) == {"failed": 2, "unknown": 2}


async def test_a_group_callable_that_raises_fails_only_its_item(raw_server, raw_client):
    raw_server.answer = in_order(registered)

    def group(row: dict[str, Any]) -> float:
        return 1 / row["purpose"]

    source = [{"purpose": 1}, {"purpose": 0}, {"purpose": 2}]
    outcomes = await collect(register_rows(raw_client, source, group=group, ordered=True))
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, ZeroDivisionError)


def patch_request(monkeypatch: pytest.MonkeyPatch, is_bad: Any) -> None:
    """Make aiohttp raise an unexpected exception."""
    import aiohttp

    send = aiohttp.ClientSession.request

    def request(self, method, url, *, data, **rest):
        if is_bad(data):
            raise KeyError("in the middle of aiohttp")
        return send(self, method, url, data=data, **rest)

    monkeypatch.setattr(aiohttp.ClientSession, "request", request)


def text_of(data: Any) -> bytes:
    if not isinstance(data, bytes):
        data = getattr(data, "_value", data)
        data = data if isinstance(data, bytes) else b""
    return data


async def test_an_unexpected_exception_before_any_success_ends_the_run(
    raw_server, raw_client, monkeypatch
):
    patch_request(monkeypatch, lambda _: True)
    stream = register_rows(raw_client, rows(30), chunk_size=5, concurrency=1)
    outcomes, error = await collect_until_error(stream, PrefactorClientError)
    assert "unexpected KeyError" in str(error)
    assert isinstance(error.__cause__, KeyError)
    assert indexes(outcomes) == list(range(len(outcomes)))
    assert {outcome.state.value for outcome in outcomes} == {"unknown", "failed"}
    assert all(isinstance(o.error.__cause__, KeyError) for o in outcomes if o.unknown)


async def test_an_unexpected_exception_for_one_item_affects_no_other(
    raw_server, raw_client, monkeypatch
):
    raw_server.answer = in_order(registered)
    patch_request(monkeypatch, lambda data: b'"row-33"' in text_of(data))
    outcomes = await collect(register_rows(raw_client, rows(100), chunk_size=10))
    assert {o.index for o in outcomes if not o.ok} == {33}
    (odd,) = [o for o in outcomes if not o.ok]
    assert odd.unknown
    assert "unexpected KeyError" in str(odd.error)


async def test_cancelling_all_tasks_of_the_loop_ends_the_run_with_an_outcome_for_each_item(
    raw_server,
):
    async def answer(_):
        await asyncio.sleep(0.2)
        return b""

    raw_server.answer = answer
    async with client_of(raw_server) as client:
        stream = register_rows(client, rows(10), chunk_size=2, concurrency=2)
        waiting = asyncio.create_task(anext(stream))
        await until(lambda: len(raw_server.requests) == 2)
        for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
            if "BatchEngine._send" in repr(task):
                task.cancel()
        outcomes = [await waiting]
        more, error = await collect_until_error(stream, PrefactorClientError)
    assert "cancelled" in str(error)
    assert indexes([*outcomes, *more]) == list(range(6))
    assert states([*outcomes, *more]) == {"unknown": 4, "failed": 2}


async def test_a_cancelled_verification_leaves_the_outcome_unknown(raw_server):
    from test_batch_unknown import INVALID, START

    reads = asyncio.Event()

    async def answer(request):
        if request.method == "GET":
            reads.set()
            await asyncio.sleep(0.3)
            return b""
        return b"" if len(raw_server.requests) == 1 else in_order(lambda _: INVALID)(request)

    raw_server.answer = answer
    async with client_of(raw_server) as client:
        stream = client.bulk.stream([START])
        waiting = asyncio.create_task(anext(stream))
        await reads.wait()
        for task in asyncio.all_tasks():
            if "_reconcile" in repr(task):
                task.cancel()
        outcome = await waiting
        assert outcome.unknown
        await collect_until_error(stream, PrefactorClientError)


async def test_an_outcomes_error_that_is_raised_can_be_garbage_collected(raw_server, raw_client):
    """The error, its traceback and the frame form a cycle that the collector must track."""
    import gc
    import weakref

    class Sentinel:
        pass

    raw_server.answer = in_order(lambda _: failure("bad_request"))
    seen = []

    async def consume():
        sentinel = Sentinel()
        seen.append(weakref.ref(sentinel))
        async for outcome in register_rows(raw_client, rows(3)):
            raise outcome.error

    with pytest.raises(Exception, match="bad_request"):
        await consume()
    await asyncio.sleep(0)
    gc.collect()
    assert seen[0]() is None
