"""The configuration: validation, defaults, the environment, and a repr without the token."""

import dataclasses
import inspect
import pickle
import re
import ssl
import traceback
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus

import numpy as np
import pytest
from pydantic import TypeAdapter

from prefactor_http import HttpClientConfig, PrefactorHttpClient

URL = "https://app.prefactorai.com"
TOKEN = "secret-token-1234"


def config(**fields):
    return HttpClientConfig(**{"api_url": URL, "api_token": TOKEN, **fields})


def test_the_defaults():
    fields = dataclasses.asdict(config())
    del fields["api_url"], fields["api_token"]
    assert fields == {
        "request_timeout": 30.0,
        "connect_timeout": 10.0,
        "max_retries": 3,
        "initial_retry_delay": 1.0,
        "max_retry_delay": 60.0,
        "retry_multiplier": 2.0,
        "retry_on_status_codes": (
            *(408, 425, 429, 500, 502, 503, 504),
            *(520, 521, 522, 523, 524, 529),
        ),
        "default_idempotency_key": None,
        "deadline": None,
        "max_connections": 100,
        "max_response_bytes": 64 * 1024 * 1024,
        "allow_insecure_http": False,
        "trust_env": False,
        "retry_budget": "auto",
        "on_attempt": None,
        "on_retry": None,
        "on_throttle": None,
        "proxy": None,
        "ssl": None,
        "default_headers": {},
        "token_refresh_interval": None,
        "auto_batch": False,
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"api_url": ""}, "api_url is required"),
        ({"api_url": "app.prefactorai.com"}, "api_url must be an absolute http(s) URL"),
        ({"api_url": "ftp://app.prefactorai.com"}, "api_url must be an absolute http(s) URL"),
        ({"api_url": "https://"}, "api_url must be an absolute http(s) URL"),
        ({"api_url": "https:///path"}, "api_url must be an absolute http(s) URL"),
        ({"api_url": "https://user@host"}, "api_url must have no credentials"),
        ({"api_url": "https://user:password@host"}, "api_url must have no credentials"),
        ({"api_url": "https://host?a=b"}, "api_url must have no credentials, query"),
        ({"api_url": "https://host#top"}, "api_url must have no credentials, query or fragment"),
        ({"api_url": f"{URL}/api/v1"}, "api_url must be the base URL, without /api/v1"),
        ({"api_url": f"{URL}/api/v1/"}, "api_url must be the base URL, without /api/v1"),
        ({"api_url": "http://app.prefactorai.com"}, "api_url must use https"),
        ({"api_token": ""}, "api_token is required"),
        ({"api_token": "two words"}, "api_token must be printable ASCII without spaces"),
        ({"api_token": "line\n"}, "api_token must be printable ASCII without spaces"),
        ({"api_token": "schlüssel"}, "api_token must be printable ASCII without spaces"),
        ({"request_timeout": 0}, "request_timeout must be positive"),
        ({"request_timeout": -1}, "request_timeout must be positive"),
        ({"request_timeout": float("inf")}, "request_timeout must be finite"),
        ({"request_timeout": float("nan")}, "request_timeout must be positive"),
        ({"connect_timeout": 0}, "connect_timeout must be positive"),
        ({"connect_timeout": float("inf")}, "connect_timeout must be finite"),
        ({"max_retries": -1}, "max_retries must be non-negative"),
        ({"initial_retry_delay": 0}, "initial_retry_delay must be positive"),
        ({"initial_retry_delay": 61}, "initial_retry_delay must be <= max_retry_delay"),
        ({"max_retry_delay": 0}, "max_retry_delay must be positive"),
        ({"max_retry_delay": float("inf")}, "max_retry_delay must be finite"),
        ({"retry_multiplier": 0.9}, "retry_multiplier must be >= 1"),
        ({"retry_multiplier": float("nan")}, "retry_multiplier must be >= 1"),
        ({"retry_on_status_codes": (99,)}, "retry_on_status_codes must be HTTP statuses"),
        ({"retry_on_status_codes": (500, 600)}, "retry_on_status_codes must be HTTP statuses"),
        ({"deadline": 0}, "deadline must be positive or None"),
        ({"deadline": float("nan")}, "deadline must be positive or None"),
        ({"max_connections": 0}, "max_connections must be at least 1"),
        ({"max_response_bytes": 0}, "max_response_bytes must be at least 1"),
        ({"retry_budget": -1}, 'retry_budget must be non-negative, "auto" or None'),
        ({"retry_budget": "500"}, 'retry_budget must be non-negative, "auto" or None'),
        ({"default_idempotency_key": ""}, "default_idempotency_key must have 1 to 64"),
        ({"default_idempotency_key": "a b"}, "default_idempotency_key must be printable ASCII"),
        ({"default_idempotency_key": "x" * 28}, "must leave room for a UUID: 27 characters"),
        ({"request_timeout": 10**400}, "request_timeout must be finite"),
        ({"token_refresh_interval": 60}, "token_refresh_interval requires that api_token is a"),
        (
            {"api_token": str, "token_refresh_interval": 0},
            "token_refresh_interval must be positive and finite, or None",
        ),
        (
            {"api_token": str, "token_refresh_interval": float("inf")},
            "token_refresh_interval must be positive and finite, or None",
        ),
        ({"proxy": ""}, "proxy must be an http(s) URL"),
        ({"proxy": "proxy:3128"}, "proxy must be an http(s) URL"),
        ({"proxy": "socks5://proxy:1080"}, "proxy must be an http(s) URL"),
        ({"proxy": "http://"}, "proxy must be an http(s) URL"),
        ({"proxy": "http://[::1"}, "proxy must be an http(s) URL"),
        ({"proxy": "http://proxy:99999"}, "proxy must be an http(s) URL"),
        ({"proxy": "http://proxy :3128"}, "proxy must be an http(s) URL"),
        ({"proxy": "http://proxy:3128/path"}, "proxy must have no path, query or fragment"),
        ({"proxy": "http://proxy:3128?a=b"}, "proxy must have no path, query or fragment"),
        ({"default_headers": {"": "x"}}, "default_headers[''] is not a valid header name"),
        ({"default_headers": {"X Y": "x"}}, "default_headers['X Y'] is not a valid header name"),
        ({"default_headers": {"X\r\nY": "x"}}, "is not a valid header name"),
        ({"default_headers": {"X": "a\r\nB: c"}}, "default_headers['X'] must be printable ASCII"),
        ({"default_headers": {"X": "a\0"}}, "default_headers['X'] must be printable ASCII"),
        ({"default_headers": {"X": "ü"}}, "default_headers['X'] must be printable ASCII"),
        ({"default_headers": {"X-A": "1", "x-a": "2"}}, "default_headers['x-a'] is given twice"),
        (
            {"default_headers": {"AUTHORIZATION": "x"}},
            "default_headers['AUTHORIZATION'] is set by the client; use `api_token`",
        ),
        (
            {"default_headers": {"proxy-authorization": "x"}},
            "default_headers['proxy-authorization'] is set by the client; use `proxy`",
        ),
        *(
            ({"default_headers": {name: "x"}}, f"default_headers[{name!r}] is set by the client")
            for name in (
                *("Host", "Content-Type", "content-encoding", "Accept-Encoding"),
                *("X-Prefactor-SDK", "Idempotency-Key", "Connection", "Transfer-Encoding"),
            )
        ),
    ],
    ids=repr,
)
def test_an_invalid_value_is_rejected_with_the_name_of_its_field(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"api_url": "https://proxy.example/prefactor/"},
        {"api_url": "https://host:8443"},
        {"max_retries": 0},
        {"initial_retry_delay": 60.0},
        {"retry_multiplier": 1},
        {"retry_on_status_codes": ()},
        {"retry_on_status_codes": (100, 599)},
        {"deadline": 0.001},
        {"retry_budget": 0},
        {"retry_budget": None},
        {"retry_budget": "auto"},
        {"default_idempotency_key": "x" * 27},
        {"max_connections": 1},
        {"max_response_bytes": 1},
        {"api_token": str, "token_refresh_interval": 0.001},
        {"proxy": "http://proxy"},
        {"proxy": "https://user:p%2Fw@proxy.example:3128/"},
        {"default_headers": {"X-Tenant": "a\tb", "user-agent": "worker/1"}},
    ],
    ids=repr,
)
def test_a_value_at_the_limit_is_accepted(fields):
    made = config(**fields)
    for name, value in fields.items():
        assert getattr(made, name) == value


class Whole(int):
    pass


class Fraction(float):
    pass


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"api_url": 7}, "api_url must be a str, not int"),
        ({"api_token": 7}, "api_token must be a str, or a function that returns one, not int"),
        ({"api_token": None}, "api_token is required"),
        ({"default_idempotency_key": b"x"}, "default_idempotency_key must be a str, not bytes"),
        ({"request_timeout": True}, "request_timeout must be a number of seconds, not bool"),
        ({"request_timeout": "30"}, "request_timeout must be a number of seconds, not str"),
        ({"request_timeout": None}, "request_timeout must be a number of seconds, not NoneType"),
        ({"request_timeout": Decimal(1)}, "request_timeout must be a number of seconds, not Dec"),
        ({"request_timeout": np.bool_(1)}, "request_timeout must be a number of seconds, not"),
        ({"connect_timeout": 1j}, "connect_timeout must be a number of seconds, not complex"),
        ({"initial_retry_delay": [1]}, "initial_retry_delay must be a number of seconds, not"),
        ({"max_retry_delay": timedelta(1)}, "max_retry_delay must be a number of seconds, not tim"),
        ({"retry_multiplier": "2"}, "retry_multiplier must be a number, not str"),
        ({"deadline": "5"}, "deadline must be a number of seconds or None, not str"),
        ({"max_retries": "5"}, "max_retries must be an int, not str"),
        ({"max_retries": 5.0}, "max_retries must be an int, not float"),
        ({"max_retries": None}, "max_retries must be an int, not NoneType"),
        ({"max_connections": False}, "max_connections must be an int, not bool"),
        ({"max_response_bytes": 1e6}, "max_response_bytes must be an int, not float"),
        ({"retry_budget": 1.5}, 'retry_budget must be an int, "auto" or None, not float'),
        ({"retry_budget": True}, 'retry_budget must be an int, "auto" or None, not bool'),
        ({"retry_on_status_codes": 503}, "must be HTTP statuses, such as (502, 503), not int"),
        ({"retry_on_status_codes": "503"}, "must be HTTP statuses, such as (502, 503), not str"),
        ({"retry_on_status_codes": ["503"]}, "must be HTTP statuses, such as (502, 503), not str"),
        ({"retry_on_status_codes": {503: 1}}, "must be HTTP statuses, such as (502, 503), not d"),
        ({"allow_insecure_http": "no"}, "allow_insecure_http must be True or False, not str"),
        ({"trust_env": 1}, "trust_env must be True or False, not int"),
        ({"on_attempt": "print"}, "on_attempt must be a function or None, not str"),
        ({"proxy": 3128}, "proxy must be a str, not int"),
        ({"ssl": True}, "ssl must be an ssl.SSLContext or None, not bool"),
        ({"ssl": "ca.pem"}, "ssl must be an ssl.SSLContext or None, not str"),
        ({"default_headers": "X: 1"}, "default_headers must be a mapping of str to str, not str"),
        ({"default_headers": None}, "default_headers must be a mapping of str to str, not None"),
        ({"default_headers": {1: "x"}}, "default_headers must be a mapping of str to str, not int"),
        ({"default_headers": {"X": 1}}, "default_headers must be a mapping of str to str, not int"),
        ({"api_token": str, "token_refresh_interval": "1"}, "token_refresh_interval must be a num"),
    ],
    ids=repr,
)
def test_a_wrong_type_is_rejected_with_the_name_of_its_field(fields, message):
    error = ValueError if message.endswith("is required") else TypeError
    with pytest.raises(error, match=re.escape(message)):
        config(**fields)


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({"request_timeout": Whole(3)}, 3.0),
        ({"request_timeout": Fraction(0.5)}, 0.5),
        ({"request_timeout": np.float32(0.5)}, 0.5),
        ({"deadline": np.int64(5)}, 5.0),
        ({"max_retries": Whole(4)}, 4),
        ({"max_retries": np.int16(4)}, 4),
        ({"retry_budget": np.uint8(7)}, 7),
        ({"retry_on_status_codes": [HTTPStatus.BAD_GATEWAY, np.int64(503)]}, (502, 503)),
        ({"retry_on_status_codes": {503}}, (503,)),
        ({"retry_on_status_codes": (HTTPStatus.BAD_GATEWAY, 503)}, (502, 503)),
        ({"default_idempotency_key": np.str_("job")}, "job"),
        ({"api_token": np.str_(TOKEN)}, TOKEN),
    ],
    ids=repr,
)
def test_subclasses_and_numpy_numbers_are_accepted_as_plain_values(fields, plain):
    (name,) = fields
    value = getattr(config(**fields), name)
    assert value == plain
    assert type(value) is type(plain)
    if isinstance(value, tuple):
        assert {type(status) for status in value} == {int}


def test_pydantic_can_build_the_schema_of_the_configuration():
    # prefactor-core does so when it is imported.
    adapter = TypeAdapter(HttpClientConfig)
    made = config(ssl=ssl.create_default_context(), api_token=str, proxy="http://proxy")
    assert adapter.validate_python(made) is made


def test_headers_are_copied_and_hidden():
    headers = {"X-Gateway-Key": "gateway-canary"}
    made = config(default_headers=headers, proxy="http://user:proxy-canary@proxy:3128")
    headers["X-Other"] = "1"
    assert made.default_headers == {"X-Gateway-Key": "gateway-canary"}
    assert "canary" not in repr(made)
    assert hash(made) == hash(dataclasses.replace(made))
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    "url", ["http://user:secret/canary@proxy:3128", "http://user:canary@[proxy", "canary"]
)
def test_an_error_about_the_proxy_does_not_quote_it(url):
    with pytest.raises(ValueError, match="proxy must be an http") as caught:
        config(proxy=url)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_from_env_takes_a_function_for_the_token(monkeypatch):
    monkeypatch.delenv("PREFACTOR_API_TOKEN", raising=False)
    assert HttpClientConfig.from_env(api_token=str).api_token is str


def test_a_client_without_a_configuration_reads_the_environment(monkeypatch):
    monkeypatch.setenv("PREFACTOR_API_URL", "https://api.example")
    monkeypatch.setenv("PREFACTOR_API_TOKEN", TOKEN)
    assert PrefactorHttpClient().config == config(api_url="https://api.example")
    monkeypatch.delenv("PREFACTOR_API_TOKEN")
    with pytest.raises(ValueError, match="set PREFACTOR_API_TOKEN or pass api_token"):
        PrefactorHttpClient()


@pytest.mark.parametrize("given", [URL, {"api_url": URL, "api_token": TOKEN}, HttpClientConfig])
def test_something_else_than_a_configuration_is_rejected(given):
    with pytest.raises(TypeError, match="config must be an HttpClientConfig") as caught:
        PrefactorHttpClient(given)
    assert f"not {type(given).__name__}" in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.255.0.7:4000", "[::1]", "[::1]:8080"]
)
def test_http_is_allowed_for_this_machine(host):
    assert config(api_url=f"http://{host}").api_url == f"http://{host}"


@pytest.mark.parametrize(
    "host", ["128.0.0.1", "[::2]", "localhost.example", "127.example", "0.0.0.0"]
)
def test_other_hosts_require_https_or_allow_insecure_http(host):
    with pytest.raises(ValueError, match=r"https.*allow_insecure_http=True"):
        config(api_url=f"http://{host}")
    assert config(api_url=f"http://{host}", allow_insecure_http=True)


def test_an_async_hook_is_rejected():
    async def hook(attempt):
        pass

    with pytest.raises(ValueError, match="on_attempt must be a plain function"):
        config(on_attempt=hook)


def test_the_token_is_never_shown():
    made = config()
    assert TOKEN not in repr(made)
    assert TOKEN not in str(made)
    assert TOKEN not in f"{made!a}"


@pytest.mark.parametrize("token", ["two words", "schlüssel-1234"])
def test_an_invalid_token_is_not_shown_in_the_error(token):
    with pytest.raises(ValueError, match="api_token") as caught:
        config(api_token=token)
    assert token not in str(caught.value)


def test_an_invalid_url_with_a_password_is_not_shown_in_the_error():
    with pytest.raises(ValueError, match="credentials") as caught:
        config(api_url="https://user:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_a_config_is_immutable():
    made = config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.max_retries = 5
    assert dataclasses.replace(made, max_retries=5).max_retries == 5
    with pytest.raises(ValueError, match="max_retries"):
        dataclasses.replace(made, max_retries=-1)


def test_a_config_can_be_pickled():
    made = config(max_retries=7)
    assert pickle.loads(pickle.dumps(made)) == made
    assert hash(made) == hash(config(max_retries=7))


def test_the_first_arguments_are_url_and_token():
    assert list(inspect.signature(HttpClientConfig).parameters)[:2] == ["api_url", "api_token"]


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.delenv("PREFACTOR_API_URL", raising=False)
    monkeypatch.delenv("PREFACTOR_API_TOKEN", raising=False)
    return monkeypatch


def test_from_env_reads_url_and_token(environment):
    environment.setenv("PREFACTOR_API_URL", "https://eu.example")
    environment.setenv("PREFACTOR_API_TOKEN", f" {TOKEN}\n")
    assert HttpClientConfig.from_env() == config(api_url="https://eu.example")


@pytest.mark.parametrize("url", [None, ""])
def test_from_env_has_a_default_url(environment, url):
    if url is not None:
        environment.setenv("PREFACTOR_API_URL", url)
    environment.setenv("PREFACTOR_API_TOKEN", TOKEN)
    assert HttpClientConfig.from_env() == config()


def test_an_argument_takes_precedence_over_the_environment(environment):
    environment.setenv("PREFACTOR_API_URL", "https://eu.example")
    environment.setenv("PREFACTOR_API_TOKEN", "another")
    made = HttpClientConfig.from_env(api_url=URL, api_token=TOKEN, max_retries=1)
    assert made == config(max_retries=1)


@pytest.mark.parametrize("token", [None, "", "  \n"])
def test_from_env_without_a_token_names_the_variable(environment, token):
    if token is not None:
        environment.setenv("PREFACTOR_API_TOKEN", token)
    with pytest.raises(ValueError, match="set PREFACTOR_API_TOKEN or pass api_token"):
        HttpClientConfig.from_env()


def test_values_from_the_environment_are_validated(environment):
    environment.setenv("PREFACTOR_API_URL", "http://app.prefactorai.com")
    environment.setenv("PREFACTOR_API_TOKEN", TOKEN)
    with pytest.raises(ValueError, match="https"):
        HttpClientConfig.from_env()
