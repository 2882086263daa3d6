"""The base of the endpoint classes."""

from __future__ import annotations

from typing import Protocol

from prefactor_http._http.executor import Executor


class HasExecutor(Protocol):
    """A `PrefactorHttpClient`, which this layer must not import."""

    @property
    def _executor(self) -> Executor: ...


class EndpointClient:
    """Calls on one kind of resource.

    Args:
        http_client: The client that makes the calls.
    """

    def __init__(self, http_client: HasExecutor | Executor) -> None:
        if not isinstance(http_client, Executor):
            # The only internal name of the client that is used outside its module.
            http_client = http_client._executor  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        self._executor = http_client
