"""Ports for addresses where nobody listens, and for servers that stop and start again.

The kernel does not choose these ports. If a test used a port that the kernel has chosen before, the
kernel might choose it again for a server of a test in another process, and that server would
receive the requests.
"""

from __future__ import annotations

import itertools
import os
import random
import socket

# Linux chooses ports from 32,768, other systems from 49,152.
_FIRST, _LAST, _WORKERS = 20_000, 32_000, 8
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_PER_WORKER = (_LAST - _FIRST) // _WORKERS
_offsets = itertools.count(random.randrange(_PER_WORKER))


def unused_port() -> int:
    """Return a TCP port of 127.0.0.1 that no other test of this run gets."""
    for _ in range(_PER_WORKER):
        port = _FIRST + _WORKER * _PER_WORKER + next(_offsets) % _PER_WORKER
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    message = "all ports are in use"
    raise RuntimeError(message)
