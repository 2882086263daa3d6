"""Connections: when they are reused and what is sent over them."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from typing import Any, Self

import aiohttp
import pytest
from raw_server import RawServer, reply
from resilience_support import UNTRUSTED_PEM, until

from prefactor_http import (
    HttpClientConfig,
    PrefactorApiError,
    PrefactorHttpClient,
    PrefactorResponseContractError,
)
from prefactor_http._api import PING
from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.redaction import Redactor
from prefactor_http._http.timeouts import Timeouts
from prefactor_http._http.transport import Transport

TOKEN = "token-1234"


def client_of(url: str, **options: Any) -> PrefactorHttpClient:
    return PrefactorHttpClient(HttpClientConfig(url, TOKEN, **{"max_retries": 0, **options}))


class Greeting(asyncio.Protocol):
    """Sends a 503 before the request, then does what `after` says."""

    made = 0

    def __init__(self, after: str, **headers: str) -> None:
        self._after = after
        self._greeting = reply(503, {}, **headers)

    def connection_made(self, transport: Any) -> None:
        Greeting.made += 1
        transport.write(self._greeting)
        if self._after == "close":
            transport.close()
        elif self._after == "abort":
            transport.abort()


@pytest.fixture
async def greeting_server():
    """Starts servers that send first, and returns their URL."""
    servers = []
    Greeting.made = 0

    async def start(after: str, **headers: str) -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Greeting(after, **headers), "127.0.0.1", 0)
        servers.append(server)
        host, port = server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("after", ["read", "close", "abort"])
async def test_a_response_before_the_request_is_reported_without_a_reconnect_storm(
    greeting_server, after, method
):
    async with client_of(await greeting_server(after, Connection="close")) as client:
        with pytest.raises(PrefactorApiError) as caught:
            await client.request(method, "/api/v1/agent")
        assert caught.value.status_code == 503
        assert Greeting.made == 1


@pytest.mark.asyncio(loop_factories=["uvloop"])  # asyncio reads nothing before the request is sent
async def test_a_connection_on_which_the_server_sent_first_is_not_reused(greeting_server):
    async with client_of(await greeting_server("read")) as client:
        for _ in range(2):
            with pytest.raises(PrefactorApiError):
                await client.validate_token()
        assert Greeting.made == 2


async def test_sequential_calls_use_one_connection(raw_server):
    async with client_of(raw_server.url) as client:
        for _ in range(5):
            await client.request("POST", "/api/v1/agent")
    assert raw_server.connections == 1


@pytest.mark.parametrize("is_borrowed", [False, True])
async def test_a_connection_that_switched_protocols_is_closed(raw_server, is_borrowed):
    asyncio.get_running_loop().set_debug(True)  # aiohttp warns about open connections
    raw_server.script(reply(101, b"", Upgrade="x", Connection="upgrade"))
    async with aiohttp.ClientSession() as session:
        client = PrefactorHttpClient(
            HttpClientConfig(raw_server.url, TOKEN, max_retries=0),
            session=session if is_borrowed else None,
        )
        async with client:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                with pytest.raises(PrefactorApiError, match="101"):
                    await client.request("POST", "/api/v1/agent")
            assert [str(warning.message) for warning in caught] == []
            await until(lambda: not raw_server._writers)


@pytest.mark.parametrize("size", [2**20 - 200, 2**20 + 1, 5 * 2**20])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_large_body_is_sent_completely_without_a_warning(raw_server, method, size):
    async with client_of(raw_server.url) as client:
        await client.request(method, "/api/v1/agent", json_data={"text": "x" * size})
    request = raw_server.request
    assert request.json["text"] == "x" * size
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["content-type"] == "application/json"
    assert "transfer-encoding" not in request.headers


async def test_a_large_body_is_sent_completely_on_each_attempt(raw_server):
    raw_server.script(reply(503))
    async with client_of(raw_server.url, max_retries=1, initial_retry_delay=0.001) as client:
        await client.request("POST", "/api/v1/agent", json_data={"text": "x" * 2_000_000})
    first, second = raw_server.requests
    assert first.body == second.body


async def test_a_header_of_64_kib_is_read(raw_server):
    raw_server.script(reply(200, {"a": 1}, Content_Security_Policy="x" * 65_000))
    async with client_of(raw_server.url) as client:
        assert await client.request("GET", "/api/v1/agent") == {"a": 1}


async def test_many_headers_are_read(raw_server):
    raw_server.script(reply(200, {"a": 1}, **{f"X_{number}": "x" * 60 for number in range(900)}))
    async with client_of(raw_server.url) as client:
        assert await client.request("GET", "/api/v1/agent") == {"a": 1}


async def test_a_larger_header_raises_an_error_that_says_so(raw_server):
    raw_server.script(reply(200, {}, Content_Security_Policy="x" * 70_000))
    async with client_of(raw_server.url, max_retries=3, initial_retry_delay=0.001) as client:
        with pytest.raises(PrefactorResponseContractError) as caught:
            await client.request("POST", "/api/v1/agent")
    assert "with a header of more than 65536 bytes" in str(caught.value)
    assert caught.value.attempts == 1
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("entry", ["default", "machine 127.0.0.1"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_the_token_is_sent_although_a_netrc_file_has_credentials_for_the_host(
    raw_server, tmp_path, monkeypatch, method, entry
):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"{entry} login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with client_of(raw_server.url, trust_env=True) as client:
        await client.request(method, "/api/v1/agent")
    assert raw_server.request.headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_write_is_sent_once_with_trust_env(raw_server):
    raw_server.script(reply(), b"")
    async with client_of(raw_server.url, trust_env=True) as client:
        await client.request("GET", "/api/v1/agent")
        with pytest.raises(ConnectionError):
            await client.request("PUT", "/api/v1/agent")
    assert len(raw_server.requests) == 2


async def test_a_proxy_from_the_environment_is_used_together_with_a_netrc_file(
    raw_server, tmp_path, monkeypatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", raw_server.url)
    url = "http://api.invalid"
    async with client_of(url, trust_env=True, allow_insecure_http=True) as client:
        await client.request("POST", "/api/v1/agent")
    assert raw_server.request.target == "http://api.invalid/api/v1/agent"
    assert raw_server.request.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.fixture
async def tls_raw_server(tmp_path):
    """A TLS server, and a context that trusts it."""
    pem = tmp_path / "untrusted.pem"
    pem.write_text(UNTRUSTED_PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    trusting = ssl.create_default_context(cafile=str(pem))
    trusting.check_hostname = False
    async with RawServer(tls=context) as server:
        yield server, trusting


class Attempts:
    """A transport without retries."""

    def __init__(self, url: str, session: aiohttp.ClientSession | None = None) -> None:
        config = HttpClientConfig(url, TOKEN)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.transport = Transport(config, headers, Timeouts(), session, Redactor(TOKEN))
        self.transport.open()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.transport.close()

    async def make(self, body: bytes | None = None, *, on_new_connection: bool = False) -> Any:
        call = PreparedRequest(PING, PING.path, body, needs_new_connection=on_new_connection)
        return await self.transport.attempt(call, 5.0)


async def test_an_attempt_that_needs_a_new_connection_does_not_use_the_old_pool(
    raw_server,
):
    async with Attempts(raw_server.url) as attempts:
        await asyncio.gather(attempts.make(), attempts.make(), attempts.make())
        assert raw_server.connections == 3
        await attempts.make(on_new_connection=True)
        assert raw_server.connections == 4
        await until(lambda: len(raw_server._writers) == 1)  # the old connections are closed
        await attempts.make()
        assert raw_server.connections == 4
        await attempts.make(on_new_connection=True)
        assert raw_server.connections == 5
    await until(lambda: not raw_server._writers)


class HoldingServer:
    """Answers each request; the first `held` ones only after they are released."""

    def __init__(self, held: int) -> None:
        self.open: set[Any] = set()
        self.arrived: list[Any] = []
        self._left = held
        self._held: list[Any] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Held(self), "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await until(lambda: not self.open)

    def answer(self, transport: Any) -> None:
        self.arrived.append(transport)
        if self._left:
            self._left -= 1
            self._held.append(transport)
        else:
            transport.write(reply())

    def release(self) -> None:
        for transport in self._held:
            transport.write(reply())


class Held(asyncio.Protocol):
    def __init__(self, server: HoldingServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.open.add(transport)

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n")
        self._server.answer(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open.discard(self._transport)


@pytest.mark.parametrize("others", [1, 3])
async def test_attempts_in_flight_finish_on_the_old_connections(others):
    async with HoldingServer(others) as server, Attempts(server.url) as attempts:
        waiting = [asyncio.create_task(attempts.make()) for _ in range(others)]
        await until(lambda: len(server.arrived) == others)
        assert (await attempts.make(on_new_connection=True)).status == 200
        assert len(server.open) == others + 1
        server.release()
        assert [response.status for response in await asyncio.gather(*waiting)] == [200] * others
        await until(lambda: len(server.open) == 1)
        assert (await attempts.make()).status == 200
        assert server.arrived[-1] is server.arrived[-2]


async def test_closing_the_client_closes_the_connections_of_replaced_pools():
    async with HoldingServer(1) as server:
        async with Attempts(server.url) as attempts:
            waiting = asyncio.create_task(attempts.make())
            await until(lambda: server.arrived)
            await attempts.make(on_new_connection=True)
            assert len(server.open) == 2
        tasks = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
        assert "ClientSession.close" not in tasks
        await waiting
        await until(lambda: not server.open)


async def test_a_borrowed_session_opens_a_new_connection_if_needed(raw_server):
    async with aiohttp.ClientSession() as session:
        attempts = Attempts(raw_server.url, session)
        await attempts.make()
        for connections in (2, 3, 4):
            await attempts.make(on_new_connection=True)
            assert raw_server.requests[-1].headers["connection"] == "close"
            assert raw_server.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"
            assert raw_server.connections == connections
        await attempts.make()
        assert raw_server.connections == 4
        assert "connection" not in raw_server.requests[-1].headers


async def test_a_borrowed_session_opens_a_new_tls_connection_if_needed(tls_raw_server):
    server, context = tls_raw_server
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        attempts = Attempts(server.url, session)
        for connections in (1, 1):
            await attempts.make()
            assert server.connections == connections
        await attempts.make(on_new_connection=True)
        assert server.connections == 2
        assert server.requests[-1].headers["connection"] == "close"


@pytest.mark.parametrize("size", [2, 3_000_000])
async def test_a_new_tls_connection_is_not_pooled_if_the_server_ignores_close(tls_raw_server, size):
    server, context = tls_raw_server
    body = b"1" * size
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        attempts = Attempts(server.url, session)
        await attempts.make()
        for connections in (2, 3, 4):
            response = await attempts.make(body, on_new_connection=True)
            assert response.status == 200
            assert server.connections == connections
            assert server.requests[-1].body == body
            assert "transfer-encoding" not in server.requests[-1].headers
            await until(lambda: len(server._writers) == 1)
        await attempts.make(body)
        assert server.connections == 4


@pytest.mark.parametrize("session", [5, "", object(), aiohttp.ClientSession])
def test_a_borrowed_session_is_a_session_of_aiohttp(session):
    config = HttpClientConfig("http://localhost:1", "token-1234")
    with pytest.raises(TypeError, match=r"session must be an aiohttp\.ClientSession or None, not"):
        PrefactorHttpClient(config, session=session)
