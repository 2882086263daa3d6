"""Checks that a successful response answers the call that was made.

A response can belong to another call: a proxy repeats one, a late duplicate arrives on a
kept-alive connection, a server mixes up a batch. Such a response must not count as a success.

Two things can contradict a call. *Identity*: the response names another resource than the call
(ids and external identifiers that the call sent, compared without surrounding blanks, where the
response contains them). *State*: the resource is still in a state that lies before the call, such
as ``pending`` after a start. Later, unknown and missing states are accepted: the API may learn
new ones, and another client may have moved the resource on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from msgspec import Struct


class Sent(Struct, frozen=True, repr_omit_defaults=True, gc=False):
    """What a call sent that its response has to repeat; None where it did not send it.

    Attributes:
        id: Id of the resource: the one in the path, or the one that the caller chose for it.
        external_identifier: Name that the caller chose for a new resource.
        agent_instance_id: Instance of a new span.
        status: State that the call asked for.
    """

    id: str | None = None
    external_identifier: str | None = None
    agent_instance_id: str | None = None
    status: str | None = None


NOTHING_SENT = Sent()


def sent_by_request(request: object, resource_id: str | None) -> Sent:
    """Find what a call's response has to repeat.

    Args:
        request: The body as a Struct; None for a read.
        resource_id: The id in the path, if it has one.
    """
    if resource_id is not None:
        return Sent(id=resource_id, status=_text(getattr(request, "status", None)))
    details = getattr(request, "details", request)
    if isinstance(details, dict):
        return _sent_by_fields(cast("dict[str, Any]", details))
    return Sent(
        id=_text(getattr(details, "id", None)),
        external_identifier=_text(getattr(details, "external_identifier", None)),
        agent_instance_id=_text(getattr(details, "agent_instance_id", None)),
    )


def sent_by_item(fields: Mapping[str, Any], path_field: str | None) -> Sent:
    """Find what the output of a bulk item has to repeat.

    Args:
        fields: The item.
        path_field: Field with the id that the call has in its path when it is made directly.
    """
    if path_field is not None:
        return Sent(id=_text(fields.get(path_field)), status=_text(fields.get("status")))
    details = fields.get("details")  # some SDKs send the fields without this wrapper
    return _sent_by_fields(
        cast("Mapping[str, Any]", details) if isinstance(details, Mapping) else fields
    )


def contradiction(sent: Sent, details: object, states_before: frozenset[str]) -> str | None:
    """Say how a successful response contradicts its call.

    Args:
        sent: What the call sent.
        details: The resource in the response.
        states_before: States that the call moves the resource out of.

    Returns:
        The contradiction in one line, or None where there is none.
    """
    if sent.id is not None:
        received = getattr(details, "id", None)
        if received != sent.id and _differs(sent.id, received):
            return f"the response is about id {received!r}, the call was about {sent.id!r}"
    if sent.external_identifier is not None:
        received = getattr(details, "external_identifier", None)
        if received != sent.external_identifier and _differs(sent.external_identifier, received):
            return (
                f"the response is about {received!r} ({getattr(details, 'id', None)!r}), "
                f"the call was about external_identifier {sent.external_identifier!r}"
            )
    if sent.agent_instance_id is not None:
        received = getattr(details, "agent_instance_id", None)
        if _differs(sent.agent_instance_id, received):
            return (
                f"the response is about a span of instance {received!r}, "
                f"the call was about instance {sent.agent_instance_id!r}"
            )
    if states_before:
        status = getattr(details, "status", None)
        if status in states_before and status != sent.status:
            return f"the response says that {sent.id!r} is still {status}"
    return None


def confirms(sent: Sent, details: object) -> bool:
    """Whether a response without a contradiction repeats what identifies a new resource."""
    return sent.id is not None or (
        sent.external_identifier is not None
        and getattr(details, "external_identifier", None) is not None
    )


def list_contradiction(params: Mapping[str, str], items: Iterable[object]) -> str | None:
    """Say how a page contradicts the ids that its list was filtered by.

    Args:
        params: Query parameters of the call.
        items: Items of the page.

    Returns:
        The contradiction in one line, or None where there is none.
    """
    filters = [(name, value) for name, value in params.items() if name.endswith("_id")]
    for item in items if filters else ():
        for name, value in filters:
            received = getattr(item, name, None)
            if _differs(value, received):
                return f"the response lists an item with {name} {received!r}, asked was {value!r}"
    return None


def _sent_by_fields(fields: Mapping[str, Any]) -> Sent:
    return Sent(
        id=_text(fields.get("id")),
        external_identifier=_text(fields.get("external_identifier")),
        agent_instance_id=_text(fields.get("agent_instance_id")),
    )


def _text(value: object) -> str | None:
    # UNSET and None are not sent; anything else that is no text is refused elsewhere.
    return value if isinstance(value, str) and value and not value.isspace() else None


def _differs(sent: str, received: object) -> bool:
    """Whether both are there and differ in more than surrounding blanks."""
    return isinstance(received, str) and received.strip() != sent.strip()
