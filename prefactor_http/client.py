"""The client: connection, endpoints and options."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast

from prefactor_http import _api
from prefactor_http._http.captured_response import CapturedResponse
from prefactor_http._http.clock import Clock, SystemClock
from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.executor import Executor
from prefactor_http._http.raw_request import prepare_raw_request
from prefactor_http._http.state import ClientState
from prefactor_http._version import PACKAGE_NAME, PACKAGE_VERSION
from prefactor_http.config import (
    HttpClientConfig,
    Options,
    check_config,
    check_header_value,
    warn_of_plain_http,
)
from prefactor_http.endpoints.account import AccountClient
from prefactor_http.endpoints.agent import AgentClient
from prefactor_http.endpoints.agent_deployment import AgentDeploymentClient
from prefactor_http.endpoints.agent_instance import AgentInstanceClient
from prefactor_http.endpoints.agent_span import AgentSpanClient
from prefactor_http.endpoints.agent_version import AgentSchemaVersionClient, AgentVersionClient
from prefactor_http.endpoints.alerts import AlertClient
from prefactor_http.endpoints.api_token import ApiTokenClient
from prefactor_http.endpoints.bulk import BulkClient
from prefactor_http.endpoints.environment import EnvironmentClient
from prefactor_http.endpoints.pfid import PfidClient
from prefactor_http.endpoints.risk_profile import RiskProfileClient

if TYPE_CHECKING:
    from types import TracebackType

    from aiohttp import ClientSession

    from prefactor_http._bulk.batching import BatchingExecutor

T = TypeVar("T")

_SDK_HEADER = "X-Prefactor-SDK"
DEFAULT_SDK_HEADER = f"{PACKAGE_NAME}@{PACKAGE_VERSION}"


class PrefactorHttpClient:
    """Async client of the Prefactor API that retries writes without applying them twice.

    Use it as ``async with PrefactorHttpClient(config) as client``, or create it and call `close`.
    All tasks of one event loop may share a client. Calls raise an error of
    `prefactor_http.exceptions` when they fail, and ``ValueError`` or ``TypeError`` before any I/O
    when their arguments are invalid.

    Args:
        config: Configuration; by default `HttpClientConfig.from_env`, which reads the environment.
        sdk_header: Value of ``X-Prefactor-SDK``: adapters first, this package last; by default
            only this package.
        session: An aiohttp session to borrow. The client does not close it and does not change its
            settings: ``max_connections`` limits calls, but ``trust_env``, the connection pool and
            aiohttp's own repetition of PUT and DELETE are those of the session. So are ``proxy``
            and ``ssl``, which the configuration must not set then.
        clock: Clock for waits and timestamps; for tests.

    Raises:
        TypeError: ``config``, ``sdk_header`` or ``session`` has the wrong type.
        ValueError: There is no configuration and no token in the environment, the configuration
            sets ``proxy`` or ``ssl`` for a borrowed session, or ``sdk_header`` is not printable
            ASCII.
    """

    def __init__(
        self,
        config: HttpClientConfig | None = None,
        sdk_header: str | None = None,
        *,
        session: ClientSession | None = None,
        clock: Clock | None = None,
    ) -> None:
        config = HttpClientConfig.from_env() if config is None else check_config(config)
        if session is not None and (config.proxy is not None or config.ssl is not None):
            raise ValueError(
                "proxy and ssl are settings of a borrowed session: create it with "
                "aiohttp.ClientSession(proxy=…, connector=aiohttp.TCPConnector(ssl=…))"
            )
        warn_of_plain_http(config)
        self.config = config
        if sdk_header is None or sdk_header == "":
            sdk_header = DEFAULT_SDK_HEADER
        self.__sdk_header = check_header_value(sdk_header, "sdk_header")
        headers = {
            "Accept": "application/json",
            # Not aiohttp's own list, which depends on the packages that are installed.
            "Accept-Encoding": "gzip, deflate",
            "Content-Type": "application/json",
            "User-Agent": f"{PACKAGE_NAME}/{PACKAGE_VERSION} Python/{sys.version_info.major}."
            f"{sys.version_info.minor}",
            _SDK_HEADER: self.__sdk_header,
        }
        if config.default_headers:
            given = {name.lower() for name in config.default_headers}
            own = {name: value for name, value in headers.items() if name.lower() not in given}
            headers = {**own, **config.default_headers}
        state = ClientState(config, headers, clock or SystemClock(), session)
        self._executor = Executor(config, state)
        self._is_view = self._is_batched = False
        if config.auto_batch:
            self._executor = _batching(self._executor)

    def __repr__(self) -> str:
        kind = "view of a client" if self._is_view else "client"
        return f"<{type(self).__name__} ({kind}) of {self.config.api_url}>"

    @property
    def _sdk_header(self) -> str:
        # Private by name, but adapters assign it after construction to put their own name first.
        return self.__sdk_header

    @_sdk_header.setter
    def _sdk_header(self, value: str) -> None:
        self.__sdk_header = check_header_value(value, "sdk_header")
        self._executor.state.transport.set_header(_SDK_HEADER, self.__sdk_header)

    @cached_property
    def agent_instances(self) -> AgentInstanceClient:
        """Register, start, finish, terminate and read agent instances (contract §7)."""
        return AgentInstanceClient(self)

    @cached_property
    def agent_spans(self) -> AgentSpanClient:
        """Create, finish and list spans (contract §8)."""
        return AgentSpanClient(self)

    @cached_property
    def agents(self) -> AgentClient:
        """Create, read, update, retire and delete agents (contract §11)."""
        return AgentClient(self)

    @cached_property
    def bulk(self) -> BulkClient:
        """Make many calls in one request (contract §9)."""
        return BulkClient(self)

    @cached_property
    def accounts(self) -> AccountClient:
        """List, read and update accounts (contract §12)."""
        return AccountClient(self)

    @cached_property
    def environments(self) -> EnvironmentClient:
        """Create, read, update and delete environments (contract §12)."""
        return EnvironmentClient(self)

    @cached_property
    def agent_deployments(self) -> AgentDeploymentClient:
        """Create, read, update and delete deployments (contract §12)."""
        return AgentDeploymentClient(self)

    @cached_property
    def agent_versions(self) -> AgentVersionClient:
        """Create and read agent versions (contract §12)."""
        return AgentVersionClient(self)

    @cached_property
    def agent_schema_versions(self) -> AgentSchemaVersionClient:
        """Create and read schema versions (contract §12)."""
        return AgentSchemaVersionClient(self)

    @cached_property
    def api_tokens(self) -> ApiTokenClient:
        """Create, suspend, activate, revoke and delete API tokens (contract §1, §12)."""
        return ApiTokenClient(self)

    @cached_property
    def pfid(self) -> PfidClient:
        """Generate ids (contract §4)."""
        return PfidClient(self)

    @cached_property
    def risk_profiles(self) -> RiskProfileClient:
        """List risk profiles (contract §12)."""
        return RiskProfileClient(self)

    @cached_property
    def alerts(self) -> AlertClient:
        """Count alerts (contract §12)."""
        return AlertClient(self)

    async def __aenter__(self) -> Self:
        if not self._is_view:
            self._executor.state.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self, drain_timeout: float = 10.0) -> None:
        """Close the client. Safe to call more than once.

        New calls fail, calls that wait for a retry fail with their last error, and calls in flight
        or waiting to be sent together may finish. Closing a batching view does this for the view's
        calls; closing another view does nothing. In a forked child, closing only drops the
        inherited connections.

        Args:
            drain_timeout: Seconds that calls in flight, calls that wait to be sent together, and
                instances that a run with ``required=False`` cancels in the background, may take.
                After that, they fail.

        Raises:
            PrefactorClientError: The client is open on another event loop.
        """
        if not self._is_view:
            await self._executor.state.close(drain_timeout)
        elif self._is_batched:
            await cast("BatchingExecutor", self._executor).close(drain_timeout)

    def with_options(self, **options: Unpack[Options]) -> Self:
        """Return a view of this client with some options changed.

        A view shares the session, connection limit, rate limiter and retry budget of its client, so
        it is cheap enough for a single call. A view of a subclass copies the attributes of its
        client; later assignments affect only one of them.

        Args:
            options: Fields of `HttpClientConfig` that may differ per call.

        Returns:
            The view. Closing it does nothing.

        Raises:
            TypeError: A field cannot be changed per call.
            ValueError: A value is out of range.
        """
        unknown = options.keys() - Options.__annotations__.keys()
        if unknown:
            raise TypeError(
                f"with_options cannot change {', '.join(sorted(unknown))}; it can change "
                f"{', '.join(sorted(Options.__annotations__))}"
            )
        return self._view(self._executor.with_options(**options))

    def batched(
        self,
        *,
        max_items: int = 100,
        max_bytes: int = 1_000_000,
        concurrency: int = 8,
        linger: float = 0.0,
    ) -> Self:
        """Return a view of this client whose calls share requests: ``POST /bulk`` (contract §9).

        Use it as ``async with client.batched() as batched:``. Writes that have a bulk type
        (register, start, finish, terminate, record_quality, span create and finish, and writes of
        agents) are grouped when they wait at the same time. Arguments, results, errors, retries and
        ``deadline`` are those of the direct call. A call that waits alone is made directly, and so
        is everything else. Calls on one instance keep their order.

        Args:
            max_items: Maximum number of calls in a request.
            max_bytes: Maximum size of a request in bytes; a single call may be larger.
            concurrency: Maximum number of bulk requests in flight.
            linger: Seconds that the first call waits for others while nothing is in flight.

        Returns:
            The view. Closing it sends the calls that wait; closing the client does so, too.

        Raises:
            TypeError: A bound is not a number.
            ValueError: A bound is out of range.
        """
        bounds = {
            "max_items": max_items,
            "max_bytes": max_bytes,
            "concurrency": concurrency,
            "linger": linger,
        }
        return self._view(_batching(self._executor, **bounds), is_batched=True)

    def _view(self, executor: Executor, *, is_batched: bool = False) -> Self:
        cls = type(self)
        view = object.__new__(cls)
        # Copies the attributes of a subclass, but not the endpoints, which refer to this client.
        vars(view).update(
            (name, value)
            for name, value in vars(self).items()
            if not isinstance(getattr(cls, name, None), cached_property)
        )
        view._executor = executor
        view.config = executor.config
        view._is_view, view._is_batched = True, is_batched
        return view

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json_data: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Make any call of the API by verb and path, with the same retries as other calls.

        A write has an idempotency key: at the top level of its body, except in a bulk request,
        whose items have their own, and as the header ``Idempotency-Key`` (contract §10).

        Args:
            method: HTTP verb: GET, POST, PUT, PATCH or DELETE.
            path: Path with its prefix, such as ``/api/v1/agent``.
            params: Query parameters. A list repeats its name.
            json_data: JSON body of a write.
            idempotency_key: Idempotency key of a write; by default the one in the body, or a new
                one.

        Returns:
            The response, a JSON object.

        Raises:
            PrefactorHttpError: The call failed.
            TypeError: A parameter or a value of the body cannot be sent.
            ValueError: The verb, the path or a parameter is invalid, a GET has a body or key, or
                two keys differ.
        """
        return await self._executor.run(
            prepare_raw_request(
                method, path, params, json_data, idempotency_key, self._executor.key
            )
        )

    def capture_responses(self) -> AbstractContextManager[list[CapturedResponse]]:
        """Collect status, headers and request ids of the calls that are made in a block.

        Use it as ``with client.capture_responses() as responses:``. Each call of this client or of
        a view adds a `CapturedResponse` when it ends, also if it fails: then the status is that of
        the last response, or None if there was none. In a batch, each bulk request is a call. Reads
        that verify the outcome of a write are calls, too.

        Tasks that are started in the block belong to it, other tasks do not. Calls that end after
        the block are not collected. Blocks can be nested; each one has all calls made in it.

        Returns:
            A context manager for a list, which can still be used after the block.
        """
        return self._executor.state.capture_responses()

    async def validate_token(self) -> dict[str, Any]:
        """Check that the API accepts the token: ``GET /ping`` (contract §6).

        Returns:
            The response, a JSON object.

        Raises:
            PrefactorAuthError: The API does not accept the token.
        """
        return await self._executor.run(PreparedRequest(_api.PING, _api.PING.path))


def _batching(executor: Executor, **bounds: Any) -> Executor:
    # Not at the top: most processes batch nothing and never need it.
    from prefactor_http._bulk.batching import batching  # noqa: PLC0415
    from prefactor_http._bulk.call import BatchBounds  # noqa: PLC0415

    return batching(executor, BatchBounds(**bounds))


__all__ = ["PrefactorHttpClient"]
