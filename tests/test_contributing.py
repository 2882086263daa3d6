"""The recipe in CONTRIBUTING.md is complete: applied to a copy, it adds an operation that works."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEP = re.compile(
    r"^\*\*\d\. (?P<title>[^*]+)\.\*\* In (?:the new file )?`(?P<file>[^`]+)`"
    r"(?:, above (?P<row>the row of )?`(?P<anchor>[^`]+)`)?:\n\n"
    r"```\w+\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COPIED = ["README.md", "docs", "prefactor_http", "prefactor_http_pytest.py", "pyproject.toml"]
TESTS = [
    *("conftest.py", "doc_pages.py", "event_loops.py"),
    *("raw_server.py", "unused_port.py", "virtual_time.py"),
    "docs/test_reference_tables.py",
    *("endpoints/conftest.py", "endpoints/operation_cases.py", "endpoints/test_every_operation.py"),
]
CHECKED = "pause or case or unique or table_of_calls"


class Step(NamedTuple):
    """One change: a block of code, and where it goes."""

    title: str
    file: str
    anchor: str | None
    code: str

    def apply(self, root):
        path = root / self.file
        if self.anchor is None:
            path.write_text(self.code, encoding="utf-8")
            return
        lines = path.read_text(encoding="utf-8").splitlines()
        (number,) = [n for n, line in enumerate(lines) if line.lstrip().startswith(self.anchor)]
        indent = " " * (len(lines[number]) - len(lines[number].lstrip()))
        lines[number:number] = textwrap.indent(self.code, indent).splitlines()
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


STEPS = [
    Step(
        match["title"],
        match["file"],
        f"| `{match['anchor']}` |" if match["row"] else match["anchor"],
        match["code"],
    )
    for match in STEP.finditer(TEXT)
]


def run_checks(root, steps):
    for name in COPIED:
        source, target = ROOT / name, root / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for name in TESTS:
        (root / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, root / "tests" / name)
    for step in steps:
        step.apply(root)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-k", CHECKED, "tests"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_recipe_has_seven_steps():
    assert len(STEPS) == len(re.findall(r"^\*\*\d\. ", TEXT, re.MULTILINE)) == 7


def test_the_recipe_adds_an_operation_that_works(tmp_path):
    run = run_checks(tmp_path, STEPS)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "tests/endpoints/test_pause.py").exists()


@pytest.mark.parametrize("missing", STEPS[:-1], ids=lambda step: step.title)
def test_every_step_is_needed(tmp_path, missing):
    run = run_checks(tmp_path, [step for step in STEPS if step is not missing])
    assert run.returncode != 0, run.stdout
