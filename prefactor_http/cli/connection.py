"""How the API is reached: options and environment variables of every command that calls it."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import click
from msgspec import Struct

from prefactor_http._hosts import Reach, plain_http_reach
from prefactor_http.cli.errors import WrongUsage
from prefactor_http.cli.output import Output
from prefactor_http.config import DEFAULT_API_URL, HttpClientConfig

P = ParamSpec("P")

_URL, _TOKEN = "PREFACTOR_API_URL", "PREFACTOR_API_TOKEN"  # names of variables


class Seconds(click.FloatRange):
    """A number of seconds, at least 0."""

    name = "seconds"

    def __init__(self, *, min_open: bool = False) -> None:
        super().__init__(min=0, min_open=min_open)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number; NaN is none."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


class Connection(Struct, frozen=True):
    """How the API is called.

    Attributes:
        output: Where the command writes.
        api_url: Base URL, or None for that of the environment.
        max_retries: Attempts after the first, or None for the default.
        deadline: Seconds for the whole call, or None for no limit.
    """

    output: Output
    api_url: str | None
    max_retries: int | None
    deadline: float | None

    @property
    def url(self) -> str:
        """Base URL of the API, from the option or the environment."""
        if self.api_url is not None:
            return self.api_url
        return os.environ.get(_URL) or DEFAULT_API_URL

    def config(self) -> HttpClientConfig:
        """Configure the client.

        Raises:
            WrongUsage: There is no token, or a value is not allowed.
        """
        token = os.environ.get(_TOKEN, "").strip()
        if not token:
            raise WrongUsage(
                f"{_TOKEN} is not set.",
                "Export an API token of yours, or let `prefactor-http serve` print a local one.",
            )
        self.output.redact(token)
        url = self.url
        overrides: dict[str, Any] = {"api_url": url, "deadline": self.deadline}
        if self.max_retries is not None:
            overrides["max_retries"] = self.max_retries
        try:
            config = HttpClientConfig.from_env(**overrides, trust_env=_uses_proxy(url))
        except ValueError as exc:
            raise self._wrong_usage(url, exc) from None
        if _http_reach(url) is Reach.PRIVATE_NETWORK and not config.allow_insecure_http:
            self.output.warn(f"{url} sends the token unencrypted through the private network.")
        _check_proxy(url)
        return config

    def _wrong_usage(self, url: str, error: ValueError) -> WrongUsage:
        if _http_reach(url) is Reach.ANYWHERE and _has_host(url):
            return WrongUsage(
                f"{url} would send the token unencrypted.",
                "Use https://, or set PREFACTOR_ALLOW_INSECURE_HTTP=1 to allow it.",
            )
        # The client's message begins with the name of its own option.
        source = _URL if self.api_url is None else "--api-url"
        text = str(error).replace("api_url", source).replace("api_token", _TOKEN)
        return WrongUsage(f"{text}.")


def api_options(
    command: Callable[Concatenate[Connection, P], None],
) -> Callable[..., None]:
    """Give a command the options of every command that calls the API."""

    @click.option("--api-url", metavar="URL", help="Base URL of the API. [env: PREFACTOR_API_URL]")
    @click.option(
        "--max-retries", type=click.IntRange(min=0), metavar="N", help="Attempts after the first."
    )
    @click.option(
        "--deadline",
        type=Seconds(min_open=True),
        metavar="SECONDS",
        help="Longest time that the whole call may take.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Write the result and errors as JSON.")
    @click.pass_obj
    @functools.wraps(command)
    def with_connection(
        output: Output,
        /,
        api_url: str | None,
        max_retries: int | None,
        deadline: float | None,
        as_json: bool,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        output.as_json = as_json
        output.has_sent = False
        command(Connection(output, api_url, max_retries, deadline), *args, **kwargs)

    return with_connection


def _http_reach(url: str) -> Reach | None:
    """Tell how far the token can go unencrypted; None for https, and for what is not a URL."""
    try:
        return plain_http_reach(url)
    except ValueError:
        return None


def _uses_proxy(url: str) -> bool:
    """Tell whether proxy variables apply: not for this machine, on which `serve` runs."""
    _, colon, rest = url.partition("://")
    return _http_reach(f"http{colon}{rest}") is not Reach.THIS_MACHINE


def _check_proxy(url: str) -> None:
    """Refuse a proxy that the client would have to ignore.

    Raises:
        WrongUsage: The proxy is not an ``http://`` one.
    """
    scheme = urlsplit(url).scheme
    proxy = getproxies().get(scheme)
    if not proxy or not _uses_proxy(url) or proxy_bypass(_host_of(url)):
        return
    # Its value is not shown: it may contain a password.
    if not (proxy.lower().startswith("http://") and _has_host(proxy)):
        raise WrongUsage(
            f"{scheme.upper()}_PROXY must be a URL that starts with http://.",
            "Only HTTP proxies are supported. NO_PROXY lists hosts to reach without one.",
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
