"""What the response to one request of a batch says about its items, matched by key."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from prefactor_http import _api
from prefactor_http._bulk.batch_item import BatchItem
from prefactor_http._bulk.operation import BatchResponse, RegisterSuccess
from prefactor_http._bulk.output import (
    Creation,
    ItemReader,
    creates,
    find_swapped,
    redact_output,
    resource_of,
)
from prefactor_http._http.identity import Sent, contradiction
from prefactor_http._http.operation import Operation
from prefactor_http._http.redaction import Redactor
from prefactor_http.exceptions import PrefactorHttpError
from prefactor_http.models.bulk_output import ReceivedOutput

Success = tuple[BatchItem, object, bytes | None]
"""An item that was applied, the result that its direct call would return, and its output.

The output is None if the result was decoded from the response as a whole.
"""


class FailedItem(Struct):
    """An item whose output is not a success.

    Attributes:
        item: The item.
        error: The API's error, or why the output cannot be decoded.
        raw: The output.
    """

    item: BatchItem
    error: PrefactorHttpError
    raw: bytes


class ChunkResult(Struct):
    """What a response says about the items of a chunk.

    Attributes:
        ok: The items that were applied.
        failed: Items that were refused, or whose output cannot be decoded, in order.
        contradicted: Items whose output is about another resource, and the problem.
        not_attempted: Items without an output behind the item where the API stopped, in order.
        missing: Items without an output for no known reason.
    """

    ok: list[Success]
    failed: list[FailedItem]
    contradicted: list[tuple[BatchItem, str]]
    not_attempted: list[BatchItem]
    missing: list[BatchItem]


def match_outputs(
    items: list[BatchItem], response: BatchResponse, redactor: Redactor
) -> ChunkResult:
    """Match the outputs of a response with the items of its request."""
    result = ChunkResult([], [], [], [], [])
    if not response.registers:
        found = {
            item.key: _read(item, response.outputs.get(item.key), redactor, result)
            for item in items
        }
        found = {key: resource for key, resource in found.items() if resource is not None}
        _check_identity(items, found, result)
        _classify_missing(items, response, result)
        return result
    ok = result.ok
    register_output = response.registers.get
    ids: set[str] = set()
    is_suspicious = False
    for item in items:
        key = item.key
        output = register_output(key)
        if type(output) is not RegisterSuccess:
            _read(item, response.outputs.get(key), redactor, result)
            continue
        instance = output.details
        name, own_id = item.external_identifier, item.id
        if (name is not None and name != instance.external_identifier) or (
            own_id is not None and own_id != instance.id
        ):
            is_suspicious = True
        ids.add(instance.id)
        ok.append((item, instance, None))
    if is_suspicious or len(ids) < len(ok):
        _check_identity(items, {item.key: resource for item, resource, _ in ok}, result)
    _classify_missing(items, response, result)
    return result


def _read(
    item: BatchItem, raw: Raw | None, redactor: Redactor, result: ChunkResult
) -> object | None:
    """Add the output of any call to the result, and return the resource if it is a success."""
    if raw is None:
        result.not_attempted.append(item)
        return None
    reader = ItemReader(item.key, item.type, redactor=redactor)
    own = bytes(raw)
    try:
        own_result = reader.result_of(ReceivedOutput(own))
    except PrefactorHttpError as exc:
        failed = FailedItem(item, exc.with_traceback(None), redact_output(own, redactor))
        result.failed.append(failed)
        return None
    result.ok.append((item, own_result, own))
    return resource_of(own_result)


def _classify_missing(items: list[BatchItem], response: BatchResponse, result: ChunkResult) -> None:
    """Separate the items that the API did not attempt from those whose output is lost.

    The API stops at the first item that it refuses. An output under a key that was not sent may
    belong to any item.
    """
    if not result.not_attempted:
        return
    keys = {item.key for item in items}
    first = result.failed[0].item if result.failed else None
    if first is None or not keys.issuperset(response.outputs):
        result.missing, result.not_attempted = result.not_attempted, []
        return
    before = {item.key for item in items[: items.index(first)]}
    result.missing = [item for item in result.not_attempted if item.key in before]
    result.not_attempted = [item for item in result.not_attempted if item.key not in before]


def _check_identity(items: list[BatchItem], found: dict[str, Any], result: ChunkResult) -> None:
    """Move items from `ok` to `contradicted` if their output is about another resource.

    Args:
        items: The items of the request.
        found: The resources of those that are ok, by key.
        result: The result to correct.
    """
    creations: list[Creation] = []
    problems: dict[str, str] = {}
    for item in items:
        operation = _api.BY_BULK_TYPE.get(item.type)
        if operation is None:
            continue
        resource = found.get(item.key)
        problem = _contradiction(item, operation, resource)
        if problem is not None:
            problems[item.key] = problem
        if creates(operation):
            name = item.external_identifier
            creations.append(Creation(item.key, item.type, item.id, name, resource))
    problems = find_swapped(creations) | problems
    if problems:
        result.contradicted = [
            (item, problems[item.key])
            for item in items
            if item.key in problems and item.key in found
        ]
        result.ok = [success for success in result.ok if success[0].key not in problems]


def _contradiction(item: BatchItem, operation: Operation[Any], resource: object) -> str | None:
    sent = Sent(item.id, item.external_identifier, item.agent_instance_id)
    problem = contradiction(sent, resource, operation.states_before)
    if problem is None or not operation.states_before:
        return problem
    # A state before the call is valid if the call asked for it. Its fields are decoded only now.
    return contradiction(operation.sent_by_item(item.fields), resource, operation.states_before)
