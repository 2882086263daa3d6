"""Makes one call to the API and turns its error into an error of the command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from prefactor_http.cli.connection import Connection
from prefactor_http.cli.error_messages import MAYBE, Advice, command_error, without_call
from prefactor_http.cli.errors import InputError, StoppedError
from prefactor_http.cli.signals import Stopped, run_until_stopped
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.exceptions import PrefactorHttpError

T = TypeVar("T")


def call_api(
    connection: Connection,
    call: Callable[[PrefactorHttpClient], Awaitable[T]],
    *,
    advice: Advice = Advice(),  # noqa: B008 # frozen
    idempotency_key: str | None = None,
) -> T:
    """Make a call and return its result.

    Args:
        connection: How to reach the API.
        call: Makes the call.
        advice: What to do if it fails.
        idempotency_key: The call's key, if it is known here.

    Raises:
        CommandError: The call failed.
    """
    config = connection.config()
    connection.output.has_sent = True

    async def within_client() -> T:
        async with PrefactorHttpClient(config) as client:
            if connection.attempt_log is None:
                return await call(client)
            async with connection.attempt_log.status_line():
                return await call(client)

    try:
        return run_until_stopped(within_client)
    except PrefactorHttpError as error:
        raise command_error(error, advice) from None
    except ValueError as exc:  # a malformed id
        raise InputError(f"{without_call(str(exc))}.", "Nothing was sent.") from None
    except Stopped as stopped:
        further = () if advice.if_unknown is None else (MAYBE, advice.if_unknown)
        raise StoppedError(
            stopped,
            f"interrupted by {stopped.name} before the API answered.",
            *further,
            idempotency_key=idempotency_key,
            outcome_unknown=bool(further),
        ) from None
