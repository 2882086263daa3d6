"""The agents of the demo, read from ``agents.jsonl``."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from prefactor_http.models.types import FinishStatus


class DemoAgent(msgspec.Struct, frozen=True):
    """An agent that the demo runs.

    Attributes:
        name: Its name, for people.
        agent_version: What it registers as its version.
        agent_schema_version: What it registers as its span types.
        outcomes: How its runs end, one after the other; a cancelled one never starts.
    """

    name: str
    agent_version: dict[str, Any]
    agent_schema_version: dict[str, Any]
    outcomes: tuple[FinishStatus, ...]


def load_agents() -> list[DemoAgent]:
    """Read the agents, one a line."""
    lines = files("prefactor_http.cli.demo").joinpath("agents.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=DemoAgent) for line in lines]
