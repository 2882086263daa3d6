"""The processes of a benchmark: the server, and a worker for each contender."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from benchmarks.environments import Contender

ROOT = Path(__file__).parent.parent
# glibc maps and unmaps a block above its threshold, and raises the threshold when such a block is
# freed whole. asyncio reads into 256 KiB that it frees shrunk, so a small process maps for each
# read until something else has freed a large block. Contenders are compared in the same state.
ALLOCATORS = {
    "as it comes": {},
    "mapping": {"MALLOC_MMAP_THRESHOLD_": str(128 << 10)},
    "settled": {
        "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(8 << 20),
    },
}
_WORKER = str(Path(__file__).parent / "worker.py")


class Server:
    """A running server.

    Args:
        url: Where it listens.
        certificate: What it shows, where it speaks TLS.
    """

    def __init__(self, url: str, certificate: Path | None) -> None:
        self.url = url
        self.environ = {"SSL_CERT_FILE": str(certificate)} if certificate else {}
        self._context = ssl.create_default_context(cafile=certificate) if certificate else None

    def stats(self) -> dict[str, Any]:
        """Ask what it has done since the last reset."""
        return self._get("/_stats")

    def reset(self) -> None:
        """Start anew."""
        self._get("/_reset")

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, context=self._context) as reply:
            return cast("dict[str, Any]", json.load(reply))


class Worker(Struct):
    """A running contender."""

    contender: Contender
    process: subprocess.Popen[str]

    def order(self, **order: object) -> dict[str, Any]:
        """Give an order and wait for what comes of it."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        line = ""
        with suppress(BrokenPipeError):
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            raise RuntimeError(f"{self.contender.name} has died: see above")
        return cast("dict[str, Any]", json.loads(line))

    def cost(self, count: int, call: str = "register", **more: object) -> float:
        """Let it make calls, and tell what CPU each took, in microseconds."""
        done = self.order(measure="cost", call=call, count=count, **more)
        return 1e6 * float(done["cpu"]) / count


@contextmanager
def serving(*, tls: bool = False, **options: object) -> Iterator[Server]:
    """Run a server for the block; the options are those of `server.Options`."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = _certificate(Path(folder)) if tls else None
        if certificate:
            options["certificate"] = str(certificate)
        command = [sys.executable, "-m", "benchmarks.server", json.dumps(options)]
        with _process(command) as process:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            yield Server(f"http{'s' * tls}://127.0.0.1:{port}", certificate)


@contextmanager
def workers(
    contenders: Sequence[Contender],
    server: Server,
    loop: str = "asyncio",
    allocator: str = "settled",
    **settings: object,
) -> Iterator[list[Worker]]:
    """Run a process for each contender for the block; the settings are those of its client."""
    environ = {**os.environ, **server.environ, **ALLOCATORS[allocator]}
    with ExitStack() as stack:
        yield [
            Worker(
                each,
                stack.enter_context(
                    _process([*_worker(each), server.url, loop, json.dumps(settings)], environ)
                ),
            )
            for each in contenders
        ]


def _worker(contender: Contender) -> list[str]:
    return [contender.python, "-P", _WORKER, contender.module]


def _certificate(folder: Path) -> Path:
    """Make a certificate for the loopback address, good for a day, with its key in one file."""
    file = folder / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext"
    more = ["subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", str(folder / "cert")]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    with file.open("a") as stream:
        stream.write((folder / "cert").read_text())
    return file


@contextmanager
def _process(
    command: Sequence[str], environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environ)
    try:
        yield process
    finally:
        with suppress(BrokenPipeError):  # it has died, and an order is still in the pipe
            process.communicate()  # closes its stdin, which ends it
