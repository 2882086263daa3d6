"""The rate limiter: pauses, probes and pacing after 429 and 503."""

from __future__ import annotations

import asyncio
from email.utils import format_datetime

import pytest
from virtual_time import (
    LoopClock,
    VirtualLoop,
    VirtualServer,
    call,
    errors_of,
    in_virtual_time,
    limited,
    refusing,
    register,
    rejection,
    response,
    serving,
    work_off,
)

from prefactor_http import (
    HttpClientConfig,
    PrefactorApiError,
    PrefactorHttpClient,
    PrefactorRateLimitError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
)

ANYTHING = "/anything"
BOTH = pytest.mark.parametrize("status", [429, 503])


def now() -> float:
    return asyncio.get_running_loop().time()


def once(client):
    """A view of the client without retries."""
    return client.with_options(max_retries=0)


async def rejected(client, count=1):
    await errors_of([call(once(client)) for _ in range(count)])


@BOTH
def test_all_calls_of_the_operation_wait_as_long_as_the_api_asks(status):
    async def scenario():
        async with limited(lambda t: rejection(5, status) if t < 1 else None) as (server, client):
            await rejected(client)
            await asyncio.gather(*[call(once(client)) for _ in range(50)])
            assert server.requests[1] == pytest.approx(5.001)

    in_virtual_time(scenario())


@BOTH
def test_other_operations_continue(status):
    def answer(_, path, __):
        return rejection(5, status) if path == ANYTHING else None

    async def scenario():
        async with serving(answer, max_connections=4) as (_, client):
            await rejected(client)
            waiting = [asyncio.create_task(call(client)) for _ in range(10)]
            await asyncio.gather(*[register(client) for _ in range(50)])
            assert now() < 1
            for task in waiting:
                task.cancel()

    in_virtual_time(scenario())


@BOTH
def test_after_the_pause_one_call_at_a_time_is_sent_as_a_probe(status):
    refused = rejection(2, status)

    async def scenario():
        async with limited(lambda t: refused if t < 7 else None, latency=0.1) as (server, client):
            await rejected(client)
            await asyncio.gather(*[call(client) for _ in range(50)])
            assert server.requests[1:4] == pytest.approx([2.1, 4.2, 6.3])
            assert server.requests[4] == pytest.approx(8.4)
            assert server.requests[5] > 8.49  # after the success of the probe

    in_virtual_time(scenario())


def test_after_a_503_all_calls_are_sent_as_soon_as_a_probe_succeeds():
    async def scenario():
        refused = rejection(5, 503)
        async with limited(lambda t: refused if t < 1 else None) as (server, client):
            await rejected(client)
            await asyncio.gather(*[call(client) for _ in range(50)])
            assert server.requests[2:] == pytest.approx([5.002] * 49)

    in_virtual_time(scenario())


def test_after_a_429_calls_are_sent_one_after_another():
    async def scenario():
        async with limited(refusing((0, 1), retry_after=5)) as (server, client):
            await rejected(client)
            await asyncio.gather(*[call(client) for _ in range(50)])
            gaps = [b - a for a, b in zip(server.requests[2:], server.requests[3:], strict=False)]
            assert min(gaps) > 0.0005
            assert now() < 5.2

    in_virtual_time(scenario())


@pytest.mark.parametrize("longer", [3, 7])
def test_the_longer_pause_of_two_rejections_counts(longer):
    async def scenario():
        waits = iter([5, longer])
        async with limited(lambda t: rejection(next(waits)) if t < 1 else None) as (server, client):
            await rejected(client, 2)
            await call(client)
            assert server.requests[2] == pytest.approx(0.001 + max(5, longer))

    in_virtual_time(scenario())


@pytest.mark.parametrize("statuses", [(429, 503), (503, 429)])
def test_calls_are_paced_if_any_of_the_rejections_was_a_429(statuses):
    async def scenario():
        answers = iter([rejection(5, status) for status in statuses])
        async with limited(lambda t: next(answers) if t < 1 else None) as (server, client):
            await rejected(client, 2)
            await asyncio.gather(*[call(client) for _ in range(20)])
            assert server.requests[-1] > 5.01

    in_virtual_time(scenario())


@pytest.mark.parametrize("status", [429, 503])
def test_a_longer_retry_after_raises_and_pauses_others_for_max_retry_delay(status):
    async def scenario():
        refused = rejection(3600, status)
        async with limited(lambda t: refused if t < 1 else None, max_retry_delay=20.0) as (
            server,
            client,
        ):
            with pytest.raises(PrefactorApiError) as caught:
                await call(client)
            assert now() < 1
            assert caught.value.status_code == status
            assert caught.value.retry_after == 3600
            assert caught.value.attempts == 1
            await asyncio.gather(*[call(client) for _ in range(5)])
            assert server.requests[1] == pytest.approx(20.001)
            assert server.requests[2] >= 20.002

    in_virtual_time(scenario())


def test_late_rejections_do_not_pause_calls_beyond_max_retry_delay():
    async def scenario():
        async with limited(
            lambda t: rejection(3600) if t < 1 else None, latency=0.5, max_retry_delay=20.0
        ) as (server, client):
            first = asyncio.create_task(rejected(client))
            await asyncio.sleep(0.4)
            await rejected(client)
            await first
            await call(client)
            assert server.requests[2] == pytest.approx(20.5)

    in_virtual_time(scenario())


@pytest.mark.parametrize(
    ("date", "wait"), [(None, 9), ("Thu, 01 Jan 2026 00:00:04 GMT", 5), ("soon", 9)]
)
def test_a_date_is_relative_to_the_date_header_or_the_clients_clock(date, wait):
    async def scenario():
        clock = LoopClock()
        until = format_datetime(clock.utcnow().replace(second=9), usegmt=True)
        refused = response(429, Retry_After=until, Date=date)
        async with limited(lambda t: refused if t < 1 else None) as (server, client):
            with pytest.raises(PrefactorRateLimitError) as caught:
                await call(once(client))
            assert caught.value.retry_after == pytest.approx(wait, abs=0.01)
            await call(client)
            assert server.requests[1] == pytest.approx(wait, abs=0.01)

    in_virtual_time(scenario())


def test_pauses_without_retry_after_grow():
    async def scenario():
        refused = rejection(None)
        async with limited(lambda t: refused if t < 40 else None) as (server, client):
            await rejected(client)
            await asyncio.gather(*[call(client) for _ in range(20)])
            gaps = [b - a for a, b in zip(server.requests, server.requests[1:], strict=False)]
            for bound, gap in zip((1, 2, 4, 8, 16), gaps[:5], strict=True):
                assert bound / 2 <= gap <= bound + 0.002
            assert len(server.refused) <= 8

    in_virtual_time(scenario())


def test_an_overflowing_backoff_is_limited_by_max_retry_delay():
    async def scenario():
        async with limited(
            lambda t: rejection(None) if t < 50 else None,
            retry_multiplier=1e200,
            max_retry_delay=7.0,
            max_retries=50,
        ) as (server, client):
            await call(client)
            gaps = [b - a for a, b in zip(server.requests, server.requests[1:], strict=False)]
            assert max(gaps) <= 7.002
            assert min(gaps[1:]) >= 3.5

    in_virtual_time(scenario())


def test_after_another_error_the_next_call_is_the_probe():
    async def scenario():
        answers = [rejection(2), response(500), response(404), None, None]
        async with limited(lambda _: answers.pop(0)) as (server, client):
            await rejected(client)
            calls = [call(once(client)) for _ in range(4)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [getattr(result, "status_code", None) for result in results] == [
                500,
                404,  # any other answer shows that the API admits calls again
                None,
                None,
            ]
            assert server.requests[2] == pytest.approx(server.requests[1] + 0.001)

    in_virtual_time(scenario())


def test_after_a_cancelled_probe_the_next_call_is_the_probe():
    async def scenario():
        async with limited(refusing((0, 1), retry_after=3)) as (server, client):
            await rejected(client)
            server.latency = 5.0
            waiting = [asyncio.create_task(call(client)) for _ in range(3)]
            await asyncio.sleep(3.5)
            assert len(server.requests) == 2
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
            await asyncio.sleep(0.1)
            assert len(server.requests) == 3
            await asyncio.gather(*waiting[1:])

    in_virtual_time(scenario())


def test_a_probe_without_a_response_delays_others_at_most_for_the_pause():
    async def scenario():
        async with limited(refusing((0, 1), retry_after=4), latency=0.1) as (server, client):
            await rejected(client)
            server.latency = 25.0
            waiting = [asyncio.create_task(call(client)) for _ in range(3)]
            await asyncio.sleep(20)
            assert server.requests[1:] == pytest.approx([4.1, 8.1, 12.1])
            await asyncio.gather(*waiting)

    in_virtual_time(scenario())


def forever(retry_after, status=429):
    refused = response(
        status,
        b'{"status": "error", "code": "quota_exceeded", "message": "Quota used up."}',
        Retry_After=retry_after,
    )
    return lambda _: refused


@pytest.mark.parametrize(
    ("retry_after", "status", "error"),
    [
        (1, 429, PrefactorRateLimitError),
        (60, 429, PrefactorRateLimitError),
        (None, 429, PrefactorRateLimitError),
        (60, 503, PrefactorApiError),
    ],
)
def test_waiting_calls_fail_when_nothing_has_succeeded_for_a_minute(retry_after, status, error):
    async def scenario():
        async with limited(forever(retry_after, status), latency=0.05) as (server, client):
            ends = []

            async def caller():
                try:
                    await register(client)
                except (PrefactorApiError, PrefactorRetryExhaustedError) as exc:
                    ends.append((now(), exc))

            await asyncio.gather(*[caller() for _ in range(1000)])
            waited = [exc for _, exc in ends if not isinstance(exc, PrefactorRetryExhaustedError)]
            assert len(waited) >= 995
            times = [time for time, exc in ends if exc in waited]
            assert max(times) <= 61
            assert len(server.requests) <= 100 + 70
            # 100 were sent before the first rejection arrived, and some others as probes.
            assert {type(exc) for exc in waited} == {error}
            unsent = [exc for exc in waited if not exc.attempts]
            assert len(unsent) >= 800
            assert not any(exc.outcome_unknown for exc in unsent)
            assert all(exc.outcome_unknown is (status == 503) for exc in waited if exc.attempts)
            assert unsent[0].status_code == status
            assert unsent[0].code == "quota_exceeded"
            assert unsent[0].idempotency_key is not None
            for part in ("agent_instances.register", "rejected for 60 s", "Quota used up."):
                assert part in str(unsent[0])

    in_virtual_time(scenario())


def test_calls_wait_for_max_retry_delay_if_that_is_longer_than_a_minute():
    async def scenario():
        async with limited(forever(30), max_retry_delay=200.0) as (_, client):
            await rejected(client)
            await errors_of([call(client.with_options(max_retries=20)) for _ in range(5)])
            assert now() >= 200
            started = now()
            await errors_of([call(client) for _ in range(5)])
            assert now() == started

    in_virtual_time(scenario())


def test_new_calls_fail_immediately_until_the_next_probe_is_due():
    async def scenario():
        async with limited(lambda t: forever(20)(t) if t < 100 else None) as (server, client):
            await rejected(client, 1)
            await errors_of([call(once(client)) for _ in range(5)])
            sent, started = len(server.requests), now()
            while now() < started + 60 and len(server.requests) == sent:
                before = now()
                await asyncio.gather(call(once(client)), return_exceptions=True)
                assert now() - before < 0.01
                await asyncio.sleep(0.5)
            assert len(server.requests) == sent + 1
            await asyncio.sleep(60)
            await asyncio.gather(*[call(client) for _ in range(20)])  # it works again

    in_virtual_time(scenario())


def test_a_call_after_a_long_idle_time_is_not_given_up():
    async def scenario():
        refuse = refusing((0, 70), (5000, 5001), retry_after=30)
        async with limited(refuse) as (_, client):
            await rejected(client)
            await rejected(client)
            await asyncio.sleep(5000 - now())
            waiting = [asyncio.create_task(call(client)) for _ in range(5)]
            assert len(await asyncio.gather(*waiting)) == 5

    in_virtual_time(scenario())


def test_an_old_throttle_expires():
    async def scenario():
        async with limited(refusing((0, 1))) as (server, client):
            await call(client)
            await asyncio.sleep(700)
            sent = len(server.requests)
            await asyncio.gather(*[call(client) for _ in range(100)])
            assert server.requests[sent] == server.requests[-1]

    in_virtual_time(scenario())


def test_old_throttles_expire_when_another_operation_is_rejected():
    async def scenario():
        refused = rejection(3, 503)
        async with limited(lambda t: refused if t < 1 or t > 700 else None) as (server, client):
            view = once(client)
            await errors_of([register(view), view.agent_instances.start("i1")])
            await asyncio.gather(register(client), client.agent_instances.start("i1"))
            await asyncio.sleep(701 - now())
            await rejected(client)
            # This counts as a first rejection: all concurrent calls are sent.
            sent = len(server.requests)
            await errors_of([register(view) for _ in range(10)])
            assert server.requests[sent : sent + 10] == [pytest.approx(701.001)] * 10

    in_virtual_time(scenario())


def test_calls_of_request_share_a_throttle():
    async def scenario():
        async with limited(refusing((0, 1), retry_after=5)) as (server, client):
            await errors_of([once(client).request("GET", "/api/v1/agent_instance/i1")])
            await client.request("POST", "/api/v1/agent_instance/i2/start", json_data={})
            assert server.requests[1] == pytest.approx(5.001)

    in_virtual_time(scenario())


def test_late_responses_do_not_count_for_the_time_after_the_pause():
    async def scenario():
        answers = [None, rejection(4), rejection(1)]
        async with limited(lambda t: answers.pop(0) if answers else None) as (server, client):
            slow = []
            for latency in (4.8, 4.9):
                server.latency = latency
                slow.append(asyncio.create_task(call(once(client))))
                await asyncio.sleep(0.1)
            server.latency = 0.001
            await rejected(client)
            await work_off(client, 20, 5)
            assert 1 < now() < 1.5
            await asyncio.wait(slow)
            assert now() == pytest.approx(5, abs=0.1)
            await call(client)
            assert server.requests[-1] == pytest.approx(9, abs=0.1)  # another pause

    in_virtual_time(scenario())


def test_a_call_that_waits_for_a_slot_is_paused_by_a_rejection_meanwhile():
    async def scenario():
        answers = [rejection(1), rejection(1)]
        async with limited(lambda t: answers.pop(0) if answers else None, max_connections=2) as (
            server,
            client,
        ):
            server.latency = 5.0
            slow = [asyncio.create_task(call(once(client)))]
            await asyncio.sleep(0.1)
            server.latency = 0.001
            await rejected(client)
            server.latency = 8.0
            slow.append(asyncio.create_task(register(client)))
            await asyncio.sleep(0.1)
            server.latency = 0.001
            # Waits for the end of the pause, then for the slot of the first call.
            await call(client)
            assert server.requests[-1] == pytest.approx(6, abs=0.01)
            await asyncio.wait(slow)

    in_virtual_time(scenario())


def test_a_pause_remains_on_the_next_event_loop():
    client = None
    sent = []

    async def first():
        nonlocal client
        async with VirtualServer(lambda *_: rejection(50)) as server:
            settings = HttpClientConfig(server.url, "a-token", deadline=5.0)
            client = PrefactorHttpClient(settings, clock=LoopClock())
            async with client:
                await rejected(client)
                await errors_of([call(client) for _ in range(3)])
            sent.append(len(server.requests))

    async def second():
        assert client is not None
        async with client:
            errors = await errors_of([call(client) for _ in range(3)])
            assert {type(error) for error in errors} == {PrefactorTimeoutError}
            assert {error.attempts for error in errors} == {0}
            with pytest.raises(PrefactorTimeoutError):
                await asyncio.gather(*[call(client.with_options(deadline=None)), call(client)])

    for scenario in (first, second):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(scenario())
    assert sent == [1]


def test_a_call_admitted_while_the_client_closes_is_rejected():
    async def scenario():
        async with limited(lambda _: None, max_connections=1) as (_, client):
            first = asyncio.create_task(call(client))
            await asyncio.sleep(0)
            waiting = [asyncio.create_task(call(client)) for _ in range(5)]
            await asyncio.sleep(0.0005)
            await client.close()
            await first
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(result, Exception) for result in results)

    in_virtual_time(scenario())


def test_waiting_calls_of_a_throttled_operation_hold_no_slots():
    def answer(t, path, _):
        return rejection(30) if path == ANYTHING and t < 1 else None

    async def scenario():
        async with serving(answer, max_connections=2) as (_, client):
            await rejected(client)
            waiting = [asyncio.create_task(work_off(client, 50, 50))]
            await asyncio.sleep(1)
            seconds = await work_off(client, 200, 20, register)
            assert seconds < 1
            await asyncio.gather(*waiting)
            assert 30 < now() < 32

    in_virtual_time(scenario())
