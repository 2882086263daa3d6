"""An HTTP proxy, and TLS with a private certificate authority, without `session=`."""

from __future__ import annotations

import base64
import logging
import pickle
import ssl

import aiohttp
import pytest
import trustme
from http_proxy import HttpProxy, decrypting, listening
from resilience_support import SCHEMA, VERSION

from prefactor_http import (
    HttpClientConfig,
    PrefactorApiError,
    PrefactorConnectionError,
    PrefactorHttpClient,
)

PASSWORD = "pass/word-canary"
CREDENTIALS = "robot:pass%2Fword-canary@"
BASIC = "Basic " + base64.b64encode(f"robot:{PASSWORD}".encode()).decode()
SECRETS = (PASSWORD, "pass%2Fword-canary", BASIC.removeprefix("Basic "))


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def private_ca(authority):
    """A context that trusts the private authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
async def tls_address(api, server_tls):
    """The address at which the local API speaks TLS."""
    async with listening(decrypting(api.url), server_tls) as address:
        yield address


@pytest.fixture
async def proxy():
    proxy = HttpProxy(BASIC)
    async with listening(proxy.serve) as proxy.address:
        yield proxy


def client_of(url, token, **config):
    return PrefactorHttpClient(
        HttpClientConfig(url, token, initial_retry_delay=0.001, max_retries=1, **config)
    )


async def register_with(client, api):
    async with client:
        instance = await client.agent_instances.register(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
        )
    assert list(api.instances) == [instance.id]


def assert_api_saw_no_credentials(api):
    for request in api.requests:
        assert not any(name.lower().startswith("proxy-") for name in request.headers)
        assert not any(secret in repr(request) for secret in SECRETS)


async def test_register_works_through_a_proxy(api, proxy):
    url = f"http://{CREDENTIALS}{proxy.address}"
    await register_with(client_of(api.url, api.token, proxy=url), api)
    (request,) = proxy.requests
    assert request.method == "POST"
    assert request.target == f"{api.url}/api/v1/agent_instance/register"
    assert request.headers["proxy-authorization"] == BASIC
    assert_api_saw_no_credentials(api)


async def test_register_works_with_a_private_certificate_authority(api, tls_address, private_ca):
    await register_with(client_of(f"https://{tls_address}", api.token, ssl=private_ca), api)


async def test_a_private_certificate_authority_is_not_trusted_by_default(api, tls_address):
    async with client_of(f"https://{tls_address}", api.token) as client:
        with pytest.raises(PrefactorConnectionError, match="certificate") as caught:
            await client.validate_token()
    assert caught.value.certificate_error
    assert api.requests == []


async def test_register_works_through_a_tunnel_with_a_private_certificate_authority(
    api, proxy, tls_address, private_ca
):
    url = f"http://{CREDENTIALS}{proxy.address}"
    await register_with(
        client_of(f"https://{tls_address}", api.token, proxy=url, ssl=private_ca), api
    )
    (request,) = proxy.requests
    assert (request.method, request.target) == ("CONNECT", tls_address)
    assert request.headers["proxy-authorization"] == BASIC
    assert "authorization" not in request.headers  # the token goes through the tunnel
    assert_api_saw_no_credentials(api)


async def test_a_proxy_without_credentials_gets_none(api):
    proxy = HttpProxy()
    async with listening(proxy.serve) as address:
        await register_with(client_of(api.url, api.token, proxy=f"http://{address}"), api)
    assert len(proxy.requests) == 1


async def test_a_tunnel_hides_the_token_and_all_other_headers_from_the_proxy(
    api, tls_address, private_ca
):
    proxy = HttpProxy()
    async with listening(proxy.serve) as address:
        client = client_of(
            f"https://{tls_address}",
            api.token,
            proxy=f"http://{address}",
            ssl=private_ca,
            default_headers={"X-Gateway-Key": "gateway-canary"},
        )
        client._sdk_header = "adapter@1"
        await register_with(client, api)
    (request,) = proxy.requests
    assert request.headers.keys() <= {"host", "accept", "accept-encoding", "user-agent"}
    assert api.token.encode() not in request.raw
    (seen,) = api.requests
    assert seen.headers["X-Gateway-Key"] == "gateway-canary"
    assert seen.headers["X-Prefactor-SDK"] == "adapter@1"


async def test_the_context_is_also_used_for_an_https_proxy(
    api, tls_address, server_tls, private_ca
):
    proxy = HttpProxy(BASIC)
    async with listening(proxy.serve, server_tls) as address:
        url = f"https://{CREDENTIALS}{address}"
        await register_with(
            client_of(f"https://{tls_address}", api.token, proxy=url, ssl=private_ca), api
        )
    assert [request.method for request in proxy.requests] == ["CONNECT"]


async def test_the_configured_proxy_is_used_instead_of_those_of_the_environment(
    api, proxy, monkeypatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"http://{CREDENTIALS}{proxy.address}"
    await register_with(client_of(api.url, api.token, proxy=url, trust_env=True), api)
    assert len(proxy.requests) == 1


def shown(error, client, caplog):
    yield from (str(error), repr(error), repr(vars(error)), *error.__notes__, caplog.text)
    yield pickle.dumps(error).decode("latin-1")
    yield from (repr(client), repr(client.config))


async def test_the_credentials_of_a_proxy_are_in_no_error_and_no_log(api, proxy, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = f"http://{CREDENTIALS}{proxy.address}"
    closed = f"http://{CREDENTIALS}127.0.0.1:9"
    proxy.authorization = "something else"
    for url, target, expected in (
        (api.url, wrong, PrefactorApiError),
        ("https://127.0.0.1:9", wrong, PrefactorConnectionError),
        (api.url, closed, PrefactorConnectionError),
    ):
        async with client_of(url, api.token, proxy=target) as client:
            with pytest.raises(Exception, match=r"407|proxy") as caught:
                await client.agent_instances.start("i-1")
        error = getattr(caught.value, "last_error", caught.value)
        assert isinstance(error, expected)
        assert not error.outcome_unknown
        for text in shown(caught.value, client, caplog):
            assert not any(secret in text for secret in SECRETS)
    assert api.requests == []


async def test_credentials_that_the_proxy_repeats_are_redacted(raw_server):
    page = f"<html>{BASIC} robot:{PASSWORD} {CREDENTIALS}".encode()
    raw_server.answer = lambda _: (
        b"HTTP/1.1 407 No\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    )
    url = raw_server.url.replace("//", f"//{CREDENTIALS}")
    async with client_of("http://127.0.0.1:9", "token-1234", proxy=url) as client:
        with pytest.raises(PrefactorApiError) as caught:
            await client.validate_token()
    assert not any(secret in repr(vars(caught.value)) for secret in SECRETS)
    assert caught.value.body_snippet == "<html>Basic [token] robot:[token] [token]"


@pytest.mark.parametrize("name", ["proxy", "ssl"])
async def test_a_borrowed_session_has_its_own_proxy_and_tls_settings(name, private_ca):
    value = {"proxy": f"http://{CREDENTIALS}proxy:1", "ssl": private_ca}[name]
    config = HttpClientConfig("https://api.example", "token-1234", **{name: value})
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="settings of a borrowed session") as caught:
            PrefactorHttpClient(config, session=session)
    assert "canary" not in str(caught.value)
