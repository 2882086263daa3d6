"""The state of a server: one account, with an agent that can register instances right away."""

from __future__ import annotations

from prefactor_http.testing.resources.account import Account
from prefactor_http.testing.resources.action import Context
from prefactor_http.testing.resources.agents import add_agent
from prefactor_http.testing.resources.deployments import Deployments
from prefactor_http.testing.resources.environments import add_environment
from prefactor_http.testing.resources.response import JsonObject
from prefactor_http.testing.resources.tokens import Token, TokenRing
from prefactor_http.testing.resources.versions import Versions


class ServerState:
    """The account, its tokens and its indexes.

    Attributes:
        account: The resources.
        tokens: The API tokens.
        environment: The environment that exists from the start.
        agent: The agent that exists from the start.
        deployment: The deployment of that agent in that environment.
    """

    def __init__(
        self, seed: int, *, close_spans_on_terminate: bool, refuse_version_clashes: bool
    ) -> None:
        self.account: Account = Account(seed, close_spans_on_terminate=close_spans_on_terminate)
        self.tokens: TokenRing = TokenRing(self.account)
        self._versions = Versions(self.account, refuse_clashes=refuse_version_clashes)
        self._deployments = Deployments(self.account)
        self.environment: JsonObject = add_environment(self.account, "Local")
        self.agent: JsonObject = add_agent(self.account, "Local agent")
        self.deployment: JsonObject = self._deployments.find_or_create(
            self.agent["id"], self.environment["id"]
        )
        self.account.open()

    def context(self, token: Token) -> Context:
        """Return what the actions of a request work with."""
        return Context(self.account, self._versions, self._deployments, self.tokens, token)
