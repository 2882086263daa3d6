"""Starts the processes of a benchmark: the server and a worker for each contender."""

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
# glibc allocates blocks above a threshold with mmap, and raises the threshold when such a block is
# freed at full size. asyncio reads into a buffer of 256 KiB and shrinks it before it is freed, so
# the threshold stays, and each read costs an mmap and a munmap until something else frees a large
# block. Contenders are compared in the same state.
ALLOCATORS = {
    "default": {},
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
        url: Its base URL.
        certificate: Its certificate, if it uses TLS.
    """

    def __init__(self, url: str, certificate: Path | None) -> None:
        self.url = url
        self.environ = {"SSL_CERT_FILE": str(certificate)} if certificate else {}
        self._context = ssl.create_default_context(cafile=certificate) if certificate else None

    def stats(self) -> dict[str, Any]:
        """Return the counters since the last reset."""
        return self._get("/_stats")

    def reset(self) -> None:
        """Reset the counters and the state."""
        self._get("/_reset")

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, context=self._context) as response:
            return cast("dict[str, Any]", json.load(response))


class Worker(Struct):
    """A running worker process."""

    contender: Contender
    process: subprocess.Popen[str]

    def run(self, command: str, **arguments: object) -> dict[str, Any]:
        """Run a command of `commands` in the worker and return its result."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        line = ""
        with suppress(BrokenPipeError):
            stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            raise RuntimeError(f"{self.contender.name} has exited: see its output above")
        return cast("dict[str, Any]", json.loads(line))

    def cost(self, count: int, call: str = "register", **arguments: object) -> float:
        """Return the CPU time per call in microseconds."""
        done = self.run("cost", call=call, count=count, **arguments)
        return 1e6 * float(done["cpu"]) / count


@contextmanager
def serving(*, tls: bool = False, **options: object) -> Iterator[Server]:
    """Run a server for the duration of the block.

    Args:
        tls: Whether the server uses TLS.
        **options: Fields of `server.Options`.
    """
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
    """Run a worker for each contender for the duration of the block.

    Args:
        contenders: The contenders.
        server: The server that they call.
        loop: `asyncio` or `uvloop`.
        allocator: A key of `ALLOCATORS`.
        **settings: Settings of the clients.
    """
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
    """Create a certificate for 127.0.0.1, valid for a day, in one file with its key."""
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
        with suppress(BrokenPipeError):  # it has exited with a command still in the pipe
            process.communicate()  # closes stdin, which makes the process exit
