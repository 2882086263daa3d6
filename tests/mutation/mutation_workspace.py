"""A copy of the repository in which a file is changed and tests run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_COPIED = ("prefactor_http", "prefactor_http_pytest.py", "pyproject.toml", "README.md", "tests")
_IGNORED = shutil.ignore_patterns("__pycache__", ".hypothesis")
_TESTS_FAILED = 1  # pytest's exit code; others mean that it could not run them
_SLOWEST = 300  # seconds


class Workspace:
    """The copy.

    Args:
        path: An empty folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, path / name, ignore=_IGNORED)
            else:
                shutil.copy(source, path / name)

    @property
    def environment(self) -> dict[str, str]:
        # Bytecode would be reused for a changed file of the same size and second.
        return {**os.environ, "PYTHONPATH": str(self.path), "PYTHONDONTWRITEBYTECODE": "1"}

    def first_failure(self, *tests: str, seconds: float = _SLOWEST) -> str | None:
        """Run tests in the copy until one fails, and return its id.

        Raises:
            RuntimeError: They could not be run.
        """
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-qxrf", "-p", "no:randomly", *_OPTIONS, *tests],
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode not in {0, _TESTS_FAILED}:
            raise RuntimeError(f"pytest: {done.stdout}{done.stderr}")
        failed = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
        return failed[1] if failed else None


# The plugins that a run of a few tests does not need take half of its time.
_OPTIONS = ("-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", "-o", "timeout=300")
