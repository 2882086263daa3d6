"""Decodes the output of one item of a bulk request as the response to its call (contract §9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import Raw, Struct

from prefactor_http import _api
from prefactor_http._http.codec import (
    DECODE_ERRORS,
    ERROR_BY_STATUS,
    GET,
    IDEMPOTENCY_IN_PROGRESS,
    snippet,
    truncate,
)
from prefactor_http._http.identity import contradiction
from prefactor_http._http.operation import Operation
from prefactor_http._http.redaction import Redactor
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorHttpError,
    PrefactorResponseContractError,
)
from prefactor_http.models.agent_span import AgentSpanReply
from prefactor_http.models.bulk import BulkItem
from prefactor_http.models.bulk_output import BulkOutput, OutputReader, ReceivedOutput

# The error of an item arrives in a response with status 200. It has the code of the error that a
# direct call would get, but not its status (contract §3).
_STATUS_BY_CODE = {
    "bad_request": 400,
    "bad_authtoken": 401,
    "forbidden": 403,
    "not_found": 404,
    "invalid_action": 409,
    "idempotency_conflict": 409,
    IDEMPOTENCY_IN_PROGRESS: 409,
    "validation_errors": 422,
    "rate_limited": 429,
    "internal_server_error": 500,
    "service_unavailable": 503,
}
_OK = 200
_UNKNOWN_CODE = "unknown"
_NOT_FOUND, _CONFLICT = 404, 409
_IDEMPOTENCY_CONFLICT = "idempotency_conflict"
_NAME_FIELDS = frozenset({"id", "external_identifier"})
_NO_REDACTOR = Redactor()


class ItemReader:
    """Decodes the output of an item.

    Args:
        key: Idempotency key of the item.
        type: Its call, such as ``agent_instances/register``.
        contradiction: How the response contradicts the call, if it does.
        redactor: Removes the token from errors. A reader that callers can keep has none, so that it
            can be pickled; its outputs are redacted already.
        outcome_unknown: Whether the call may have been applied although the output is an error.
    """

    def __init__(
        self,
        key: str,
        type: str,
        contradiction: str | None = None,
        redactor: Redactor = _NO_REDACTOR,
        *,
        outcome_unknown: bool = False,
    ) -> None:
        self._key = key
        self._type = type
        self._contradiction = contradiction
        self._redactor = redactor
        self._outcome_unknown = outcome_unknown

    def __call__(self, output: BulkOutput) -> Any:
        """Decode the output.

        Returns:
            The result of the call, for a span the span itself; the output as a dict if the call is
            unknown.

        Raises:
            PrefactorApiError: The call failed; the class is that of the direct call.
            PrefactorResponseContractError: The output breaks the API's contract.
        """
        # The control signal of a span is in `output.control`.
        return resource_of(self.result_of(output))

    def result_of(self, output: BulkOutput) -> Any:
        """Decode the output.

        Returns:
            The result of the operation, for a span with its control signal; the output as a dict if
            the call is unknown.

        Raises:
            PrefactorApiError: The call failed; the class is that of the direct call.
            PrefactorResponseContractError: The output breaks the API's contract.
        """
        # Looked up here, because outputs can be pickled and operations cannot.
        operation = _api.BY_BULK_TYPE.get(self._type)
        problem = self._contradiction
        try:
            if output.failed:
                raise self._error(output)
            if problem is None:
                return output.fields if operation is None else _decode(operation, output.raw)
        except PrefactorResponseContractError as exc:
            problem = str(exc)
        error = PrefactorResponseContractError(
            f"{self._type}: {truncate(self._redactor.text(problem))}",
            status_code=_OK,
            body_snippet=snippet(output.raw, self._redactor),
        )
        is_write = operation is None or operation.method != GET
        describe_item_error(error, self._key, 1, outcome_unknown=is_write)
        raise error

    def _error(self, output: BulkOutput) -> PrefactorApiError:
        code = output.code or _UNKNOWN_CODE
        status = _STATUS_BY_CODE.get(code, _OK)
        redact = self._redactor.text
        errors = self._redactor.json(output.errors)
        error = ERROR_BY_STATUS.get(status, PrefactorApiError)(
            truncate(redact(output.message or f"{self._type}: {code}")),
            truncate(redact(code)),
            status,
            cast("dict[str, Any]", errors) if isinstance(errors, dict) else None,
        )
        error.from_api = output.code is not None
        # The API rolls back any other failed item.
        unknown = code == IDEMPOTENCY_IN_PROGRESS or self._outcome_unknown
        describe_item_error(error, self._key, 1, outcome_unknown=unknown)
        return error


def describe_item_error(
    error: PrefactorHttpError, key: str | None, attempts: int, *, outcome_unknown: bool
) -> None:
    """Set the attributes that the error of a direct call has on the error of an item."""
    error.method = _api.BULK.method
    error.path = _api.BULK.path_for(None)
    error.attempts = attempts
    error.idempotency_key = key
    error.outcome_unknown = outcome_unknown
    if hasattr(error, "__notes__"):  # replaces those of the whole request
        unknown = ": it may have succeeded on the server" if outcome_unknown else ""
        error.__notes__ = [f"{error.method} {error.path}, {attempts} attempt(s){unknown}"]


def may_follow_own_success(type: str, error: PrefactorApiError) -> bool:
    """Whether an earlier success of the same item can be the cause of a refusal."""
    if error.status_code == _CONFLICT:
        return error.code != _IDEMPOTENCY_CONFLICT
    if error.status_code == _NOT_FOUND:
        return type.endswith("/delete")
    nested = error.errors.get("details")
    fields = {*error.errors, *(cast("dict[str, Any]", nested) if isinstance(nested, dict) else ())}
    return any(field.removeprefix("details.") in _NAME_FIELDS for field in fields)


def resource_of(result: object) -> object:
    """Return the resource in the result of an operation; a span's result also has a signal."""
    return result.details if isinstance(result, AgentSpanReply) else result


def encode_success(result: object) -> bytes:
    """Encode a result as the output of a successful item."""
    return b'{"status":"success","details":%b}' % msgspec.json.encode(resource_of(result))


def redact_output(raw: bytes, redactor: Redactor) -> bytes:
    """Remove the token from an output. Only for outputs that are errors: data must not change."""
    try:
        value = msgspec.json.decode(raw)
    except DECODE_ERRORS:
        return redactor.source(raw.decode(errors="replace")).encode()
    without = redactor.json(value)
    return raw if without == value else msgspec.json.encode(without)


def redact_failed_output(raw: Raw, reader: OutputReader | None, redactor: Redactor) -> Raw:
    """Remove the token from an output, unless it can be decoded into a result."""
    own = bytes(raw)
    text = own.decode(errors="replace")
    if redactor.source(text) == text:
        return raw
    with suppress(PrefactorHttpError):
        ReceivedOutput(raw, reader).decode()
        return raw  # data is not changed
    return Raw(redact_output(own, redactor))


class _Details(Struct):
    id: Any = None
    external_identifier: Any = None
    agent_instance_id: Any = None
    status: Any = None


class _Success(Struct, tag_field="status", tag="success"):
    details: _Details


_read_details = msgspec.json.Decoder(_Success).decode


def find_contradictions(items: Iterable[BulkItem], outputs: Mapping[str, Raw]) -> dict[str, str]:
    """Find successful outputs of a bulk request that are about another resource.

    Args:
        items: The items of the request.
        outputs: Encoded outputs by idempotency key.

    Returns:
        The contradictions, by key.
    """
    found: dict[str, str] = {}
    creations: list[Creation] = []
    for item in items:
        key = item.idempotency_key
        operation = _api.BY_BULK_TYPE.get(item.type)
        if operation is None:
            continue
        sent = operation.sent_by_item(vars(item))
        details = _details_in(outputs.get(key))
        problem = contradiction(sent, details, operation.states_before)
        if problem is not None:
            found[key] = problem
        if creates(operation):
            name = sent.external_identifier
            creations.append(Creation(key, item.type, sent.id, name, details))
    return {key: text for key, text in find_swapped(creations).items() if key in outputs} | found


def _details_in(raw: Raw | None) -> _Details | None:
    try:
        return None if raw is None else _read_details(raw).details
    except DECODE_ERRORS:
        return None  # an error or a list; decoding it reports anything else


def creates(operation: Operation[Any]) -> bool:
    """Whether the operation creates a resource."""
    reconciliation = operation.reconciliation
    return reconciliation is not None and reconciliation.creates


class Creation(NamedTuple):
    """An item that creates a resource.

    Attributes:
        key: Its idempotency key.
        type: Its call.
        id: The id that it chose, if any.
        name: The external identifier that it chose, if any.
        resource: The resource in its output; None if it was no success.
    """

    key: str
    type: str
    id: str | None
    name: str | None
    resource: Any = None


def find_swapped(creations: Sequence[Creation]) -> dict[str, str]:
    """Find new resources in one response that cannot belong to their items.

    An output belongs to another item if it has the id or name that the other item chose. Two items
    cannot create the same resource, unless they have the same name.

    Args:
        creations: All items of the request that create a resource.

    Returns:
        The problems, by key.
    """
    owners = {(each.type, each.id): each.key for each in creations if each.id is not None}
    names = {(each.type, each.name): each.key for each in creations if each.name is not None}
    by_id: dict[tuple[str, str], list[Creation]] = {}
    found: dict[str, str] = {}
    for each in creations:
        received = getattr(each.resource, "id", None)
        if not isinstance(received, str):
            continue
        by_id.setdefault((each.type, received), []).append(each)
        owner = owners.get((each.type, received), each.key)
        name = getattr(each.resource, "external_identifier", None)
        if each.name is None and isinstance(name, str) and owner == each.key:
            owner = names.get((each.type, name), each.key)
        if owner != each.key:
            problem = f"the response has {received!r} for {each.key}, which belongs to {owner}"
            found |= {each.key: problem, owner: problem}
    for (_, received), sharing in by_id.items():
        chosen = {each.name for each in sharing}
        if len(sharing) > 1 and (len(chosen) > 1 or None in chosen):
            named = ", ".join(each.key if each.name is None else each.name for each in sharing)
            problem = f"the response has the same id {received!r} for new resources {named}"
            found |= {each.key: problem for each in sharing}
    return found


def _decode(operation: Operation[Any], raw: bytes) -> object:
    try:
        return operation.decode(raw)
    except DECODE_ERRORS as exc:
        problem = f"the output breaks the API's contract: {exc}"
    raise PrefactorResponseContractError(problem)
