"""The contenders and their virtual environments.

The reference and other Python versions run in environments that are created on first use.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct

REFERENCE = "prefactor-http==0.4.3"
CORE = "prefactor-core==0.5.3"
PYTHONS = ("3.11", "3.12", "3.13")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
_FOLDER = Path(__file__).parent
_REPORTED = (
    *("aiohttp", "httpx", "msgspec", "multidict", "prefactor-http", "propcache"),
    *("pydantic", "tenacity", "uvloop", "yarl"),
)


class Contender(Struct, frozen=True):
    """A client to measure.

    Attributes:
        key: Its name on the command line and in results files.
        name: Its name in tables and plots.
        module: Its module in `benchmarks.contenders`.
        python: The interpreter that runs it.
    """

    key: str
    name: str
    module: str
    python: str = sys.executable


OURS = Contender("ours", "prefactor_http 1.0", "prefactor")
BY_HAND = Contender("hand", "aiohttp by hand", "aiohttp_json")
FLOOR = Contender("floor", "aiohttp, constant bytes", "aiohttp_bytes")
HTTPX = Contender("httpx", "httpx by hand", "httpx_json")
BARE = Contender("bare", "bare protocol", "bare")
# Ours in a process that settles its allocator first, for the measure `first_line`.
SETTLED = Contender("settled", "prefactor_http 1.0, settled", "prefactor_settled")
REFERENCE_NAME = "prefactor-http 0.4.3"
# Ours through `client.batched`, for the measure `batching`.
BATCHED = Contender("batched", "prefactor_http 1.0, batched", "prefactor_batched")
# Ours through an outbox, for the measure `outbox`.
RECORDING = Contender("recording", "outbox, recording", "prefactor_outbox")
DELIVERING = Contender("delivering", "outbox, recording and delivery", "prefactor_outbox")
# Tables and plots are generated from results files, which have only the keys.
NAMES = {
    each.key: each.name
    for each in (OURS, SETTLED, BATCHED, RECORDING, DELIVERING, BY_HAND, FLOOR, HTTPX, BARE)
}
NAMES["reference"] = REFERENCE_NAME
NAMES["core"] = "prefactor-core"


def reference(python: str = HERE) -> Contender:
    """Return the reference in its environment, which is created on first use."""
    executable = _environment("reference", python, [REFERENCE, *_pins("aiohttp", "uvloop")])
    return Contender("reference", REFERENCE_NAME, "prefactor", executable)


def core() -> Contender:
    """Return `prefactor-core` on the reference, in its environment."""
    packages = [CORE, REFERENCE, *_pins("aiohttp", "uvloop")]
    return Contender("core", NAMES["core"], "core_queue", _environment("core", HERE, packages))


def all_contenders() -> list[Contender]:
    return [reference(), OURS, BY_HAND, FLOOR, HTTPX, BARE]


def on_python(python: str) -> list[Contender]:
    """Return the reference, ours and the floor on another Python version.

    Both environments have the same package versions. Ours is imported from this checkout.
    """
    if python == HERE:
        return [reference(), OURS, FLOOR]
    executable = _environment("ours", python, _pins("aiohttp", "msgspec", "tenacity", "uvloop"))
    moved = [msgspec.structs.replace(each, python=executable) for each in (OURS, FLOOR)]
    return [reference(python), *moved]


def pythons() -> dict[str, str]:
    """Find interpreters by version: the current one, those on PATH, and those of pyenv."""
    found = {HERE: sys.executable}
    for version in PYTHONS:
        for candidate in _candidates(version):
            if version not in found and _runs(candidate, version):
                found[version] = candidate
    return found


def versions(executable: str) -> dict[str, str]:
    """Return the versions of an interpreter and its relevant packages."""
    code = (
        "import importlib.metadata as m, json, platform, sys\n"
        "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        "names = {n: found[n] for n in sys.argv[1:] if n in found}\n"
        "print(json.dumps({'Python': platform.python_version(), **names}))"
    )
    run = subprocess.run(
        [executable, "-P", "-c", code, *_REPORTED], check=True, capture_output=True, text=True
    )
    return cast("dict[str, str]", json.loads(run.stdout))


def _pins(*names: str) -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def _environment(name: str, python: str, packages: Sequence[str]) -> str:
    folder = _FOLDER / f".venv-{name}-{python}"
    executable = str(folder / "bin" / "python")
    stamp = folder / "installed.txt"
    wanted = "\n".join(packages)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"creating {folder.name}: {', '.join(packages)}", file=sys.stderr)
        if python == HERE:
            venv.create(folder, with_pip=True, clear=True)
        else:
            command = [pythons()[python], "-m", "venv", "--clear", str(folder)]
            subprocess.run(command, check=True)
        install = [executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, *packages], check=True)
        stamp.write_text(wanted)
    return executable


def _candidates(version: str) -> Iterator[str]:
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield on_path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for folder in sorted(root.glob(f"{version}.*")):
        if re.fullmatch(r"[\d.]+", folder.name):  # no pre-releases, no free-threaded builds
            yield str(folder / "bin" / "python")


def _runs(executable: str, version: str) -> bool:
    # A pyenv shim is on PATH even if its version is not selected. Running it fails then.
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        run = subprocess.run(
            [executable, "-c", code], check=False, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.stdout.strip() == version
