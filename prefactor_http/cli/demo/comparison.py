"""Runs the agents with both clients side by side, each against a server of its own."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import aiohttp
from msgspec import Struct

from prefactor_http import Attempt, HttpClientConfig, PrefactorHttpClient, PrefactorHttpError
from prefactor_http.cli.demo.agents import DemoAgent
from prefactor_http.cli.demo.audit import REGISTER, Audit, CallAudit, Counts
from prefactor_http.cli.demo.plain_client import PlainClient, PlainClientError
from prefactor_http.cli.demo.view import AttemptView, ClientName, View
from prefactor_http.endpoints import AgentInstanceClient
from prefactor_http.models.types import FinishStatus
from prefactor_http.testing import LocalPrefactor

_MAX_RETRIES = 12  # of both clients: the difference is not in their patience
_MAX_DELAY = 1.0
_CLIENT_ERRORS = range(400, 500)
_TOO_MANY_REQUESTS = 429
_MAX_NOTE = 40

T = TypeVar("T")
OnAttempt = Callable[[int, int | None, str | None], None]


class DemoSpeed(Struct, frozen=True):
    """Times of the demo, in seconds.

    Attributes:
        pause: Time between the calls of an agent.
        initial_retry_delay: See `HttpClientConfig`.
        request_timeout: See `HttpClientConfig`.
    """

    pause: float
    initial_retry_delay: float
    request_timeout: float


class _Client(Protocol):
    """What an agent calls."""

    async def register(self, fields: dict[str, Any]) -> str: ...

    async def start(self, instance_id: str) -> None: ...

    async def finish(self, instance_id: str, status: FinishStatus) -> None: ...


class _PackageClient:
    """This package's client."""

    def __init__(self, client: PrefactorHttpClient, on_attempt: OnAttempt) -> None:
        def report(attempt: Attempt) -> None:
            on_attempt(attempt.number, attempt.status, attempt.error)

        self._instances: AgentInstanceClient = client.with_options(
            on_attempt=report
        ).agent_instances

    async def register(self, fields: dict[str, Any]) -> str:
        return (await self._instances.register(**fields)).id

    async def start(self, instance_id: str) -> None:
        await self._instances.start(instance_id)

    async def finish(self, instance_id: str, status: FinishStatus) -> None:
        await self._instances.finish(instance_id, status)


async def compare(
    agents: list[DemoAgent], view: View, speed: DemoSpeed, faults: float, seed: int
) -> dict[ClientName, Counts]:
    """Run the agents with both clients.

    Args:
        agents: The agents.
        view: Shows each attempt.
        speed: Times of the demo.
        faults: Share of attempts that each server makes fail.
        seed: Seed of the faults, the same for both servers.

    Returns:
        The counts of each client.
    """
    async with (
        LocalPrefactor(faults=faults, seed=seed) as plain_api,
        LocalPrefactor(faults=faults, seed=seed) as package_api,
        _plain_clients(plain_api, speed) as new_plain_client,
        _package_clients(package_api, speed) as new_package_client,
        asyncio.TaskGroup() as group,
    ):
        sides = {
            ClientName.PLAIN: (plain_api, Audit(plain_api), new_plain_client),
            ClientName.PACKAGE: (package_api, Audit(package_api), new_package_client),
        }
        view.show_counts({name: audit.counts for name, (_, audit, _) in sides.items()})
        for name, (api, audit, new_client) in sides.items():
            for position, agent in enumerate(agents):
                lane = _Lane(name, agent, api, audit, view, speed.pause)
                run = lane.run(new_client, delay=position * speed.pause / len(agents))
                group.create_task(run)
    for _, audit, _ in sides.values():
        audit.end()
    return {name: audit.counts for name, (_, audit, _) in sides.items()}


@asynccontextmanager
async def _plain_clients(
    api: LocalPrefactor, speed: DemoSpeed
) -> AsyncGenerator[Callable[[OnAttempt], _Client], None]:
    async with aiohttp.ClientSession(
        api.url,
        headers={"Authorization": f"Bearer {api.token}"},
        timeout=aiohttp.ClientTimeout(total=speed.request_timeout),
    ) as session:
        yield lambda on_attempt: PlainClient(
            session, _MAX_RETRIES, speed.initial_retry_delay, _MAX_DELAY, on_attempt
        )


@asynccontextmanager
async def _package_clients(
    api: LocalPrefactor, speed: DemoSpeed
) -> AsyncGenerator[Callable[[OnAttempt], _Client], None]:
    config = HttpClientConfig(
        api.url,
        api.token,
        request_timeout=speed.request_timeout,
        initial_retry_delay=speed.initial_retry_delay,
        max_retry_delay=_MAX_DELAY,
        max_retries=_MAX_RETRIES,
    )
    async with PrefactorHttpClient(config) as client:
        yield lambda on_attempt: _PackageClient(client, on_attempt)


class _Lane:
    """One agent's runs with one client, one after the other."""

    def __init__(
        self,
        name: ClientName,
        agent: DemoAgent,
        api: LocalPrefactor,
        audit: Audit,
        view: View,
        pause: float,
    ) -> None:
        self._name = name
        self._agent = agent
        self._api = api
        self._audit = audit
        self._view = view
        self._pause = pause
        self._call: CallAudit
        self._applied = 0

    async def run(self, new_client: Callable[[OnAttempt], _Client], delay: float) -> None:
        client = new_client(self._on_attempt)
        await asyncio.sleep(delay)
        for outcome in self._agent.outcomes:
            self._applied = 0
            error: Exception | None = None
            try:
                await self._run_once(client, outcome)
            except (PrefactorHttpError, PlainClientError) as exc:
                error = exc  # as in most programs, the rest of the run is given up
            planned = 2 if outcome == "cancelled" else 3
            self._audit.end_run(planned=planned, applied=self._applied)
            self._view.show_run(self._name, self._agent.name, outcome, error)
            await asyncio.sleep(self._pause)

    async def _run_once(self, client: _Client, outcome: FinishStatus) -> None:
        fields = {
            "agent_id": self._api.agent_id,
            "environment_id": self._api.environment_id,
            "agent_version": self._agent.agent_version,
            "agent_schema_version": self._agent.agent_schema_version,
        }
        instance_id = await self._make(REGISTER, None, lambda: client.register(fields))
        if outcome != "cancelled":
            await self._make("start", instance_id, lambda: client.start(instance_id))
        await self._make("finish", instance_id, lambda: client.finish(instance_id, outcome))

    async def _make(
        self, verb: str, instance_id: str | None, call: Callable[[], Awaitable[T]]
    ) -> T:
        version = self._agent.agent_version["external_identifier"]
        self._call = self._audit.begin_call(verb, version, instance_id)
        try:
            result = await call()
        except (PrefactorHttpError, PlainClientError) as error:
            unknown = isinstance(error, PrefactorHttpError) and error.outcome_unknown
            self._applied += self._audit.end_call(
                self._call, has_failed=True, outcome_unknown=unknown
            )
            raise
        self._applied += self._audit.end_call(self._call, has_failed=False, outcome_unknown=False)
        await asyncio.sleep(self._pause)
        return result

    def _on_attempt(self, number: int, status: int | None, error: str | None) -> None:
        is_refused = status in _CLIENT_ERRORS and status != _TOO_MANY_REQUESTS
        self._view.show_attempt(
            AttemptView(
                client=self._name,
                agent=self._agent.name,
                verb=self._call.verb,
                number=number,
                outcome=self._call.outcome(is_success=error is None, is_refused=is_refused),
                note=_note(status, error),
            )
        )


def _note(status: int | None, error: str | None) -> str:
    if status is not None:
        return f"HTTP {status}"
    text = (error or "").removeprefix("PrefactorConnectionError: ")
    text = text.removeprefix("PrefactorTimeoutError: ")
    return textwrap.shorten(text, _MAX_NOTE, placeholder=" ...")
