"""The agents of the demo, read from ``agents.jsonl``."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from prefactor_http.models.types import FinishStatus


class DemoAgent(msgspec.Struct, frozen=True):
    """An agent that the demo runs.

    Attributes:
        name: Its name on the screen.
        agent_version: The version that it registers.
        agent_schema_version: The span types that it registers.
        outcomes: Status of each of its runs, in order; a cancelled run never starts.
    """

    name: str
    agent_version: dict[str, Any]
    agent_schema_version: dict[str, Any]
    outcomes: tuple[FinishStatus, ...]


def load_agents() -> list[DemoAgent]:
    lines = files("prefactor_http.cli.demo").joinpath("agents.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=DemoAgent) for line in lines]
