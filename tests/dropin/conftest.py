"""An environment of its own, with this package as it is released and what stands on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ENVIRONMENT = CHECKOUT / ".venv-dropin"
PROGRAMS = Path(__file__).parent
LONGEST_INSTALLATION = 600
LONGEST_PROGRAM = 100


def run(*command, timeout, **environment):
    """Run a command away from the checkout, so that it imports what is installed."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=ENVIRONMENT,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class DropIn:
    """A Python with this package in the place of the one that it replaces."""

    python = ENVIRONMENT / "bin" / "python"

    def install(self, *requirements):
        pip = (self.python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        done = run(*pip, *requirements, timeout=LONGEST_INSTALLATION)
        assert done.returncode == 0, done.stderr

    def check(self):
        """Let pip say whether each package has what it requires."""
        return run(self.python, "-m", "pip", "check", timeout=LONGEST_PROGRAM)

    def version_of(self, package):
        code = f"from importlib.metadata import version; print(version({package!r}))"
        return run(self.python, "-c", code, timeout=LONGEST_PROGRAM).stdout.strip()

    def run(self, program, api, *, token=None, **options):
        """Run a program of this folder against a local API; give what it prints."""
        done = run(
            self.python,
            PROGRAMS / program,
            json.dumps(options),
            timeout=LONGEST_PROGRAM,
            PREFACTOR_API_URL=api.url,
            PREFACTOR_API_TOKEN=token or api.token,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def with_core():
    """``prefactor-core`` over this package; the environment stays for the next time."""
    drop_in = DropIn()
    if not drop_in.python.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    drop_in.install(CHECKOUT, "prefactor-core")
    # The version stays the same while the checkout changes, and pip would keep what is there.
    drop_in.install("--force-reinstall", "--no-deps", CHECKOUT)
    return drop_in


@pytest.fixture(scope="session")
def with_langchain(with_core):
    # The middleware's base class is in `langchain`, which prefactor-langchain does not require.
    with_core.install("prefactor-langchain", "langchain")
    return with_core


@pytest.fixture(scope="session")
def with_livekit(with_core):
    with_core.install("prefactor-livekit")
    return with_core
