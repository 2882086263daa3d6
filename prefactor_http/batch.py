"""Registers a partition of rows: the map step of a job that runs on several machines."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Generator, Iterable
from typing import TypedDict, Unpack

import msgspec

from prefactor_http._bulk.duplicates import Duplicates
from prefactor_http._bulk.options import StreamOptions, batch_options
from prefactor_http._bulk.outcome import Outcome
from prefactor_http._bulk.rows import (
    KEY,
    NAMES,
    RowKeys,
    check_names,
    content_of,
    fields_of,
    given_fields,
)
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.config import HttpClientConfig
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key
from prefactor_http.models.dicts import AgentSchemaVersionInput, AgentVersionInput, RowInput
from prefactor_http.models.types import InstancePurpose


class RowResult(TypedDict):
    """How a row ended, in plain values that can be pickled and stored in a table.

    Attributes:
        index: The row's position in its partition, from 0.
        idempotency_key: Its key; None for a row that could not be sent.
        state: ``ok``, ``failed``, ``unknown`` or ``blocked``, see `Outcome`; or ``duplicate`` for
            a row that was not sent, because an earlier row has the same name.
        id: The instance's id, for a row that is ok, or a duplicate of such a row.
        error: Why the row is not ok. For a duplicate it says whether its content differs.
        duplicate_of: Position of the first row with the name, for a duplicate.
    """

    index: int
    idempotency_key: str | None
    state: str
    id: str | None
    error: str | None
    duplicate_of: int | None


def register_partition(
    rows: Iterable[RowInput],
    *,
    job: str,
    partition: str | int,
    config: HttpClientConfig | None = None,
    agent_id: str | None = None,
    environment_id: str | None = None,
    agent_version: AgentVersionInput | None = None,
    agent_schema_version: AgentSchemaVersionInput | None = None,
    update_current_version: bool = True,
    purpose: InstancePurpose | None = None,
    **options: Unpack[StreamOptions],
) -> list[RowResult]:
    """Register a partition's rows: ``POST /bulk`` (contract §7.1, §9).

    A synchronous function that can be pickled, for the map step of Dask, Spark or Ray. It runs its
    own event loop and client. Keys are derived, so a task that runs again, or twice at the same
    time, registers each row once. A row's key is derived from the job and its ``id`` or
    ``external_identifier``, in any partition. A row without either is identified by its partition,
    position and content, so a repeated task must have the same rows in the same order. In a row,
    None, UNSET, NaN and blank text mean that the field is left out.

    A row that has the same id, external identifier or idempotency key as an earlier row of the
    partition is not sent. It is reported as a duplicate of that row, and does not count towards
    ``max_failures``.

    Args:
        rows: The partition's rows, as for `register_many`.
        job: Name of the job: the same for all its partitions and every time it runs.
        partition: Name or number of this partition within the job: the same every time it runs.
        config: Configuration; by default `HttpClientConfig.from_env` in the process that runs the
            task, so that the task contains no token.
        agent_id: Agent of the rows that have none.
        environment_id: Environment of the rows that have none.
        agent_version: Version of the rows that have none.
        agent_schema_version: Schema version of the rows that have none.
        update_current_version: Whether the deployment runs this version from now on.
        purpose: Purpose of the rows that have none.
        **options: As for `register_many`; ``concurrency`` applies to each partition.

    Returns:
        A result for each row, in the order of the rows.

    Raises:
        PrefactorHttpError: The run ended early; run the partition again.
        RuntimeError: The thread runs an event loop. Use `register_many` there.
        TypeError: The rows cannot be iterated, an option is unknown, or the job or partition has
            the wrong type.
        ValueError: An option is out of range, the job or the partition is blank, or the environment
            holds no token.
    """
    source = _UniqueRows(rows, RowKeys(job, partition))
    bounds = batch_options(options)

    async def register() -> list[RowResult]:
        async with PrefactorHttpClient(config or HttpClientConfig.from_env()) as client:
            outcomes = client.agent_instances.register_many(
                iter(source),
                job=job,
                agent_id=agent_id,
                environment_id=environment_id,
                agent_version=agent_version,
                agent_schema_version=agent_schema_version,
                update_current_version=update_current_version,
                purpose=purpose,
                **msgspec.structs.asdict(bounds),
            )
            results = source.duplicates
            results += [source.result_of(outcome) async for outcome in outcomes]
        results.sort(key=lambda result: result["index"])
        for result in results:
            if result["duplicate_of"] is not None:
                result["id"] = results[result["duplicate_of"]]["id"]
        return results

    run = register()
    try:
        return asyncio.run(run)
    finally:
        run.close()  # if `asyncio.run` raised, the coroutine would warn that it was never awaited


class _UniqueRows:
    """Yields the rows with their keys, except those that repeat a name.

    Attributes:
        duplicates: Results of the rows that repeat a name.
    """

    def __init__(self, rows: Iterable[RowInput], keys: RowKeys) -> None:
        self.duplicates: list[RowResult] = []
        self._rows = rows
        self._keys = keys
        self._seen = Duplicates()
        self._positions = array("Q")  # of the yielded rows, among all

    def __iter__(self) -> Generator[RowInput, None, None]:
        for index, row in enumerate(self._rows):
            try:
                prepared = self._prepare(index, row)
            except (TypeError, ValueError, RecursionError):
                prepared = row  # register_many rejects it too, and its outcome says why
            if prepared is not None:
                self._positions.append(index)
                yield prepared

    def _prepare(self, index: int, row: RowInput) -> RowInput | None:
        fields = given_fields(fields_of(row))
        check_names(fields)
        if KEY in fields:
            key = check_key(fields[KEY], min_length=MIN_LENGTH_IN_BULK)
        else:
            key = self._keys(index, fields)
        name = next((name for name in (KEY, *NAMES) if name in fields), None)
        if name is not None:
            first = self._seen.find(key, index, content_of(fields))
            if first is not None:
                problem = f"row {first.index} has the {name} {fields[name]!r:.60} already"
                self.duplicates.append(
                    RowResult(
                        index=index,
                        idempotency_key=key,
                        state="duplicate",
                        id=None,
                        error=problem if first.is_same else f"{problem}, with other content",
                        duplicate_of=first.index,
                    )
                )
                return None
        return {**fields, KEY: key}

    def result_of(self, outcome: Outcome) -> RowResult:
        """Return the result of a row that was passed to `register_many`."""
        error = outcome.error
        return RowResult(
            index=self._positions[outcome.index],
            idempotency_key=outcome.idempotency_key,
            state=outcome.state.value,
            id=None if outcome.instance is None else outcome.instance.id,
            error=None if error is None else f"{type(error).__name__}: {error}",
            duplicate_of=None,
        )


__all__ = ["RowResult", "register_partition"]
