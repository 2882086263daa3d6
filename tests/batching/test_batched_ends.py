"""Batched calls end, once and with the right error, when their request is interrupted."""

from __future__ import annotations

import asyncio

import pytest
from batching_support import (
    FakeApi,
    batching,
    failing,
    failures,
    names,
    register,
    registers,
    start,
    until,
)

from prefactor_http import PrefactorClientError, PrefactorHttpError

A, B, C = names("call", 3)
SLOW = {"initial_retry_delay": 30.0, "max_retry_delay": 30.0}


async def test_calls_that_wait_for_a_retry_end_when_the_view_closes(api: FakeApi) -> None:
    api.server.script(failing())
    async with batching(api.server, **SLOW) as view:
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        await asyncio.sleep(0.02)
        await view.close(0.01)
        for error, key in zip(await failures(tasks), (A, B), strict=True):
            assert isinstance(error, PrefactorClientError)
            assert (error.idempotency_key, error.attempts) == (key, 1)
            assert error.outcome_unknown
    assert api.sent == [[A, B]]


async def test_nothing_is_sent_while_a_view_closes_whose_time_is_over(api: FakeApi) -> None:
    async with batching(api.server, {"concurrency": 1}) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        tasks.append(register(view, C))
        await asyncio.sleep(0.01)
        await view.close(0.01)
        errors = await failures(tasks)
        assert [error.outcome_unknown for error in errors] == [True, True, False]
        assert [error.attempts for error in errors] == [1, 1, 0]
        await asyncio.sleep(0.02)
        assert api.sent == [[A, B]]
        api.release()


async def test_a_closed_view_rejects_calls(api: FakeApi) -> None:
    async with batching(api.server) as view:
        await view.close()
        await view.close()
        with pytest.raises(PrefactorClientError, match="batching view is closed"):
            await register(view, A)


async def test_a_cancelled_call_that_waits_for_a_retry_holds_back_no_lone_call(
    api: FakeApi,
) -> None:
    api.server.script(failing())
    async with batching(api.server, initial_retry_delay=0.3, max_retry_delay=0.3) as view:
        tasks = [start(view, A), register(view, B)]
        await until(lambda: api.sent)
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await failures(tasks)
        for key in names("lone", 3):
            await register(view, key)
        later = [start(view, "later-call-1"), start(view, "later-call-2")]
        assert [each.id for each in await asyncio.gather(*later)] == ["i-1", "i-1"]


async def test_bulk_requests_refill_the_retry_budget(api: FakeApi) -> None:
    async with batching(api.server, retry_budget=5, max_retries=1) as view:
        api.server.script(failing(), failing())
        assert all(isinstance(e, PrefactorHttpError) for e in await failures(registers(view, A, B)))
        for number in range(5):
            await asyncio.gather(*registers(view, *names(f"ok-{number}", 2)))
        api.server.script(failing())
        await asyncio.gather(*registers(view, *names("again", 2)))


async def test_the_frames_of_an_error_show_no_body(api: FakeApi) -> None:
    api.answer = lambda _: failing(403)
    async with batching(api.server) as view:
        both = [register(view, key, external_identifier="what-was-sent") for key in (A, B)]
        for error in await failures(both):
            traceback = error.__traceback__
            while traceback is not None:
                frame = traceback.tb_frame
                if "_bulk" in frame.f_code.co_filename:
                    assert "what-was-sent" not in repr(frame.f_locals)
                traceback = traceback.tb_next
