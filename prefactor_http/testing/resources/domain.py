"""What the server is about: an account, with an agent ready to register instances of."""

from __future__ import annotations

from prefactor_http.testing.resources.account import Account
from prefactor_http.testing.resources.action import Context
from prefactor_http.testing.resources.agents import add_agent
from prefactor_http.testing.resources.deployments import Deployments
from prefactor_http.testing.resources.environments import add_environment
from prefactor_http.testing.resources.response import JsonObject
from prefactor_http.testing.resources.tokens import Token, TokenRing
from prefactor_http.testing.resources.versions import Versions


class Domain:
    """The account and all that finds its way in it.

    Attributes:
        account: The state.
        tokens: Who may ask.
        environment: The ready-made environment.
        agent: The ready-made agent.
        deployment: The ready-made deployment of the agent in the environment.
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

    def context(self, token: Token) -> Context:
        """Return what the actions of a request work with."""
        return Context(self.account, self._versions, self._deployments, self.tokens, token)
