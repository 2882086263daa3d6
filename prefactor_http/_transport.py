"""One attempt through aiohttp: bytes go out, a `Reply` or a `Failure` comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.connector import Connection

from prefactor_http._outcome import Failure, Kind, Reply
from prefactor_http._watch import Cause, Watches
from prefactor_http._wire import Call
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorTimeoutError,
)


class _Connector(aiohttp.TCPConnector):
    """Lends no kept-alive connection on which more came in after its last reply."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 # aiohttp's signature
    ) -> Connection:
        # The pool looks only at whether it is open: what came in late, a proxy's complaint or a
        # second reply, would be taken for the reply to this request, which nobody has read yet.
        connection = await super().connect(req, traces, timeout)
        while connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            connection = await super().connect(req, traces, timeout)
        return connection


async def _sent_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a PUT or DELETE again by itself, uncounted, when it was cut off."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise  # not sent, and not repeated
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        problem = str(exc)
    raise aiohttp.ClientConnectionError(problem)


# A read sent twice does no harm, and aiohttp sends a POST only once. A borrowed session may have
# middlewares of its own, which these would replace.
_SENT_ONCE = {"PUT": (_sent_once,), "DELETE": (_sent_once,)}


class Transport:
    """Owns the session, or borrows one.

    Args:
        config: Base URL, limits and connect timeout.
        headers: Headers of every request.
        watches: Where attempts are watched for their timeout.
        session: A session to borrow: never closed, its own defaults stay.
    """

    def __init__(
        self,
        config: HttpClientConfig,
        headers: Mapping[str, str],
        watches: Watches,
        session: aiohttp.ClientSession | None,
    ) -> None:
        self._base_url = config.api_url.rstrip("/")
        self._secret = config.api_token
        self._limit = config.max_response_bytes
        self._trust_env = config.trust_env
        self._headers = dict(headers)
        self._watches = watches
        self._borrowed = session
        self._session = session
        # Without a total: aiohttp's own costs a timer and 8 % of a call; `Watches` keeps the time.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=config.connect_timeout)

    def set_header(self, name: str, value: str) -> None:
        """Change a header of every later request."""
        self._headers[name] = value
        if self._session is not None and self._borrowed is None:
            self._session.headers[name] = value

    def open(self) -> None:
        """Make the session, on the running event loop."""
        if self._session is None:
            # Headers on the session instead of on each request save 4 % of a call. The pool has no
            # limit: the client's own decides, and waiting there is nobody's timeout.
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=0),
                headers=self._headers,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._trust_env,
            )

    async def close(self) -> None:
        """Close the session, unless it is borrowed."""
        if self._session is not None and self._borrowed is None:
            session, self._session = self._session, None
            await session.close()

    async def attempt(self, call: Call[Any], timeout: float) -> Reply | Failure:  # noqa: ASYNC109 # the watch's
        """Send the call's bytes once and read the reply to its end.

        Args:
            call: What to send.
            timeout: Seconds that the attempt may take.

        Returns:
            The reply, whatever its status, or how the attempt failed.
        """
        session = self._session
        assert session is not None  # noqa: S101 # the client opened it
        watch = self._watches.begin(timeout)
        try:
            # A plain await instead of `async with`: the connection goes back by itself at the
            # body's end, and `_read` closes it where there is none.
            response = await session.request(
                call.operation.method,
                self._base_url + call.path,
                data=call.body,
                params=call.params,
                headers=call.headers if self._borrowed is None else self._all_headers(call),
                allow_redirects=False,
                raise_for_status=False,
                timeout=self._timeout,
                middlewares=_SENT_ONCE.get(call.operation.method)
                if self._borrowed is None
                else None,
            )
            content = response.content
            # It came with the head, as short replies do: saves 6 % of a call.
            body = content.read_nowait() if content.is_eof() else await self._read(response)
        except asyncio.CancelledError:
            cause = watch.caused()
            if cause is None:
                raise
            return _interrupted(cause, timeout)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as exc:
            # The reply's stream keeps the exception, the traceback would keep this frame, and that
            # the reply: a cycle for the collector.
            exc.__traceback__ = None
            return _failure(exc, self._secret, is_open=not session.closed)
        finally:
            self._watches.end(watch)
        if body is None or len(body) > self._limit:
            return self._too_large(response)
        return Reply(response.status, response.headers, body)

    def _all_headers(self, call: Call[Any]) -> Mapping[str, str]:
        return {**self._headers, **call.headers} if call.headers else self._headers

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        try:
            while part := await response.content.readany():
                parts.append(part)
                size += len(part)
                if size > self._limit:
                    response.close()
                    return None
        except BaseException:
            response.close()
            raise
        return b"".join(parts)

    def _too_large(self, response: aiohttp.ClientResponse) -> Failure:
        error = PrefactorResponseContractError(
            f"the reply is larger than max_response_bytes ({self._limit})",
            status_code=response.status,
        )
        return Failure(error, Kind.UNKNOWN, status=response.status, permanent=True)


def _interrupted(cause: Cause, seconds: float) -> Failure:
    if cause is Cause.CLOSING:
        closing = PrefactorClientError("the client was closed while the request was in flight")
        return Failure(closing, Kind.UNKNOWN, permanent=True)
    late = PrefactorTimeoutError(f"no reply within {seconds:g} s (request_timeout)")
    return Failure(late, Kind.UNKNOWN, timed_out=True)


# What aiohttp raises, most specific first; what it means; what is known of the write then.
_FAILURES: tuple[tuple[type[Exception], type[PrefactorHttpError], str, Kind], ...] = (
    (aiohttp.InvalidURL, PrefactorClientError, "the URL cannot be used", Kind.NOT_SENT),
    (aiohttp.ConnectionTimeoutError, PrefactorTimeoutError, "no connection in time", Kind.NOT_SENT),
    (aiohttp.ClientConnectorError, PrefactorConnectionError, "no connection", Kind.NOT_SENT),
    (aiohttp.ClientHttpProxyError, PrefactorConnectionError, "no proxy", Kind.NOT_SENT),
    (TimeoutError, PrefactorTimeoutError, "no reply in time", Kind.UNKNOWN),
    (aiohttp.ClientPayloadError, PrefactorConnectionError, "the reply was cut off", Kind.UNKNOWN),
    (aiohttp.ClientResponseError, PrefactorConnectionError, "the reply is not HTTP", Kind.UNKNOWN),
    (aiohttp.ClientError, PrefactorConnectionError, "the connection broke", Kind.UNKNOWN),
    (OSError, PrefactorConnectionError, "the connection broke", Kind.UNKNOWN),
)
_CERTIFICATE_ERRORS = (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)


def _failure(exc: Exception, secret: str, *, is_open: bool) -> Failure:
    """Say in our words what aiohttp raised: its exceptions hold headers, so none is chained."""
    # A reply that is not HTTP raises with a status of 400, which nobody sent.
    # It quotes what the server sent, which may be anything.
    quoted = exc.message if isinstance(exc, aiohttp.ClientResponseError) else str(exc)
    detail = " ".join(quoted.replace(secret, "[token]").split())
    if isinstance(exc, _CERTIFICATE_ERRORS):
        certificate = PrefactorConnectionError(f"the server's certificate is not valid: {detail}")
        certificate.certificate_error = True
        return Failure(certificate, Kind.NOT_SENT, permanent=True)
    for raised, error, meaning, kind in _FAILURES:
        if isinstance(exc, raised):
            return Failure(
                error(f"{meaning}: {detail or raised.__name__}"),
                kind,
                permanent=error is PrefactorClientError,
                disconnected=meaning == "the connection broke",
                timed_out=error is PrefactorTimeoutError,
            )
    if isinstance(exc, RuntimeError) and is_open:
        return Failure(PrefactorConnectionError(detail), Kind.UNKNOWN)
    # A borrowed session that its owner closed, or settings of it that contradict ours.
    return Failure(PrefactorClientError(detail), Kind.NOT_SENT, permanent=True)
