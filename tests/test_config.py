"""The configuration: validation, defaults, the environment, and a repr without the token."""

import dataclasses
import inspect
import pickle
import re

import pytest

from prefactor_http import HttpClientConfig

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
    ],
    ids=repr,
)
def test_a_value_at_the_limit_is_accepted(fields):
    made = config(**fields)
    for name, value in fields.items():
        assert getattr(made, name) == value


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
