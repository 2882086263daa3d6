"""Plain http: allowed on this machine, warned about in private networks, else opt-in."""

import dataclasses
import re

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient

TOKEN = "secret-token-1234"
VARIABLE = "PREFACTOR_ALLOW_INSECURE_HTTP"

THIS_MACHINE = [
    *("localhost", "LOCALHOST:8080", "localhost.", "api.localhost", "a.b.LocalHost."),
    *("127.0.0.1", "127.255.0.7:4000", "127.1", "127.0.1", "2130706433", "0x7f000001", "0X7F.1"),
    *("0177.0.0.1", "017700000001", "127.0.0.1.", "[::1]", "[::1]:8080", "[::1%25lo]"),
    *("[::ffff:127.0.0.1]", "[::FFFF:7f00:1]", "\u24dbocalhost", "127。0。0。1"),
]
PRIVATE = [
    *("prefactor-api:8080", "prefactor-api.", "fake", "my_service", "a", "bücher"),
    *("10.0.0.1", "10.1", "0xa.0x0.1", "167772161", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1:80", "0300.0250.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255"),
    *("[fe80::1]", "[fe80::1%25eth0]", "[fd12:3456::1]", "[fc00::1]", "[::ffff:10.0.0.1]"),
    *("api.internal", "API.Internal.", "printer.local", "api.test", "api.default.svc"),
    *("api.default.svc.cluster.local", "nas.home.arpa", "büro.internal"),
]
ANYWHERE = [
    *("app.prefactorai.com", "example.com.", "8.8.8.8", "134744072", "0x08080808"),
    *("010.010.010.010", "172.32.0.1", "172.15.0.1", "192.169.0.1", "100.128.0.1", "11.0.0.1"),
    *("0.0.0.0", "0", "128.0.0.1", "[::]", "[::2]", "[2001:db8::1]", "[::ffff:8.8.8.8]"),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "localhost.example", "127.example"),
    *("127.0.0.1.example", "internal.example", "notinternal.com", "a..internal", ".internal"),
    *("localhost..", "-a", "[v1.a:b]"),
    *("256.0.0.1", "127.0.0.256", "127.16777216", "4294967296", "1.2.3.4.5", "09", "127.0.0.09"),
    *("0x", "foo.1", "%6c%6fcalhost", "evil。com", "bücher.example", f"{'a' * 64}ä.internal"),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    return monkeypatch


def config(host, **fields):
    return HttpClientConfig(f"http://{host}", TOKEN, **fields)


@pytest.mark.parametrize("host", THIS_MACHINE)
async def test_this_machine_is_called_over_http_without_a_warning(host, caplog):
    async with PrefactorHttpClient(config(host)):
        pass
    assert caplog.records == []


@pytest.mark.parametrize("host", PRIVATE)
async def test_a_private_network_is_called_over_http_with_one_warning(host, caplog):
    async with PrefactorHttpClient(config(host)) as client:
        client.with_options(max_retries=1).with_options(deadline=5)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"api_url http://{host} uses http: the token is sent unencrypted" in record.getMessage()
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("host", ANYWHERE)
async def test_other_hosts_are_called_over_http_only_if_allowed(host, caplog):
    with pytest.raises(ValueError, match=rf"https.*allow_insecure_http=True or {VARIABLE}=1"):
        config(host)
    async with PrefactorHttpClient(config(host, allow_insecure_http=True)) as client:
        assert client.with_options(max_retries=1).config.max_retries == 1
    assert caplog.records == []


async def test_an_explicitly_allowed_host_causes_no_warning(caplog):
    async with PrefactorHttpClient(config("prefactor-api", allow_insecure_http=True)):
        pass
    assert caplog.records == []


@pytest.mark.parametrize("host", ["app.prefactorai.com", "8.8.8.8"])
def test_the_environment_can_allow_http(environment, host):
    environment.setenv(VARIABLE, "1")
    made = config(host)
    assert made.allow_insecure_http
    environment.delenv(VARIABLE)
    # A view uses a copy of the config, which does not read the environment again.
    assert dataclasses.replace(made, max_retries=5).max_retries == 5


@pytest.mark.parametrize("value", ["", "0", "true", "no", " 1"])
def test_only_the_value_1_in_the_environment_allows_http(environment, value):
    environment.setenv(VARIABLE, value)
    with pytest.raises(ValueError, match="must use https"):
        config("app.prefactorai.com")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://localhost@example.com", "credentials"),
        ("http://@example.com", "credentials"),
        ("http://:@localhost", "credentials"),
        ("http://localhost\\@example.com", "backslashes"),
        ("http://example.com\\.localhost", "backslashes"),
        ("http://localhost#@example.com", "fragment"),
        ("http://example.com#.localhost", "fragment"),
        ("http://localhost?", "query"),
        ("http://local\thost", "spaces"),
        ("http://local\x00host", "control characters"),
        ("\x01http://localhost", "control characters"),
        ("http://[::1", "absolute http(s) URL"),
        ("http://[localhost]", "absolute http(s) URL"),
        ("http://user:hunter2@exa℀mple", "absolute http(s) URL"),
        ("http://localhost:99999", "no valid port"),
    ],
)
def test_an_ambiguous_url_is_rejected(url, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        HttpClientConfig(url, TOKEN)
    assert "hunter2" not in str(caught.value)
