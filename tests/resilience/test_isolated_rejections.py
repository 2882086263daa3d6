"""Rejections that are not caused by the rate do not slow the other calls down."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from virtual_time import (
    FixedWindows,
    RandomRejections,
    call,
    in_virtual_time,
    limited,
    register,
    rejection,
    serving,
    work_off,
)

from prefactor_http import PrefactorHttpError


def now() -> float:
    return asyncio.get_running_loop().time()


async def throughput(client, calls, callers, make_call=call):
    return calls / await work_off(client, calls, callers, make_call)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("share", "calls"), [(0.002, 3000), (0.02, 3000), (0.1, 4000)])
def test_random_rejections_do_not_slow_calls_down(share, calls, status):
    async def scenario():
        refuse = RandomRejections(share, status=status).refuse
        async with limited(refuse, latency=0.02, max_retries=9) as (server, client):
            assert await throughput(client, calls, 50) >= 200  # 48 if each one pauses all
            assert len(server.requests) <= 1.05 * calls / (1 - share)

    in_virtual_time(scenario())


def test_one_rejection_in_fifty_calls_does_not_slow_down_the_first_registers():
    async def scenario():
        async with limited(RandomRejections(0.02).refuse, latency=0.02) as (_, client):
            assert await throughput(client, 300, 50, register) >= 30

    in_virtual_time(scenario())


@pytest.mark.parametrize(("retry_after", "least"), [(None, 200), (0, 200), (10, 30)])
def test_retry_after_of_random_rejections_matters_little(retry_after, least):
    async def scenario():
        refuse = RandomRejections(0.02, retry_after).refuse
        async with limited(refuse, latency=0.02) as (_, client):
            assert await throughput(client, 3000, 50) >= least

    in_virtual_time(scenario())


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_single_caller_is_not_slowed_down_much(share):
    async def scenario():
        refuse = RandomRejections(share).refuse
        async with limited(refuse, latency=0.02, max_retries=9) as (_, client):
            best = 1 / (0.02 + share)  # a call takes 0.02 s, and 1 s more if it is rejected
            assert await throughput(client, 1500, 1) >= 0.4 * best

    in_virtual_time(scenario())


@pytest.mark.no_cover  # so many calls that measuring them doubles their time
@pytest.mark.parametrize("share", [0.005, 0.02])
def test_a_limit_is_respected_despite_random_rejections(share):
    at_random, limiter = RandomRejections(share), FixedWindows(200)

    async def scenario():
        async with limited(lambda t: at_random.refuse(t) or limiter.refuse(t), latency=0.02) as (
            server,
            client,
        ):
            assert await throughput(client, 6000, 64) >= 0.65 * 200
            assert len(server.requests) <= (1.03 + share) * 6000

    in_virtual_time(scenario())


def test_a_limit_introduced_later_is_respected():
    at_random, limiter = RandomRejections(0.02), FixedWindows(100)

    def refuse(t):
        return at_random.refuse(t) or (limiter.refuse(t) if t > 10 else None)

    async def scenario():
        async with limited(refuse, latency=0.02) as (server, client):
            while now() < 10:
                await work_off(client, 500, 50)
            sent, started = len(server.requests), now()
            await work_off(client, 3000, 50)
            assert 3000 / (now() - started) >= 0.6 * 100
            assert len(server.requests) - sent <= 1.1 * 3000

    in_virtual_time(scenario())


def test_an_outage_pauses_all_calls_even_if_rejections_are_expected():
    at_random = RandomRejections(0.02)
    refused = rejection(2)

    def refuse(t):
        return refused if 20 <= t < 40 else at_random.refuse(t)

    async def scenario():
        async with limited(refuse, latency=0.02, max_retries=20) as (server, client):
            while now() < 50:
                await work_off(client, 200, 50)
            assert len([t for t in server.requests if 21 < t < 40]) <= 12

    in_virtual_time(scenario())


def start(client, resource):
    return client.agent_instances.start(resource)


@pytest.mark.parametrize("status", [429, 503])
def test_one_broken_resource_does_not_pause_the_others(status):
    def answer(_, path, __):
        return rejection(3, status) if "/bad" in path else None

    async def scenario():
        good = 0

        async def use_good():
            nonlocal good
            while now() < 30:
                await start(client, "good")
                good += 1
                await asyncio.sleep(0.039)

        async def use_bad(number):
            while now() < 30:
                with suppress(PrefactorHttpError):
                    await start(client, f"bad{number}")

        async with serving(answer) as (server, client):
            await asyncio.gather(*[use_good() for _ in range(5)], *[use_bad(n) for n in range(3)])
            assert good >= 0.85 * 30 * 5 / 0.04  # all but the first three seconds
            rejected = sum(count for path, count in server.paths.items() if "/bad" in path)
            assert rejected <= 3 * (30 / 9 + 1) * 4  # four attempts every nine seconds

    in_virtual_time(scenario())


def test_a_repaired_resource_is_not_treated_as_broken():
    state = {"broken": True}

    def answer(_, path, __):
        if "/bad" in path and state["broken"]:
            return rejection(1)
        return None

    async def scenario():
        async with serving(answer) as (_, client):
            bad = asyncio.create_task(start(client, "bad"))
            while now() < 2.5:
                await start(client, "good")
                await asyncio.sleep(0.01)
            state["broken"] = False
            await bad
            state["broken"] = True
            once = client.with_options(max_retries=0)
            with pytest.raises(PrefactorHttpError):
                await start(once, "bad")
            before = now()
            await start(client, "good")  # waits, as after any first rejection
            assert now() - before == pytest.approx(1, abs=0.01)

    in_virtual_time(scenario())


def test_many_broken_resources_use_bounded_memory():
    def answer(_, path, __):
        return rejection(1) if "/bad" in path else None

    async def scenario():
        async with serving(answer, max_retries=0) as (_, client):
            for number in range(600):
                with pytest.raises(PrefactorHttpError):
                    await start(client, f"bad{number}")
                for _ in range(2):
                    await start(client, "good")
            assert now() < 600 * 1.1

    in_virtual_time(scenario())


def test_one_broken_call_pauses_the_others_only_once():
    """The API rejects one register whenever it is repeated, and no other."""
    bad_key = "the-bad-one"

    async def scenario():
        def answer(_, path, body):
            return rejection(3) if bad_key in body else None

        async with serving(answer) as (server, client):
            once = client.with_options(max_retries=3)
            bad = asyncio.create_task(register(once, idempotency_key=bad_key))
            await asyncio.sleep(0.01)
            others = asyncio.create_task(work_off(client, 4000, 2, register))
            with pytest.raises(PrefactorHttpError):
                await bad
            assert await others < 3 + 4.5
            assert server.requests[-1] > 6

    in_virtual_time(scenario())
