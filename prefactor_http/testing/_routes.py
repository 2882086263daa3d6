"""The calls that the server knows: the API at a glance."""

from __future__ import annotations

from urllib.parse import unquote

from prefactor_http.testing import _agent_instances as instances
from prefactor_http.testing import _ping
from prefactor_http.testing._action import Action

PREFIX = "/api/v1/"
BULK = "bulk.execute"

_INSTANCE = "agent_instance_id"

ROUTES: dict[tuple[str, str], Action] = {
    ("GET", "ping"): Action("ping", _ping.ping),
    ("POST", "agent_instance/register"): Action(
        "agent_instances.register", instances.register, writes=True
    ),
    ("POST", "agent_instance/{id}/start"): Action(
        "agent_instances.start", instances.start, writes=True, id_field=_INSTANCE
    ),
    ("POST", "agent_instance/{id}/finish"): Action(
        "agent_instances.finish", instances.finish, writes=True, id_field=_INSTANCE
    ),
    ("POST", "agent_instance/{id}/terminate"): Action(
        "agent_instances.terminate",
        instances.terminate,
        writes=True,
        id_field=_INSTANCE,
        account_only=True,
    ),
    ("POST", "agent_instance/{id}/record_quality"): Action(
        "agent_instances.record_quality", instances.record_quality, writes=True, id_field=_INSTANCE
    ),
    ("PUT", "agent_instance/{id}"): Action(
        "agent_instances.update",
        instances.replace_quality,
        writes=True,
        id_field=_INSTANCE,
        wraps=True,
        account_only=True,
    ),
    ("GET", "agent_instance/{id}"): Action(
        "agent_instances.show", instances.show, id_field=_INSTANCE
    ),
    ("GET", "agent_instance/{id}/agent_context"): Action(
        "agent_instances.agent_context", instances.agent_context, id_field=_INSTANCE
    ),
    ("GET", "agent_instance"): Action(
        "agent_instances.list", instances.list_instances, account_only=True
    ),
}
ACTIONS = {action.name: action for action in ROUTES.values()}


def is_bulk(method: str, path: str) -> bool:
    """Tell whether a request is the bulk call, whose items are actions of their own."""
    return method == "POST" and path == PREFIX + "bulk"


def find_action(method: str, path: str) -> tuple[Action, str | None] | None:
    """Return what a request asks for, and the id in its path.

    Args:
        method: Upper case.
        path: As it stands on the wire, with ids percent-encoded, without query.
    """
    if not path.startswith(PREFIX):
        return None
    route = path.removeprefix(PREFIX)
    action = ROUTES.get((method, route))
    if action is not None:
        return action, None
    group, _, rest = route.partition("/")
    resource_id, slash, verb = rest.partition("/")
    action = ROUTES.get((method, f"{group}/{{id}}{slash}{verb}"))
    return None if action is None else (action, unquote(resource_id))
