"""Cancelled runs: they are finished or cancelled on the server, or reported."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
import weakref
from typing import Any

import anyio
import pytest
from resilience_support import SCHEMA, VERSION, until

from prefactor_http import HttpClientConfig, PrefactorApiError, PrefactorHttpClient
from prefactor_http.idempotency import new_id
from prefactor_http.testing import Fault, FaultKind


@pytest.fixture
async def client(api, client_for):
    return await client_for(api)


@pytest.fixture
def run(api, client):
    def call(**kwargs):
        return client.agent_instances.run(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, **kwargs
        )

    return call


def statuses(api):
    return [instance["status"] for instance in api.instances.values()]


async def enter(run: Any) -> None:
    async with run:
        await asyncio.sleep(60)


async def cancelled(task: asyncio.Task[Any]) -> asyncio.CancelledError:
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


@pytest.fixture
def shields(monkeypatch):
    """Counts calls of `asyncio.shield`; each one is another wake-up."""
    made = []
    shield = asyncio.shield

    def counted(awaitable):
        made.append(awaitable)
        return shield(awaitable)

    monkeypatch.setattr(asyncio, "shield", counted)
    return made


class TestUnderAnyio:
    async def test_a_cancelled_scope_waits_for_the_finish_without_spinning(self, api, run, shields):
        with anyio.CancelScope() as scope:
            async with run():
                api.fail_next(
                    Fault(FaultKind.DELAYED, seconds=0.3), operation="agent_instances.finish"
                )
                shields.clear()
                scope.cancel()
                await asyncio.sleep(60)
        assert scope.cancelled_caught
        assert statuses(api) == ["failed"]
        assert len(shields) <= 2

    async def test_a_scope_that_is_cancelled_during_the_finish_waits_without_spinning(
        self, api, run, shields
    ):
        with anyio.move_on_after(0.1) as scope:
            async with run():
                api.fail_next(
                    Fault(FaultKind.DELAYED, seconds=0.4), operation="agent_instances.finish"
                )
                shields.clear()
            await anyio.sleep(60)
        assert scope.cancelled_caught
        assert statuses(api) == ["complete"]
        assert len(shields) <= 2

    async def test_a_cancelled_task_group_finishes_its_spans_without_spinning(
        self, api, run, shields
    ):
        async def step(handle):
            async with handle.span("step"):
                api.fail_next(Fault(FaultKind.DELAYED, seconds=0.3), operation="agent_spans.finish")
                began.set()
                await asyncio.sleep(60)

        began = anyio.Event()
        async with run() as handle, anyio.create_task_group() as group:
            group.start_soon(step, handle)
            await began.wait()
            shields.clear()
            group.cancel_scope.cancel()
        assert [span["status"] for span in api.spans.values()] == ["failed"]
        assert statuses(api) == ["complete"]
        assert len(shields) <= 4

    async def test_a_cancelled_run_is_finished_without_anyio(self, api, run, monkeypatch):
        monkeypatch.delitem(sys.modules, "anyio")
        task = asyncio.create_task(enter(run()))
        await until(lambda: statuses(api) == ["active"])
        await cancelled(task)
        assert statuses(api) == ["failed"]

    async def test_a_native_cancellation_inside_a_scope_propagates(self, api, run):
        async def work():
            with anyio.CancelScope():
                await enter(run())

        task = asyncio.create_task(work())
        await until(lambda: statuses(api) == ["active"])
        await cancelled(task)
        assert statuses(api) == ["failed"]
        assert task.cancelled()


class TestDuringRegister:
    @pytest.mark.parametrize("has_id", [False, True])
    @pytest.mark.parametrize("times", [1, 3])
    async def test_the_instance_is_cancelled_before_the_cancellation_propagates(
        self, api, run, caplog, has_id, times
    ):
        own_id = new_id(api.agent_id) if has_id else None
        api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
        task = asyncio.create_task(enter(run(id=own_id)))
        await until(lambda: api.requests)
        for _ in range(times - 1):
            task.cancel()
            await asyncio.sleep(0.01)
        await cancelled(task)
        assert statuses(api) == ["cancelled"]
        assert len(api.requests) == 2
        assert "pending" not in caplog.text

    async def test_the_instance_is_also_cancelled_under_anyio(self, api, run, shields):
        api.fail_next(Fault(FaultKind.DELAYED, seconds=0.3))
        with anyio.move_on_after(0.1):
            await enter(run())
        assert statuses(api) == ["cancelled"]
        assert len(shields) <= 3

    async def test_a_lost_response_is_retried_to_learn_the_id(self, api, run):
        api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
        api.fail_next(Fault(FaultKind.DELAYED, seconds=0.1))
        task = asyncio.create_task(enter(run()))
        await until(lambda: len(api.requests) == 2)
        await cancelled(task)
        assert statuses(api) == ["cancelled"]

    async def test_a_refused_register_is_not_reported(self, api, run, caplog):
        api.fail_next(Fault(FaultKind.DELAYED, seconds=0.1))
        task = asyncio.create_task(enter(run(id="not-an-id")))
        await until(lambda: api.requests)
        error = await cancelled(task)
        assert api.instances == {}
        assert getattr(error, "__notes__", []) == []
        assert "pending" not in caplog.text

    async def test_invalid_arguments_are_not_reported(self, api, run, caplog):
        task = asyncio.create_task(enter(run(purpose="none of them")))
        await asyncio.sleep(0)  # the task has started, its register has not
        error = await cancelled(task)
        assert api.requests == []
        assert getattr(error, "__notes__", []) == []
        assert caplog.text == ""

    @pytest.mark.parametrize("has_id", [False, True])
    async def test_without_a_response_the_key_and_the_id_are_reported(
        self, api, run, caplog, has_id
    ):
        own_id = new_id(api.agent_id) if has_id else None
        api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=5))
        task = asyncio.create_task(enter(run(id=own_id, finish_timeout=0.1)))
        await until(lambda: api.requests)
        begin = time.monotonic()
        error = await cancelled(task)
        assert time.monotonic() - begin < 1
        (note,) = error.__notes__
        (request,) = api.requests
        key = json.loads(request.body)["idempotency_key"]
        name = f"agent instance {own_id}" if has_id else "an agent instance"
        assert note == (
            f"{name} may be left pending (idempotency key {key}): "
            "not completed within 0.1 s (finish_timeout)"
        )
        assert note in caplog.messages

    async def test_a_register_that_was_never_sent_is_not_reported(self, api, client_for, caplog):
        client = await client_for(api, max_connections=1)
        api.fail_next(Fault(FaultKind.DELAYED, seconds=0.4))
        before = asyncio.create_task(client.validate_token())
        await until(lambda: api.requests)
        handle = client.agent_instances.run(
            api.agent_id,
            VERSION,
            SCHEMA,
            environment_id=api.environment_id,
            finish_timeout=0.05,
        )
        task = asyncio.create_task(enter(handle))
        await asyncio.sleep(0.05)
        error = await cancelled(task)
        assert getattr(error, "__notes__", []) == []
        assert "pending" not in caplog.text
        await before
        assert len(api.requests) == 1

    async def test_an_instance_that_cannot_be_cancelled_is_reported_by_its_id(
        self, api, run, caplog
    ):
        api.fail_next(Fault(FaultKind.DELAYED, seconds=0.1))
        api.fail_next(FaultKind.TOO_LARGE)
        task = asyncio.create_task(enter(run()))
        await until(lambda: api.requests)
        error = await cancelled(task)
        (instance_id,) = api.instances
        (note,) = error.__notes__
        assert note.startswith(f"agent instance {instance_id} may be left pending")
        assert note in caplog.messages

    async def test_an_unknown_outcome_is_reported(self, raw_server, caplog):
        raw_server.script(b"")
        config = HttpClientConfig(raw_server.url, "token-1234", max_retries=0)
        held = asyncio.Event()
        raw_server.on_request = held.set
        async with PrefactorHttpClient(config) as client:
            task = asyncio.create_task(enter(client.agent_instances.run("a", VERSION, SCHEMA)))
            await held.wait()
            error = await cancelled(task)
        assert "may be left pending (idempotency key " in error.__notes__[-1]
        assert "lost: the server closed it" in error.__notes__[-1]

    def test_an_instance_is_reported_when_the_event_loop_shuts_down(self, prefactor_server, caplog):
        api = prefactor_server
        client = PrefactorHttpClient(HttpClientConfig(api.url, api.token))
        run = client.agent_instances.run(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
        )

        async def main() -> asyncio.Task[None]:
            api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=1))
            task = asyncio.create_task(enter(run))
            await until(lambda: api.requests)
            return task  # asyncio.run cancels it and what it awaits

        assert asyncio.run(main()).cancelled()
        assert "may be left pending" in caplog.text
        asyncio.run(client.close())


async def test_a_refused_register_leaves_no_reference_cycle(api, run):
    api.fail_next(*[FaultKind.TOO_LARGE] * 2)
    with pytest.raises(PrefactorApiError):
        await enter(run())  # triggers lazy imports
    gc.collect()
    gc.disable()
    try:
        try:
            await enter(run())
        except PrefactorApiError as error:
            left = weakref.ref(error)
        await asyncio.sleep(0)
        assert left() is None
    finally:
        gc.enable()
