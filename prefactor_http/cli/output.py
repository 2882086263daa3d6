"""The output of one run of the command: its result, its messages, and its error."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any, cast

import click

from prefactor_http._http.redaction import Redactor
from prefactor_http.cli.errors import CommandError
from prefactor_http.cli.escape import escape, to_json
from prefactor_http.cli.exit_codes import ExitCode
from prefactor_http.cli.streams import Stream
from prefactor_http.cli.table import Line, Screen
from prefactor_http.models.agent_instance import AgentInstance


class Output:
    """The command's standard output and standard error.

    By default it prints lines of text with control characters escaped. With ``--json`` it prints
    one JSON object to standard output, and one to standard error if there is something to report.

    Args:
        out: Standard output.
        err: Standard error.

    Attributes:
        as_json: Whether to print JSON.
        has_sent: Whether a request may have been sent; None for a command that sends none.
    """

    def __init__(self, out: Stream, err: Stream) -> None:
        self.out = out
        self.err = err
        self.as_json = False
        self.has_sent: bool | None = None
        self._redactor = Redactor()
        self._warnings: list[str] = []
        self._error: click.ClickException | None = None
        self._result: tuple[Sequence[str], object] | None = None

    def redact(self, secret: str) -> None:
        """Replace a secret with a placeholder from now on."""
        self._redactor.add(secret)

    def line(self, text: str) -> str:
        """Return text as one line, without control characters and secrets."""
        return self._redactor.text(escape(text))

    def json_line(self, value: object, *, ascii_only: bool = False) -> str:
        """Encode a value as one line of JSON, without control characters and secrets."""
        return self._redactor.text(to_json(value, ascii_only=ascii_only))

    @property
    def screen(self) -> Screen:
        """Where tables are printed."""
        return Screen(self.out.width, is_unicode=self.out.can_encode("├─└│…"))

    def show(self, lines: Sequence[str | Line], value: object) -> None:
        """Print the result to standard output: the lines, or the value as JSON."""
        self._result = ([str(line) for line in lines], value)
        self._write(self.out, [self._encoded(self.out, value)] if self.as_json else lines)

    def show_items(self, lines: Sequence[str | Line], items: Sequence[object]) -> None:
        """Print a list to standard output: the lines, or each item as a line of JSON."""
        self._result = ([str(line) for line in lines], items)
        encoded = [self._encoded(self.out, item) for item in items] if self.as_json else lines
        self._write(self.out, encoded)

    def say(self, *lines: str) -> None:
        """Print messages to standard error, except with ``--json``."""
        if not self.as_json:
            self._write(self.err, lines)

    def event(self, name: str, event: object) -> None:
        """Print something that happens as a line of JSON to standard error, for ``--json``."""
        self._write(self.err, [self._encoded(self.err, {name: event})])

    def warn(self, *warnings: str) -> None:
        """Print a warning; with ``--json`` it becomes part of the report."""
        self._warnings += warnings
        self.say(*(f"Warning: {warning}" for warning in warnings))

    def fail(self, error: click.ClickException) -> None:
        """Keep the error that ended the command; `finish` reports it."""
        self._error = error

    def finish(self, code: int) -> int:
        """Report the error, if any, and return the exit code.

        Args:
            code: The exit code so far; lost output changes `DONE` to `OUTPUT_LOST`.
        """
        self.out.flush()
        if _is_lost(self.out):
            code = code or ExitCode.OUTPUT_LOST
        if self.as_json:
            report = self._report(code)
            if report:
                self._write(self.err, [self._encoded(self.err, report)])
        else:
            self._write(self.err, self._closing_lines())
        self.err.flush()
        if _is_lost(self.err):
            code = code or ExitCode.OUTPUT_LOST
        if self.err.has_dropped and not self.as_json:
            self._write(self.out, [f"Messages were lost: {_failure_of(self.err)}"])
        return code

    def _closing_lines(self) -> list[str]:
        lines = [] if self._error is None else _lines_of(self._error)
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
        if self._error is not None:
            further = getattr(self._error, "further", ())
            report = {
                "message": self._error.format_message(),
                "advice": further[-1] if further else None,
                "exit_code": code,
                **getattr(self._error, "fields", {}),
            }
        if self._warnings:
            report["warnings"] = self._warnings
        if self.out.failure is not None and (self._result is not None or _is_lost(self.out)):
            report.setdefault("message", _failure_of(self.out))
            report.setdefault("exit_code", code)
            report["output_error"] = _failure_of(self.out)
            report["output"] = None if self._result is None else self._result[1]
        return report

    def _write(self, stream: Stream, lines: Sequence[str | Line]) -> None:
        if lines:
            has_colour = stream.has_colour
            stream.write("".join(f"{self._printed(line, has_colour)}\n" for line in lines))
            stream.flush()

    def _printed(self, line: str | Line, has_colour: bool) -> str:
        if isinstance(line, str) or not has_colour:
            return self.line(str(line))
        return "".join(_coloured(self.line(text), colour) for text, colour in line.parts)

    def _encoded(self, stream: Stream, value: object) -> str:
        text = self.json_line(value)
        return text if stream.can_encode(text) else self.json_line(value, ascii_only=True)


@contextmanager
def captured_output() -> Generator[Output, None, None]:
    """Send everything that this process prints through an `Output`, click's help included."""
    output = Output(Stream("standard output", sys.stdout), Stream("standard error", sys.stderr))
    with (
        redirect_stdout(cast("IO[Any]", output.out)),
        redirect_stderr(cast("IO[Any]", output.err)),
    ):
        yield output


def instance_lines(instance: AgentInstance) -> list[str]:
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


def _coloured(text: str, colour: str | None) -> str:
    if colour == "dim":
        return click.style(text, dim=True)
    return text if colour is None else click.style(text, fg=colour)


def _is_lost(stream: Stream) -> bool:
    # A reader that closes the pipe early, as `head` does, needs no more: not a failure.
    return stream.has_dropped and not stream.is_closed


def _failure_of(stream: Stream) -> str:
    if stream.is_closed:
        return f"{stream.name} is closed."
    return f"{stream.name} could not be written: {stream.failure}."


def _lines_of(error: click.ClickException) -> list[str]:
    lines: list[str] = []
    if isinstance(error, click.UsageError) and error.ctx is not None:
        context = error.ctx
        help_option = context.help_option_names[0]
        lines += context.get_usage().splitlines()
        lines += [f"Try '{context.command_path} {help_option}' for help.", ""]
    lines.append(f"Error: {error.format_message()}")
    return [*lines, *error.further] if isinstance(error, CommandError) else lines
