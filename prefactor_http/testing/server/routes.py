"""The routes of the API, one line per action."""

from __future__ import annotations

from functools import partial
from urllib.parse import unquote

from prefactor_http.testing.resources import accounts, agents, api_tokens, environments
from prefactor_http.testing.resources import agent_deployments as deployments
from prefactor_http.testing.resources import agent_instances as instances
from prefactor_http.testing.resources import agent_spans as spans
from prefactor_http.testing.resources import agent_versions as versions
from prefactor_http.testing.resources.action import Action
from prefactor_http.testing.server import services

PREFIX = "/api/v1/"
BULK = "bulk.execute"

_write = partial(Action, writes=True)
_instance = partial(Action, id_field="agent_instance_id")
_instance_write = partial(_instance, writes=True)
_agent = partial(Action, id_field="agent_id")
_agent_write = partial(_agent, writes=True)
_environment = partial(Action, id_field="environment_id")
_deployment = partial(Action, id_field="agent_deployment_id")
_account = partial(Action, id_field="account_id")
_list = partial(Action, account_only=True)
_admin_write = partial(_list, writes=True)
_token_write = partial(_admin_write, id_field="api_token_id")

ROUTES: dict[tuple[str, str], Action] = {
    ("GET", "ping"): Action("ping", services.ping),
    ("POST", "pfid/generate"): _write("pfid.generate", services.generate_ids),
    ("POST", "agent_instance/register"): _write("agent_instances.register", instances.register),
    ("POST", "agent_instance/{id}/start"): _instance_write(
        "agent_instances.start", instances.start
    ),
    ("POST", "agent_instance/{id}/finish"): _instance_write(
        "agent_instances.finish", instances.finish
    ),
    ("POST", "agent_instance/{id}/terminate"): _instance_write(
        "agent_instances.terminate", instances.terminate, account_only=True
    ),
    ("POST", "agent_instance/{id}/record_quality"): _instance_write(
        "agent_instances.record_quality", instances.record_quality
    ),
    ("PUT", "agent_instance/{id}"): _instance_write(
        "agent_instances.update", instances.replace_quality, wraps=True, account_only=True
    ),
    ("GET", "agent_instance/{id}"): _instance("agent_instances.get", instances.show),
    ("GET", "agent_instance/{id}/agent_context"): _instance(
        "agent_instances.agent_context", instances.agent_context
    ),
    ("GET", "agent_instance"): _list("agent_instances.list", instances.list_instances),
    ("POST", "agent_spans"): _write("agent_spans.create", spans.create, wraps=True),
    ("POST", "agent_spans/create_test_spans"): _write(
        "agent_spans.create_test_spans", spans.create_test_spans
    ),
    ("POST", "agent_spans/{id}/finish"): _write(
        "agent_spans.finish", spans.finish, id_field="agent_span_id"
    ),
    ("GET", "agent_spans/{id}"): Action("agent_spans.get", spans.show, id_field="agent_span_id"),
    ("GET", "agent_spans"): _list("agent_spans.list", spans.list_spans),
    ("POST", "agent"): _write("agents.create", agents.create, wraps=True),
    ("GET", "agent/{id}"): _agent("agents.get", agents.show),
    ("GET", "agent/show"): Action("agents.show", agents.show),
    ("GET", "agent"): _list("agents.list", agents.list_agents),
    ("PUT", "agent/{id}"): _agent_write("agents.update", agents.update, wraps=True),
    ("POST", "agent/{id}/retire"): _agent_write("agents.retire", agents.retire),
    ("POST", "agent/{id}/reinstate"): _agent_write("agents.reinstate", agents.reinstate),
    ("DELETE", "agent/{id}"): _agent_write("agents.delete", agents.delete),
    ("POST", "environment"): _write("environments.create", environments.create, wraps=True),
    ("GET", "environment/{id}"): _environment("environments.get", environments.show),
    ("GET", "environment"): _list("environments.list", environments.list_environments),
    ("PUT", "environment/{id}"): _environment(
        "environments.update", environments.update, writes=True, wraps=True
    ),
    ("DELETE", "environment/{id}"): _environment(
        "environments.delete", environments.delete, writes=True, account_only=True
    ),
    ("POST", "agent_deployment"): _admin_write(
        "agent_deployments.create", deployments.create, wraps=True
    ),
    ("GET", "agent_deployment/{id}"): _deployment("agent_deployments.get", deployments.show),
    ("GET", "agent_deployment"): _list("agent_deployments.list", deployments.list_deployments),
    ("PUT", "agent_deployment/{id}"): _deployment(
        "agent_deployments.update", deployments.update, writes=True, wraps=True, account_only=True
    ),
    ("DELETE", "agent_deployment/{id}"): _deployment(
        "agent_deployments.delete", deployments.delete, writes=True, account_only=True
    ),
    ("GET", "account/{id}"): _account("accounts.get", accounts.show),
    ("GET", "account"): _list("accounts.list", accounts.list_accounts),
    ("PUT", "account/{id}"): _account(
        "accounts.update", accounts.update, writes=True, wraps=True, account_only=True
    ),
    ("POST", "agent_version"): _admin_write("agent_versions.create", versions.create, wraps=True),
    ("GET", "agent_version/{id}"): Action(
        "agent_versions.get", versions.show, id_field="agent_version_id"
    ),
    ("GET", "agent_version"): _list("agent_versions.list", versions.list_versions),
    ("POST", "agent_schema_version"): _admin_write(
        "agent_schema_versions.create", versions.create_schema, wraps=True
    ),
    ("GET", "agent_schema_version/{id}"): Action(
        "agent_schema_versions.get", versions.show_schema, id_field="agent_schema_version_id"
    ),
    ("GET", "agent_schema_version"): _list("agent_schema_versions.list", versions.list_schemas),
    ("POST", "api_token"): _admin_write("api_tokens.create", api_tokens.create, wraps=True),
    ("POST", "api_token/{id}/suspend"): _token_write("api_tokens.suspend", api_tokens.suspend),
    ("POST", "api_token/{id}/activate"): _token_write("api_tokens.activate", api_tokens.activate),
    ("POST", "api_token/{id}/revoke"): _token_write("api_tokens.revoke", api_tokens.revoke),
    ("DELETE", "api_token/{id}"): _token_write("api_tokens.delete", api_tokens.delete),
    ("GET", "risk_profile"): _list("risk_profiles.list", accounts.list_risk_profiles),
    ("GET", "alerts/count"): Action("alerts.count", accounts.count_alerts, account_only=True),
}
# A bulk item of type `show` is the client's `get`.
BULK_TYPES = {
    action.name.replace(".", "/").replace("/get", "/show"): action for action in ROUTES.values()
}


def is_bulk(method: str, path: str) -> bool:
    """Return whether a request is the bulk request, whose items are separate actions."""
    return method == "POST" and path == PREFIX + "bulk"


def find_action(method: str, path: str) -> tuple[Action, str | None] | None:
    """Return the action of a request and the id in its path, or None for an unknown path.

    Args:
        method: HTTP method in upper case.
        path: The raw path, percent-encoded and without the query.
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
