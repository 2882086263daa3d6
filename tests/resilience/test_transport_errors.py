"""Attempts without a response: what the error says, and whether the request was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from raw_server import reply
from resilience_support import UNTRUSTED_PEM

from prefactor_http import (
    HttpClientConfig,
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorTimeoutError,
)

TOKEN = "token-1234"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def error_of(url: str, *, session: Any = None, **options: Any) -> PrefactorHttpError:
    """Make a write whose attempts all fail, and return its error."""
    options = {"api_token": TOKEN, "max_retries": 0, "allow_insecure_http": True, **options}
    config = HttpClientConfig(url, **options)
    async with PrefactorHttpClient(config, session=session) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await client.request("POST", "/api/v1/agent")
    return caught.value


@pytest.fixture
async def serving() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts servers with scripted behaviour, and returns host and port."""
    servers = []

    async def start(serve: Serve, **options: Any) -> str:
        async def serve_to_the_end(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve_to_the_end, "127.0.0.1", 0, **options)
        servers.append(server)
        host, port = server.sockets[0].getsockname()
        return f"{host}:{port}"

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def proxy_of_environment(monkeypatch) -> Callable[[str], None]:
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def set_proxy(server: str) -> None:
        monkeypatch.setenv("https_proxy", f"http://{server}")

    return set_proxy


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_a_refused_connection_names_host_and_port(unused_tcp_port):
    error = await error_of(f"http://127.0.0.1:{unused_tcp_port}")
    assert isinstance(error, PrefactorConnectionError)
    assert str(error) == (
        f"connection to 127.0.0.1:{unused_tcp_port} refused: is the API running there?"
    )
    assert not error.outcome_unknown


async def test_an_ipv6_address_is_formatted_as_in_a_url(unused_tcp_port):
    error = await error_of(f"http://[::1]:{unused_tcp_port}")
    assert str(error).startswith(f"connection to [::1]:{unused_tcp_port} ")


async def test_a_missing_unix_socket_is_named_by_its_path(tmp_path):
    path = str(tmp_path / "api.sock")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
        error = await error_of("http://localhost", session=session)
    assert isinstance(error, PrefactorConnectionError)
    assert str(error) == f"connection to {path} failed: No such file or directory"
    assert not error.outcome_unknown


async def test_an_unknown_host_is_named():
    error = await error_of("https://api.prefactor.invalid")
    assert isinstance(error, PrefactorConnectionError)
    assert str(error).startswith("cannot resolve the host name api.prefactor.invalid: ")
    assert str(error).endswith("is it spelled correctly?")
    assert not error.outcome_unknown


async def test_plain_http_on_a_tls_port_is_a_failed_handshake(serving):
    async def serve(reader, writer):
        await reader.read(1)
        writer.write(reply(400))

    server = await serving(serve)
    error = await error_of(f"https://{server}")
    assert isinstance(error, PrefactorConnectionError)
    assert str(error).startswith(f"TLS handshake with {server} failed: ")
    assert str(error).endswith("does it serve https?")
    assert not error.outcome_unknown
    assert not error.certificate_error


async def test_a_server_that_does_not_complete_the_connection_is_a_connect_timeout(serving):
    async def serve(reader, writer):
        await reader.read(-1)

    server = await serving(serve)
    error = await error_of(f"https://{server}", connect_timeout=0.05)
    assert isinstance(error, PrefactorTimeoutError)
    assert str(error) == f"no connection to {server} within 0.05 s (connect_timeout)"
    assert not error.outcome_unknown


async def test_an_unexpected_certificate_is_not_trusted(serving, tmp_path: Path):
    pem = tmp_path / "untrusted.pem"
    pem.write_text(UNTRUSTED_PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def serve(reader, writer):
        await reader.read(-1)

    server = await serving(serve, ssl=context)
    connector = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(b"0" * 32))
    async with aiohttp.ClientSession(connector=connector) as session:
        error = await error_of(f"https://{server}", session=session)
    assert isinstance(error, PrefactorConnectionError)
    assert str(error) == f"the TLS certificate of {server} is not the one expected"
    assert error.certificate_error
    assert not error.outcome_unknown


async def test_an_invalid_certificate_is_reported_with_its_reason(untrusted_tls_server):
    error = await error_of(untrusted_tls_server.url)
    server = untrusted_tls_server.url.removeprefix("https://")
    assert str(error).startswith(f"the TLS certificate of {server} is not valid: ")
    assert not error.outcome_unknown


@pytest.mark.parametrize("max_retries", [0, 2])
async def test_a_proxy_that_refuses_means_that_nothing_was_sent(
    serving, proxy_of_environment, max_retries
):
    async def serve(reader, writer):
        await read_head(reader)
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    proxy_of_environment(await serving(serve))
    error = await error_of(
        "https://api.invalid", trust_env=True, max_retries=max_retries, initial_retry_delay=0.001
    )
    last = getattr(error, "last_error", error)
    assert isinstance(last, PrefactorConnectionError)
    assert str(last) == (
        "the proxy did not connect to api.invalid:443: 407 Proxy Authentication Required"
    )
    assert not error.outcome_unknown
    assert error.attempts == max_retries + 1


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.0\r\n\r\n"])
async def test_a_proxy_that_hangs_up_means_that_nothing_was_sent(
    serving, proxy_of_environment, answer
):
    async def serve(reader, writer):
        await read_head(reader)
        writer.write(answer)

    proxy_of_environment(await serving(serve))
    error = await error_of("https://api.invalid", trust_env=True)
    assert isinstance(error, PrefactorConnectionError)
    assert str(error).startswith("connection to api.invalid:443 failed: ")
    assert not error.outcome_unknown


async def test_a_tls_failure_behind_a_proxy_means_that_nothing_was_sent(
    serving, proxy_of_environment
):
    async def serve(reader, writer):
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await reader.read(1)
        writer.write(reply(400))

    proxy_of_environment(await serving(serve))
    error = await error_of("https://api.invalid", trust_env=True)
    assert isinstance(error, PrefactorConnectionError)
    assert str(error).startswith("TLS handshake with api.invalid:443 failed: ")
    assert not error.outcome_unknown


async def test_a_proxy_that_is_down_is_reported_as_a_proxy(unused_tcp_port, proxy_of_environment):
    proxy_of_environment(f"127.0.0.1:{unused_tcp_port}")
    error = await error_of("https://api.invalid", trust_env=True)
    assert isinstance(error, PrefactorConnectionError)
    assert str(error).startswith(f"connection to the proxy 127.0.0.1:{unused_tcp_port} failed: ")
    assert str(error).endswith("is the proxy running?")
    assert not error.outcome_unknown


async def test_a_connection_closed_after_the_request_is_lost(raw_server):
    raw_server.script(b"")
    error = await error_of(raw_server.url)
    assert isinstance(error, PrefactorConnectionError)
    server = raw_server.url.removeprefix("http://")
    assert str(error) == f"connection to {server} lost: the server closed it"
    assert error.outcome_unknown


async def test_an_incomplete_header_is_not_quoted(serving):
    async def serve(reader, writer):
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: secret-of-somebody\r\n")

    server = await serving(serve)
    error = await error_of(f"http://{server}")
    assert str(error) == f"connection to {server} lost: the server closed it"


async def test_an_invalid_http_response_is_quoted(raw_server):
    raw_server.script(b"SSH-2.0-OpenSSH_9.0\r\n\r\n")
    error = await error_of(raw_server.url)
    assert isinstance(error, PrefactorConnectionError)
    server = raw_server.url.removeprefix("http://")
    assert str(error).startswith(f"invalid HTTP response from {server}: ")
    assert "SSH-2.0" in str(error)
    assert error.outcome_unknown


async def test_a_truncated_response_is_incomplete(serving):
    async def serve(reader, writer):
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")

    server = await serving(serve)
    error = await error_of(f"http://{server}")
    assert isinstance(error, PrefactorConnectionError)
    assert str(error).startswith(f"incomplete response from {server}: ")
    assert error.outcome_unknown


async def test_a_request_timeout_names_the_server_and_the_timeout(serving):
    async def serve(reader, writer):
        await reader.read(-1)

    server = await serving(serve)
    error = await error_of(f"http://{server}", request_timeout=0.05)
    assert isinstance(error, PrefactorTimeoutError)
    assert str(error) == f"no response from {server} within 0.05 s (request_timeout)"
    assert error.outcome_unknown


async def test_a_timeout_of_a_borrowed_session_is_a_timeout_error(raw_server):
    async def time_out(request, send):
        await send(request)
        raise TimeoutError("the middleware gave up")

    async with aiohttp.ClientSession(middlewares=(time_out,)) as session:
        error = await error_of(raw_server.url, session=session)
    assert isinstance(error, PrefactorTimeoutError)
    server = raw_server.url.removeprefix("http://")
    assert str(error) == f"no response from {server} in time: the middleware gave up"
    assert error.outcome_unknown


async def test_a_session_closed_by_its_owner_is_reported(raw_server):
    session = aiohttp.ClientSession()
    await session.close()
    error = await error_of(raw_server.url, session=session)
    assert isinstance(error, PrefactorClientError)
    assert str(error) == "the session cannot send the request: Session is closed"
    assert not error.outcome_unknown


async def test_conflicting_credentials_of_a_borrowed_session_are_reported(
    raw_server, tmp_path, monkeypatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with aiohttp.ClientSession(trust_env=True) as session:
        error = await error_of(raw_server.url, session=session)
    assert isinstance(error, PrefactorClientError)
    assert str(error).startswith("the session cannot send the request: ")
    assert "netrc" in str(error)
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("token", "shown"),
    [("long-secret", "[token]-2.0"), ("long-sec", "[token]-2.0"), ("Expect", "Expect-2.0")],
)
async def test_only_a_token_of_eight_characters_or_more_is_redacted(raw_server, token, shown):
    raw_server.script(f"{token}-2.0\r\n\r\n".encode())
    error = await error_of(raw_server.url, api_token=token)
    assert shown in str(error)
    assert "Expected" in str(error)
