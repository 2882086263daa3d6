"""The command, run in this process against a local API in a thread of its own."""

import io
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TextIO

import msgspec
import pytest
from click.testing import CliRunner, Result
from rows_support import SCHEMA, VERSION

from prefactor_http.cli.command import command
from prefactor_http.testing import LocalPrefactor

Run = Callable[..., Result]


@pytest.fixture
def api(prefactor_server: LocalPrefactor, monkeypatch: pytest.MonkeyPatch) -> LocalPrefactor:
    """Serve an API, to which the environment points."""
    monkeypatch.setenv("PREFACTOR_API_URL", prefactor_server.url)
    monkeypatch.setenv("PREFACTOR_API_TOKEN", prefactor_server.token)
    return prefactor_server


@pytest.fixture
def run() -> Run:
    def run(*arguments: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(command, arguments, input=stdin)

    return run


@pytest.fixture
def exit_code(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command with standard streams of the test's own, and give its exit code."""

    def exit_code(*arguments: str, **streams: TextIO | None) -> int:
        with monkeypatch.context() as patch:
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            with pytest.raises(SystemExit) as ended:
                command.main(list(arguments), "prefactor-http")
        return int(ended.value.code or 0)

    return exit_code


class Terminal(io.StringIO):
    """A stream in memory that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Give a stream that is a terminal of 80 columns and 24 lines with colours."""
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


@pytest.fixture
def full() -> Generator[TextIO, None, None]:
    """Open a file whose disk is full."""
    with Path("/dev/full").open("w", encoding="utf-8") as file:
        yield file


@pytest.fixture
def registration(api: LocalPrefactor, tmp_path: Path) -> Path:
    """Write a file that registers with the API."""
    path = tmp_path / "agent.json"
    path.write_bytes(
        msgspec.json.encode(
            {
                "agent_id": api.agent_id,
                "environment_id": api.environment_id,
                "external_identifier": "nightly-42",
                "agent_version": {"external_identifier": "v1", "name": "Nightly"},
                "agent_schema_version": {
                    "external_identifier": "v1",
                    "span_type_schemas": [
                        {"name": "llm_call", "params_schema": {"type": "object"}}
                    ],
                },
            }
        )
    )
    return path


@pytest.fixture
def instance_id(run: Run, registration: Path) -> str:
    """Register an instance."""
    result = run("register", "--json", str(registration))
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)["id"]


@pytest.fixture
def parts(tmp_path):
    """Write the files that the rows share."""
    (tmp_path / "version.json").write_text(msgspec.json.encode(VERSION).decode())
    (tmp_path / "schema.json").write_text(msgspec.json.encode(SCHEMA).decode())
    return [
        "--agent-version",
        str(tmp_path / "version.json"),
        "--schema",
        str(tmp_path / "schema.json"),
    ]


@pytest.fixture
def shared(api, parts):
    return [*parts, "--agent-id", api.agent_id, "--environment-id", api.environment_id]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results.jsonl"
