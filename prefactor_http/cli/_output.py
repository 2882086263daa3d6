"""What the command says, to people or to machines, and the code that it ends with."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import IO, Any, cast

import click
import msgspec

from prefactor_http.models.agent_instance import AgentInstance


class Problem(click.ClickException):
    """Why the command failed; its subclasses say how it ends.

    Args:
        message: What happened.
        further: What it means and what to do next, a line each.
        fields: More for machines.
    """

    def __init__(self, message: str, *further: str, **fields: object) -> None:
        super().__init__(message)
        self.further = further
        self.fields = fields
        context = click.get_current_context(silent=True)
        self.is_for_machines = context is not None and context.params.get("as_json") is True

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it to standard error."""
        file = sys.stderr if file is None else file
        if self.is_for_machines:
            report = {
                "message": self.message,
                "advice": self.further[-1] if self.further else None,
                "exit_code": self.exit_code,
                **self.fields,
            }
            click.echo(msgspec.json.encode(report).decode(), file=file)
            return
        for line in (f"Error: {self.message}", *self.further):
            click.echo(line, file=file)


class Refused(Problem):
    """The API refused the call, and would again."""

    exit_code = 1


class WrongUsage(Problem):
    """The command line, the file or the environment is wrong; nothing was sent."""

    exit_code = 2


class Unsettled(Problem):
    """The write may have taken effect, or the API is away: a later try may succeed."""

    exit_code = 3


def with_fields(message: str, errors: Mapping[str, object]) -> str:
    """Say in a line what is wrong, and with which fields."""
    fields = [f"{name}: {_flat(said)}" for name, said in errors.items()]
    return "; ".join((message.removesuffix("."), *fields)) if fields else message


def _flat(said: object) -> str:
    return ", ".join(map(str, cast("list[object]", said))) if isinstance(said, list) else str(said)


def echo_json(reply: object) -> None:
    """Print a reply as one line of JSON."""
    click.echo(msgspec.json.encode(reply).decode())


def echo_instance(instance: AgentInstance) -> None:
    """Print what a person wants to know of an instance."""
    rows: list[tuple[str, object]] = [
        ("agent instance", instance.id),
        ("status", instance.status),
        ("agent", instance.agent_id),
        ("version", instance.agent_version_id),
        ("environment", instance.environment_id),
        ("external id", instance.external_identifier),
        ("purpose", instance.purpose),
        ("registered", instance.inserted_at),
        ("started", instance.started_at),
        ("finished", instance.finished_at),
        ("terminated for", instance.termination_reason),
        ("spans", None if instance.span_counts is None else instance.span_counts.total),
    ]
    for name, value in rows:
        if value is not None:
            click.echo(f"{name:<15} {value}")
