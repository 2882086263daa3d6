"""Connection pool of the client's own session, on top of aiohttp's connector."""

from __future__ import annotations

import warnings
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from prefactor_http._values.forks import fork_count


class ConnectError(aiohttp.ClientConnectionError):
    """Connecting failed, so the request was not sent."""


class Connector(aiohttp.TCPConnector):
    """Does not reuse a connection that received data after its last response.

    aiohttp only checks that a pooled connection is open. Late data, such as a proxy's error page or
    a duplicate, would be read as the response to the next request.
    """

    _fork_count = 0

    def __init__(self, ssl: Any = None) -> None:
        # No limit: `Semaphore` limits attempts in flight, and its wait counts for no timeout.
        super().__init__(  # pyright: ignore[reportUnknownMemberType] # of socket_factory
            limit=0, ssl=True if ssl is None else ssl
        )
        self._fork_count = fork_count()
        self._server_sent_first: set[ResponseHandler] = set()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 # aiohttp's signature
    ) -> Connection:
        try:
            while True:
                connection = await super().connect(req, traces, timeout)
                protocol = connection.protocol
                if protocol is None or not protocol.should_close:
                    return connection
                if protocol in self._server_sent_first:
                    self._server_sent_first.remove(protocol)
                    return connection
                connection.close()
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ServerFingerprintMismatch,
            TimeoutError,
        ):
            raise  # their types say that connecting failed
        except (aiohttp.ClientError, OSError) as exc:
            raise ConnectError(str(exc) or type(exc).__name__) from exc

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 # aiohttp's signature
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        if protocol.should_close:
            # A server that sends first, for example because it has too many connections, would do
            # so on the next connection, too. Its message is read as the response to this request.
            protocol.force_close()
            self._server_sent_first.add(protocol)
        return protocol

    def __del__(self, _warnings: Any = warnings) -> None:
        # aiohttp closes the pooled connections. In a forked child this would remove them from the
        # epoll instance that the parent process waits on.
        if self._fork_count == fork_count():
            super().__del__(_warnings)
