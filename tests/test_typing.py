"""Type checkers infer each result, reject wrong arguments, and know every public type."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from doc_pages import (
    AGENT_UNDER_TEST,
    CONTINUED,
    ON_A_CLUSTER,
    PROGRAMS,
    SETUP,
    SETUP_NAMES,
    SETUP_PAGE,
    TESTS,
)

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests" / "typing"
MARK = "# refused"

pytestmark = pytest.mark.typing


def run(*command, cwd):
    # Pyright asks the `python` on PATH for its packages.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={
            **os.environ,
            "PATH": path,
            "MYPYPATH": str(ROOT),
            "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def errors_of_mypy(cwd):
    done = run(
        "mypy",
        "--strict",
        "--output=json",
        "--config-file=",
        f"--cache-dir={cwd}",
        *sorted(str(path) for path in FILES.glob("*.py")),
        cwd=cwd,
    )
    assert not done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(Path(one["file"]).name, one["line"]): one["message"] for one in found}


def errors_of_pyright(cwd):
    done = run("pyright", "--outputjson", "--project", str(FILES), cwd=cwd)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"] for one in found
    }


@pytest.mark.parametrize("errors_of", [errors_of_mypy, errors_of_pyright])
def test_a_checker_infers_each_result_and_rejects_wrong_arguments(errors_of, tmp_path):
    refused = {
        (path.name, number)
        for path in FILES.glob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.endswith(MARK)
    }
    errors = errors_of(tmp_path)
    unexpected = {place: text for place, text in errors.items() if place not in refused}
    assert not unexpected
    assert refused == errors.keys()


# `make check` does not install Dask.
CONFIGURATION = """
[mypy]
strict = true
untyped_calls_exclude = distributed
[mypy-dask.*]
ignore_missing_imports = true
"""


def snippets_of(page):
    """Return the snippets of a page as a function, each on the line of the page where it is."""
    lines = []
    for block in CONTINUED:
        if block.page == page:
            lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    body = textwrap.indent("\n".join(lines[2:]), "    ")
    imports = f"from set_up import {', '.join(SETUP_NAMES)}"
    return f"{imports}\nasync def snippets() -> None:\n{body}\n"


def test_the_snippets_of_the_manual_have_the_right_types(tmp_path):
    for block in TESTS + PROGRAMS + ON_A_CLUSTER:
        name = f"{block.page.stem}_{block.line}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text(block.text, encoding="utf-8")
    (tmp_path / "my_agent.py").write_text(AGENT_UNDER_TEST, encoding="utf-8")
    (tmp_path / "set_up.py").write_text(SETUP.text, encoding="utf-8")
    for page in {block.page for block in CONTINUED} - {SETUP_PAGE}:
        name = page.stem.replace("-", "_")
        (tmp_path / f"page_{name}.py").write_text(snippets_of(page), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(CONFIGURATION, encoding="utf-8")
    done = run("mypy", "--config-file=mypy.ini", f"--cache-dir={tmp_path}", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no issues found" in done.stdout


def test_every_public_type_is_known(tmp_path):
    done = run(
        "pyright",
        "--verifytypes",
        "prefactor_http",
        "--ignoreexternal",
        "--outputjson",
        cwd=tmp_path,
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    assert report["pyTypedPath"]
    unknown = {
        symbol["name"]: [problem["message"] for problem in symbol["diagnostics"]]
        for symbol in report["symbols"]
        if symbol["diagnostics"] and not symbol["isTypeKnown"]
    }
    assert not unknown
    assert report["completenessScore"] == 1
