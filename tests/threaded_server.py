"""A server in a thread, which answers while the event loop of the test is blocked or replaced."""

from __future__ import annotations

import re
import socket
import threading
import time

from raw_server import reply


class ThreadedServer:
    """Answers in its own thread, independently of the test's event loop."""

    def __init__(self) -> None:
        self.answer = reply()
        self.delay = 0.02
        self.requests = 0
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._socket.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while True:
                received = b""
                while not _is_complete(received):
                    part = connection.recv(65536)
                    if not part:
                        return
                    received += part
                self.requests += 1
                time.sleep(self.delay)
                connection.sendall(self.answer)
                if not self.answer or b"Connection: close" in self.answer:
                    return


def _is_complete(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and len(body) == int(length[1] if length else 0)
