"""Configuration of a client. It is validated on construction, and its repr omits the token."""

import inspect
import logging
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypedDict
from urllib.parse import urlsplit

from prefactor_http._hosts import Reach, plain_http_reach
from prefactor_http._values import as_text
from prefactor_http.events import Attempt, Retry, Throttling
from prefactor_http.idempotency import MAX_LENGTH, check_key

DEFAULT_API_URL = "https://app.prefactorai.com"
_GENERATED_KEY_LENGTH = 36
_FIRST_STATUS, _LAST_STATUS = 100, 599
_ALLOW_HTTP = "PREFACTOR_ALLOW_INSECURE_HTTP"

_log = logging.getLogger("prefactor_http")


@dataclass(frozen=True)
class HttpClientConfig:
    """Configuration of a `PrefactorHttpClient`. All times are in seconds.

    Attributes:
        api_url: Base URL of the API, such as ``https://app.prefactorai.com``, without ``/api/v1``.
            With ``http`` the token is sent unencrypted. That is allowed for this machine and, with
            a logged warning, for hosts in a private network. Other hosts require
            ``allow_insecure_http``.
        api_token: Bearer token. It is never logged or shown.
        request_timeout: Timeout of one attempt, from connecting to the end of the response.
        connect_timeout: Timeout for opening a connection.
        max_retries: Maximum number of attempts after the first.
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

    Raises:
        TypeError: The URL, the token or the prefix is not text.
        ValueError: A value is out of range. The message says which one and what is allowed.
    """

    api_url: str
    api_token: str = field(repr=False)
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

    def __post_init__(self) -> None:
        """Validate all fields."""
        for name in ("api_url", "api_token", "default_idempotency_key"):
            self._make_plain(name)
        self._check_url()
        self._check_token()
        for name in ("request_timeout", "connect_timeout", "initial_retry_delay"):
            _check(name, getattr(self, name) > 0, "must be positive")
        _check("max_retry_delay", self.max_retry_delay > 0, "must be positive")
        for name in ("request_timeout", "connect_timeout", "max_retry_delay"):
            _check(name, math.isfinite(getattr(self, name)), "must be finite")
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
            if inspect.iscoroutinefunction(getattr(self, name)):
                raise ValueError(f"{name} must be a plain function, not a coroutine function")
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

    def _make_plain(self, name: str) -> None:
        """Convert a subclass of str or an enum member to an exact str."""
        value: object = getattr(self, name)
        if value is None or type(value) is str:
            return
        text = as_text(value)
        if text is None:
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
        object.__setattr__(self, name, text)

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
        _check("api_token", bool(self.api_token), "is required")
        _check(
            "api_token",
            self.api_token.isascii()
            and self.api_token.isprintable()
            and not re.search(r'[\s"\\]', self.api_token),
            "must be printable ASCII without spaces, quotes or backslashes",
        )


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


def warn_of_plain_http(config: HttpClientConfig) -> None:
    """Log a warning if the token is sent unencrypted over a private network."""
    if not config.allow_insecure_http and plain_http_reach(config.api_url) is Reach.PRIVATE_NETWORK:
        _log.warning(
            "api_url %s uses http: the token is sent unencrypted over the private network",
            config.api_url,
        )


def _check(name: str, ok: bool, rule: str) -> None:
    if not ok:
        raise ValueError(f"{name} {rule}")
