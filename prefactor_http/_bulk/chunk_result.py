"""What the response to one request of a batch says about its items, matched by key."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from prefactor_http import _api
from prefactor_http._bulk.operation import BatchReply, Registered
from prefactor_http._bulk.outcome import Entry, Outcome, State
from prefactor_http._bulk.output import Creation, ItemReader, creates, mixed_up, redacted
from prefactor_http._http.identity import Sent, contradiction
from prefactor_http._http.operation import Operation
from prefactor_http._http.redaction import Redactor
from prefactor_http.exceptions import PrefactorHttpError
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.agent_span import AgentSpan
from prefactor_http.models.bulk_output import ReceivedOutput


class ItemError(Struct):
    """An item whose output is not a success.

    Attributes:
        entry: The item.
        error: The refusal, or why the output cannot be read.
        raw: The output.
    """

    entry: Entry
    error: PrefactorHttpError
    raw: bytes


class ChunkResult(Struct):
    """What a response says about the items of a chunk.

    Attributes:
        ok: Outcomes of the items that were applied.
        errors: Items that were refused, or whose output cannot be read, in order.
        contradicted: Items whose output is about another resource, and the problem.
        rest: Items without an output that the API did not reach, in order.
        missing: Items without an output although nothing had stopped the API before them.
        spans: Spans in the outputs.
    """

    ok: list[Outcome]
    errors: list[ItemError]
    contradicted: list[tuple[Entry, str]]
    rest: list[Entry]
    missing: list[Entry]
    spans: list[AgentSpan]


def parse(entries: list[Entry], reply: BatchReply, redactor: Redactor) -> ChunkResult:
    """Match the outputs of a response with the items of its request.

    Args:
        entries: The items.
        reply: The response.
        redactor: Removes the token from errors, and from the outputs that led to them.
    """
    result = ChunkResult([], [], [], [], [], [])
    if not reply.registers:
        found = {
            entry.key: _read(entry, reply.outputs.get(entry.key), redactor, result)
            for entry in entries
        }
        found = {key: resource for key, resource in found.items() if resource is not None}
        _check_identity(entries, found, result)
        _sort_out_missing(entries, reply, result)
        return result
    ok, is_ok = result.ok, State.OK
    registered = reply.registers.get
    ids: set[str] = set()
    is_suspicious = False
    for entry in entries:
        key = entry.key
        output = registered(key)
        if type(output) is not Registered:
            _read(entry, reply.outputs.get(key), redactor, result)
            continue
        instance = output.details
        name, own_id = entry.external_identifier, entry.id
        if (name is not None and name != instance.external_identifier) or (
            own_id is not None and own_id != instance.id
        ):
            is_suspicious = True
        ids.add(instance.id)
        ok.append(
            Outcome(
                index=entry.index,
                idempotency_key=key,
                type=entry.type,
                state=is_ok,
                instance=instance,
            )
        )
    if is_suspicious or len(ids) < len(ok):
        _check_identity(entries, {str(o.idempotency_key): o.instance for o in ok}, result)
    _sort_out_missing(entries, reply, result)
    return result


def _read(entry: Entry, raw: Raw | None, redactor: Redactor, result: ChunkResult) -> object | None:
    """Read an output of any call, and return the resource if it is a success."""
    if raw is None:
        result.rest.append(entry)
        return None
    reader = ItemReader(entry.key, entry.type, redactor=redactor)
    own = bytes(raw)
    try:
        resource: object = ReceivedOutput(own, reader).decode()
    except PrefactorHttpError as exc:
        error = ItemError(entry, exc.with_traceback(None), redacted(own, redactor))
        result.errors.append(error)
        return None
    result.ok.append(
        Outcome(
            index=entry.index,
            idempotency_key=entry.key,
            type=entry.type,
            state=State.OK,
            instance=resource if isinstance(resource, AgentInstance) else None,
            raw=own,
        )
    )
    if isinstance(resource, AgentSpan):
        result.spans.append(resource)
    return resource


def _sort_out_missing(entries: list[Entry], reply: BatchReply, result: ChunkResult) -> None:
    """Tell the items that the API did not reach from those whose output is lost.

    The API stops at the first item that it refuses. An output under a key that was not sent may be
    that of any item.
    """
    if not result.rest:
        return
    keys = {entry.key for entry in entries}
    first = result.errors[0].entry if result.errors else None
    if first is None or not keys.issuperset(reply.outputs):
        result.missing, result.rest = result.rest, []
        return
    before = {entry.key for entry in entries[: entries.index(first)]}
    result.missing = [entry for entry in result.rest if entry.key in before]
    result.rest = [entry for entry in result.rest if entry.key not in before]


def _check_identity(entries: list[Entry], found: dict[str, Any], result: ChunkResult) -> None:
    """Take the items out of ``ok`` whose output is about another resource.

    Args:
        entries: The items.
        found: The resources of those that are ok, by key.
        result: The result.
    """
    creations: list[Creation] = []
    problems: dict[str, str] = {}
    for entry in entries:
        operation = _api.BY_BULK_TYPE.get(entry.type)
        if operation is None:
            continue
        resource = found.get(entry.key)
        problem = _contradiction(entry, operation, resource)
        if problem is not None:
            problems[entry.key] = problem
        if creates(operation):
            name = entry.external_identifier
            creations.append(Creation(entry.key, entry.type, entry.id, name, resource))
    problems = mixed_up(creations) | problems
    if problems:
        result.contradicted = [
            (entry, problems[entry.key])
            for entry in entries
            if entry.key in problems and entry.key in found
        ]
        result.ok = [o for o in result.ok if o.idempotency_key not in problems]


def _contradiction(entry: Entry, operation: Operation[Any], resource: object) -> str | None:
    sent = Sent(entry.id, entry.external_identifier, entry.agent_instance_id)
    problem = contradiction(sent, resource, operation.states_before)
    if problem is None or not operation.states_before:
        return problem
    # A state before the call is fine if the call has asked for it: only now is it worth a look.
    return contradiction(operation.sent_by_item(entry.fields), resource, operation.states_before)
