"""Registering a partition of rows: the map step of an engine that spreads a job over machines."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from typing import Any, TypedDict, Unpack

import msgspec
from msgspec import UNSET

from prefactor_http._batch_options import StreamOptions
from prefactor_http._batch_outcome import Outcome
from prefactor_http._row_key import NAMES
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.config import HttpClientConfig
from prefactor_http.idempotency import derive_key
from prefactor_http.models.agent_instance import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    RegisterAgentInstanceRequest,
)
from prefactor_http.models.types import InstancePurpose

Row = dict[str, Any] | RegisterAgentInstanceRequest

# What names a row by itself; `register_many` derives the key from the last two.
_NAMES = ("idempotency_key", *NAMES)
# Sorted, so that a re-run task whose dicts were built in another order makes the same key.
_encode = msgspec.json.Encoder(order="deterministic").encode


class RowResult(TypedDict):
    """What became of a row: plain values, which any engine can move and any table can hold.

    Attributes:
        index: The row's position in its partition, from 0.
        idempotency_key: Its key; None for a row that could not be sent.
        state: ``ok``, ``failed``, ``unknown`` or ``blocked``; see `Outcome`.
        id: The instance's id, for a row that is ok.
        error: Why the row is not ok.
    """

    index: int
    idempotency_key: str | None
    state: str
    id: str | None
    error: str | None


def register_partition(
    rows: Iterable[Row],
    *,
    job: str,
    partition: str | int,
    config: HttpClientConfig | None = None,
    agent_id: str | None = None,
    environment_id: str | None = None,
    agent_version: AgentVersionForRegister | dict[str, Any] | None = None,
    agent_schema_version: AgentSchemaVersionForRegister | dict[str, Any] | None = None,
    update_current_version: bool = True,
    purpose: InstancePurpose | None = None,
    **options: Unpack[StreamOptions],
) -> list[RowResult]:
    """Register a partition's rows, in an event loop and with a client of its own.

    An ordinary function that pickles, for the map step of an engine: ``POST /bulk`` (contract
    §7.1, §9). Keys are derived, so a task that is run again, or twice at a time, registers each
    row once. A row's key comes from the job and its ``id`` or ``external_identifier``, wherever
    it is; a row without either is known by its partition, position and content, so the same rows
    must come back in the same order.

    Args:
        rows: The partition's rows, as for `register_many`.
        job: Name of the job: the same for all its partitions, and whenever it is run again.
        partition: Name or number of this partition within the job: the same when it is run again.
        config: Configuration; by default `HttpClientConfig.from_env` in the process that runs it,
            so that no token travels with the task.
        agent_id: Agent of the rows that name none.
        environment_id: Environment of the rows that name none.
        agent_version: Version of the rows that have none.
        agent_schema_version: Schema version of the rows that have none.
        update_current_version: Whether the deployment is to run this version from now on.
        purpose: Purpose of the rows that name none.
        **options: As for `register_many`; ``concurrency`` is each partition's own.

    Returns:
        A result for each row, in the order of the rows.

    Raises:
        PrefactorHttpError: The run ended early; run the partition again.
        RuntimeError: The thread runs an event loop: there, use `register_many`.
        TypeError: The rows cannot be iterated, an option is not known, or the job or partition has
            another type.
        ValueError: An option is out of range, or the environment holds no token.
    """
    task = derive_key("register", job, "partition", partition)

    async def register() -> list[RowResult]:
        async with PrefactorHttpClient(config or HttpClientConfig.from_env()) as client:
            outcomes = client.agent_instances.register_many(
                _with_keys(rows, task),
                job=job,
                agent_id=agent_id,
                environment_id=environment_id,
                agent_version=agent_version,
                agent_schema_version=agent_schema_version,
                update_current_version=update_current_version,
                purpose=purpose,
                **options,
            )
            results = [_result_of(outcome) async for outcome in outcomes]
        return sorted(results, key=lambda result: result["index"])

    run = register()
    try:
        return asyncio.run(run)
    finally:
        run.close()  # where asyncio refused it, so that it does not warn that nobody awaited it


def _with_keys(rows: Iterable[Row], task: str) -> Generator[Row, None, None]:
    for index, row in enumerate(rows):
        yield _with_key(row, task, index)


def _with_key(row: Row, task: str, index: int) -> Row:
    if isinstance(row, RegisterAgentInstanceRequest):
        fields = msgspec.structs.asdict(row)
    elif isinstance(row, dict):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        fields = row
    else:
        return row  # register_many refuses it, and its outcome tells why
    if any(fields.get(name, UNSET) not in (None, UNSET) for name in _NAMES):
        return row
    try:
        key = derive_key(task, index, _encode(row))
    except (TypeError, ValueError, RecursionError):
        return row  # refused as well
    if isinstance(row, RegisterAgentInstanceRequest):
        return msgspec.structs.replace(row, idempotency_key=key)
    return {**row, "idempotency_key": key}


def _result_of(outcome: Outcome) -> RowResult:
    error = outcome.error
    return RowResult(
        index=outcome.index,
        idempotency_key=outcome.idempotency_key,
        state=outcome.state.value,
        id=None if outcome.instance is None else outcome.instance.id,
        error=None if error is None else f"{type(error).__name__}: {error}",
    )


__all__ = ["RowResult", "register_partition"]
