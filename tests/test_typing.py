"""Type checkers know what each call gives, refuse wrong arguments, and find every type."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests" / "typing"
MARK = "# refused"

pytestmark = pytest.mark.skipif(
    not (importlib.util.find_spec("mypy") and importlib.util.find_spec("pyright")),
    reason="the type checkers come with `make check`",
)


def run(*command, cwd):
    # Pyright asks the `python` on the path where packages are.
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


def complaints_of_mypy(cwd):
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


def complaints_of_pyright(cwd):
    done = run("pyright", "--outputjson", "--project", str(FILES), cwd=cwd)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"] for one in found
    }


@pytest.mark.parametrize("complaints_of", [complaints_of_mypy, complaints_of_pyright])
def test_a_checker_infers_each_result_and_refuses_wrong_arguments(complaints_of, tmp_path):
    refused = {
        (path.name, number)
        for path in FILES.glob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.endswith(MARK)
    }
    complaints = complaints_of(tmp_path)
    unexpected = {place: text for place, text in complaints.items() if place not in refused}
    assert not unexpected
    assert refused == complaints.keys()


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
