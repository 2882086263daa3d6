"""Spans of a run, and how a run detects its termination."""

from __future__ import annotations

import asyncio

import pytest
from resilience_support import SCHEMA, VERSION, until

from prefactor_http import PrefactorApiError, PrefactorConflictError
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


async def test_a_span_is_created_active_and_finished_with_its_result(api, run):
    async with run() as handle:
        async with handle.span("llm", {"prompt": "hi"}) as span:
            assert api.spans[span.id]["status"] == "active"
            span.result_payload = {"text": "hello"}
        kept = api.spans[span.id]
    assert kept["status"] == "complete"
    assert kept["payload"] == {"prompt": "hi"}
    assert kept["result_payload"] == {"text": "hello"}
    assert kept["parent_span_id"] is None
    assert span.span.status == "complete"


async def test_spans_nest_by_context_also_across_tasks(api, run):
    async with run() as handle, handle.span("agent") as outer:

        async def step(name):
            async with handle.span(name) as span:
                await asyncio.sleep(0.01)
                return span.id

        children = await asyncio.gather(step("tool"), step("retrieval"))
        async with handle.span("llm") as llm, handle.span("tool") as tool:
            pass
    parents = {span_id: span["parent_span_id"] for span_id, span in api.spans.items()}
    assert [parents[child] for child in children] == [outer.id, outer.id]
    assert parents[llm.id] == outer.id
    assert parents[tool.id] == llm.id
    assert parents[outer.id] is None


async def test_a_span_of_another_run_is_not_a_parent(api, run):
    async with run() as first, first.span("agent"):
        async with run() as second, second.span("agent") as other:
            pass
        assert api.spans[other.id]["parent_span_id"] is None


async def test_a_callers_id_and_parent_are_sent(api, run):
    chosen = new_id(api.agent_id)
    async with run() as handle:
        async with handle.span("agent") as parent:
            pass
        async with handle.span("tool", id=chosen, parent_span_id=parent.id) as span:
            assert span.id == chosen
    assert api.spans[chosen]["parent_span_id"] == parent.id


async def test_a_span_whose_block_raises_fails_and_so_does_the_run(api, run):
    handle = run()

    async def work():
        async with handle, handle.span("tool"):
            raise LookupError("mine")

    with pytest.raises(LookupError):
        await work()
    assert [span["status"] for span in api.spans.values()] == ["failed"]
    assert handle.instance.status == "failed"


async def test_a_cancelled_span_fails(api, run):
    entered = asyncio.Event()

    async def work():
        async with run() as handle, handle.span("tool"):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [span["status"] for span in api.spans.values()] == ["failed"]


@pytest.mark.parametrize("is_batched", [False, True])
async def test_no_cancellation_leaves_anything_active(api, client, is_batched):
    """The tasks are cancelled after each number of iterations of the event loop."""
    view = client.batched() if is_batched else client

    async def work():
        instance = {"environment_id": api.environment_id, "poll_interval": None}
        runs = view.agent_instances
        async with runs.run(api.agent_id, VERSION, SCHEMA, **instance) as run, run.span("tool"):
            await asyncio.sleep(60)

    for iterations in range(0, 120, 4):
        tasks = [asyncio.create_task(work()) for _ in range(2)]
        for _ in range(iterations):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
    if is_batched:
        await view.close()

    assert {instance["status"] for instance in api.instances.values()} == {"cancelled", "failed"}
    assert {span["status"] for span in api.spans.values()} == {"failed"}


class TestCancelledDuringItsCreation:
    @pytest.fixture
    async def cancel(self, api, run):
        """Cancel the creation of a span while the API delays it, and return the exception."""

        async def cancel(seconds, id=None):
            api.fail_next(Fault(FaultKind.DELAYED, seconds=seconds), operation="agent_spans.create")
            async with run(finish_timeout=0.5) as handle:
                task = asyncio.create_task(handle.span("tool", id=id).__aenter__())
                await until(lambda: api.faults_injected[FaultKind.DELAYED])
                task.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                return caught.value

        return cancel

    async def test_the_span_fails(self, api, cancel):
        exc = await cancel(0.2)
        assert [span["status"] for span in api.spans.values()] == ["failed"]
        assert not hasattr(exc, "__notes__")

    async def test_a_note_says_that_it_is_not_known_in_time(self, cancel, caplog):
        exc = await cancel(2.0)
        text = "a span 'tool' may be left active: not completed within 0.5 s (finish_timeout)"
        assert exc.__notes__ == [text]
        assert text in caplog.messages

    async def test_the_note_has_the_callers_id(self, api, cancel):
        span_id = new_id(api.agent_id)
        exc = await cancel(2.0, span_id)
        assert exc.__notes__[0].startswith(f"span {span_id} may be left active: not completed")

    async def test_a_note_says_that_the_span_was_not_finished(self, api, cancel):
        api.fail_next(Fault(FaultKind.TOO_LARGE), operation="agent_spans.finish")
        exc = await cancel(0.2)
        (span_id,) = api.spans
        assert exc.__notes__[0].startswith(f"span {span_id} may be left active: 413")


async def test_the_blocks_exception_takes_precedence_over_a_span_that_cannot_be_finished(api, run):
    async def work():
        async with run() as handle, handle.span("tool"):
            api.fail_next(Fault(FaultKind.TOO_LARGE), operation="agent_spans.finish")
            raise LookupError("mine")

    with pytest.raises(LookupError) as caught:
        await work()
    assert any("was not finished failed" in note for note in caught.value.__notes__)


async def test_a_span_that_cannot_be_created_raises_and_is_not_a_parent(api, run):
    async with run() as handle:
        api.fail_next(Fault(FaultKind.TOO_LARGE), operation="agent_spans.create")
        span = handle.span("tool")
        with pytest.raises(PrefactorApiError):
            await span.__aenter__()
        with pytest.raises(RuntimeError, match="does not exist yet"):
            _ = span.id
        async with handle.span("llm") as after:
            pass
    assert api.spans[after.id]["parent_span_id"] is None


async def test_a_span_can_be_entered_only_once(run):
    async with run() as handle:
        async with handle.span("tool") as span:
            pass
        with pytest.raises(RuntimeError, match="once"):
            await span.__aenter__()


async def test_a_span_notifies_the_run_of_its_termination(api, client, run):
    async with run(poll_interval=None) as handle:
        assert not handle.terminated
        await client.agent_instances.terminate(handle.id, "out of bounds")
        async with handle.span("tool"):
            assert handle.terminated
            assert handle.termination_reason == "out of bounds"
        await handle.wait_until_terminated()
    assert api.instances[handle.id]["status"] == "terminated"


async def test_a_poll_notifies_the_run_of_its_termination(client, run):
    async with run(poll_interval=0.02) as handle:
        await client.agent_instances.terminate(handle.id, "enough")
        await asyncio.wait_for(handle.wait_until_terminated(), 10)
        assert handle.termination_reason == "enough"
        assert handle.instance.status == "terminated"


async def test_a_failed_poll_is_repeated(api, client_for):
    client = await client_for(api, max_retries=0)
    api.fail_next(Fault(FaultKind.UNAVAILABLE), method="GET")
    async with client.agent_instances.run(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, poll_interval=0.02
    ) as handle:
        await until(lambda: len([r for r in api.requests if r.method == "GET"]) > 2)
        assert not handle.terminated


async def test_an_unnoticed_termination_ends_the_run_without_an_error(api, client, run):
    async with run(poll_interval=None) as handle:
        await client.agent_instances.terminate(handle.id, "late")
    assert handle.terminated
    assert handle.termination_reason == "late"
    assert api.instances[handle.id]["status"] == "terminated"


async def test_an_instance_finished_by_another_caller_is_a_conflict(client, run):
    handle = run(poll_interval=None)
    await handle.__aenter__()
    await client.agent_instances.finish(handle.id)
    with pytest.raises(PrefactorConflictError):
        await handle.__aexit__(None, None, None)


async def test_a_run_leaves_no_poll_task(prefactor_server, client_for):
    client = await client_for(prefactor_server)
    before = asyncio.all_tasks()
    async with client.agent_instances.run(
        prefactor_server.agent_id,
        VERSION,
        SCHEMA,
        environment_id=prefactor_server.environment_id,
        poll_interval=0.01,
    ):
        await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


async def test_a_span_can_end_in_another_context(api, run):
    async with run() as handle:
        span = handle.span("fixture")
        await asyncio.create_task(span.__aenter__())
        await asyncio.create_task(span.__aexit__(None, None, None))
        assert api.spans[span.id]["status"] == "complete"


@pytest.mark.parametrize("result", ["no object", {"no": object()}])
async def test_a_result_that_cannot_be_encoded_does_not_hide_the_blocks_exception(run, result):
    async def step(handle):
        async with handle.span("tool") as span:
            span.result_payload = result
            raise KeyError("the block's")

    async with run() as handle:
        with pytest.raises(KeyError) as caught:
            await step(handle)
    assert "was finished without its result" in caught.value.__notes__[0]


async def test_a_span_whose_result_cannot_be_encoded_fails_without_it(api, run):
    async with run() as handle:
        span = handle.span("tool")
        await span.__aenter__()
        span.result_payload = {"no": object()}
        with pytest.raises(TypeError, match="cannot encode"):
            await span.__aexit__(None, None, None)
    assert api.spans[span.id]["status"] == "failed"
    assert api.spans[span.id]["result_payload"] is None


async def test_a_conflict_is_raised_even_if_the_instance_cannot_be_read(api, client_for):
    client = await client_for(api, max_retries=0)
    handle = client.agent_instances.run(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, poll_interval=None
    )
    await handle.__aenter__()
    await client.agent_instances.finish(handle.id)
    api.fail_next(Fault(FaultKind.UNAVAILABLE), method="GET")
    with pytest.raises(PrefactorConflictError):
        await handle.__aexit__(None, None, None)
