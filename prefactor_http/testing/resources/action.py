"""An action of the API and the context it runs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prefactor_http.testing.resources.account import Account
from prefactor_http.testing.resources.deployments import Deployments
from prefactor_http.testing.resources.fields import Fields
from prefactor_http.testing.resources.response import Success
from prefactor_http.testing.resources.tokens import Token, TokenRing
from prefactor_http.testing.resources.versions import Versions


@dataclass(slots=True)
class Context:
    """What an action can access.

    Attributes:
        account: The resources.
        versions: Finds agent and schema versions.
        deployments: Finds deployments.
        tokens: The tokens of the account.
        token: The token of the request.
    """

    account: Account
    versions: Versions
    deployments: Deployments
    tokens: TokenRing
    token: Token


@dataclass(frozen=True, slots=True)
class Action:
    """One action of the API, invoked by a single call or by a bulk item.

    Attributes:
        name: Group and verb, such as ``agent_instances.register``; bulk uses a slash.
        run: The function that runs the action.
        writes: Whether it changes the state; only writes have keys and effects.
        id_field: The name of the field that holds the id from the path.
        wraps: Whether its fields are wrapped in ``details``.
        account_only: Whether deployment tokens get a 401.
    """

    name: str
    run: Callable[[Context, Fields], Success]
    writes: bool = False
    id_field: str | None = None
    wraps: bool = False
    account_only: bool = False
