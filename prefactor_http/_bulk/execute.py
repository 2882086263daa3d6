"""Executes the calls of one bulk request and reports the outcome of each (contract §9).

A bulk request is repeated when its response is lost, and the last response does not say what
earlier attempts have done. If the API has dropped a key in the meantime, it refuses a call that it
has already applied and stops there, and the calls behind it look as if they were never attempted.
So a refusal after a lost response is verified by reading the resource, as for a direct call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from prefactor_http import _api
from prefactor_http._bulk.output import (
    ItemReader,
    encode_success,
    find_contradictions,
    may_follow_own_success,
    redact_failed_output,
)
from prefactor_http._http.encoding import encode_json
from prefactor_http._http.executor import Executor
from prefactor_http._http.operation import Applied, Operation
from prefactor_http._http.reconciliation import may_reconcile, reconcile
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorHttpError,
    PrefactorResponseContractError,
    is_transient_http_error,
)
from prefactor_http.models.bulk import BulkItem, BulkReply, BulkRequest, BulkResponse
from prefactor_http.models.bulk_output import OutputReader, ReceivedOutput


async def execute(executor: Executor, request: BulkRequest) -> BulkResponse:
    """Execute the calls; see `BulkClient.execute`."""
    if not isinstance(request, BulkRequest):  # pyright: ignore[reportUnnecessaryIsInstance] # not every caller uses a type checker
        raise TypeError(
            f"bulk.execute takes a BulkRequest(items=[...]), not {type(request).__name__}"
        )
    response, was_sent_before = await executor.send_items(
        _api.BULK, request.body, items=len(request.items)
    )
    contradictions = find_contradictions(request.items, response.outputs)
    if contradictions:
        executor.state.seen.suspect_connections(executor.clock.monotonic())
        response = await _repeat(executor, request)
        was_sent_before = True
        contradictions = find_contradictions(request.items, response.outputs)
    outputs = dict(response.outputs)
    unverified: set[str] = set()
    not_attempted: list[str] = []
    unknown: list[str] = []
    # An output under an unknown key may belong to any item.
    has_unknown_keys = not {item.idempotency_key for item in request.items}.issuperset(outputs)
    has_stopped = False
    for item in request.items:
        key = item.idempotency_key
        if key not in outputs:
            (not_attempted if has_stopped and not has_unknown_keys else unknown).append(key)
            continue
        error = _error_in(item, outputs[key])
        if error is None:
            continue
        applied = Applied.NO
        if was_sent_before:
            applied, success = await _verify(executor, item, error)
            if success is not None:
                outputs[key] = Raw(success)
        if applied is Applied.NO:
            has_stopped = True  # every attempt stopped here
        elif applied is Applied.UNKNOWN:
            unverified.add(key)
    readers: dict[str, OutputReader | None] = {
        item.idempotency_key: ItemReader(
            item.idempotency_key,
            item.type,
            contradictions.get(item.idempotency_key),
            outcome_unknown=item.idempotency_key in unverified,
        )
        for item in request.items
    }
    found = {
        key: ReceivedOutput(
            redact_failed_output(raw, readers.get(key), executor.redactor), readers.get(key)
        )
        for key, raw in outputs.items()
    }
    return BulkResponse(
        status=response.status,
        outputs={**found},
        not_attempted=tuple(not_attempted),
        unknown=tuple(unknown),
    )


async def _repeat(executor: Executor, request: BulkRequest) -> BulkReply:
    """Send the calls again on a new connection."""
    try:
        response, _ = await executor.send_items(
            _api.BULK, request.body, items=len(request.items), needs_new_connection=True
        )
    except PrefactorHttpError as error:
        error.outcome_unknown = True  # the first response cannot be trusted
        raise
    return response


def _error_in(item: BulkItem, raw: Raw) -> PrefactorApiError | None:
    try:
        ReceivedOutput(raw, ItemReader(item.idempotency_key, item.type)).decode()
    except PrefactorApiError as error:
        return error.with_traceback(None)
    except PrefactorResponseContractError:
        pass  # raised when the caller decodes the output
    return None


async def _verify(
    executor: Executor, item: BulkItem, error: PrefactorApiError
) -> tuple[Applied, bytes | None]:
    """Find out whether an earlier attempt has applied a refused call."""
    if is_transient_http_error(error):
        return Applied.UNKNOWN, None
    operation = _api.BY_BULK_TYPE.get(item.type)
    fields = msgspec.json.decode(encode_json(vars(item)), type=dict[str, Any])
    if operation is None or not may_reconcile(operation, fields, error):
        return (Applied.UNKNOWN if may_follow_own_success(item.type, error) else Applied.NO), None

    async def read(
        reading: Operation[Any], resource_id: str | None, params: Mapping[str, str] | None
    ) -> Any:
        if params is None:
            return await executor.send(reading, None, resource_id)
        return await executor.read(reading, params, resource_id)

    resource_id = fields.get(operation.path_field or "")
    instance_id = executor.span_instances.get(resource_id)
    try:
        found = await reconcile(read, operation, fields, resource_id, instance_id)
    except (TypeError, ValueError):  # not a valid id for a read
        return Applied.UNKNOWN, None
    return found.applied, encode_success(found.result) if found.applied is Applied.YES else None
