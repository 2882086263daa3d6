"""Registering a partition of rows: the map step of an engine that spreads a job over machines."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Generator, Iterable
from typing import Any, TypedDict, Unpack

from prefactor_http._bulk.duplicates import Duplicates
from prefactor_http._bulk.options import StreamOptions
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
from prefactor_http.models.agent_instance import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    RegisterAgentInstanceRequest,
)
from prefactor_http.models.types import InstancePurpose

Row = dict[str, Any] | RegisterAgentInstanceRequest


class RowResult(TypedDict):
    """How a row ended: plain values, which any engine can move and any table can hold.

    Attributes:
        index: The row's position in its partition, from 0.
        idempotency_key: Its key; None for a row that could not be sent.
        state: ``ok``, ``failed``, ``unknown`` or ``blocked``, see `Outcome`; or ``duplicate`` for
            a row that was not sent, because an earlier one has its name.
        id: The instance's id, for a row that is ok, or a duplicate of one that is.
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
    must come back in the same order. In a row, None, UNSET, NaN and blank text mean that the field
    is left out.

    A row whose id, external identifier or idempotency key an earlier row of the partition has is
    not sent: it is reported as a duplicate of that row, and does not count towards
    ``max_failures``.

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
        ValueError: An option is out of range, the job or the partition is blank, or the environment
            holds no token.
    """
    source = _Source(rows, RowKeys(job, partition))

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
                **options,
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
        run.close()  # where asyncio refused it, so that it does not warn that nobody awaited it


class _Source:
    """Gives the rows with their keys, and keeps back those that repeat a name.

    Attributes:
        duplicates: Results of those.
    """

    def __init__(self, rows: Iterable[Row], keys: RowKeys) -> None:
        self.duplicates: list[RowResult] = []
        self._rows = rows
        self._keys = keys
        self._seen = Duplicates()
        self._positions = array("Q")  # of the rows that were given, among all

    def __iter__(self) -> Generator[Row, None, None]:
        for index, row in enumerate(self._rows):
            try:
                prepared = self._prepared(index, row)
            except (TypeError, ValueError, RecursionError):
                prepared = row  # register_many refuses it too, and its outcome says why
            if prepared is not None:
                self._positions.append(index)
                yield prepared

    def _prepared(self, index: int, row: Row) -> Row | None:
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
        """Give the result of a row that `register_many` took."""
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
