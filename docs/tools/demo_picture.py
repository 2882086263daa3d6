"""Runs the demo and draws its last screen into ``docs/images/demo.svg``: ``make demo-picture``."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from prefactor_http.cli.demo.agents import load_agents
from prefactor_http.cli.demo.command import ANIMATED, DEFAULT_SEED, FAULTS, perform
from prefactor_http.cli.demo.terminal_view import TerminalView
from prefactor_http.cli.demo.view import title

PICTURE = Path(__file__).parents[1] / "images" / "demo.svg"
WIDTH = 92

# An image in a page cannot load fonts from another host.
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def main() -> int:
    """Draw the picture; return the exit code of the demo."""
    # Not a terminal, so that only the last screen is recorded.
    console = Console(
        record=True, file=io.StringIO(), width=WIDTH, color_system="truecolor", highlight=False
    )
    console.print("[bold]$ prefactor-http demo[/bold]")
    agents = load_agents()
    names = [agent.name for agent in agents]
    view = TerminalView(title(len(agents), FAULTS, DEFAULT_SEED), names, console)
    code = asyncio.run(perform(agents, view, ANIMATED, DEFAULT_SEED))
    PICTURE.parent.mkdir(exist_ok=True)
    picture = console.export_svg(title="", theme=MONOKAI, unique_id="demo")
    picture = _FONT_FACE.sub("", picture).replace("Fira Code, monospace", _FONTS)
    PICTURE.write_text(picture, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
