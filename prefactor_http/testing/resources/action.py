"""An action of the API, and what it works with."""

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
    """What an action works with.

    Attributes:
        account: The state.
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
    """One call of the API, however it comes in.

    Attributes:
        name: Group and verb, such as ``agent_instances.register``; bulk spells it with a slash.
        run: Does it.
        writes: Whether it changes the state, so that keys and effects matter.
        id_field: What the id in its path is called among the fields.
        wraps: Whether its fields stand in ``details``.
        account_only: Whether deployment tokens are turned away with 401.
    """

    name: str
    run: Callable[[Context, Fields], Success]
    writes: bool = False
    id_field: str | None = None
    wraps: bool = False
    account_only: bool = False
