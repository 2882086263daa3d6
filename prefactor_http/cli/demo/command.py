"""``prefactor-http demo``: two clients side by side while a third of attempts fail."""

from __future__ import annotations

import shutil

import click

from prefactor_http.cli.demo.agents import DemoAgent, load_agents
from prefactor_http.cli.demo.comparison import DemoSpeed, compare
from prefactor_http.cli.demo.line_view import LineView
from prefactor_http.cli.demo.terminal_view import MARKS, MIN_HEIGHT, MIN_WIDTH, TerminalView
from prefactor_http.cli.demo.view import ClientName, View, conclusion, next_commands, title
from prefactor_http.cli.output import Output
from prefactor_http.cli.signals import run_until_stopped
from prefactor_http.cli.streams import Stream

FAULTS = 0.35
DEFAULT_SEED = 7
ANIMATED = DemoSpeed(0.28, 0.3, 0.5)
FAST = DemoSpeed(0.0, 0.02, 0.3)


@click.command(short_help="Watch agents run while calls fail.")
@click.option(
    "--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Seed of the random faults."
)
@click.pass_context
def demo(context: click.Context, seed: int) -> None:
    """Watch a dozen agents run while a third of all attempts fail.

    The same agents run with two clients: one that retries without idempotency keys, and this one.
    Everything runs on this machine, against two local Prefactor APIs that make attempts fail as
    networks do, with the same seed. The counts come from what the servers have applied. The exit
    code is 1 if this client applies a write twice, loses it, or reports it wrongly.
    """
    output: Output = context.obj
    agents = load_agents()
    names, first_line = [agent.name for agent in agents], title(len(agents), FAULTS, seed)
    is_animated = _can_draw(output.out)
    view: View = (TerminalView if is_animated else LineView)(first_line, names)
    speed = ANIMATED if is_animated else FAST
    context.exit(run_until_stopped(lambda: perform(agents, view, speed, seed)))


def _can_draw(stream: Stream) -> bool:
    size = shutil.get_terminal_size()
    return (
        not stream.is_plain
        and stream.can_encode(MARKS)
        and size.columns >= MIN_WIDTH
        and size.lines >= MIN_HEIGHT
    )


async def perform(agents: list[DemoAgent], view: View, speed: DemoSpeed, seed: int) -> int:
    """Run the demo and return its exit code."""
    with view:
        counts = await compare(agents, view, speed, FAULTS, seed)
    view.show_conclusion(conclusion(counts), next_commands(FAULTS, seed))
    return 0 if counts[ClientName.PACKAGE].is_correct else 1
