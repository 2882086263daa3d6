"""Sends one attempt through aiohttp and returns a `Response` or a `Failure`."""

from __future__ import annotations

import asyncio
import io
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp

from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.connector import Connector
from prefactor_http._http.redaction import Redactor
from prefactor_http._http.response import Failure, Response, WriteStatus
from prefactor_http._http.timeouts import Timeouts
from prefactor_http._http.transport_errors import FailureFactory, address
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorClientError, PrefactorResponseContractError

# Some proxies send more than aiohttp's defaults of 8,190 bytes and 128 fields.
_MAX_HEADER_SIZE = 64 * 1024
_MAX_HEADERS = 1024
# aiohttp writes a body of bytes in one call, and warns if it is longer than this.
_MAX_PLAIN_BODY = 1024 * 1024
_AUTHORIZATION = "Authorization"
_DEFAULT_PORTS = {"http": 80, "https": 443}


async def _send_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Middleware that keeps aiohttp from silently repeating a PUT or DELETE after a disconnect."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise  # not sent, and aiohttp does not repeat it
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        problem = str(exc)
    raise aiohttp.ClientConnectionError(problem)


async def _unfinished(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body, but do not end: aiohttp returns a connection to its pool after both ends."""
    yield body
    await asyncio.get_running_loop().create_future()  # cancelled when the response is closed


class _AuthorizationMiddleware:
    """Middleware that sets the token after aiohttp has read credentials from a netrc file."""

    def __init__(self) -> None:
        self.value = ""

    async def __call__(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers[_AUTHORIZATION] = self.value
        return await send(request)


class Transport:
    """Owns an aiohttp session, or borrows one.

    Args:
        config: Base URL, limits, connect timeout, token, proxy and TLS settings.
        headers: Headers of each request, without the token.
        timeouts: Interrupts attempts that take too long.
        session: A session to borrow. It is never closed, and its own defaults stay.
        redactor: Removes the token from errors.
    """

    def __init__(
        self,
        config: HttpClientConfig,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        session: aiohttp.ClientSession | None,
        redactor: Redactor,
    ) -> None:
        self.base_url: str = config.api_url.rstrip("/")
        self._max_response_bytes = config.max_response_bytes
        self._trust_env = config.trust_env
        self._headers = dict(headers)
        self._timeouts = timeouts
        if session is not None and not isinstance(session, aiohttp.ClientSession):  # pyright: ignore[reportUnnecessaryIsInstance] # not every caller uses a type checker
            kind = type(session).__name__
            raise TypeError(f"session must be an aiohttp.ClientSession or None, not {kind}")
        self._borrowed_session = session
        self._session = session
        # No total: it costs a timer per request. `Timeouts` limits the attempt.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=config.connect_timeout)
        url = urlsplit(self.base_url)
        self._host = url.hostname or ""
        self._is_tls = url.scheme == "https"
        self._failures = FailureFactory(
            address(self._host, url.port or _DEFAULT_PORTS[url.scheme]),
            redactor,
            config.connect_timeout,
        )
        self._proxy = config.proxy
        # Headers on the session are cheaper than headers on each request, but with a proxy, aiohttp
        # sends them to the proxy, too: the token would be its Proxy-Authorization.
        self._has_session_headers = session is None and config.proxy is None
        self._ssl = config.ssl
        for secret in _proxy_secrets(config.proxy):
            redactor.add(secret)
        self._authorization = _AuthorizationMiddleware()
        self._middlewares = self._middlewares_by_method()
        self._in_flight = 0
        self._replaced: dict[aiohttp.ClientSession, int] = {}
        self._closing_tasks: set[asyncio.Task[None]] = set()
        self._new_connections = 0
        if isinstance(config.api_token, str):
            self.set_token(config.api_token)

    def _middlewares_by_method(self) -> Mapping[str, tuple[aiohttp.ClientMiddlewareType, ...]]:
        if self._borrowed_session is not None:
            return {}  # the session's own middlewares stay
        # aiohttp does not repeat a POST, and a repeated GET is harmless.
        send_once: dict[str, tuple[aiohttp.ClientMiddlewareType, ...]] = {
            "PUT": (_send_once,),
            "DELETE": (_send_once,),
        }
        if not self._trust_env:
            return send_once
        return {
            method: (self._authorization, *send_once.get(method, ()))
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        }

    @property
    def is_instrumented(self) -> bool:
        """Whether the session reports its requests to OpenTelemetry itself."""
        session = self._session
        return session is not None and any(
            getattr(trace_config, "_is_instrumented_by_opentelemetry", False)
            for trace_config in session.trace_configs
        )

    def set_header(self, name: str, value: str) -> None:
        self._headers[name] = value
        if self._session is not None and self._has_session_headers:
            self._session.headers[name] = value

    def set_token(self, token: str) -> None:
        """Send another token from now on."""
        value = f"Bearer {token}"
        self._authorization.value = value
        # aiohttp rejects a request with both this header and credentials from netrc.
        if self._borrowed_session is not None or not self._trust_env:
            self.set_header(_AUTHORIZATION, value)

    def open(self) -> None:
        """Create the session on the running event loop.

        Raises:
            PrefactorClientError: The borrowed session was opened before a fork.
        """
        if self._session is None:
            if self._borrowed_session is not None:
                raise PrefactorClientError(
                    "the borrowed session belongs to the process before the fork: make a new "
                    "client, with a session of this process"
                )
            self._session = self._new_session()
            self._in_flight = 0

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=Connector(self._ssl),
            headers=self._headers if self._has_session_headers else None,
            proxy=self._proxy,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=self._trust_env,
            max_line_size=_MAX_HEADER_SIZE,
            max_field_size=_MAX_HEADER_SIZE,
            max_headers=_MAX_HEADERS,
        )

    async def close(self) -> None:
        if self._session is not None and self._borrowed_session is None:
            session, self._session = self._session, None
            for replaced in self._replaced:
                self._close_soon(replaced)
            self._replaced.clear()
            await session.close()
            if self._closing_tasks:
                await asyncio.wait(self._closing_tasks)

    def abandon(self) -> None:
        """Drop the session without touching its connections, which the parent process uses."""
        if self._session is not None and self._borrowed_session is None:
            for session in (self._session, *self._replaced):
                session.detach()  # `Connector` does not close connections when it is collected
            self._replaced.clear()
        self._session = None

    async def attempt(self, prepared: PreparedRequest[Any], seconds: float) -> Response | Failure:
        """Send the request once and read the whole response.

        Args:
            prepared: The request.
            seconds: Timeout of the attempt.

        Returns:
            The response, whatever its status, or the failure of the attempt.
        """
        headers = prepared.headers if self._has_session_headers else self._all_headers(prepared)
        pool_name: str | None = None
        if self._borrowed_session is not None:
            if prepared.needs_new_connection:
                pool_name = self._new_pool_name()
        elif prepared.needs_new_connection:
            self._replace_session()
        session = self._session
        assert session is not None  # noqa: S101 # the client opened it
        method = prepared.operation.method
        timeout = self._timeouts.start(seconds)
        self._in_flight += 1
        try:
            # A plain await instead of `async with`: aiohttp releases the connection at the end of
            # the body, and `_read` closes it if the body is incomplete.
            response = await session.request(
                method,
                self.base_url + prepared.path,
                data=self._data(prepared),
                params=prepared.params,
                headers=headers,
                allow_redirects=False,
                raise_for_status=False,
                timeout=self._timeout,
                middlewares=self._middlewares.get(method),
                server_hostname=pool_name,
            )
            content = response.content
            # A short response arrives with its header and needs no further await.
            received = content.read_nowait() if content.is_eof() else await self._read(response)
            if response.connection is not None:
                # It switched protocols, or the request was not sent or read to its end.
                response.close()
            if received is None or len(received) > self._max_response_bytes:
                return self._too_large(response.status)
            return Response(response.status, response.headers, received)
        except asyncio.CancelledError:
            reason = timeout.cancel_reason()
            if reason is None:
                raise
            return self._failures.from_cancel_reason(reason, seconds)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as exc:
            # Avoids a reference cycle: the response's stream keeps the exception, its traceback
            # this frame, and the frame the response.
            exc.__traceback__ = None
            return self._failures.from_exception(exc, is_session_open=not session.closed)
        finally:
            self._timeouts.stop(timeout)
            if session is self._session:
                self._in_flight -= 1
            else:
                self._release_session(session)

    def _data(
        self, prepared: PreparedRequest[Any]
    ) -> bytes | io.BytesIO | AsyncIterator[bytes] | None:
        body = prepared.body
        if body is None:
            return None
        if prepared.needs_new_connection and self._is_tls and self._borrowed_session is not None:
            return _unfinished(body)
        return body if len(body) <= _MAX_PLAIN_BODY else io.BytesIO(body)

    def _all_headers(self, prepared: PreparedRequest[Any]) -> dict[str, str]:
        headers = {**self._headers, **(prepared.headers or {})}
        if prepared.needs_new_connection:
            headers["Connection"] = "close"
            if prepared.body is not None:
                headers["Content-Length"] = str(len(prepared.body))
        return headers

    def _new_pool_name(self) -> str:
        """Return a server name for which a borrowed session has no pooled connection.

        A borrowed session cannot be replaced, and aiohttp has no option for a new connection. But
        it pools connections by host, port and server name. Without TLS the name has no other
        effect, so each new connection gets a new name. With TLS the name has to be the host. That
        differs from no name, and `Connection: close` keeps the connection out of the pool, or the
        unfinished body, if the server ignores it.
        """
        if self._is_tls:
            return self._host
        self._new_connections += 1
        return f"{self._host}-{self._new_connections}"

    def _replace_session(self) -> None:
        """Continue with an empty pool. Attempts in flight finish in the old session."""
        assert self._session is not None  # noqa: S101 # the client opened it
        if self._in_flight:
            self._replaced[self._session] = self._in_flight
        else:
            self._close_soon(self._session)
        self._session = self._new_session()
        self._in_flight = 0

    def _release_session(self, session: aiohttp.ClientSession) -> None:
        in_flight = self._replaced.get(session)
        if in_flight is None:
            return  # it was closed meanwhile
        if in_flight > 1:
            self._replaced[session] = in_flight - 1
        else:
            del self._replaced[session]
            self._close_soon(session)

    def _close_soon(self, session: aiohttp.ClientSession) -> None:
        closing = asyncio.get_running_loop().create_task(session.close())
        self._closing_tasks.add(closing)
        closing.add_done_callback(self._closing_tasks.discard)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        try:
            while part := await response.content.readany():
                parts.append(part)
                size += len(part)
                if size > self._max_response_bytes:
                    response.close()
                    return None
        except BaseException:
            response.close()
            raise
        return b"".join(parts)

    def _too_large(self, status: int) -> Failure:
        error = PrefactorResponseContractError(
            f"the response is larger than max_response_bytes ({self._max_response_bytes})",
            status_code=status,
        )
        return Failure(error, WriteStatus.UNKNOWN, status=status, permanent=True)


def _proxy_secrets(proxy: str | None) -> list[str]:
    """Return what an error could quote of the credentials in the URL of a proxy."""
    userinfo, has_userinfo, _ = urlsplit(proxy or "").netloc.rpartition("@")
    if not has_userinfo:
        return []
    user, _, password = userinfo.partition(":")
    plain = f"{unquote(user)}:{unquote(password)}"
    return [
        f"{userinfo}@",
        f"{plain}@",
        password,
        unquote(password),
        b64encode(plain.encode()).decode(),
    ]
