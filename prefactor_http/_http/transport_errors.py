"""Converts aiohttp's exceptions to failures with an error of this package and a `WriteStatus`.

aiohttp's exceptions hold the headers of the request, so they are neither chained nor stored.
"""

from __future__ import annotations

import logging

import aiohttp
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.http_exceptions import LineTooLong
from msgspec import Struct

from prefactor_http._http.connector import ConnectError
from prefactor_http._http.redaction import Redactor
from prefactor_http._http.reporting import LOG
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http._http.timeouts import CancelReason
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorTimeoutError,
)


class _ErrorMapping(Struct, frozen=True):
    exception: type[Exception]
    error: type[PrefactorHttpError]
    text: str
    write_status: WriteStatus = WriteStatus.UNKNOWN
    disconnected: bool = False


# Most specific first.
_ERROR_MAPPINGS = (
    _ErrorMapping(
        aiohttp.InvalidURL, PrefactorClientError, "invalid URL: {detail}", WriteStatus.NOT_SENT
    ),
    _ErrorMapping(
        aiohttp.ConnectionTimeoutError,
        PrefactorTimeoutError,
        "no connection to {server} within {connect_timeout:g} s (connect_timeout)",
        WriteStatus.NOT_SENT,
    ),
    _ErrorMapping(
        ConnectError,
        PrefactorConnectionError,
        "connection to {server} failed: {detail}",
        WriteStatus.NOT_SENT,
    ),
    _ErrorMapping(
        TimeoutError, PrefactorTimeoutError, "no response from {server} in time: {detail}"
    ),
    _ErrorMapping(
        aiohttp.ClientPayloadError,
        PrefactorConnectionError,
        "incomplete response from {server}: {detail}",
    ),
    _ErrorMapping(
        aiohttp.ClientResponseError,
        PrefactorConnectionError,
        "invalid HTTP response from {server}: {detail}",
    ),
    _ErrorMapping(
        aiohttp.ClientError,
        PrefactorConnectionError,
        "connection to {server} lost: {detail}",
        disconnected=True,
    ),
    _ErrorMapping(
        OSError,
        PrefactorConnectionError,
        "connection to {server} lost: {detail}",
        disconnected=True,
    ),
)


_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)


def address(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class FailureFactory:
    """Builds the failures of attempts without a response.

    Args:
        server: Host and port of the API.
        redactor: Removes the token from quoted text.
        connect_timeout: Seconds that connecting may take.
    """

    def __init__(self, server: str, redactor: Redactor, connect_timeout: float) -> None:
        self._server = server
        self._redactor = redactor
        self._connect_timeout = connect_timeout

    def from_cancel_reason(self, reason: CancelReason, seconds: float) -> Failure:
        if reason is CancelReason.CLOSING:
            closing = PrefactorClientError("the client was closed while the request was in flight")
            return Failure(closing, WriteStatus.UNKNOWN, permanent=True)
        late = PrefactorTimeoutError(
            f"no response from {self._server} within {seconds:g} s (request_timeout)"
        )
        return Failure(late, WriteStatus.UNKNOWN, timed_out=True)

    def from_exception(self, exc: Exception, *, is_session_open: bool) -> Failure:
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("request failed: %s", self._causes(exc))
        if isinstance(exc, _NOT_CONNECTED):
            return self._not_connected(exc)
        if (limit := _exceeded_header_size(exc)) is not None:
            header = PrefactorResponseContractError(
                f"response from {self._server} with a header of more than {limit} bytes"
            )
            return Failure(header, WriteStatus.UNKNOWN, permanent=True)
        detail = self._quote(_text_of(exc))
        for mapping in _ERROR_MAPPINGS:
            if isinstance(exc, mapping.exception):
                text = mapping.text.format(
                    server=self._server, detail=detail, connect_timeout=self._connect_timeout
                )
                return Failure(
                    mapping.error(text),
                    mapping.write_status,
                    permanent=mapping.error is PrefactorClientError,
                    disconnected=mapping.disconnected,
                    timed_out=mapping.error is PrefactorTimeoutError,
                )
        if isinstance(exc, RuntimeError) and is_session_open:
            return Failure(PrefactorConnectionError(detail), WriteStatus.UNKNOWN)
        # The session was closed by its owner, or its settings conflict with the request.
        text = f"the session cannot send the request: {detail}"
        if isinstance(exc, ValueError):
            text += " (does the session, or a netrc file, add credentials of its own?)"
        return Failure(PrefactorClientError(text), WriteStatus.NOT_SENT, permanent=True)

    def _not_connected(
        self,
        exc: aiohttp.ClientConnectorError
        | aiohttp.ClientHttpProxyError
        | aiohttp.ServerFingerprintMismatch,
    ) -> Failure:
        if isinstance(exc, aiohttp.ClientHttpProxyError):
            detail = self._quote(f"{exc.status} {exc.message}")
            text = f"the proxy did not connect to {self._server}: {detail}"
            return Failure(PrefactorConnectionError(text), WriteStatus.NOT_SENT)
        server = (
            exc.path if isinstance(exc, UnixClientConnectorError) else address(exc.host, exc.port)
        )
        if isinstance(exc, aiohttp.ServerFingerprintMismatch):
            return _not_trusted(f"the TLS certificate of {server} is not the one expected")
        if isinstance(exc, aiohttp.ClientConnectorCertificateError):
            detail = self._quote(str(exc.certificate_error))
            return _not_trusted(f"the TLS certificate of {server} is not valid: {detail}")
        os_error = exc.os_error
        detail = self._quote(os_error.strerror or str(os_error))
        if isinstance(exc, aiohttp.ClientSSLError):
            text = f"TLS handshake with {server} failed: {detail}: does it serve https?"
        elif isinstance(exc, aiohttp.ClientConnectorDNSError):
            text = f"cannot resolve the host name {exc.host}: {detail}: is it spelled correctly?"
        elif isinstance(exc, aiohttp.ClientProxyConnectionError):
            text = f"connection to the proxy {server} failed: {detail}: is the proxy running?"
        elif isinstance(os_error, ConnectionRefusedError):
            text = f"connection to {server} refused: is the API running there?"
        else:
            text = f"connection to {server} failed: {detail}"
        return Failure(PrefactorConnectionError(text), WriteStatus.NOT_SENT)

    def _causes(self, exc: BaseException | None) -> str:
        """Describe an exception and its causes, each with its type, without the token."""
        causes: list[str] = []
        while exc is not None:
            name = f"{type(exc).__module__}.{type(exc).__qualname__}".removeprefix("builtins.")
            text = _text_of(exc) if isinstance(exc, Exception) else ""
            causes.append(f"{name}: {self._quote(text)}")
            exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
        return " <- ".join(causes)

    def _quote(self, text: str) -> str:
        # A server may echo the headers of the request.
        return " ".join(self._redactor.source(text).split())


def _not_trusted(text: str) -> Failure:
    error = PrefactorConnectionError(text)
    error.certificate_error = True
    return Failure(error, WriteStatus.NOT_SENT, permanent=True)


def _exceeded_header_size(exc: Exception) -> object:
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, LineTooLong):
            return cause.args[1]
        cause = cause.__cause__
    return None


def _text_of(exc: Exception) -> str:
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "the server closed it"  # the message may contain the headers received so far
    # For an invalid response aiohttp adds the status 400, which the server did not send.
    text = exc.message if isinstance(exc, aiohttp.ClientResponseError) else str(exc)
    return text or type(exc).__name__
