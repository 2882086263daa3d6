"""A separate environment with this package, built as for a release, and packages that use it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ENVIRONMENT = CHECKOUT / ".venv-dropin"
PROGRAMS = Path(__file__).parent
INSTALL_TIMEOUT = 600
PROGRAM_TIMEOUT = 100


def run(*command, timeout, **environment):
    """Run a command outside the checkout, so that it imports the installed package."""
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
    """A Python environment with this package installed instead of release 0.4.3."""

    python = ENVIRONMENT / "bin" / "python"

    def install(self, *requirements):
        pip = (self.python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        done = run(*pip, *requirements, timeout=INSTALL_TIMEOUT)
        assert done.returncode == 0, done.stderr

    def check(self):
        """Run `pip check`: are the requirements of each package installed?"""
        return run(self.python, "-m", "pip", "check", timeout=PROGRAM_TIMEOUT)

    def version_of(self, package):
        code = f"from importlib.metadata import version; print(version({package!r}))"
        return run(self.python, "-c", code, timeout=PROGRAM_TIMEOUT).stdout.strip()

    def run(self, program, api, *, token=None, **options):
        """Run a program of this folder against a local API and return the JSON that it prints."""
        done = run(
            self.python,
            PROGRAMS / program,
            json.dumps(options),
            timeout=PROGRAM_TIMEOUT,
            PREFACTOR_API_URL=api.url,
            PREFACTOR_API_TOKEN=token or api.token,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def with_core():
    """``prefactor-core`` on this package; later runs use the same environment again."""
    drop_in = DropIn()
    if not drop_in.python.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    drop_in.install(CHECKOUT, "prefactor-core")
    # The checkout changes without a new version, so pip would keep the installed package.
    drop_in.install("--force-reinstall", "--no-deps", CHECKOUT)
    return drop_in


@pytest.fixture(scope="session")
def with_langchain(with_core):
    # prefactor-langchain does not require `langchain`, but its middleware subclasses a class of it.
    with_core.install("prefactor-langchain", "langchain")
    return with_core


@pytest.fixture(scope="session")
def with_livekit(with_core):
    with_core.install("prefactor-livekit")
    return with_core
