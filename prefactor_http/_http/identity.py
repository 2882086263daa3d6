"""Checks that a successful response belongs to its call.

A response may belong to another call: a proxy repeats one, a late duplicate arrives on a kept-alive
connection, or a server mixes up the items of a batch. Such a response must not count as a success.

A response contradicts its call in two cases. *Identity*: it is about another resource. The ids and
external identifiers that the call sent are compared with those in the response, without surrounding
whitespace. *State*: the resource is still in a state from before the call, such as ``pending``
after a start. Later, unknown and missing states are accepted: the API may add states, and another
client may have changed the state since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from msgspec import Struct

from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest


class Sent(Struct, frozen=True, repr_omit_defaults=True, gc=False):
    """Values that a call sent and its response has to repeat; None if the call did not send one.

    Attributes:
        id: Id of the resource, from the path or chosen by the caller.
        external_identifier: The caller's name for a new resource.
        agent_instance_id: Instance of a new span.
        status: The requested state.
    """

    id: str | None = None
    external_identifier: str | None = None
    agent_instance_id: str | None = None
    status: str | None = None


NOTHING_SENT = Sent()


def sent_by_request(request: object, resource_id: str | None) -> Sent:
    """Return what the response to a call has to repeat.

    Args:
        request: The body as a Struct; None for a read.
        resource_id: The id in the path, or None.
    """
    if resource_id is not None:
        return Sent(id=resource_id, status=_text(getattr(request, "status", None)))
    return Sent(*names_in(request))


def names_in(request: object) -> tuple[str | None, str | None, str | None]:
    """Return the id, the external identifier and the instance that a new resource is sent with."""
    if type(request) is RegisterAgentInstanceRequest:  # the most frequent one
        return _text(request.id), _text(request.external_identifier), None
    details = getattr(request, "details", request)
    if isinstance(details, dict):
        return _names_in_fields(cast("dict[str, Any]", details))
    return (
        _text(getattr(details, "id", None)),
        _text(getattr(details, "external_identifier", None)),
        _text(getattr(details, "agent_instance_id", None)),
    )


def sent_by_item(fields: Mapping[str, Any], path_field: str | None) -> Sent:
    """Return what the output of a bulk item has to repeat.

    Args:
        fields: The item.
        path_field: The field with the id that a direct call has in its path, or None.
    """
    if path_field is not None:
        return Sent(id=_text(fields.get(path_field)), status=_text(fields.get("status")))
    details = fields.get("details")  # some SDKs send the fields without this wrapper
    return Sent(
        *_names_in_fields(
            cast("Mapping[str, Any]", details) if isinstance(details, Mapping) else fields
        )
    )


def contradiction(sent: Sent, details: object, states_before: frozenset[str]) -> str | None:
    """Describe how a successful response contradicts its call.

    Args:
        sent: What the call sent.
        details: The resource in the response.
        states_before: States that the resource leaves when the call succeeds.

    Returns:
        The contradiction in one line, or None.
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
    """Whether a response, which does not contradict its call, identifies the new resource."""
    return sent.id is not None or (
        sent.external_identifier is not None
        and getattr(details, "external_identifier", None) is not None
    )


def list_contradiction(params: Mapping[str, str], items: Iterable[object]) -> str | None:
    """Describe how a page contradicts the ids in the filter of its list.

    Args:
        params: Query parameters of the call.
        items: Items of the page.

    Returns:
        The contradiction in one line, or None.
    """
    filters = [(name, value) for name, value in params.items() if name.endswith("_id")]
    for item in items if filters else ():
        for name, value in filters:
            received = getattr(item, name, None)
            if _differs(value, received):
                return f"the response lists an item with {name} {received!r}, expected {value!r}"
    return None


def _names_in_fields(fields: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    return (
        _text(fields.get("id")),
        _text(fields.get("external_identifier")),
        _text(fields.get("agent_instance_id")),
    )


def _text(value: object) -> str | None:
    # UNSET and None are not sent; other types are rejected elsewhere.
    return value if isinstance(value, str) and value and not value.isspace() else None


def _differs(sent: str, received: object) -> bool:
    """Whether the response contains another text; surrounding whitespace does not count."""
    return isinstance(received, str) and received.strip() != sent.strip()
