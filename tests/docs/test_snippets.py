"""The snippets of README and the manual run, and what they show exists."""

import asyncio
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from doc_pages import (
    AGENT_UNDER_TEST,
    BLOCKS,
    CONTINUED,
    ON_A_CLUSTER,
    PAGES,
    PROGRAMS,
    ROOT,
    SETUP,
    SETUP_NAMES,
    SETUP_PAGE,
    TESTS,
    commands_of,
)

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.cli.command import command as command_line
from prefactor_http.testing import FaultKind

COMMAND = Path(sys.executable).with_name("prefactor-http")
PAGES_WITH_SNIPPETS = list(dict.fromkeys(block.page for block in CONTINUED))
# What the snippets of a page print, as regular expressions.
PRINTED = {
    "README": [r"^\w{32} complete$"],
    "calls": [r"^\w{32} pending$", r"^1 of 1 pending False$"],
    "errors": [r"^drop the job 404 not_found"],
    "lifecycle": [
        r"^\w{32} active$",
        r"^complete$",
        r"^True \w{32}$",
        r"^triage complete None None$",
        r"^llm_call complete \w{32} {'answer': 'no'}$",
        r"^asked to stop: over budget$",
        r"^stopped by None$",
    ],
    "many-rows": [
        r"^row 1000 unknown field 'colour'",
        r"^1000 registered, 1 refused$",
        r"^2 2026-06-01 08:05:00\+00:00$",
        r"^62 2026-06-21 08:05:00\+00:00$",
        r"^ticket-4713-finish failed$",
        r"^not attempted: \(\)$",
    ],
    "outbox": [
        r"^OutboxStats\(pending=0, ",
        r"^\w{32} \d+ complete$",
        r"^0 0 None$",
    ],
    "observability": [r"^agent_instances.list 1 200$", r"^200 \S+ \w{3}, \d+"],
}


@pytest.fixture
def environment(prefactor_server, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # for the files that snippets write
    monkeypatch.setenv("PREFACTOR_API_URL", prefactor_server.url)
    monkeypatch.setenv("PREFACTOR_API_TOKEN", prefactor_server.token)
    monkeypatch.setenv("PREFACTOR_AGENT_ID", prefactor_server.agent_id)
    monkeypatch.setenv("PREFACTOR_ENVIRONMENT_ID", prefactor_server.environment_id)
    return prefactor_server


async def run_block(block, namespace):
    result = eval(block.compiled(), namespace)  # trusted: the page is part of this repository
    if inspect.iscoroutine(result):
        await result


async def set_up():
    namespace = {}
    await run_block(SETUP, namespace)
    return {name: namespace[name] for name in SETUP_NAMES}


def test_there_are_code_blocks_of_each_kind():
    assert TESTS
    assert PROGRAMS
    assert len(ON_A_CLUSTER) == 1
    assert {page.stem for page in PAGES_WITH_SNIPPETS} >= PRINTED.keys()


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_runs_unchanged(environment, block, capsys):
    exec(block.compiled(), {"__name__": "__main__"})  # trusted, as above
    assert [instance["status"] for instance in environment.instances.values()] == ["complete"]
    assert " complete " in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES_WITH_SNIPPETS, ids=lambda page: page.stem)
async def test_the_snippets_of_a_page_run_in_order(environment, page, capsys):
    namespace = await set_up()
    async with namespace["client"]:
        if page.stem == "calls":  # it lists instances
            await namespace["client"].agent_instances.register(**namespace["agent"])
        for block in (block for block in CONTINUED if block.page == page):
            # The snippets of README are independent of each other.
            await run_block(block, dict(namespace) if page.stem == "README" else namespace)
    output = capsys.readouterr().out
    for line in PRINTED.get(page.stem, ()):
        assert re.search(line, output, re.MULTILINE), f"not printed: {line}\n{output}"
    assert environment.doubled == environment.lost == environment.violations == []


@pytest.mark.parametrize("block", CONTINUED, ids=str)
def test_a_snippet_can_be_pasted_into_a_console(block):
    # An empty line ends an indented block there.
    assert not re.search(r"\n\n[ \t]+\S", block.text)


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="the console of 3.13 accepts no multi-line blocks from a pipe",
)
def test_the_set_up_works_in_a_console(environment):
    console = subprocess.run(
        [sys.executable, "-W", "error", "-m", "asyncio"],
        input=f"{SETUP.text}\nprint(await client.validate_token())\nawait client.close()\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Error" not in console.stderr  # it shows prompts and tracebacks
    assert "success" in console.stdout


async def test_repeating_a_call_after_an_unknown_outcome_registers_once(environment):
    (block,) = (block for block in CONTINUED if "not error.outcome_unknown" in block.text)
    namespace = await set_up()
    await namespace["client"].close()
    environment.fail_next(FaultKind.APPLIED_THEN_RESET)
    async with PrefactorHttpClient(HttpClientConfig.from_env(max_retries=0)) as client:
        await run_block(block, {**namespace, "client": client})
    assert (len(environment.instances), environment.replays) == (1, 1)


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_an_example_test_passes(block, tmp_path):
    (tmp_path / "my_agent.py").write_text(AGENT_UNDER_TEST, encoding="utf-8")
    (tmp_path / "test_snippet.py").write_text(block.text, encoding="utf-8")
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_every_json_block_is_json():
    blocks = [block for block in BLOCKS if block.language == "json"]
    assert blocks
    for block in blocks:
        json.loads(block.text)


def test_the_quick_start_is_an_example():
    (program,) = PROGRAMS
    example = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    assert example.endswith(program.text)


def test_every_make_target_in_the_manual_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [*PAGES, ROOT / "CONTRIBUTING.md"]
    named = {
        command[1] for page in pages for command in commands_of(page) if command[:1] == ["make"]
    }
    assert {"demo", "test", "check", "docs", "docs-serve", "bench"} <= named <= targets


def test_every_package_and_extra_in_the_manual_exists():
    project = (ROOT / "pyproject.toml").read_text()
    installed = [
        command[2]
        for page in PAGES
        for command in commands_of(page)
        if command[:2] == ["pip", "install"]
    ]
    assert installed
    for requirement in installed:
        name, _, extra = requirement.partition(" @ ")[0].rstrip("]").partition("[")
        assert name == "." or f'name = "{name}"' in project
        assert not extra or re.search(rf"^{extra} = \[", project, re.MULTILINE)


def help_of(*subcommand):
    shown = CliRunner().invoke(command_line, [*subcommand, "--help"])
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_every_subcommand_and_option_in_the_manual_exists():
    used = [
        command[1:]
        for page in PAGES
        for command in commands_of(page)
        if command[:1] == ["prefactor-http"]
    ]
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    used += [["ping", *re.findall(r"`(--[a-z-]+)`", text.partition("\n## ")[0])]]
    used = [
        [" ".join(command[:2]), *command[2:]] if command[0] == "outbox" else command
        for command in used
    ]
    helps = {command[0]: help_of(*command[0].split()) for command in used}
    for subcommand, *arguments in used:
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert option in helps[subcommand], (subcommand, option)
    commands = "demo serve ping register start finish terminate show spans list outbox"
    of_outbox = {f"outbox {each}" for each in ("status", "drain", "dead", "retry", "drop")}
    assert helps.keys() == set(commands.split()) | of_outbox


async def test_the_first_batch_can_be_registered_again(environment, tmp_path):
    blocks = [block for block in BLOCKS if block.page == SETUP_PAGE]
    table, version, schema = (block.text for block in blocks if block.language in {"text", "json"})
    for name, text in (
        ("rows.csv", table),
        ("version.json", version),
        ("schema.json", schema),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (command,) = (
        command
        for command in commands_of(SETUP_PAGE)
        if command[:2] == ["prefactor-http", "register"]
    )
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(COMMAND, *command[1:], cwd=tmp_path)
        assert await process.wait() == 0
    assert len(environment.instances) == len(table.splitlines()) - 1
    assert environment.doubled == environment.lost == []
