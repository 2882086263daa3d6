"""Reads the output of one item of a bulk request as the response to its call (contract §9)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from prefactor_http import _api
from prefactor_http._identity import confirms, contradiction
from prefactor_http._operation import Operation
from prefactor_http._redaction import Redactor
from prefactor_http._wire import (
    ERROR_BY_STATUS,
    GET,
    IDEMPOTENCY_IN_PROGRESS,
    UNREADABLE,
    snippet,
    truncate,
)
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorHttpError,
    PrefactorResponseContractError,
)
from prefactor_http.models.agent_span import AgentSpanReply
from prefactor_http.models.bulk import BulkItem, BulkReply, BulkResponse
from prefactor_http.models.bulk_output import BulkOutput, ReceivedOutput

UNCONFIRMED = "the response is about other items, and shows neither id nor name of this one"

# The error of an item comes in a response of status 200. It has the code, but not the status, of
# the error that a direct call would have got (contract §3).
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
_STATUS_OF_RESPONSE = 200
_UNKNOWN_CODE = "unknown"
_NO_REDACTOR = Redactor()


class ItemReader:
    """Reads the output of an item.

    Args:
        key: Idempotency key of the item.
        type: Its call, such as ``agent_instances/register``.
        contradiction: How the response contradicts the call, where it does.
        is_unknown: Whether an earlier attempt may have applied the item although it has failed.
        redactor: Removes the token from errors. A reader that is kept has none, so that it can be
            pickled: it reads outputs that have been redacted.
    """

    def __init__(
        self,
        key: str,
        type: str,
        contradiction: str | None = None,
        redactor: Redactor = _NO_REDACTOR,
        *,
        is_unknown: bool = False,
    ) -> None:
        self._key = key
        self._type = type
        self._contradiction = contradiction
        self._is_unknown = is_unknown
        self._redactor = redactor

    def __call__(self, output: BulkOutput) -> Any:
        """Read the output.

        Returns:
            The result of the call; the output as a dict where the call is not known here.

        Raises:
            PrefactorApiError: The call failed; the class is that of the direct call.
            PrefactorResponseContractError: The output breaks the API's contract.
        """
        # Looked up, not kept: an output can be pickled, an operation cannot.
        operation = _api.BY_BULK_TYPE.get(self._type)
        problem = self._contradiction
        try:
            if output.failed:
                raise self._error(output)
            if problem is None:
                # The signal beside a span is in `output.control`.
                return output.fields if operation is None else _decode(operation, output.raw)
        except PrefactorResponseContractError as exc:
            problem = str(exc)
        error = PrefactorResponseContractError(
            f"{self._type}: {truncate(self._redactor.text(problem))}",
            status_code=_STATUS_OF_RESPONSE,
            body_snippet=snippet(output.raw, self._redactor),
        )
        is_write = operation is None or operation.method != GET
        describe_item_error(error, self._key, 1, outcome_unknown=is_write)
        raise error

    def _error(self, output: BulkOutput) -> PrefactorApiError:
        code = output.code or _UNKNOWN_CODE
        status = _STATUS_BY_CODE.get(code, _STATUS_OF_RESPONSE)
        redact = self._redactor.text
        errors = self._redactor.json(output.errors)
        error = ERROR_BY_STATUS.get(status, PrefactorApiError)(
            truncate(redact(output.message or f"{self._type}: {code}")),
            truncate(redact(code)),
            status,
            cast("dict[str, Any]", errors) if isinstance(errors, dict) else None,
        )
        error.from_api = output.code is not None
        # Any other failed item was rolled back.
        unknown = self._is_unknown or code == IDEMPOTENCY_IN_PROGRESS
        describe_item_error(error, self._key, 1, outcome_unknown=unknown)
        return error


def describe_item_error(
    error: PrefactorHttpError, key: str | None, attempts: int, *, outcome_unknown: bool
) -> None:
    """Set on the error of an item what callers find on the error of a direct call."""
    error.method = _api.BULK.method
    error.path = _api.BULK.path_for(None)
    error.attempts = attempts
    error.idempotency_key = key
    error.outcome_unknown = outcome_unknown
    if hasattr(error, "__notes__"):  # those of the request as a whole
        unknown = ": it may have succeeded on the server" if outcome_unknown else ""
        error.__notes__ = [f"{error.method} {error.path}, {attempts} attempt(s){unknown}"]


def redacted(raw: bytes, redactor: Redactor) -> bytes:
    """Return an output without the token. For outputs that end in an error: data is not changed."""
    try:
        value = msgspec.json.decode(raw)
    except UNREADABLE:
        return redactor.source(raw.decode(errors="replace")).encode()
    without = redactor.json(value)
    return raw if without == value else msgspec.json.encode(without)


def to_response(  # what is known of the items, one by one
    items: Iterable[BulkItem],
    reply: BulkReply,
    redactor: Redactor,
    contradictions: Mapping[str, str],
    unknown: Collection[str],
    *,
    is_repeated: bool,
) -> BulkResponse:
    """Prepare the response to a bulk request for the caller.

    Args:
        items: What was sent.
        reply: What was received.
        redactor: Removes the token from outputs that cannot be decoded into a result.
        contradictions: How outputs contradict their items; see `contradictions_in`.
        unknown: Keys of the failed items that an earlier attempt may have applied.
        is_repeated: Whether an earlier attempt of the request may have been applied.
    """
    readers = {
        key: ItemReader(key, item.type, contradictions.get(key), is_unknown=key in unknown)
        for key, item in ((item.idempotency_key, item) for item in items)
    }
    outputs: dict[str, BulkOutput] = {
        key: ReceivedOutput(_without_token(raw, readers.get(key), redactor), readers.get(key))
        for key, raw in reply.outputs.items()
    }
    missing = tuple(key for key in readers if key not in outputs)
    # The API stops after a failure, and after nothing else.
    is_stopped = any(_has_failed(output) for output in outputs.values())
    is_unknown = is_repeated or not is_stopped
    return BulkResponse(
        status=reply.status,
        outputs=outputs,
        not_attempted=() if is_unknown else missing,
        unknown=missing if is_unknown else (),
    )


def _has_failed(output: BulkOutput) -> bool:
    try:
        return output.failed
    except PrefactorResponseContractError:
        return False


def _without_token(raw: Raw, reader: ItemReader | None, redactor: Redactor) -> Raw:
    own = bytes(raw)
    text = own.decode(errors="replace")
    if redactor.source(text) == text:
        return raw
    with suppress(PrefactorHttpError):
        ReceivedOutput(raw, reader).decode()
        return raw  # data is not changed
    return Raw(redacted(own, redactor))


class _Details(Struct):
    id: Any = None
    external_identifier: Any = None
    agent_instance_id: Any = None
    status: Any = None


class _Success(Struct, tag_field="status", tag="success"):
    details: _Details


_read_details = msgspec.json.Decoder(_Success).decode


def contradictions_in(items: Iterable[BulkItem], outputs: Mapping[str, Raw]) -> dict[str, str]:
    """Find the successful outputs of a bulk request that are about another resource.

    Args:
        items: What was sent.
        outputs: Encoded outputs by idempotency key.

    Returns:
        How they contradict their items, by key.
    """
    found: dict[str, str] = {}
    created: list[tuple[str, str | None, object]] = []
    unconfirmed: list[str] = []
    for item in items:
        key = item.idempotency_key
        operation = _api.BY_BULK_TYPE.get(item.type)
        if operation is None or key not in outputs:
            continue
        try:
            details = _read_details(outputs[key]).details
        except UNREADABLE:
            continue  # an error or a list; anything else is reported when it is decoded
        sent = operation.sent_by_item(vars(item))
        problem = contradiction(sent, details, operation.states_before)
        if problem is not None:
            found[key] = problem
        elif creates(operation):
            created.append((key, sent.external_identifier, details.id))
            if not confirms(sent, details):
                unconfirmed.append(key)
    found |= shared_ids(created)
    return found and dict.fromkeys(unconfirmed, UNCONFIRMED) | found


def creates(operation: Operation[Any]) -> bool:
    """Whether the operation creates a resource."""
    reconciliation = operation.reconciliation
    return reconciliation is not None and reconciliation.creates


def shared_ids(created: Iterable[tuple[str, str | None, object]]) -> dict[str, str]:
    """Find new resources that share an id although they cannot be the same.

    Args:
        created: Key, external identifier that was sent, and id that was received, of each.

    Returns:
        What is wrong, by key; empty where all ids are distinct.
    """
    by_id: dict[object, list[tuple[str, str | None]]] = {}
    for key, name, received in created:
        by_id.setdefault(received, []).append((key, name))
    found: dict[str, str] = {}
    for received, items in by_id.items():
        names = {name for _, name in items}
        # The same name twice is the same resource. Test servers answer rows without names alike.
        if isinstance(received, str) and len(names) > 1:
            named = ", ".join(key if name is None else repr(name) for key, name in items)
            problem = f"the response has the same id {received!r} for new resources {named}"
            found |= {key: problem for key, _ in items}
    return found


def _decode(operation: Operation[Any], raw: bytes) -> object:
    try:
        result = operation.decode(raw)
    except UNREADABLE as exc:
        problem = f"the output breaks the API's contract: {exc}"
    else:
        return result.details if isinstance(result, AgentSpanReply) else result
    raise PrefactorResponseContractError(problem)
