"""One attempt through aiohttp: bytes go out, a `Reply` or a `Failure` comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from prefactor_http._outcome import Failure, Kind, Reply
from prefactor_http._watch import Cause, Watches
from prefactor_http._wire import Call
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorResponseContractError,
    PrefactorTimeoutError,
)


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
        self._config = config
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
            self._session.headers[name] = value  # type: ignore[index] # a CIMultiDict at run time

    def open(self) -> None:
        """Make the session, on the running event loop."""
        if self._session is None:
            # Headers on the session instead of on each request save 4 % of a call. The pool has no
            # limit: the client's own decides, and waiting there is nobody's timeout.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                headers=self._headers,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._config.trust_env,
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
            )
            body = await self._read(response)
        except asyncio.CancelledError:
            cause = watch.caused()
            if cause is None:
                raise
            return _interrupted(cause, timeout)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as exc:
            return _failure(exc, closed=session.closed)
        finally:
            self._watches.end(watch)
        if body is None:
            return self._too_large(response)
        return Reply(response.status, response.headers, body)

    def _all_headers(self, call: Call[Any]) -> Mapping[str, str]:
        return {**self._headers, **call.headers} if call.headers else self._headers

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        content = response.content
        limit = self._config.max_response_bytes
        if content.is_eof():  # it came with the head, as short replies do: saves 6 % of a call
            body = content.read_nowait()
            return body if len(body) <= limit else None
        parts: list[bytes] = []
        size = 0
        try:
            while part := await content.readany():
                parts.append(part)
                size += len(part)
                if size > limit:
                    response.close()
                    return None
        except BaseException:
            response.close()
            raise
        return b"".join(parts)

    def _too_large(self, response: aiohttp.ClientResponse) -> Failure:
        error = PrefactorResponseContractError(
            f"the reply is larger than max_response_bytes ({self._config.max_response_bytes})",
            status_code=response.status,
        )
        return Failure(error, Kind.UNKNOWN, status=response.status, permanent=True)


def _interrupted(cause: Cause, seconds: float) -> Failure:
    if cause is Cause.CLOSING:
        closing = PrefactorClientError("the client was closed while the request was in flight")
        return Failure(closing, Kind.UNKNOWN, permanent=True)
    late = PrefactorTimeoutError(f"no reply within {seconds:g} s (request_timeout)")
    return Failure(late, Kind.UNKNOWN, timed_out=True)


def _failure(exc: Exception, *, closed: bool) -> Failure:
    """Classify what aiohttp raised; its exceptions hold headers, so they are never chained."""
    text = str(exc) or type(exc).__name__
    match exc:
        case aiohttp.ServerDisconnectedError():
            gone = PrefactorConnectionError("the server closed the connection without a reply")
            return Failure(gone, Kind.UNKNOWN, disconnected=True)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ServerFingerprintMismatch():
            certificate = PrefactorConnectionError(f"the server's certificate is not valid: {text}")
            certificate.certificate_error = True
            return Failure(certificate, Kind.NOT_SENT, permanent=True)
        case aiohttp.InvalidURL():
            return _refused(f"the URL cannot be used: {text}")
        case aiohttp.ConnectionTimeoutError():
            return Failure(PrefactorTimeoutError(text), Kind.NOT_SENT, timed_out=True)
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return Failure(PrefactorConnectionError(text), Kind.NOT_SENT)
        case TimeoutError():
            return Failure(PrefactorTimeoutError(text), Kind.UNKNOWN, timed_out=True)
        case aiohttp.ClientPayloadError():
            cut = PrefactorConnectionError(f"the reply was cut off: {text}")
            return Failure(cut, Kind.UNKNOWN)
        case aiohttp.ClientResponseError():
            garbled = PrefactorConnectionError(f"the reply is not HTTP: {exc.message}")
            return Failure(garbled, Kind.UNKNOWN)
        case aiohttp.ClientError() | OSError():
            return Failure(PrefactorConnectionError(text), Kind.UNKNOWN, disconnected=True)
        case RuntimeError() if not closed:
            return Failure(PrefactorConnectionError(text), Kind.UNKNOWN)
        case _:
            return _refused(text)


def _refused(text: str) -> Failure:
    return Failure(PrefactorClientError(text), Kind.NOT_SENT, permanent=True)
