"""Which interpreter runs which contender; the reference gets an environment of its own."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import venv
from pathlib import Path

from msgspec import Struct

REFERENCE = "prefactor-http==0.4.3"
_HERE = Path(__file__).parent


class Contender(Struct, frozen=True):
    """Someone to measure.

    Attributes:
        key: On the command line and in results.
        name: In tables and plots.
        module: Under `benchmarks.contenders`.
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


def reference() -> Contender:
    """Give the reference, in an environment that is made with the first use."""
    tag = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = _HERE / f".venv-reference-{tag}"
    python = folder / "bin" / "python"
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in ("aiohttp", "uvloop")]
    stamp = folder / "installed.txt"
    wanted = "\n".join([REFERENCE, *pins])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {folder.name}: {REFERENCE}, {', '.join(pins)}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, REFERENCE, *pins], check=True)
        stamp.write_text(wanted)
    return Contender("reference", "prefactor-http 0.4.3", "prefactor", str(python))
