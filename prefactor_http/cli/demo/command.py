"""``prefactor-http demo``: agent lifecycles while a local API makes a third of attempts fail."""

from __future__ import annotations

import asyncio

import click
from msgspec import Struct

from prefactor_http import Attempt, HttpClientConfig, PrefactorHttpClient, PrefactorHttpError
from prefactor_http.cli.demo.agents import DemoAgent, load_agents
from prefactor_http.cli.demo.audit import Audit, DemoSummary
from prefactor_http.cli.demo.plain_view import PlainView
from prefactor_http.cli.demo.terminal_view import MARKS, TerminalView
from prefactor_http.cli.demo.tracker import AttemptTracker
from prefactor_http.cli.demo.view import View
from prefactor_http.cli.output import Output
from prefactor_http.cli.signals import run_until_stopped
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.types import FinishStatus
from prefactor_http.testing import LocalPrefactor

FAULTS = 0.35


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


ANIMATED = DemoSpeed(0.28, 0.3, 0.5)
FAST = DemoSpeed(0.0, 0.02, 0.3)


@click.command(short_help="Watch agents run while calls fail.")
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the random faults.")
@click.pass_context
def demo(context: click.Context, seed: int) -> None:
    """Watch a dozen agents run while a third of all attempts fail.

    Everything runs on this machine. A local Prefactor API makes attempts fail as networks do, and
    the client applies each write exactly once. If it did not, the exit code is 1.
    """
    agents = load_agents()
    names = [agent.name for agent in agents]
    output: Output = context.obj
    is_animated = output.out.isatty() and output.out.can_encode(MARKS)
    view: View = TerminalView(names, FAULTS) if is_animated else PlainView(names, FAULTS)
    speed = ANIMATED if is_animated else FAST
    context.exit(0 if run_until_stopped(lambda: _perform(agents, view, speed, seed)) else 1)


async def _perform(agents: list[DemoAgent], view: View, speed: DemoSpeed, seed: int) -> bool:
    with view:
        summary = await run_demo(agents, view, speed, seed)
    view.show_summary(summary)
    return summary.is_success


async def run_demo(agents: list[DemoAgent], view: View, speed: DemoSpeed, seed: int) -> DemoSummary:
    """Run the agents side by side.

    Args:
        agents: The agents.
        view: Shows each attempt.
        speed: Times of the demo.
        seed: Seed of the faults.

    Returns:
        The calls of the client, compared with the server's ledger.
    """
    async with LocalPrefactor(faults=FAULTS, seed=seed) as api:
        tracker, audit = AttemptTracker(api), Audit()
        config = HttpClientConfig(
            api.url,
            api.token,
            request_timeout=speed.request_timeout,
            initial_retry_delay=speed.initial_retry_delay,
            max_retry_delay=1.0,
            max_retries=12,
        )
        async with PrefactorHttpClient(config) as client, asyncio.TaskGroup() as group:
            for position, agent in enumerate(agents):
                lane = _Lane(agent, api, client, view, tracker, audit, speed.pause)
                group.create_task(lane.run(delay=position * speed.pause / len(agents)))
        return audit.summary(api, tracker.attempts)


class _Lane:
    """One agent's runs, one after the other."""

    def __init__(
        self,
        agent: DemoAgent,
        api: LocalPrefactor,
        client: PrefactorHttpClient,
        view: View,
        tracker: AttemptTracker,
        audit: Audit,
        pause: float,
    ) -> None:
        self._agent = agent
        self._api = api
        # A view of the client that reports its attempts to this lane.
        self._instances = client.with_options(on_attempt=self._on_attempt).agent_instances
        self._view = view
        self._tracker = tracker
        self._audit = audit
        self._pause = pause

    async def run(self, delay: float) -> None:
        await asyncio.sleep(delay)
        for outcome in self._agent.outcomes:
            try:
                await self._run_once(outcome)
            except PrefactorHttpError as error:
                self._audit.record_error(error)
                self._view.show_error(self._agent.name, error)
            else:
                self._audit.record_run()
                self._view.show_run(self._agent.name, outcome)
            await asyncio.sleep(self._pause)

    async def _run_once(self, outcome: FinishStatus) -> None:
        instance = await self._instances.register(
            self._api.agent_id,
            self._agent.agent_version,
            self._agent.agent_schema_version,
            environment_id=self._api.environment_id,
        )
        await self._record("register", instance)
        if outcome != "cancelled":
            await self._record("start", await self._instances.start(instance.id))
        await self._record("finish", await self._instances.finish(instance.id, outcome))

    async def _record(self, verb: str, instance: AgentInstance) -> None:
        self._audit.record_call(f"agent_instances.{verb}", instance.id)
        await asyncio.sleep(self._pause)

    def _on_attempt(self, attempt: Attempt) -> None:
        self._view.show_attempt(self._tracker.describe(self._agent.name, attempt))
