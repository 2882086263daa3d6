"""Configuration of a client. It is validated on construction, and its repr omits the token."""

import logging
import math
import operator
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, Self, TypedDict, cast
from urllib.parse import urlsplit

from prefactor_http._values.functions import check_function
from prefactor_http._values.hosts import Reach, plain_http_reach
from prefactor_http._values.plain import as_text
from prefactor_http.events import Attempt, Retry, Throttling
from prefactor_http.idempotency import MAX_LENGTH, check_key

DEFAULT_API_URL = "https://app.prefactorai.com"
_GENERATED_KEY_LENGTH = 36
_FIRST_STATUS, _LAST_STATUS = 100, 599
_ALLOW_HTTP = "PREFACTOR_ALLOW_INSECURE_HTTP"
_TOKEN_RULE = "must be printable ASCII without spaces, quotes or backslashes"  # noqa: S105 # a rule

_SECONDS, _SECONDS_OR_NONE = "a number of seconds", "a number of seconds or None"
_NUMBERS = {
    "request_timeout": _SECONDS,
    "connect_timeout": _SECONDS,
    "initial_retry_delay": _SECONDS,
    "max_retry_delay": _SECONDS,
    "retry_multiplier": "a number",
    "deadline": _SECONDS_OR_NONE,
    "token_refresh_interval": _SECONDS_OR_NONE,
}
_INTEGERS = {
    "max_retries": "an int",
    "max_connections": "an int",
    "max_response_bytes": "an int",
    "retry_budget": 'an int, "auto" or None',
}
_PLAIN_NUMBERS = frozenset({float, int})
_FLAGS = ("allow_insecure_http", "trust_env", "auto_batch")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Set by the client, or about one connection or body.
_RESERVED_HEADERS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-prefactor-sdk",
    }
)

TokenProvider = Callable[[], str | Awaitable[str]]
"""A function or a coroutine function that returns the current token."""

_log = logging.getLogger("prefactor_http")


@dataclass(frozen=True)
class HttpClientConfig:
    """Configuration of a `PrefactorHttpClient`. All times are in seconds.

    Attributes:
        api_url: Base URL of the API, such as ``https://app.prefactorai.com``, without ``/api/v1``.
            With ``http`` the token is sent unencrypted. That is allowed for this machine and, with
            a logged warning, for hosts in a private network. Other hosts require
            ``allow_insecure_http``.
        api_token: Bearer token, or a function without arguments that returns it. The token is never
            logged or shown. A coroutine function is awaited; a plain function runs in a thread. It
            is called before the first request, and again after a 401. If it returns another token
            then, the request is repeated with it. One call of the function serves all calls that
            wait for a token, for at most ``request_timeout``. If it raises, or returns something
            else than a token, they fail with `PrefactorClientError`.
        request_timeout: Timeout of one attempt, from connecting to the end of the response.
        connect_timeout: Timeout for opening a connection.
        max_retries: Maximum number of attempts after the first. The repeat of a create whose
            response may belong to another call does not count.
        initial_retry_delay: Upper bound of the delay before the first retry.
        max_retry_delay: Upper bound of any delay. A longer ``Retry-After`` raises immediately.
        retry_multiplier: Factor by which the upper bound of the delay grows with each retry.
        retry_on_status_codes: HTTP statuses that are retried.
        default_idempotency_key: Prefix of generated keys (``prefix-uuid``), at most 27 characters.
        deadline: Timeout of a whole call, including all attempts and delays; None for no limit.
        max_connections: Maximum number of attempts in flight. Further calls wait.
        max_response_bytes: Maximum size of a response after decompression.
        allow_insecure_http: Allow ``http`` for any host. ``PREFACTOR_ALLOW_INSECURE_HTTP=1`` in the
            environment does the same.
        trust_env: Use proxies from the environment, as aiohttp does. Credentials from a netrc file
            are not used for the API; the token is.
        retry_budget: Tokens for retries, shared by all calls of the client. A retry costs 5 tokens,
            after a timeout 10, and none after a 429 or if the request was not sent. A call that is
            answered in the end returns its tokens. ``"auto"`` means 100 per connection of
            ``max_connections``, None means no budget.
        on_attempt: Called with an `Attempt` after each attempt. Exceptions in it are logged.
        on_retry: Called with a `Retry` before the wait for each retry, in the same way.
        on_throttle: Called with a `Throttling` when the rate limiter starts or stops holding back
            an operation, in the same way.
        proxy: URL of an HTTP proxy for all requests, such as ``http://user:password@proxy:3128``.
            The proxies of the environment and ``NO_PROXY`` do not apply then. The credentials are
            sent only to the proxy and never shown.
        ssl: An `ssl.SSLContext` for TLS, also to an ``https`` proxy. None for the certificate
            authorities of the system.
        default_headers: Headers to add to each request. They are not shown in the repr. Headers
            that the client sets itself, such as ``Authorization``, are not allowed; ``User-Agent``
            and ``Accept`` are.
        token_refresh_interval: Seconds after which a function in ``api_token`` is called again,
            before the next request; None for only after a 401. If it fails then, the last token
            stays in use, and a warning is logged.
        auto_batch: Whether writes that wait at the same time share requests, as with
            `PrefactorHttpClient.batched`.

    Raises:
        TypeError: A value has the wrong type. The message says which one and what is allowed.
        ValueError: A value is out of range. The message says which one and what is allowed.
    """

    api_url: str
    api_token: str | TokenProvider = field(repr=False)
    request_timeout: float = 30.0
    connect_timeout: float = 10.0
    max_retries: int = 3
    initial_retry_delay: float = 1.0
    max_retry_delay: float = 60.0
    retry_multiplier: float = 2.0
    retry_on_status_codes: tuple[int, ...] = (
        408,
        425,
        429,
        500,
        502,
        503,
        504,
        # Sent by gateways: 520 to 524 by Cloudflare, 529 by overloaded ones.
        520,
        521,
        522,
        523,
        524,
        529,
    )
    default_idempotency_key: str | None = None
    deadline: float | None = None
    max_connections: int = 100
    max_response_bytes: int = 64 * 1024 * 1024
    allow_insecure_http: bool = False
    trust_env: bool = False
    retry_budget: int | Literal["auto"] | None = "auto"
    on_attempt: Callable[[Attempt], object] | None = None
    on_retry: Callable[[Retry], object] | None = None
    on_throttle: Callable[[Throttling], object] | None = None
    proxy: str | None = field(default=None, repr=False)
    # Not `SSLContext`: pydantic could not build the schema of a model that contains this class.
    ssl: Any = None
    default_headers: Mapping[str, str] = field(
        default_factory=dict[str, str], repr=False, hash=False
    )
    token_refresh_interval: float | None = None
    auto_batch: bool = False

    def __post_init__(self) -> None:
        """Validate all fields."""
        for name in ("api_url", "default_idempotency_key", "proxy"):
            self._make_plain(name)
        self._check_types()
        self._check_url()
        self._check_token()
        self._check_proxy()
        self._check_headers()
        for name in ("request_timeout", "connect_timeout", "initial_retry_delay"):
            _check(name, getattr(self, name) > 0, "must be positive")
        _check("max_retry_delay", self.max_retry_delay > 0, "must be positive")
        for name in ("request_timeout", "connect_timeout", "max_retry_delay"):
            _check(name, _is_finite(getattr(self, name)), "must be finite")
        _check("max_retries", self.max_retries >= 0, "must be non-negative")
        _check(
            "initial_retry_delay",
            self.initial_retry_delay <= self.max_retry_delay,
            "must be <= max_retry_delay",
        )
        _check("retry_multiplier", self.retry_multiplier >= 1, "must be >= 1")
        _check(
            "retry_on_status_codes",
            all(_FIRST_STATUS <= code <= _LAST_STATUS for code in self.retry_on_status_codes),
            "must be HTTP statuses from 100 to 599",
        )
        for name in ("on_attempt", "on_retry", "on_throttle"):
            check_function(getattr(self, name), name)
        _check("deadline", self.deadline is None or self.deadline > 0, "must be positive or None")
        _check("max_connections", self.max_connections >= 1, "must be at least 1")
        _check("max_response_bytes", self.max_response_bytes >= 1, "must be at least 1")
        _check(
            "retry_budget",
            self.retry_budget == "auto"
            if isinstance(self.retry_budget, str)
            else self.retry_budget is None or self.retry_budget >= 0,
            'must be non-negative, "auto" or None',
        )
        if self.default_idempotency_key is not None:
            check_key(self.default_idempotency_key, "default_idempotency_key")
            _check(
                "default_idempotency_key",
                len(self.default_idempotency_key) + 1 + _GENERATED_KEY_LENGTH <= MAX_LENGTH,
                f"must leave room for a UUID: {MAX_LENGTH - _GENERATED_KEY_LENGTH - 1} characters",
            )

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Create a configuration from ``PREFACTOR_API_URL`` and ``PREFACTOR_API_TOKEN``.

        Args:
            overrides: Any fields. They take precedence over the environment.

        Returns:
            The configuration. The URL defaults to ``https://app.prefactorai.com``.

        Raises:
            ValueError: There is no token, or a value is out of range.
        """
        overrides.setdefault("api_url", os.environ.get("PREFACTOR_API_URL") or DEFAULT_API_URL)
        overrides.setdefault("api_token", os.environ.get("PREFACTOR_API_TOKEN", "").strip())
        if not overrides["api_token"]:
            raise ValueError("api_token is required: set PREFACTOR_API_TOKEN or pass api_token")
        return cls(**overrides)

    def _make_plain(self, name: str, allowed: str = "a str") -> None:
        """Convert a subclass of str or an enum member to an exact str."""
        value: object = getattr(self, name)
        if value is None or type(value) is str:
            return
        text = as_text(value)
        if text is None:
            raise _wrong_type(name, allowed, value)
        object.__setattr__(self, name, text)

    def _check_types(self) -> None:
        """Check the types of numbers and flags, and convert subclasses and numpy's numbers."""
        fields: dict[str, object] = vars(self)
        for name, allowed in _NUMBERS.items():
            value = fields[name]
            if type(value) in _PLAIN_NUMBERS or (value is None and allowed is _SECONDS_OR_NONE):
                continue
            if isinstance(value, bool) or not isinstance(value, Real):
                raise _wrong_type(name, allowed, value)
            object.__setattr__(self, name, float(value))
        for name, allowed in _INTEGERS.items():
            value = fields[name]
            if type(value) is int:
                continue
            if name != "retry_budget" or not (value is None or isinstance(value, str)):
                object.__setattr__(self, name, _integer(name, allowed, value))
        for name in _FLAGS:
            if type(fields[name]) is not bool:
                raise _wrong_type(name, "True or False", fields[name])
        object.__setattr__(self, "retry_on_status_codes", _statuses(self.retry_on_status_codes))
        if self.ssl is not None and not isinstance(self.ssl, ssl.SSLContext):
            raise _wrong_type("ssl", "an ssl.SSLContext or None", self.ssl)

    def _check_url(self) -> None:
        _check("api_url", bool(self.api_url), "is required")
        _check(
            "api_url",
            self.api_url.isprintable() and not re.search(r"[\s\\]", self.api_url),
            "must have no spaces, backslashes or control characters",
        )
        try:
            parts = urlsplit(self.api_url)
        except ValueError:  # its message may quote a password
            parts = urlsplit("")
        _check(
            "api_url",
            parts.scheme in {"http", "https"} and bool(parts.hostname),
            "must be an absolute http(s) URL, such as https://app.prefactorai.com",
        )
        _check(
            "api_url",
            "@" not in parts.netloc and not re.search("[?#]", self.api_url),
            "must have no credentials, query or fragment",
        )
        try:
            _ = parts.port
        except ValueError as exc:
            raise ValueError(f"api_url has no valid port: {exc}") from None
        _check(
            "api_url",
            not parts.path.rstrip("/").endswith("/api/v1"),
            "must be the base URL, without /api/v1",
        )
        if not self.allow_insecure_http and plain_http_reach(self.api_url) is Reach.ANYWHERE:
            _check(
                "api_url",
                os.environ.get(_ALLOW_HTTP) == "1",
                "must use https, because http sends the token unencrypted. If you trust the "
                f"network, set allow_insecure_http=True or {_ALLOW_HTTP}=1",
            )
            # Stored, so that a copy with other options does not depend on the environment.
            object.__setattr__(self, "allow_insecure_http", True)

    def _check_token(self) -> None:
        if as_text(self.api_token) is None and callable(self.api_token):
            interval = self.token_refresh_interval
            _check(
                "token_refresh_interval",
                interval is None or (interval > 0 and _is_finite(interval)),
                "must be positive and finite, or None",
            )
            return
        self._make_plain("api_token", "a str, or a function that returns one")
        _check("api_token", bool(self.api_token), "is required")
        _check("api_token", is_token(cast("str", self.api_token)), _TOKEN_RULE)
        _check(
            "token_refresh_interval",
            self.token_refresh_interval is None,
            "requires that api_token is a function",
        )

    def _check_proxy(self) -> None:
        # The messages do not quote the URL: it may contain a password.
        if self.proxy is None:
            return
        try:
            parts = urlsplit(self.proxy)
            is_url = parts.scheme in {"http", "https"} and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            is_url, parts = False, urlsplit("")
        _check(
            "proxy",
            is_url and self.proxy.isprintable() and not re.search(r"[\s\\]", self.proxy),
            "must be an http(s) URL, such as http://user:password@proxy:3128, with special "
            "characters of the password percent-encoded",
        )
        _check(
            "proxy",
            parts.path in {"", "/"} and not re.search("[?#]", self.proxy),
            "must have no path, query or fragment",
        )

    def _check_headers(self) -> None:
        """Check `default_headers` and copy it, so that later changes have no effect."""
        given = cast("object", self.default_headers)
        if not isinstance(given, Mapping):
            raise _wrong_type("default_headers", "a mapping of str to str", given)
        headers: dict[str, str] = {}
        seen: set[str] = set()
        for key, item in cast("Mapping[object, object]", given).items():
            name, value = as_text(key), as_text(item)
            if name is None or value is None:
                other = key if name is None else item
                raise _wrong_type("default_headers", "a mapping of str to str", other)
            field_name = f"default_headers[{name!r:.60}]"
            _check(field_name, bool(_HEADER_NAME.fullmatch(name)), "is not a valid header name")
            lower = name.lower()
            _check(
                field_name,
                lower not in _RESERVED_HEADERS and not lower.startswith("content-"),
                "is set by the client"
                + ("; use `proxy`" if lower == "proxy-authorization" else "")
                + ("; use `api_token`" if lower == "authorization" else ""),
            )
            _check(field_name, lower not in seen, "is given twice")
            seen.add(lower)
            headers[name] = check_header_value(value, field_name)
        object.__setattr__(self, "default_headers", headers)


class Options(TypedDict, total=False):
    """Options of `PrefactorHttpClient.with_options`; see `HttpClientConfig`."""

    request_timeout: float
    max_retries: int
    initial_retry_delay: float
    max_retry_delay: float
    retry_multiplier: float
    retry_on_status_codes: tuple[int, ...]
    default_idempotency_key: str | None
    deadline: float | None
    on_attempt: Callable[[Attempt], object] | None
    on_retry: Callable[[Retry], object] | None


def check_config(config: object) -> HttpClientConfig:
    """Return the configuration of a client.

    Raises:
        TypeError: It is something else than an `HttpClientConfig`.
    """
    if isinstance(config, HttpClientConfig):
        return config
    allowed = "an HttpClientConfig(api_url, api_token, …), or None to read the environment"
    raise _wrong_type("config", allowed, config)


def check_header_value(value: object, name: str) -> str:
    """Return the value of a header as an exact str.

    Raises:
        TypeError: It is not a str.
        ValueError: It contains control characters, or is not ASCII.
    """
    text = as_text(value)
    if text is None:
        raise _wrong_type(name, "a str", value)
    _check(
        name, text.isascii() and text.replace("\t", " ").isprintable(), "must be printable ASCII"
    )
    return text


def warn_of_plain_http(config: HttpClientConfig) -> None:
    """Log a warning if the token is sent unencrypted over a private network."""
    if not config.allow_insecure_http and plain_http_reach(config.api_url) is Reach.PRIVATE_NETWORK:
        _log.warning(
            "api_url %s uses http: the token is sent unencrypted over the private network",
            config.api_url,
        )


def is_token(token: str) -> bool:
    """Whether a text can be sent as a bearer token."""
    return (
        bool(token) and token.isascii() and token.isprintable() and not re.search(r'[\s"\\]', token)
    )


def check_provided_token(token: object) -> str:
    """Return the token that a function in `HttpClientConfig.api_token` returned, as an exact str.

    Raises:
        TypeError: It is not a str.
        ValueError: It is empty, or contains characters that are not allowed.
    """
    text = as_text(token)
    if text is None:
        raise TypeError(f"api_token must return a str, not {type(token).__name__}")
    if not text or text.isspace():
        raise ValueError("api_token returned a blank token")
    if not is_token(text):
        hint = ": remove the whitespace with .strip()" if is_token(text.strip()) else ""
        raise ValueError(f"the token that api_token returned {_TOKEN_RULE}{hint}")
    return text


def _integer(name: str, allowed: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _wrong_type(name, allowed, value)
    return operator.index(value)


def _statuses(value: object) -> tuple[int, ...]:
    if type(value) is tuple:
        given = cast("tuple[int, ...]", value)
        if {*map(type, given)} <= {int}:  # the usual case, without a call for each status
            return given
    allowed = "HTTP statuses, such as (502, 503)"
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong_type("retry_on_status_codes", allowed, value)
    return tuple(
        _integer("retry_on_status_codes", allowed, status)
        for status in cast("Iterable[object]", value)
    )


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int that is too large for a float
        return False


def _wrong_type(name: str, allowed: str, value: Any) -> TypeError:
    return TypeError(f"{name} must be {allowed}, not {type(value).__name__}")


def _check(name: str, ok: bool, rule: str) -> None:
    if not ok:
        raise ValueError(f"{name} {rule}")


__all__ = ["DEFAULT_API_URL", "HttpClientConfig", "Options", "TokenProvider"]
