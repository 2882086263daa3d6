"""Agent instances: register, start, finish, terminate, read and run them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Unpack, get_args

from msgspec import UNSET

from prefactor_http import _api
from prefactor_http._bulk.operation import REGISTER_MANY
from prefactor_http._bulk.options import Group, StreamOptions, batch_options
from prefactor_http._bulk.outcome import Outcome
from prefactor_http._values.numbers import optional_seconds, seconds
from prefactor_http.endpoints import _arguments
from prefactor_http.endpoints._arguments import (
    one_of,
    optional_text,
    text,
    timestamp_or_now,
)
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.agent_instance_run import AgentInstanceRun
from prefactor_http.endpoints.agent_span import AgentSpanClient
from prefactor_http.endpoints.page import ListCall, list_call
from prefactor_http.models._unknown_keys import unknown_keys_of
from prefactor_http.models.agent_instance import (
    AgentContext,
    AgentInstance,
    AgentInstanceForUpdate,
    AgentInstanceRecordQuality,
    AgentInstanceSummary,
    FinishInstanceRequest,
    RegisterAgentInstanceRequest,
    TerminateInstanceRequest,
    TimestampRequest,
)
from prefactor_http.models.base import DetailsRequest
from prefactor_http.models.dicts import AgentSchemaVersionInput, AgentVersionInput, RowInput
from prefactor_http.models.types import FinishStatus, InstancePurpose

_PURPOSES: tuple[str, ...] = get_args(InstancePurpose)
_FINISH_STATUSES: tuple[str, ...] = get_args(FinishStatus)


class AgentInstanceClient(EndpointClient):
    """Calls on agent instances (contract §7): `PrefactorHttpClient.agent_instances`.

    Every write takes an ``idempotency_key`` (1 to 64 printable ASCII characters, no spaces), or
    creates one. Every call raises `PrefactorHttpError` or one of its subclasses when it fails;
    `PrefactorNotFoundError` means that the instance does not exist.
    """

    async def register(
        self,
        agent_id: str | None = None,
        agent_version: AgentVersionInput | None = None,
        agent_schema_version: AgentSchemaVersionInput | None = None,
        id: str | None = None,
        idempotency_key: str | None = None,
        update_current_version: bool = True,
        *,
        environment_id: str | None = None,
        purpose: InstancePurpose | None = None,
        external_identifier: str | None = None,
    ) -> AgentInstance:
        """Register an instance: ``POST /agent_instance/register`` (contract §7.1).

        Args:
            agent_id: Agent of the instance. Leave it out with a deployment token.
            agent_version: Version of the agent. A key of a dict that the API does not know is
                logged once and sent unchanged.
            agent_schema_version: Span types of the instance, likewise.
            id: Id of the instance, from `idempotency.new_id`; by default the API generates it.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.
            update_current_version: Whether to pin this version on the deployment.
            environment_id: Environment of the instance. Leave it out with a deployment token.
            purpose: Purpose of the instance; by default the API's, ``live``.
            external_identifier: Your own name for the instance, unique per agent.

        Returns:
            The instance, ``pending``.

        Raises:
            TypeError: A version is missing, or is neither a mapping nor its Struct.
            ValueError: The idempotency key or the purpose is not allowed, or a text is blank.
            PrefactorValidationError: The API refused a field.
        """
        version, schema = _arguments.versions(agent_id, agent_version, agent_schema_version)
        purpose = one_of(purpose, "purpose", _PURPOSES)
        return await self._executor.send(
            _api.REGISTER,
            RegisterAgentInstanceRequest(
                agent_id=optional_text(agent_id, "agent_id"),
                environment_id=optional_text(environment_id, "environment_id"),
                agent_version=version,
                agent_schema_version=schema,
                id=optional_text(id, "id"),
                external_identifier=optional_text(external_identifier, "external_identifier"),
                purpose=UNSET if purpose is None else purpose,
                update_current_version=update_current_version,
                idempotency_key=self._executor.key(idempotency_key),
            ),
        )

    def register_many(
        self,
        rows: Iterable[RowInput] | AsyncIterable[RowInput],
        *,
        agent_id: str | None = None,
        environment_id: str | None = None,
        agent_version: AgentVersionInput | None = None,
        agent_schema_version: AgentSchemaVersionInput | None = None,
        update_current_version: bool = True,
        purpose: InstancePurpose | None = None,
        job: str | None = None,
        group: Group = None,
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[Outcome, None]:
        """Register any number of instances: ``POST /bulk`` (contract §7.1, §9).

        Each row has exactly one outcome, as with `BulkClient.stream`. The arguments are the
        defaults of fields that a row does not have, and are encoded once. In a row, None, UNSET,
        NaN and blank text count as a missing field, and blanks around an ``id`` or
        ``external_identifier`` are removed. An invalid row fails with an error that says why, and
        the other rows continue.

        Args:
            rows: Dicts with the fields of `RegisterAgentInstanceRequest`, or such requests.
            agent_id: Default agent.
            environment_id: Default environment.
            agent_version: Default version of the agent.
            agent_schema_version: Default schema version.
            update_current_version: Whether to pin the version on the deployment.
            purpose: Default purpose.
            job: Name of the job. The key of a row is then derived from the job and the row's ``id``
                or ``external_identifier``, otherwise from its position and content. Running the job
                again, on any machine, registers each row once. Rows with the same identifier have
                the same key: the API answers the later ones with the instance of the first, or
                refuses them if their content differs.
            group: See `BulkClient.stream`.
            **options: ``chunk_size``, ``max_chunk_bytes``, ``concurrency``, ``max_outage``,
                ``ordered``, ``max_failures`` and ``max_same_refusals`` of `BulkClient.stream`.

        Returns:
            The outcomes. ``outcome.instance`` is the instance of a row that succeeded.

        Raises:
            PrefactorHttpError: The stream ended early, after an outcome for each accepted row.
            TypeError: The rows cannot be iterated, an option is unknown, or an argument has the
                wrong type.
            ValueError: An option is out of range, or the job or an id is blank.
        """
        shared = {
            "agent_id": optional_text(agent_id, "agent_id"),
            "environment_id": optional_text(environment_id, "environment_id"),
            "agent_version": agent_version,
            "agent_schema_version": agent_schema_version,
            "update_current_version": update_current_version,
            "purpose": purpose,
        }
        given = {
            name: value
            for name, value in shared.items()
            if value is not None and value is not UNSET
        }
        unknown_keys_of(RegisterAgentInstanceRequest).log(given)
        bounds = batch_options(options)
        # Not at the top: most processes register one instance at a time and never need these.
        from prefactor_http._bulk.item_encoder import row_encoder  # noqa: PLC0415
        from prefactor_http._bulk.source import Source  # noqa: PLC0415
        from prefactor_http._bulk.stream import OutcomeStream  # noqa: PLC0415

        source = Source(rows, row_encoder(given, job, group), self._executor.clock, "rows")
        return OutcomeStream(self._executor, source, bounds, REGISTER_MANY)

    async def start(
        self,
        agent_instance_id: str,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> AgentInstance:
        """Start a pending instance: ``POST /agent_instance/{id}/start`` (contract §7.2).

        Args:
            agent_instance_id: Id of the instance.
            timestamp: When it started, with a time zone; by default the time of this call.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The instance, ``active``. It may be in a later state if a response was lost and the
            outcome was verified by reading the instance.

        Raises:
            ValueError: The timestamp has no time zone, or the idempotency key is not allowed.
            PrefactorConflictError: The instance is not pending.
        """
        return await self._executor.send(
            _api.START,
            TimestampRequest(
                timestamp=timestamp_or_now(timestamp, self._executor.clock),
                idempotency_key=self._executor.key(idempotency_key),
            ),
            agent_instance_id,
        )

    async def finish(
        self,
        agent_instance_id: str,
        status: FinishStatus | None = None,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> AgentInstance:
        """Finish an instance: ``POST /agent_instance/{id}/finish`` (contract §7.2).

        Args:
            agent_instance_id: Id of the instance.
            status: ``complete`` (default) or ``failed`` for an active instance, ``cancelled`` for
                a pending one.
            timestamp: When it finished, with a time zone; by default the time of this call.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The instance in its final state.

        Raises:
            ValueError: The status or the idempotency key is not allowed, or the timestamp has no
                time zone.
            PrefactorConflictError: The state of the instance does not allow it.
        """
        status = one_of(status, "status", _FINISH_STATUSES)
        return await self._executor.send(
            _api.FINISH,
            FinishInstanceRequest(
                status=UNSET if status is None else status,
                timestamp=timestamp_or_now(timestamp, self._executor.clock),
                idempotency_key=self._executor.key(idempotency_key),
            ),
            agent_instance_id,
        )

    async def get(self, agent_instance_id: str) -> AgentInstance:
        """Read an instance: ``GET /agent_instance/{id}`` (contract §7.2).

        Args:
            agent_instance_id: Id of the instance.

        Returns:
            The instance.

        Raises:
            PrefactorNotFoundError: There is no such instance.
        """
        return await self._executor.send(_api.GET_INSTANCE, None, agent_instance_id)

    def list(
        self,
        agent_id: str | None = None,
        agent_version_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> ListCall[AgentInstanceSummary]:
        """List instances: ``GET /agent_instance`` (contract §2, §7.2).

        Args:
            agent_id: Only instances of this agent.
            agent_version_id: Only instances of this agent version.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The call: ``await`` it for a page, or use ``async for`` to read all pages.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {"agent_id": agent_id, "agent_version_id": agent_version_id}
        return list_call(self._executor, _api.LIST_INSTANCES, filters, sorting, offset, page_size)

    async def terminate(
        self, agent_instance_id: str, reason: str, idempotency_key: str | None = None
    ) -> AgentInstance:
        """Terminate an active instance: ``POST /agent_instance/{id}/terminate`` (contract §7.2).

        This cannot be undone, and needs an account token.

        Args:
            agent_instance_id: Id of the instance.
            reason: Reason of the termination; not blank.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The instance, ``terminated``.

        Raises:
            ValueError: The reason is blank, or the idempotency key is not allowed.
            PrefactorConflictError: The instance is not active.
        """
        return await self._executor.send(
            _api.TERMINATE,
            TerminateInstanceRequest(
                reason=text(reason, "reason"), idempotency_key=self._executor.key(idempotency_key)
            ),
            agent_instance_id,
        )

    async def record_quality(
        self,
        agent_instance_id: str,
        name: str,
        payload: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> AgentInstance:
        """Record a quality payload: ``POST /agent_instance/{id}/record_quality`` (contract §7.2).

        Args:
            agent_instance_id: Id of the instance, which may be in any state.
            name: Name of the registered quality schema.
            payload: The payload. None removes the recorded payload of this name.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The instance.

        Raises:
            TypeError: The payload is not a dict.
            ValueError: The name is blank, or the idempotency key is not allowed.
        """
        fields = _arguments.json_object(payload, "payload")
        return await self._executor.send(
            _api.RECORD_QUALITY,
            AgentInstanceRecordQuality(
                name=text(name, "name"),
                # None is sent as null, which removes the recorded payload.
                payload=None if fields is UNSET else fields,
                idempotency_key=self._executor.key(idempotency_key),
            ),
            agent_instance_id,
        )

    async def update(
        self, agent_instance_id: str, details: AgentInstanceForUpdate | Mapping[str, object]
    ) -> AgentInstance:
        """Replace all quality payloads: ``PUT /agent_instance/{id}`` (contract §7.2).

        This is the older quality write; prefer `record_quality`. It may need an account token. The
        API documents no idempotency key for it, so it is not repeated after an attempt with an
        unknown outcome. If the error has ``outcome_unknown``, compare ``quality_payloads`` of `get`
        and call it again if the change is missing.

        Args:
            agent_instance_id: Id of the instance.
            details: The payload. A dict is sent unchanged.

        Returns:
            The updated instance.

        Raises:
            TypeError: ``details`` is neither an ``AgentInstanceForUpdate`` nor a dict.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.UPDATE_INSTANCE,
            DetailsRequest(
                details=_arguments.resource_fields(details, "details", AgentInstanceForUpdate)
            ),
            agent_instance_id,
        )

    async def agent_context(self, agent_instance_id: str) -> AgentContext:
        """Read the debugging export: ``GET /agent_instance/{id}/agent_context`` (contract §7.2).

        Args:
            agent_instance_id: Id of the instance.

        Returns:
            The export.

        Raises:
            PrefactorNotFoundError: There is no such instance.
        """
        return await self._executor.send(_api.GET_AGENT_CONTEXT, None, agent_instance_id)

    def run(  # noqa: D417 # the other arguments are those of register
        self,
        agent_id: str | None = None,
        agent_version: AgentVersionInput | None = None,
        agent_schema_version: AgentSchemaVersionInput | None = None,
        *,
        id: str | None = None,
        environment_id: str | None = None,
        purpose: InstancePurpose | None = None,
        external_identifier: str | None = None,
        update_current_version: bool = True,
        finish_timeout: float = 10.0,
        poll_interval: float | None = 30.0,
        required: bool = True,
        start_timeout: float = 5.0,
    ) -> AgentInstanceRun:
        """Run a block as an instance: ``async with client.agent_instances.run(...) as run``.

        Entering the block registers and starts the instance (``POST /agent_instance/register`` and
        ``POST /agent_instance/{id}/start``). Leaving it finishes the instance as ``complete``, or
        as ``failed`` if the block raises or its task is cancelled. The exception is raised
        unchanged. If the task is cancelled during the registration, the instance is finished as
        ``cancelled`` first. The handle records spans and reports a termination. The other arguments
        are those of `register`.

        Args:
            finish_timeout: Seconds that finishing may take, also after a cancellation during the
                registration.
            poll_interval: Seconds between polls for a termination; None for no polling.
            required: Whether the block needs the record. With False, the block also runs if the
                instance cannot be registered and started: a warning is logged, ``run.recorded`` is
                False, and spans do nothing. If a later call for a span or the finish fails, that is
                logged and not raised.
            start_timeout: With ``required=False``, seconds that registering and starting may take
                in total.

        Returns:
            An async context manager. It yields the handle of the run.

        Raises:
            TypeError: A timeout or the interval is not a number.
            ValueError: A timeout or the interval is not a finite number greater than 0.
        """
        finish_timeout = seconds(finish_timeout, "finish_timeout")
        key = self._executor.key(None)
        register = partial(
            self.register,
            agent_id,
            agent_version,
            agent_schema_version,
            id,
            key,
            update_current_version=update_current_version,
            environment_id=environment_id,
            purpose=purpose,
            external_identifier=external_identifier,
        )
        bounded = self._executor.with_options(deadline=finish_timeout)
        return AgentInstanceRun(
            register,
            key,
            id,
            self,
            AgentSpanClient(self._executor),
            AgentInstanceClient(bounded),
            AgentSpanClient(bounded),
            self._executor.clock,
            finish_timeout,
            optional_seconds(poll_interval, "poll_interval"),
            None if required else seconds(start_timeout, "start_timeout"),
            self._executor.background,
        )


__all__ = ["AgentInstanceClient"]
