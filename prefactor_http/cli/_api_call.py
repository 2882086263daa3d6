"""One call to the configured API: its options, and its errors told to whoever ran the command."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
from msgspec import Struct

from prefactor_http.cli._output import Problem, Refused, Unsettled, WrongUsage, with_fields
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorConflictError,
    PrefactorHttpError,
    PrefactorNotFoundError,
    PrefactorRetryExhaustedError,
    is_transient_http_error,
)

P = ParamSpec("P")
T = TypeVar("T")


class Connection(Struct, frozen=True):
    """How the API is called, as the command line says.

    Attributes:
        api_url: Base URL, or None for the environment's.
        max_retries: Attempts after the first, or None for the default.
        deadline: Seconds for the whole call, or None for no limit.
        as_json: Whether a machine reads along.
    """

    api_url: str | None
    max_retries: int | None
    deadline: float | None
    as_json: bool

    def config(self) -> HttpClientConfig:
        """Configure the client.

        Raises:
            Problem: There is no token, or a value is not allowed.
        """
        if not os.environ.get("PREFACTOR_API_TOKEN", "").strip():
            raise WrongUsage(
                "PREFACTOR_API_TOKEN is not set.",
                "Export an API token of yours, or let `prefactor-http serve` print a local one.",
            )
        overrides: dict[str, Any] = {"deadline": self.deadline}
        if self.api_url is not None:
            overrides["api_url"] = self.api_url
        if self.max_retries is not None:
            overrides["max_retries"] = self.max_retries
        try:
            return HttpClientConfig.from_env(**overrides)
        except ValueError as exc:
            raise WrongUsage(f"{exc}.") from None


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
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Longest that the whole call may take.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Reply and errors as JSON.")
    @functools.wraps(command)
    def with_connection(
        api_url: str | None,
        max_retries: int | None,
        deadline: float | None,
        as_json: bool,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        command(Connection(api_url, max_retries, deadline, as_json), *args, **kwargs)

    return with_connection


def call_api(
    connection: Connection,
    call: Callable[[PrefactorHttpClient], Awaitable[T]],
    *,
    if_unknown: str | None = None,
) -> T:
    """Make a call.

    Args:
        connection: How.
        call: Makes it.
        if_unknown: For a write, what to do when nobody knows whether it took effect.

    Returns:
        The result.

    Raises:
        Problem: It failed.
    """
    config = connection.config()

    async def within_client() -> T:
        async with PrefactorHttpClient(config) as client:
            return await call(client)

    try:
        return asyncio.run(within_client())
    except PrefactorHttpError as error:
        raise problem_of(error, if_unknown) from None
    except ValueError as exc:  # an id that is none
        raise WrongUsage(f"{exc}.") from None
    except KeyboardInterrupt:
        raise Unsettled(
            "interrupted before the API answered.",
            *(() if if_unknown is None else (_MAYBE, if_unknown)),
            outcome_unknown=if_unknown is not None,
        ) from None


_MAYBE = "The write may have taken effect all the same."


def problem_of(error: PrefactorHttpError, if_unknown: str | None) -> Problem:
    """Tell of a call's error, what it means and what to do next."""
    last = error.last_error if isinstance(error, PrefactorRetryExhaustedError) else error
    api_error = last if isinstance(last, PrefactorApiError) else None
    further: list[str] = []
    if error.outcome_unknown:
        further.append(_MAYBE)
    elif if_unknown is not None:
        further.append("Nothing was changed.")
    advice = if_unknown if error.outcome_unknown else _advice(last)
    if advice is not None:
        further.append(advice)
    return _ending(error)(
        _sentence(error, api_error),
        *further,
        error=type(error).__name__,
        status_code=None if api_error is None else api_error.status_code,
        code=None if api_error is None else api_error.code,
        errors={} if api_error is None else api_error.errors,
        retry_after=None if api_error is None else api_error.retry_after,
        request_id=None if api_error is None else api_error.request_id,
        method=error.method,
        path=error.path,
        attempts=error.attempts,
        idempotency_key=error.idempotency_key,
        outcome_unknown=error.outcome_unknown,
    )


def _ending(error: PrefactorHttpError) -> type[Problem]:
    if error.outcome_unknown or is_transient_http_error(error):
        return Unsettled
    return Refused if isinstance(error, PrefactorApiError) else Unsettled


def _sentence(error: PrefactorHttpError, last: PrefactorApiError | None) -> str:
    text = str(error)
    if last is None:
        return text
    if last is error:
        text = f"the API refused it with {last.status_code} {last.code}: {text}"
    return with_fields(text, last.errors)


def _advice(error: Exception | None) -> str | None:
    if isinstance(error, PrefactorAuthError):
        return "Check PREFACTOR_API_TOKEN: is it active, and may it do this?"
    if isinstance(error, PrefactorNotFoundError):
        return "Check the id, and that the token is of the same account."
    if isinstance(error, PrefactorConflictError):
        return "`prefactor-http show ID` tells what state it is in."
    if isinstance(error, PrefactorApiError) and error.retry_after is not None:
        return f"Try again in {error.retry_after:g} seconds."
    if error is not None and is_transient_http_error(error):
        return "Check the network and PREFACTOR_API_URL, then try again."
    return None
