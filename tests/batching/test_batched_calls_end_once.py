"""Whatever happens to the requests, each batched call ends once, with its own result."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_server import RawServer
from scripted_api import Ending, Fault, ScriptedApi

from prefactor_http import (
    HttpClientConfig,
    PrefactorApiError,
    PrefactorHttpClient,
    PrefactorHttpError,
)

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class Call(NamedTuple):
    """A call of an example.

    Attributes:
        action: ``register``, ``start`` or ``finish``.
        instance: Number of the instance; registers ignore it.
        ending: What the API does with it.
        wave: Calls of the same wave are made at the same moment.
        cancel_after: Milliseconds until it is cancelled, or None.
        has_short_key: Whether its key is too short for a bulk request.
    """

    action: str
    instance: int
    ending: Ending
    wave: int
    cancel_after: int | None
    has_short_key: bool


CALLS = st.builds(
    Call,
    action=st.sampled_from(["register", "register", "start", "finish"]),
    instance=st.integers(0, 3),
    ending=st.sampled_from([*[Ending.OK] * 8, Ending.REFUSED, Ending.POISON]),
    wave=st.integers(0, 2),
    cancel_after=st.sampled_from([*[None] * 8, 0, 1, 3]),
    has_short_key=st.sampled_from([False] * 7 + [True]),
)


def key_of(number: int, call: Call) -> str:
    return f"k{number}" if call.has_short_key else f"key-of-call-{number}"


class Example:
    """Makes the calls of an example and keeps what each caller saw."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self.made: list[int] = []
        self.results: dict[int, Any] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, view: PrefactorHttpClient) -> None:
        """Make all calls; return when the last one is made."""
        for wave in range(3):
            for number, call in enumerate(self.calls):
                if call.wave == wave:
                    self._tasks.append(asyncio.create_task(self._make(number, call, view)))
            await asyncio.sleep(0.002)

    async def wait(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _make(self, number: int, call: Call, view: PrefactorHttpClient) -> None:
        self.made.append(number)
        if call.cancel_after is not None:
            task = asyncio.current_task()
            asyncio.get_running_loop().call_later(call.cancel_after / 1000, task.cancel)
        try:
            result = await self._call(number, call, view)
        except (PrefactorHttpError, asyncio.CancelledError) as error:
            result = error
        assert number not in self.results
        self.results[number] = result

    async def _call(self, number: int, call: Call, view: PrefactorHttpClient) -> Any:
        instances, key = view.agent_instances, key_of(number, call)
        if call.action == "register":
            return await instances.register(
                "agent",
                VERSION,
                SCHEMA,
                external_identifier=f"call-{number}",
                idempotency_key=key,
            )
        instance_id = f"instance-{call.instance}"
        # Two starts of the same millisecond could not be told apart by reading the instance.
        moment = MOMENT + timedelta(seconds=number)
        if call.action == "start":
            return await instances.start(instance_id, moment, idempotency_key=key)
        return await instances.finish(instance_id, timestamp=moment, idempotency_key=key)


async def run_example(case: dict[str, Any]) -> None:
    calls: list[Call] = case["calls"]
    endings = {key_of(number, call): call.ending for number, call in enumerate(calls)}
    example = Example(calls)
    async with asyncio.timeout(20), RawServer() as server:
        api = ScriptedApi(server, endings, case["faults"])
        for number in range(4):
            api.add_instance(f"instance-{number}")
        config = HttpClientConfig(
            server.url,
            "token-1234",
            max_retries=10,
            initial_retry_delay=0.001,
            max_retry_delay=0.002,
            retry_budget=None,
        )
        async with PrefactorHttpClient(config) as client:
            async with client.batched(**case["options"]) as view:
                await example.run(view)
                if not case["leaves_at_once"]:
                    await example.wait()
            await example.wait()
        assert not [task for task in asyncio.all_tasks() if "prefactor_http" in _file_of(task)]
    check_example(example, api, case)


def _file_of(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "cr_code").co_filename)  # noqa: B009 # untyped


def check_example(example: Example, api: ScriptedApi, case: dict[str, Any]) -> None:
    calls = example.calls
    assert example.results.keys() == set(range(len(calls)))
    assert len(set(api.effects)) == len(api.effects)
    assert api.largest_bulk <= case["options"]["max_items"]
    for number, call in enumerate(calls):
        check_result(example.results[number], number, call, api)
    # A call that is cancelled in flight no longer delays later calls on its instance.
    cancelled = {call.instance for call in calls if call.cancel_after is not None}
    numbers = {key_of(number, call): number for number, call in enumerate(calls)}
    for instance in set(range(4)) - cancelled:
        instance_id = f"instance-{instance}"
        assert instance_id not in api.overlaps
        arrived = [example.made.index(numbers[key]) for key in api.arrivals[instance_id]]
        assert arrived == sorted(arrived)
        applied = [
            example.made.index(numbers[key])
            for key in api.effects
            if key in api.arrivals[instance_id]
        ]
        assert applied == sorted(applied)
    if all(call.ending is not Ending.POISON for call in calls):
        check_without_poison(example, cancelled)


def check_result(result: Any, number: int, call: Call, api: ScriptedApi) -> None:
    key = key_of(number, call)
    is_applied = key in api.effects
    assert not (is_applied and call.ending is not Ending.OK)
    if isinstance(result, asyncio.CancelledError):
        assert call.cancel_after is not None
        if is_applied:
            assert key in " ".join(result.__notes__)
    elif isinstance(result, PrefactorHttpError):
        assert result.idempotency_key == key
        assert result.attempts > 0
        assert result.outcome_unknown or not is_applied
    else:
        assert is_applied
        if call.action == "register":
            assert result.external_identifier == f"call-{number}"
        else:
            assert result.id == f"instance-{call.instance}"
            assert result.status == ("active" if call.action == "start" else "complete")


def check_without_poison(example: Example, cancelled: set[int]) -> None:
    """Compare the results with those of calls that are made one after another."""
    statuses = dict.fromkeys(range(4), "pending")
    for number in example.made:
        call, result = example.calls[number], example.results[number]
        if isinstance(result, asyncio.CancelledError):
            continue
        if call.action != "register" and call.instance in cancelled:
            continue
        expected = "ok" if call.ending is Ending.OK else "validation_errors"
        if call.ending is Ending.OK and call.action != "register":
            before, after = {"start": ("pending", "active"), "finish": ("active", "complete")}[
                call.action
            ]
            if statuses[call.instance] == before:
                statuses[call.instance] = after
            else:
                expected = "invalid_action"
        assert (result.code if isinstance(result, PrefactorApiError) else "ok") == expected


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    case=st.fixed_dictionaries(
        {
            "calls": st.lists(CALLS, min_size=1, max_size=24),
            "faults": st.lists(st.sampled_from(list(Fault)), max_size=5),
            "leaves_at_once": st.booleans(),
            "options": st.fixed_dictionaries(
                {
                    "max_items": st.integers(1, 12),
                    "max_bytes": st.sampled_from([1, 700, 2_500, 1_000_000]),
                    "concurrency": st.integers(1, 6),
                    "linger": st.sampled_from([0.0, 0.0, 0.002]),
                }
            ),
        }
    )
)
def test_each_call_ends_once_with_its_own_result(case):
    asyncio.run(run_example(case))
