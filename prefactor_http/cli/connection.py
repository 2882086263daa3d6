"""How to reach the API: options and environment variables of every command that calls it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import click
from msgspec import Struct

from prefactor_http._values.hosts import Reach, plain_http_reach
from prefactor_http.cli.attempt_log import AttemptLog
from prefactor_http.cli.errors import InputError
from prefactor_http.cli.output import Output
from prefactor_http.cli.parameter_types import Seconds
from prefactor_http.config import DEFAULT_API_URL, HttpClientConfig

P = ParamSpec("P")

_URL, _TOKEN = "PREFACTOR_API_URL", "PREFACTOR_API_TOKEN"  # names of variables


class Connection(Struct, frozen=True):
    """How the API is called.

    Attributes:
        output: The output of the command.
        api_url: Base URL; None for that of the environment.
        max_retries: Attempts after the first; None for the default.
        deadline: Seconds for the whole call; None for no limit.
        attempt_log: Prints each attempt and retry; None without ``--verbose``.
    """

    output: Output
    api_url: str | None
    max_retries: int | None
    deadline: float | None
    attempt_log: AttemptLog | None = None

    @property
    def url(self) -> str:
        if self.api_url is not None:
            return self.api_url
        return os.environ.get(_URL) or DEFAULT_API_URL

    def config(self) -> HttpClientConfig:
        """Return the configuration of the client.

        Raises:
            InputError: There is no token, or a value is not allowed.
        """
        token = os.environ.get(_TOKEN, "").strip()
        if not token:
            raise InputError(
                f"{_TOKEN} is not set.",
                "Set it to your API token. To try a local API instead, run `prefactor-http serve`.",
            )
        self.output.redact(token)
        url = self.url
        overrides: dict[str, Any] = {"api_url": url, "deadline": self.deadline}
        if self.max_retries is not None:
            overrides["max_retries"] = self.max_retries
        if self.attempt_log is not None:
            overrides["on_attempt"] = self.attempt_log.record
            overrides["on_retry"] = self.attempt_log.record_retry
        try:
            config = HttpClientConfig.from_env(**overrides, trust_env=_uses_proxy(url))
        except ValueError as exc:
            raise self._wrong_usage(url, exc) from None
        if _http_reach(url) is Reach.PRIVATE_NETWORK and not config.allow_insecure_http:
            self.output.warn(f"the token is sent unencrypted to {url}, in a private network.")
        _check_proxy(url)
        return config

    def _wrong_usage(self, url: str, error: ValueError) -> InputError:
        if _http_reach(url) is Reach.ANYWHERE and _has_host(url):
            return InputError(
                f"the token would be sent unencrypted to {url}.",
                "Use https://, or set PREFACTOR_ALLOW_INSECURE_HTTP=1 to allow it.",
            )
        # The client's message starts with the name of its own option.
        source = _URL if self.api_url is None else "--api-url"
        text = str(error).replace("api_url", source).replace("api_token", _TOKEN)
        return InputError(f"{text}.", "Nothing was sent.")


def api_options(
    command: Callable[Concatenate[Connection, P], None],
) -> Callable[..., None]:
    """Add the options of every command that calls the API, and pass them as a `Connection`."""

    @click.option("--api-url", metavar="URL", help="Base URL of the API. [env: PREFACTOR_API_URL]")
    @click.option(
        "--max-retries",
        type=click.IntRange(min=0),
        metavar="N",
        help="Retries after the first attempt.",
    )
    @click.option(
        "--deadline",
        type=Seconds(min_open=True),
        metavar="SECONDS",
        help="Time limit for the whole command.",
    )
    @click.option("--verbose", is_flag=True, help="Print each attempt and retry to standard error.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result and errors as JSON.")
    @click.pass_obj
    @functools.wraps(command)
    def with_connection(
        output: Output,
        /,
        api_url: str | None,
        max_retries: int | None,
        deadline: float | None,
        verbose: bool,
        as_json: bool,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        output.as_json = as_json
        output.has_sent = False
        attempt_log = AttemptLog(output) if verbose else None
        connection = Connection(output, api_url, max_retries, deadline, attempt_log)
        command(connection, *args, **kwargs)

    return with_connection


def _http_reach(url: str) -> Reach | None:
    """Return how far the token would travel unencrypted; None for https and for an invalid URL."""
    try:
        return plain_http_reach(url)
    except ValueError:
        return None


def _uses_proxy(url: str) -> bool:
    """Return whether proxy variables apply: not to this machine, where `serve` runs."""
    _, colon, rest = url.partition("://")
    return _http_reach(f"http{colon}{rest}") is not Reach.THIS_MACHINE


def _check_proxy(url: str) -> None:
    """Check that the client supports the proxy; it would ignore another one.

    Raises:
        InputError: The URL of the proxy does not start with ``http://``.
    """
    scheme = urlsplit(url).scheme
    proxy = getproxies().get(scheme)
    if not proxy or not _uses_proxy(url) or proxy_bypass(_host_of(url)):
        return
    # The message does not contain the value: it may have a password.
    if not (proxy.lower().startswith("http://") and _has_host(proxy)):
        raise InputError(
            f"{scheme.upper()}_PROXY must be a URL that starts with http://.",
            "Other proxies are not supported. To bypass the proxy, add the host to NO_PROXY.",
        )


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
        return bool(parts.hostname)
    except ValueError:
        return False
