"""Reconciliation: reads a resource to find out whether an earlier attempt of a write succeeded.

The API stores the responses to writes by idempotency key and repeats them. If the first response
was lost and the API has dropped the key, it executes the second attempt and refuses it: the
instance has already been started, or the id has already been taken. Such an error may be caused by
our own success, so the client reads the resource before it raises.

The read proves success only if the resource is as this write would have left it: the same state,
the same timestamp (at the API's precision) and the same result. If it is in a state that the write
cannot lead to, another write was first and ours was not applied. Everything else leaves the outcome
unknown: a stale replica may still show the previous state, and a later release of the API may use a
state that this client does not know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import Struct

from prefactor_http._http.operation import Applied, Fields, Operation, Reconciliation
from prefactor_http.exceptions import PrefactorApiError, PrefactorHttpError

if TYPE_CHECKING:
    from prefactor_http.models.agent import Agent
    from prefactor_http.models.agent_instance import AgentInstance
    from prefactor_http.models.agent_span import AgentSpan, AgentSpanReply

T = TypeVar("T")

Read = Callable[[Operation[Any], str | None, Mapping[str, str] | None], Awaitable[Any]]

INVALID_ACTION = "invalid_action"

_CONFLICT = 409
_ID_ERROR_STATUSES = frozenset({400, 409, 422})
_CANNOT_READ_STATUSES = frozenset({400, 401, 403, 404, 405, 501})
# The API may truncate text to this length or more; shorter text has to match.
_MIN_TRUNCATED_LENGTH = 100
_PAGE_SIZE = 100
_MAX_PAGES = 20


class Reconciled(Struct, frozen=True):
    """Result of a reconciliation.

    Attributes:
        applied: Whether the write was applied.
        result: The result of the write, if it was applied.
        error: The error of the read, or None.
    """

    applied: Applied
    result: Any = None
    error: PrefactorHttpError | None = None


def may_reconcile(operation: Operation[Any], fields: Fields, error: PrefactorHttpError) -> bool:
    """Whether an error may be caused by the success of an earlier attempt of the same write.

    Args:
        operation: The write.
        fields: The JSON fields that it sent, with or without the ``details`` wrapper.
        error: The error of the last attempt.
    """
    reconciliation = operation.reconciliation
    if reconciliation is None or not isinstance(error, PrefactorApiError):
        return False
    if reconciliation.creates:
        return (
            error.status_code in _ID_ERROR_STATUSES
            and isinstance(_details(fields).get("id"), str)
            and _names_id(error.errors)
        )
    return error.status_code == _CONFLICT and error.code == INVALID_ACTION


async def reconcile(
    read: Read,
    operation: Operation[T],
    fields: Fields,
    resource_id: str | None,
    agent_instance_id: str | None = None,
) -> Reconciled:
    """Read the resource of a write and compare it with what the write sent.

    Args:
        read: Sends a GET: operation, id in the path, query parameters.
        operation: The write. It has a `Reconciliation`.
        fields: The JSON fields that it sent.
        resource_id: Id in the path of the write, or None.
        agent_instance_id: Instance of the span, if the write is about a span and it is known.

    Returns:
        The result. If the read fails, the outcome remains unknown.
    """
    reconciliation = operation.reconciliation
    assert reconciliation is not None  # noqa: S101 # checked by may_reconcile
    details = _details(fields)
    if resource_id is None:
        resource_id = cast("str", details["id"])
    try:
        resource = await _read_resource(
            read, reconciliation, resource_id, agent_instance_id or details.get("agent_instance_id")
        )
    except PrefactorHttpError as error:
        return Reconciled(Applied.UNKNOWN, error=error)
    applied = reconciliation.was_applied(details, resource)
    return Reconciled(applied, resource if applied is Applied.YES else None)


async def _read_resource(
    read: Read, reconciliation: Reconciliation[T], resource_id: str, agent_instance_id: object
) -> T:
    try:
        return cast("T", await read(reconciliation.read, resource_id, None))
    except PrefactorApiError as error:
        listing = reconciliation.fallback
        if listing is None or not isinstance(agent_instance_id, str):
            raise
        if error.status_code not in _CANNOT_READ_STATUSES:
            raise
        span = await _find_span(read, listing, resource_id, agent_instance_id)
        if span is None:
            raise
    return reconciliation.read.result_of(span)


async def _find_span(
    read: Read, listing: Operation[Any], span_id: str, agent_instance_id: str
) -> AgentSpan | None:
    offset = 0
    for _ in range(_MAX_PAGES):
        params = {
            "agent_instance_id": agent_instance_id,
            "pagination[offset]": str(offset),
            "pagination[page_size]": str(_PAGE_SIZE),
        }
        page = await read(listing, None, params)
        for span in page:
            if span.id == span_id:
                return cast("AgentSpan", span)
        following = page.pagination.next_page_offset if page.pagination is not None else None
        if following is None or following <= offset:
            return None
        offset = following
    return None


# Comparisons. Each gets the JSON fields that were sent, without the ``details`` wrapper.


def was_registered(sent: Fields, instance: AgentInstance) -> Applied:
    return _all(_same_text(sent.get("external_identifier"), instance.external_identifier))


def was_started(sent: Fields, instance: AgentInstance) -> Applied:
    if instance.status in {"active", "complete", "failed", "terminated"}:
        return _all(_same_timestamp(sent.get("timestamp"), instance.started_at))
    # A cancelled instance never started. `pending` contradicts the error, so the read is stale.
    return Applied.NO if instance.status == "cancelled" else Applied.UNKNOWN


def was_finished(sent: Fields, instance: AgentInstance) -> Applied:
    if instance.status == (sent.get("status") or "complete"):
        return _all(_same_timestamp(sent.get("timestamp"), instance.finished_at))
    return _other_status(instance.status)


def was_terminated(sent: Fields, instance: AgentInstance) -> Applied:
    if instance.status == "terminated":
        return _all(_same_text(sent.get("reason"), instance.termination_reason))
    return _other_status(instance.status)


def was_quality_recorded(sent: Fields, instance: AgentInstance) -> Applied:
    """Compare a quality payload with what is recorded, to avoid recording it again."""
    recorded, payload = instance.quality_payloads, sent.get("payload")
    if recorded is None:
        return Applied.UNKNOWN
    if payload is None:
        return _all(sent.get("name") not in recorded)
    return _all(_same_json(payload, recorded.get(str(sent.get("name")))))


def was_created(sent: Fields, response: AgentSpanReply) -> Applied:
    span = response.details
    return _all(
        _same_text(sent.get("agent_instance_id"), span.agent_instance_id)
        and _same_text(sent.get("schema_name"), span.schema_name)
    )


def was_span_finished(sent: Fields, response: AgentSpanReply) -> Applied:
    span = response.details
    if span.status == (sent.get("status") or "complete"):
        return _all(
            _same_timestamp(sent.get("timestamp"), span.finished_at)
            and (bool(sent.get("sensitive_encoding")) or _same_result(sent, span))
        )
    return _other_status(span.status)


def was_agent_created(sent: Fields, agent: Agent) -> Applied:
    return _all(
        _same_text(sent.get("name"), agent.name)
        and _same_text(sent.get("external_identifier"), agent.external_identifier)
    )


def was_retired(_: Fields, agent: Agent) -> Applied:
    # Any other state proves nothing: the agent may have been reinstated since.
    return Applied.YES if agent.status == "retired" else Applied.UNKNOWN


def was_reinstated(_: Fields, agent: Agent) -> Applied:
    # `retired` proves nothing: the agent may have been retired again since.
    return Applied.UNKNOWN if agent.status == "retired" else Applied.YES


def _all(same: bool) -> Applied:
    return Applied.YES if same else Applied.NO


def _other_status(status: str) -> Applied:
    """Compare a status that the write does not lead to: only a final one excludes the write."""
    is_final = status in {"complete", "failed", "cancelled", "terminated"}
    return Applied.NO if is_final else Applied.UNKNOWN


def _details(fields: Fields) -> Fields:
    details = fields.get("details")
    return cast("Fields", details) if isinstance(details, Mapping) else fields


def _names_id(errors: object) -> bool:
    """Whether an API error names the field ``id``, at the top level or nested."""
    if not isinstance(errors, Mapping):
        return False
    fields = cast("Fields", errors)
    return "id" in fields or "details.id" in fields or _names_id(fields.get("details"))


def _same_text(sent: object, received: str | None) -> bool:
    """Whether text matches, although the API may trim, truncate or omit it."""
    if not isinstance(sent, str) or received is None:
        return True
    sent, received = sent.strip(), received.strip()
    beginning = received.removesuffix("…").removesuffix("...")
    is_truncated = len(beginning) >= _MIN_TRUNCATED_LENGTH and sent.startswith(beginning)
    return sent == received or is_truncated


def _same_timestamp(sent: object, received: datetime | None) -> bool:
    """Whether a timestamp matches at the API's precision. The API may omit it."""
    if received is None or not isinstance(sent, str):
        return True
    try:
        moment = datetime.fromisoformat(sent)
    except ValueError:
        return True  # text of a bulk item that the API has accepted
    if received.tzinfo is None or moment.tzinfo is None:
        return True
    microseconds = next(
        (step for step in (1_000_000, 1_000) if received.microsecond % step == 0), 1
    )
    step, difference = timedelta(microseconds=microseconds), moment - received
    return timedelta(0) <= difference < step or abs(difference) <= step / 2  # truncated, or rounded


def _same_result(sent: Fields, span: AgentSpan) -> bool:
    result = sent.get("result_payload")
    return not result or not span.result_payload or _same_json(result, span.result_payload)


def _same_json(one: object, other: object) -> bool:
    """Whether two JSON values are equal: 1 equals 1.0, but not true."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        ours, theirs = cast("Fields", one), cast("Fields", other)
        return ours.keys() == theirs.keys() and all(_same_json(ours[k], theirs[k]) for k in ours)
    if isinstance(one, list) and isinstance(other, list):
        mine, yours = cast("list[object]", one), cast("list[object]", other)
        return len(mine) == len(yours) and all(map(_same_json, mine, yours))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
