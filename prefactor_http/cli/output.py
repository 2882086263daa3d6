"""What one run of the command writes: its result, its messages, and at the end what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any, cast

import click

from prefactor_http._http.redaction import Redactor
from prefactor_http.cli.errors import OUTPUT_LOST, Problem
from prefactor_http.cli.escape import escape, to_json
from prefactor_http.cli.streams import Stream
from prefactor_http.models.agent_instance import AgentInstance


class Output:
    """The command's standard output and standard error.

    People get lines; control characters in them are escaped. Machines (``--json``) get one JSON
    object on standard output, and one on standard error where there is something to report.

    Args:
        out: Standard output.
        err: Standard error.

    Attributes:
        as_json: Whether a machine reads.
        has_sent: Whether a request may have been sent; None for a command that sends none.
    """

    def __init__(self, out: Stream, err: Stream) -> None:
        self.out = out
        self.err = err
        self.as_json = False
        self.has_sent: bool | None = None
        self._redactor = Redactor()
        self._warnings: list[str] = []
        self._problem: click.ClickException | None = None
        self._result: tuple[Sequence[str], object] | None = None

    def redact(self, secret: str) -> None:
        """Write a placeholder instead of a secret from now on."""
        self._redactor.add(secret)

    def line(self, text: str) -> str:
        """Make text fit to be shown: one line, without control characters and the secret."""
        return self._redactor.text(escape(text))

    def json_line(self, value: object, *, ascii_only: bool = False) -> str:
        """Write a value as one line of JSON, without control characters and the secret."""
        return self._redactor.text(to_json(value, ascii_only=ascii_only))

    def show(self, lines: Sequence[str], reply: object) -> None:
        """Write the command's result to standard output.

        Args:
            lines: The result for people.
            reply: The same for machines.
        """
        self._result = (lines, reply)
        self._write(self.out, [self._encoded(self.out, reply)] if self.as_json else lines)

    def say(self, *lines: str) -> None:
        """Write messages to standard error, if people read."""
        if not self.as_json:
            self._write(self.err, lines)

    def warn(self, *warnings: str) -> None:
        """Warn of what does not stop the command."""
        self._warnings += warnings
        self.say(*(f"Warning: {warning}" for warning in warnings))

    def fail(self, problem: click.ClickException) -> None:
        """Keep what ended the command, to be reported at its end."""
        self._problem = problem

    def finish(self, code: int) -> int:
        """Report what went wrong.

        Args:
            code: The exit code so far.

        Returns:
            The exit code.
        """
        self.out.flush()
        if _is_lost(self.out):
            code = code or OUTPUT_LOST
        if self.as_json:
            report = self._report(code)
            if report:
                self._write(self.err, [self._encoded(self.err, report)])
        else:
            self._write(self.err, self._closing_lines())
        self.err.flush()
        if _is_lost(self.err):
            code = code or OUTPUT_LOST
        if self.err.has_dropped and not self.as_json:
            self._write(self.out, [f"Messages are missing: {_failure_of(self.err)}"])
        return code

    def _closing_lines(self) -> list[str]:
        lines = [] if self._problem is None else _lines_of(self._problem)
        if self.out.failure is None:
            return lines
        shown, _ = self._result or ((), None)
        if _is_lost(self.out):
            lines.append(f"Error: {_failure_of(self.out)}")
        elif shown:
            lines.append(_failure_of(self.out))
        return [*lines, "The output was:", *shown] if shown else lines

    def _report(self, code: int) -> dict[str, object]:
        report: dict[str, object] = {}
        if self._problem is not None:
            further = getattr(self._problem, "further", ())
            report = {
                "message": self._problem.format_message(),
                "advice": further[-1] if further else None,
                "exit_code": code,
                **getattr(self._problem, "fields", {}),
            }
        if self._warnings:
            report["warnings"] = self._warnings
        if self.out.failure is not None and (self._result is not None or _is_lost(self.out)):
            report.setdefault("message", _failure_of(self.out))
            report.setdefault("exit_code", code)
            report["output_error"] = _failure_of(self.out)
            report["output"] = None if self._result is None else self._result[1]
        return report

    def _write(self, stream: Stream, lines: Sequence[str]) -> None:
        if lines:
            stream.write("".join(f"{self.line(line)}\n" for line in lines))
            stream.flush()

    def _encoded(self, stream: Stream, value: object) -> str:
        text = self.json_line(value)
        return text if stream.can_encode(text) else self.json_line(value, ascii_only=True)


@contextmanager
def captured_output() -> Generator[Output, None, None]:
    """Let everything that this process writes go through an `Output`, click's help included."""
    output = Output(Stream("standard output", sys.stdout), Stream("standard error", sys.stderr))
    with (
        redirect_stdout(cast("IO[Any]", output.out)),
        redirect_stderr(cast("IO[Any]", output.err)),
    ):
        yield output


def instance_lines(instance: AgentInstance) -> list[str]:
    """Say what a person wants to know of an instance."""
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
    return [f"{name:<15} {value}" for name, value in rows if value is not None]


def _is_lost(stream: Stream) -> bool:
    # Whoever closes a pipe early, as `head` does, wants no more: that is no failure.
    return stream.has_dropped and not stream.is_closed


def _failure_of(stream: Stream) -> str:
    if stream.is_closed:
        return f"{stream.name} is closed."
    return f"{stream.name} could not be written: {stream.failure}."


def _lines_of(problem: click.ClickException) -> list[str]:
    lines: list[str] = []
    if isinstance(problem, click.UsageError) and problem.ctx is not None:
        context = problem.ctx
        help_option = context.help_option_names[0]
        lines += context.get_usage().splitlines()
        lines += [f"Try '{context.command_path} {help_option}' for help.", ""]
    lines.append(f"Error: {problem.format_message()}")
    return [*lines, *problem.further] if isinstance(problem, Problem) else lines
