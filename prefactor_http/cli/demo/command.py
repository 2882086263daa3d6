"""``prefactor-http demo``: real lifecycles against a local API that breaks a third of attempts."""

from __future__ import annotations

import asyncio

import click
from msgspec import Struct

from prefactor_http import Attempt, HttpClientConfig, PrefactorHttpClient, PrefactorHttpError
from prefactor_http.cli.demo.agents import DemoAgent, load_agents
from prefactor_http.cli.demo.audit import Audit, Verdict
from prefactor_http.cli.demo.lines import Lines
from prefactor_http.cli.demo.screen import MARKS, Screen
from prefactor_http.cli.demo.show import Show
from prefactor_http.cli.demo.tracker import Witness
from prefactor_http.cli.output import Output
from prefactor_http.cli.signals import run_until_stopped
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.types import FinishStatus
from prefactor_http.testing import LocalPrefactor

FAULTS = 0.35


class Pace(Struct, frozen=True):
    """How fast the demo goes; seconds.

    Attributes:
        pause: Between the calls of an agent.
        initial_retry_delay: See `HttpClientConfig`.
        request_timeout: See `HttpClientConfig`.
    """

    pause: float
    initial_retry_delay: float
    request_timeout: float


TO_BE_WATCHED = Pace(0.28, 0.3, 0.5)
AT_ONCE = Pace(0.0, 0.02, 0.3)


@click.command()
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the faults.")
@click.pass_context
def demo(context: click.Context, seed: int) -> None:
    """Watch a dozen agents run while a third of all attempts fail.

    Everything happens on this machine: a local Prefactor API breaks attempts in the ways that
    networks do, and the client sees to it that each write takes effect once. Exits with 1 if one
    did not.
    """
    agents = load_agents()
    names = [agent.name for agent in agents]
    output: Output = context.obj
    is_watched = output.out.isatty() and output.out.can_encode(MARKS)
    show: Show = Screen(names, FAULTS) if is_watched else Lines(names, FAULTS)
    pace = TO_BE_WATCHED if is_watched else AT_ONCE
    context.exit(0 if run_until_stopped(lambda: _perform(agents, show, pace, seed)) else 1)


async def _perform(agents: list[DemoAgent], show: Show, pace: Pace, seed: int) -> bool:
    with show:
        verdict = await run_demo(agents, show, pace, seed)
    show.conclude(verdict)
    return verdict.holds


async def run_demo(agents: list[DemoAgent], show: Show, pace: Pace, seed: int) -> Verdict:
    """Run the agents side by side.

    Args:
        agents: The agents.
        show: What is told of each attempt.
        pace: How fast.
        seed: Seed of the faults.

    Returns:
        What the server's effects say of the client's reports.
    """
    async with LocalPrefactor(faults=FAULTS, seed=seed) as api:
        witness, audit = Witness(api), Audit()
        config = HttpClientConfig(
            api.url,
            api.token,
            request_timeout=pace.request_timeout,
            initial_retry_delay=pace.initial_retry_delay,
            max_retry_delay=1.0,
            max_retries=12,
        )
        async with PrefactorHttpClient(config) as client, asyncio.TaskGroup() as lanes:
            for position, agent in enumerate(agents):
                lane = _Lane(agent, api, client, show, witness, audit, pace.pause)
                lanes.create_task(lane.run(after=position * pace.pause / len(agents)))
        return audit.verdict(api, witness.attempts)


class _Lane:
    """One agent's runs, one after the other."""

    def __init__(
        self,
        agent: DemoAgent,
        api: LocalPrefactor,
        client: PrefactorHttpClient,
        show: Show,
        witness: Witness,
        audit: Audit,
        pause: float,
    ) -> None:
        self._agent = agent
        self._api = api
        # A view of the client whose attempts are told to this lane.
        self._instances = client.with_options(on_attempt=self._on_attempt).agent_instances
        self._show = show
        self._witness = witness
        self._audit = audit
        self._pause = pause

    async def run(self, after: float) -> None:
        await asyncio.sleep(after)
        for outcome in self._agent.outcomes:
            try:
                await self._live(outcome)
            except PrefactorHttpError as error:
                self._audit.gave_up(error)
                self._show.gave_up(self._agent.name, error)
            else:
                self._audit.run_ended()
                self._show.run_ended(self._agent.name, outcome)
            await asyncio.sleep(self._pause)

    async def _live(self, outcome: FinishStatus) -> None:
        instance = await self._instances.register(
            self._api.agent_id,
            self._agent.agent_version,
            self._agent.agent_schema_version,
            environment_id=self._api.environment_id,
        )
        await self._done("register", instance)
        if outcome != "cancelled":
            await self._done("start", await self._instances.start(instance.id))
        await self._done("finish", await self._instances.finish(instance.id, outcome))

    async def _done(self, verb: str, instance: AgentInstance) -> None:
        self._audit.done(f"agent_instances.{verb}", instance.id)
        await asyncio.sleep(self._pause)

    def _on_attempt(self, attempt: Attempt) -> None:
        self._show.attempted(self._witness.look(self._agent.name, attempt))
