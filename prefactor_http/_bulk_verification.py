"""Verifies what failed in a repeated bulk request; see `_reconciliation`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from prefactor_http import _api
from prefactor_http._bulk_item import ItemReader
from prefactor_http._encoding import encode_json
from prefactor_http._operation import Operation
from prefactor_http._reconciliation import Applied, may_reconcile, reconcile
from prefactor_http._sender import Sender
from prefactor_http.exceptions import PrefactorApiError, PrefactorResponseContractError
from prefactor_http.models.agent_span import AgentSpanReply
from prefactor_http.models.bulk import BulkItem, BulkReply
from prefactor_http.models.bulk_output import ReceivedOutput


async def verified(
    client: Sender, items: Iterable[BulkItem], reply: BulkReply
) -> tuple[BulkReply, set[str]]:
    """Find out which failed items an earlier attempt of the request has applied.

    Args:
        client: Reads the resources.
        items: What was sent.
        reply: The response to the last attempt.

    Returns:
        The response, in which such items are successes, and the keys of the failed items of which
        it is not known.
    """
    outputs = dict(reply.outputs)
    unknown: set[str] = set()
    for item in items:
        key = item.idempotency_key
        error = _error_of(item, outputs.get(key))
        if error is None:
            continue
        applied, result = await _find_out(client, item, error)
        if applied is Applied.YES:
            outputs[key] = Raw(b'{"status":"success","details":%b}' % msgspec.json.encode(result))
        elif applied is Applied.UNKNOWN:
            unknown.add(key)
    return BulkReply(status=reply.status, outputs=outputs), unknown


def _error_of(item: BulkItem, raw: Raw | None) -> PrefactorApiError | None:
    if raw is None:
        return None
    try:
        ReceivedOutput(raw, ItemReader(item.idempotency_key, item.type)).decode()
    except PrefactorApiError as error:
        return error.with_traceback(None)
    except PrefactorResponseContractError:
        return None  # raised when the caller decodes the output
    return None


async def _find_out(
    client: Sender, item: BulkItem, error: PrefactorApiError
) -> tuple[Applied, Any]:
    operation = _api.BY_BULK_TYPE.get(item.type)
    if operation is None:
        return Applied.UNKNOWN, None
    fields = msgspec.json.decode(encode_json(vars(item)), type=dict[str, Any])
    if not may_reconcile(operation, fields, error):
        return Applied.UNKNOWN, None
    resource_id = fields.get(operation.path_field or "")

    async def read(
        reading: Operation[Any], read_id: str | None, params: Mapping[str, str] | None
    ) -> Any:
        if params is not None:
            return await client.read(reading, params, read_id)
        return await client.send(reading, None, read_id)

    instance_id = client.span_instances.get(resource_id)
    found = await reconcile(read, operation, fields, resource_id, instance_id)
    result = found.result
    return found.applied, result.details if isinstance(result, AgentSpanReply) else result
