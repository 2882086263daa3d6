"""README.md agrees with the code: its snippets run, and its tables are complete."""

import ast
import dataclasses
import inspect
import os
import re
import shlex
import subprocess
import sys
import textwrap
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pytest

import prefactor_http
from prefactor_http import HttpClientConfig, PrefactorHttpClient, _api, endpoints
from prefactor_http._bulk.operation import REGISTER_MANY, STREAM
from prefactor_http._bulk.options import BatchOptions, StreamOptions
from prefactor_http._http.operation import PREFIX, Operation
from prefactor_http.config import Options
from prefactor_http.testing import FaultKind

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = Path(sys.executable).with_name("prefactor-http")
ROOT_ERROR = "PrefactorHttpError"


class Block(NamedTuple):
    """A fenced code block, and the line of README.md where it starts."""

    line: int
    text: str

    def compiled(self):
        # The empty lines make tracebacks name the line of README.md.
        source = "\n" * (self.line - 1) + self.text
        return compile(source, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def blocks(language):
    for match in re.finditer(
        rf"^( *)```{language}\n(.*?)^\1```$", README, re.MULTILINE | re.DOTALL
    ):
        line = README.count("\n", 0, match.start(2)) + 1
        yield Block(line, textwrap.dedent(match[2]))


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)[1]


def rows(title):
    table = re.search(r"^\|---.*\n((?:\|.*\n)+)", section(title), re.MULTILINE)[1]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


def line_of(block):
    return f"line {block.line}"


PYTHON = list(blocks("python"))
TESTS = [block for block in PYTHON if "def test_" in block.text]
PROGRAMS = [block for block in PYTHON if "asyncio.run(" in block.text and block not in TESTS]
# tests/distributed runs this one, because it needs Dask.
ON_A_CLUSTER = [block for block in PYTHON if "from dask" in block.text]
CONTINUED = [block for block in PYTHON if block not in TESTS + PROGRAMS + ON_A_CLUSTER]
COMMANDS = [
    shlex.split(line, comments=True) for block in blocks("sh") for line in block.text.splitlines()
] + [shlex.split(code) for code in re.findall(r"`((?:make|prefactor-http|pip) [^`]+)`", README)]


@pytest.fixture
def environment(prefactor_server, monkeypatch):
    monkeypatch.setenv("PREFACTOR_API_URL", prefactor_server.url)
    monkeypatch.setenv("PREFACTOR_API_TOKEN", prefactor_server.token)
    monkeypatch.setenv("PREFACTOR_AGENT_ID", prefactor_server.agent_id)
    monkeypatch.setenv("PREFACTOR_ENVIRONMENT_ID", prefactor_server.environment_id)
    return prefactor_server


async def run_block(block, namespace):
    result = eval(block.compiled(), namespace)  # trusted: README.md is part of this repository
    if inspect.iscoroutine(result):
        await result


def test_readme_has_code_blocks_of_each_kind():
    assert TESTS
    assert PROGRAMS
    assert CONTINUED
    assert len(ON_A_CLUSTER) == 1
    assert COMMANDS


@pytest.mark.parametrize("block", PROGRAMS, ids=line_of)
def test_a_program_runs_unchanged(environment, block, capsys):
    exec(block.compiled(), {"__name__": "__main__"})  # trusted, as above
    assert [instance["status"] for instance in environment.instances.values()] == ["complete"]
    assert " complete " in capsys.readouterr().out


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="the console of 3.13 accepts no multi-line blocks from a pipe",
)
def test_the_snippets_run_in_order_in_a_console(environment):
    snippets = "\n\n".join(block.text for block in CONTINUED)
    console = subprocess.run(
        [sys.executable, "-W", "error", "-m", "asyncio"],
        input=f"{snippets}\n\nawait client.close()\n",
        env={**os.environ, "PYTHON_BASIC_REPL": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Error" not in console.stderr  # it shows prompts and tracebacks
    output = console.stdout
    assert "agent_instances.list 1 200" in output
    assert re.search(r"^triage complete None None$", output, re.MULTILINE)
    assert re.search(r"^llm_call complete \w{32} {'answer': 'no'}$", output, re.MULTILINE)
    assert "asked to stop: over budget" in output
    assert "ticket-4713-finish failed" in output
    assert "not attempted: ()" in output
    assert "row 1000 unknown field 'colour'" in output
    assert "1000 registered, 1 refused" in output
    finished = re.findall(r"\b(\d+) 2026-06-\d\d 08:05:00\+00:00$", output, re.MULTILINE)
    assert finished == ["2", "32", "62"]
    assert environment.doubled == environment.lost == environment.violations == []


async def test_repeating_a_call_after_an_unknown_outcome_registers_once(environment):
    (block,) = (block for block in CONTINUED if "outcome_unknown" in block.text)
    environment.fail_next(FaultKind.APPLIED_THEN_RESET)
    config = HttpClientConfig.from_env(max_retries=0)
    async with PrefactorHttpClient(config) as client:
        agent = {
            "agent_id": environment.agent_id,
            "environment_id": environment.environment_id,
            "agent_version": {"external_identifier": "v1"},
            "agent_schema_version": {"external_identifier": "s1", "span_type_schemas": []},
        }
        await run_block(block, {"client": client, "agent": agent})
    assert (len(environment.instances), environment.replays) == (1, 1)


@pytest.mark.parametrize("block", TESTS, ids=line_of)
def test_an_example_test_passes(block, tmp_path):
    (tmp_path / "test_snippet.py").write_text(block.text, encoding="utf-8")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_every_make_target_in_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command[1] for command in COMMANDS if command[:1] == ["make"]}
    assert {"demo", "test", "check", "test-dropin", "test-distributed", "bench"} <= named <= targets


def test_every_package_and_extra_in_readme_exists():
    project = (ROOT / "pyproject.toml").read_text()
    for command in COMMANDS:
        if command[:2] == ["pip", "install"]:
            name, _, extra = command[2].rstrip("]").partition("[")
            assert f'name = "{name}"' in project
            assert not extra or re.search(rf"^{extra} = \[", project, re.MULTILINE)


def test_every_subcommand_and_option_in_readme_exists():
    used = [command[1:] for command in COMMANDS if command[:1] == ["prefactor-http"]]
    shared = re.findall(r"`(--[a-z-]+)`", section("The command"))
    used += [["ping", *shared]]
    helps = {}
    for subcommand, *arguments in used:
        if subcommand not in helps:
            run = subprocess.run(
                [COMMAND, subcommand, "--help"], capture_output=True, text=True, check=True
            )
            helps[subcommand] = run.stdout
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert option in helps[subcommand]
    commands = "demo serve ping register start finish terminate show spans list"
    assert helps.keys() == set(commands.split())


def surface():
    for cells in rows("The whole surface"):
        call, request, bulk, notes = (cell.strip("`") for cell in cells)
        yield call, request, bulk, notes


def operations():
    for value in [*vars(_api).values(), STREAM, REGISTER_MANY]:
        if isinstance(value, Operation):
            yield f"{value.method} {value.path.removeprefix(PREFIX)}", value


def test_the_table_of_calls_has_every_operation_of_the_api():
    documented = {request: bulk for _, request, bulk, _ in surface() if "/" in request}
    assert documented == {request: each.bulk or "none" for request, each in operations()}


def test_the_table_of_calls_names_each_operation_as_attempts_do():
    names: dict[str, set[str]] = {}
    for request, each in operations():
        names.setdefault(request, set()).add(each.name)
    for call, request, _, notes in surface():
        known = names.get(request, {call})
        assert call in known or any(f"`{name}`" in notes for name in known)


def test_the_table_of_calls_has_every_method_of_every_endpoint():
    client = PrefactorHttpClient(HttpClientConfig("https://api.example", "token"))
    resources = [
        name
        for name, each in vars(PrefactorHttpClient).items()
        if isinstance(each, cached_property)
    ]
    assert len(resources) == len(endpoints.__all__)
    calls = [
        f"{resource}.{name}"
        for resource in resources
        for name, _ in inspect.getmembers(getattr(client, resource), inspect.ismethod)
        if not name.startswith("_")
    ]
    documented = [call for call, _, _, _ in surface() if call != "none"]
    assert sorted(documented) == sorted([*calls, "validate_token", "request"])


def test_the_table_of_calls_marks_verified_outcomes_pages_control_signals_and_missing_keys():
    without_key = {each.name for _, each in operations() if not each.repeatable}
    verified = {each.name for _, each in operations() if each.reconciliation is not None}
    for call, _, _, notes in surface():
        resource, _, name = call.partition(".")
        has_signal = resource == "agent_spans" and name in {"create", "finish"}
        assert ("Verified after a lost response" in notes) == (call in verified)
        assert ("Control signal" in notes) == has_signal
        assert notes.startswith("No key") == (call in without_key)
        assert notes.startswith("A page.") == name.startswith("list")


def test_the_configuration_table_has_every_field_with_its_default():
    documented = {}
    for field, default, _, _ in rows("Configuration"):
        text = default.strip("`")
        documented[field.strip("`")] = (
            dataclasses.MISSING if text == "required" else ast.literal_eval(text)
        )
    made = HttpClientConfig("http://localhost", "token")
    assert documented == {
        field.name: dataclasses.MISSING
        if field.default is field.default_factory
        else getattr(made, field.name)
        for field in dataclasses.fields(HttpClientConfig)
    }


def test_the_configuration_table_marks_the_fields_that_with_options_can_change():
    marked = {row[0].strip("`") for row in rows("Configuration") if row[3] == "yes"}
    assert marked == Options.__annotations__.keys()


def test_the_table_of_options_has_every_stream_option_with_its_default():
    documented = {
        option.strip("`"): ast.literal_eval(default.strip("`"))
        for option, default, _ in rows("Many rows")
    }
    defaults = BatchOptions()
    assert documented == {name: getattr(defaults, name) for name in BatchOptions.__struct_fields__}
    assert documented.keys() == StreamOptions.__annotations__.keys() - {"patience"}


def test_the_error_tree_has_every_public_error_below_its_base():
    documented = {}
    bases = {0: ROOT_ERROR}
    for branch, name in re.findall(r"^([│ ]*[├└]── )(\w+)", section("Errors"), re.MULTILINE):
        depth = len(branch) // 4
        documented[name] = bases[depth - 1]
        bases[depth] = name
    public = [getattr(prefactor_http, name) for name in prefactor_http.__all__]
    errors = [each for each in public if inspect.isclass(each) and issubclass(each, Exception)]
    assert documented == {
        error.__name__: error.__bases__[0].__name__
        for error in errors
        if error.__name__ != ROOT_ERROR
    }


def test_every_link_into_the_repository_has_a_target():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
