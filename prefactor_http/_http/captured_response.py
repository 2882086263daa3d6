"""Collects the raw responses of the calls in a block; see `PrefactorHttpClient.capture_responses`.

A context variable holds the open blocks, so tasks that are started in a block belong to it. While a
client has no open block, its calls do not look at the variable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar

from msgspec import Struct

from prefactor_http._http.redaction import Redactor
from prefactor_http._http.response import Failure, Response

# Cookies and echoes of credentials.
_SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "set-cookie", "set-cookie2", "x-api-key"}
)


class ResponseHeaders(Mapping[str, str]):
    """Headers of a response, read-only. Names are case-insensitive.

    Values of a repeated header are joined with commas.
    """

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        self._items: dict[str, tuple[str, str]] = {}
        for name, value in headers:
            key = name.lower()
            if key in self._items:
                name, value = self._items[key][0], f"{self._items[key][1]}, {value}"  # noqa: PLW2901
            self._items[key] = name, value

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()][1]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._items

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)})"


class CapturedResponse(Struct, frozen=True, kw_only=True):
    """The raw response of one call, as collected by `PrefactorHttpClient.capture_responses`.

    Attributes:
        operation: Name of the operation, such as ``agent_instances.register``.
        method: HTTP method.
        path: Path of the URL.
        status: HTTP status of the last response, or None if no attempt got a response.
        headers: Headers of the last response, without cookies and credentials.
        request_id: ``X-Request-Id`` of the last response, for the API's support, or None.
        attempts: Number of attempts.
        seconds: Duration of the whole call, with retries and waits.
    """

    operation: str
    method: str
    path: str
    status: int | None
    headers: Mapping[str, str]
    request_id: str | None
    attempts: int
    seconds: float


class Capture(Struct, eq=False):
    """One block, with the responses of its calls.

    A connection that is opened in a block keeps the block's context, and so this object. After the
    block it therefore refers to nothing.

    Attributes:
        owner: The state of the client that opened the block; None after the block.
        responses: The responses so far; None after the block.
    """

    owner: object
    responses: list[CapturedResponse] | None


class CapturedCall(Struct):
    """A call that was made in a block, and its last response.

    Attributes:
        captures: The blocks.
        response: The last response, or a `Failure` with the status of one that was not read.
    """

    captures: tuple[Capture, ...]
    response: Response | Failure | None = None


_captures: ContextVar[tuple[Capture, ...]] = ContextVar("prefactor_http_captures", default=())


def captures_of(owner: object) -> tuple[Capture, ...]:
    """Return the open blocks of a client that the running code is in, or was started in."""
    return tuple(c for c in _captures.get() if c.owner is owner)


def open_capture(owner: object, responses: list[CapturedResponse]) -> Capture:
    capture = Capture(owner, responses)
    _captures.set((*_captures.get(), capture))
    return capture


def close_capture(capture: Capture) -> None:
    capture.owner = capture.responses = None
    # Not `ContextVar.reset`, which fails in another context: a fixture may end in another task.
    _captures.set(tuple(c for c in _captures.get() if c is not capture))


def keep_response(call: CapturedCall | None, response: Response | Failure) -> None:
    """Keep the response of an attempt, unless a later attempt gets one."""
    if call is not None and response.status is not None:
        call.response = response


def public_headers(response: Response | Failure | None, redactor: Redactor) -> ResponseHeaders:
    """Return the headers of a response without those that contain secrets."""
    headers = response.headers.items() if isinstance(response, Response) else ()
    return ResponseHeaders(
        (name, redactor.text(value))
        for name, value in headers
        if name.lower() not in _SECRET_HEADERS
    )
