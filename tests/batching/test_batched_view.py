"""What batches its calls: a view, views of it, and a client with ``auto_batch``."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any

import pytest
from batching_support import (
    SCHEMA,
    VERSION,
    FakeApi,
    batching,
    config_of,
    failing,
    failures,
    names,
    register,
    registers,
    turns,
    until,
)

from prefactor_http import (
    BulkItem,
    BulkRequest,
    HttpClientConfig,
    PrefactorClientError,
    PrefactorHttpClient,
    PrefactorTimeoutError,
)
from prefactor_http.testing import LocalPrefactor

A, B, C, D = names("call", 4)


class NamedClient(PrefactorHttpClient):
    """A subclass with attributes, and an endpoint that uses them."""

    def __init__(self, config: HttpClientConfig, name: str) -> None:
        super().__init__(config)
        self.name = name

    @cached_property
    def named_instances(self) -> tuple[str, Any]:
        return self.name, self.agent_instances


def targets(api: FakeApi) -> list[str]:
    return [request.target.removeprefix("/api/v1/") for request in api.server.requests]


async def test_a_client_with_auto_batch_batches_its_calls(api: FakeApi) -> None:
    async with PrefactorHttpClient(config_of(api.server, auto_batch=True)) as client:
        tasks = registers(client, A, B)
        tasks += registers(client.with_options(deadline=5.0), C)
        assert [result.external_identifier for result in await asyncio.gather(*tasks)] == [A, B, C]
    assert api.sent == [[A, B, C]]


async def test_a_client_does_not_batch_unless_it_is_asked_to(api: FakeApi) -> None:
    async with PrefactorHttpClient(config_of(api.server)) as client, client.batched():
        await asyncio.gather(*registers(client, A, B))
    assert sorted(api.sent) == [["direct", A], ["direct", B]]


async def test_closing_a_client_with_auto_batch_sends_the_calls_that_wait(api: FakeApi) -> None:
    client = PrefactorHttpClient(config_of(api.server, auto_batch=True))
    tasks = registers(client, A, B)
    await turns(2)
    await client.close()
    assert [(await task).external_identifier for task in tasks] == [A, B]
    with pytest.raises(PrefactorClientError, match="client is closed"):
        await register(client, C)
    async with client:
        await asyncio.gather(*registers(client, C, D))
    assert api.sent == [[A, B], [C, D]]


async def test_a_view_of_a_client_with_auto_batch_has_its_own_requests(api: FakeApi) -> None:
    async with (
        PrefactorHttpClient(config_of(api.server, auto_batch=True)) as client,
        client.batched(max_items=2) as view,
    ):
        await asyncio.gather(*registers(client, A, B), *registers(view, C, D))
    assert sorted(api.sent) == [[A, B], [C, D]]


async def test_closing_a_view_with_other_options_closes_nothing_else(api: FakeApi) -> None:
    async with batching(api.server) as view:
        async with view.with_options(max_retries=1) as other:
            api.hold()
            tasks = registers(other, A, B)
            await until(lambda: api.sent)
        assert not any(task.done() for task in tasks)
        api.release()
        await asyncio.gather(*tasks, register(view, C))


async def test_the_views_of_a_closed_view_reject_calls_too(api: FakeApi) -> None:
    async with PrefactorHttpClient(config_of(api.server)) as client:
        async with client.batched() as view:
            other = view.with_options(max_retries=1)
        with pytest.raises(PrefactorClientError, match="batching view is closed") as caught:
            await register(other, A)
        assert (caught.value.idempotency_key, caught.value.outcome_unknown) == (A, False)
        await asyncio.gather(*registers(client, B), *registers(client.batched(), C, D))
    assert sorted(api.sent) == [[C, D], ["direct", B]]


async def test_calls_keep_the_options_of_their_view(api: FakeApi) -> None:
    api.answer = lambda _: failing()
    async with batching(api.server, max_retries=2) as view:
        errors = await failures(
            [*registers(view, A, B), *registers(view.with_options(max_retries=0), C, D)]
        )
    assert [error.attempts for error in errors] == [3, 3, 1, 1]
    assert sorted(api.sent) == [[A, B]] * 3 + [[C, D]]


async def test_a_view_of_a_subclass_batches_the_calls_of_its_own_endpoints(api: FakeApi) -> None:
    async with (
        NamedClient(config_of(api.server), "n-1") as client,
        client.batched() as view,
    ):
        assert type(view) is NamedClient
        assert client.named_instances[1] is not view.named_instances[1]
        name, instances = view.named_instances
        await asyncio.gather(
            *(instances.register("a", VERSION, SCHEMA, idempotency_key=key) for key in (A, B))
        )
    assert name == "n-1"
    assert api.sent == [[A, B]]
    assert repr(view) == f"<NamedClient (view of a client) of {api.server.url}>"


async def test_what_has_no_bulk_type_is_made_directly(api: FakeApi) -> None:
    async with batching(api.server) as view:
        path = "/api/v1/agent_instance/register"
        body = {"agent_id": "a", "idempotency_key": D}
        reads = [view.agent_instances.get("i-1"), view.agent_instances.get("i-2")]
        raw = view.request("POST", path, json_data=body)
        results = await asyncio.gather(*registers(view, A, B), *reads, raw)
    assert [result.id for result in results[2:4]] == ["i-1", "i-2"]
    assert results[4]["details"]["id"] == f"of-{D}"
    assert sorted(targets(api)) == [
        "agent_instance/i-1",
        "agent_instance/i-2",
        "agent_instance/register",
        "bulk",
    ]


async def test_bulk_requests_of_the_caller_are_sent_as_they_are(api: FakeApi) -> None:
    def item(key: str) -> BulkItem:
        return BulkItem(_type="agent_instances/finish", idempotency_key=key, agent_instance_id=key)

    async with batching(api.server) as view:
        tasks = registers(view, A, B)
        response = await view.bulk.execute(BulkRequest(items=[item(C)]))
        assert list(response.outputs) == [C]
        outcomes = [outcome async for outcome in view.bulk.stream([item(D)])]
        assert [outcome.state.value for outcome in outcomes] == ["ok"]
        await asyncio.gather(*tasks)
    assert sorted(api.sent) == [[A, B], [C], [D]]


async def test_runs_and_their_spans_share_requests() -> None:
    async with (
        LocalPrefactor() as api,
        PrefactorHttpClient(HttpClientConfig(api.url, api.token, auto_batch=True)) as client,
        asyncio.timeout(10),
    ):

        async def work(number: int) -> tuple[str, str]:
            run = client.agent_instances.run(
                api.agent_id,
                VERSION,
                SCHEMA,
                environment_id=api.environment_id,
                external_identifier=f"run-{number}",
                poll_interval=None,
            )
            async with run as handle, handle.span("llm", {"number": number}) as span:
                span.result_payload = {"twice": 2 * number}
            return handle.instance.id, span.id

        ids = await asyncio.gather(*(work(number) for number in range(8)))
        for number, (instance_id, span_id) in enumerate(ids):
            instance, span = api.instances[instance_id], api.spans[span_id]
            assert (instance["status"], span["status"]) == ("complete", "complete")
            assert instance["external_identifier"] == f"run-{number}"
            assert span["agent_instance_id"] == instance_id
            assert span["result_payload"] == {"twice": 2 * number}
        assert len(api.effects) == 8 * 5
        # At least the registers share requests. Later calls may be made directly on a busy machine.
        assert len(api.requests) <= 8 * 5 - 7
        assert api.doubled == api.lost == api.violations == []


async def test_a_deadline_ends_a_call_in_flight_and_no_other(api: FakeApi) -> None:
    async with batching(api.server) as view:
        api.hold()
        late, other = register(view.with_options(deadline=0.05), A), register(view, B)
        with pytest.raises(PrefactorTimeoutError) as caught:
            await late
        assert (caught.value.idempotency_key, caught.value.attempts) == (A, 1)
        assert caught.value.outcome_unknown
        api.release()
        assert (await other).external_identifier == B
    assert api.sent == [[A, B]]


async def test_a_deadline_ends_a_call_that_waits(api: FakeApi) -> None:
    async with batching(api.server, {"concurrency": 1}) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        with pytest.raises(PrefactorTimeoutError) as caught:
            await register(view.with_options(deadline=0.05), C)
        assert (caught.value.idempotency_key, caught.value.attempts) == (C, 0)
        assert not caught.value.outcome_unknown
        api.release()
        await asyncio.gather(*tasks)
    assert api.sent == [[A, B]]


async def test_a_retry_that_is_too_late_for_one_deadline_still_serves_the_others(
    api: FakeApi,
) -> None:
    api.server.script(failing(Retry_After="60"))
    async with batching(api.server, max_retry_delay=100.0) as view:
        late, other = register(view.with_options(deadline=10.0), A), register(view, B)
        [failed] = await failures([late])
        assert (failed.status_code, failed.attempts, failed.outcome_unknown) == (503, 1, True)
        assert any("deadline" in note for note in failed.__notes__)
        await turns()
        assert not other.done()  # waits for the retry
        await view.close(0)
        await failures([other])
    assert [set(request) for request in api.sent] == [{A, B}]


async def test_keys_have_the_prefix_of_their_view(api: FakeApi) -> None:
    async with batching(api.server) as view:
        prefixed = view.with_options(default_idempotency_key="job-7")
        calls = [prefixed.agent_instances.register("a", VERSION, SCHEMA) for _ in range(2)]
        await asyncio.gather(*calls)
    [request] = api.sent
    assert len(set(request)) == 2
    assert all(key.startswith("job-7") for key in request)


async def test_each_call_without_a_key_gets_its_own(api: FakeApi) -> None:
    async with batching(api.server) as view:
        calls = [view.agent_instances.register("a", VERSION, SCHEMA) for _ in range(100)]
        await asyncio.gather(*calls)
    keys = [key for request in api.sent for key in request if key != "direct"]
    assert len(set(keys)) == len(keys) == 100
    assert {len(key) for key in keys} == {36}


async def test_invalid_arguments_raise_before_a_call_waits(api: FakeApi) -> None:
    async with batching(api.server) as view:
        with pytest.raises(ValueError, match="idempotency_key"):
            await register(view, "with a space")
    assert api.sent == []
