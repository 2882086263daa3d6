"""A server whose answers a test writes, in a thread of its own."""

import json
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, Any] | bytes]

INSTANCE = {
    "type": "agent_instance",
    "id": "i1",
    "account_id": "a",
    "agent_id": "g",
    "agent_version_id": "v",
    "environment_id": "e",
    "status": "pending",
    "inserted_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}


def success(**fields: Any) -> dict[str, Any]:
    return {"status": "success", "details": INSTANCE | fields}


def spans(**fields: Any) -> dict[str, Any]:
    """Give a list of one span."""
    span = {
        "type": "agent_span",
        "id": "s1",
        "agent_instance_id": "i1",
        "schema_name": "step",
        "status": "pending",
    }
    return {"status": "success", "summaries": [span | fields], "pagination": None}


def failure(code: str, message: str, **errors: Any) -> dict[str, Any]:
    return {"status": "error", "code": code, "message": message, "errors": errors}


@contextmanager
def answering(
    answer: Callable[[str, Any], Answer], tls: ssl.SSLContext | None = None
) -> Generator[str, None, None]:
    """Serve, and give the URL; ``answer`` takes a path and a body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = answer(self.path, json.loads(body) if body else None)
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client hung up

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
