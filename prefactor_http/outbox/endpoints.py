"""The writes that can be recorded in an outbox: the methods of the endpoints, with receipts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from prefactor_http.endpoints.agent_instance import AgentInstanceClient
from prefactor_http.endpoints.agent_span import AgentSpanClient, ControlSignalCallback
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.agent_span import AgentSpan
from prefactor_http.models.dicts import AgentSchemaVersionInput, AgentVersionInput
from prefactor_http.models.types import FinishStatus, InstancePurpose, SpanStatus
from prefactor_http.outbox.account import Account
from prefactor_http.outbox.receipt import Receipt, Receipts
from prefactor_http.outbox.recorder import Recorder


class OutboxInstances:
    """Records writes about agent instances: `Outbox.agent_instances`.

    The methods have the arguments of `AgentInstanceClient`, and check them in the same way. They
    return when the write is in the file.
    """

    def __init__(self, recorder: Recorder, account: Account) -> None:
        # Its methods return what the recorder returns: receipts.
        self._calls = cast("Any", AgentInstanceClient(recorder))
        self._account = account

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
    ) -> Receipt[AgentInstance]:
        """Record the registration of an instance; see `AgentInstanceClient.register`.

        Args:
            agent_id: Agent of the instance. Leave it out with a deployment token.
            agent_version: Version of the agent.
            agent_schema_version: Span types of the instance.
            id: Id of the instance; by default a new one.
            idempotency_key: Idempotency key, 8 to 64 characters; by default a new one.
            update_current_version: Whether to pin this version on the deployment.
            environment_id: Environment of the instance. Leave it out with a deployment token.
            purpose: Purpose of the instance; by default the API's, ``live``.
            external_identifier: Your own name for the instance, unique per agent.

        Returns:
            The receipt. Its ``id`` is that of the instance.

        Raises:
            OutboxError: The write was not recorded.
            TypeError: A version is missing, or is neither a mapping nor its Struct.
            ValueError: The idempotency key or the purpose is not allowed, or a text is blank.
        """
        own_id = await self._account.id_for(id, agent_id, environment_id)
        receipt: Receipt[AgentInstance] = await self._calls.register(
            agent_id,
            agent_version,
            agent_schema_version,
            own_id,
            idempotency_key,
            update_current_version,
            environment_id=environment_id,
            purpose=purpose,
            external_identifier=external_identifier,
        )
        return receipt

    async def start(
        self,
        agent_instance_id: str,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt[AgentInstance]:
        """Record the start of an instance; see `AgentInstanceClient.start`.

        Args:
            agent_instance_id: Id of the instance.
            timestamp: When it started, with a time zone; by default the time of this call.
            idempotency_key: Idempotency key, 8 to 64 characters; by default a new one.

        Returns:
            The receipt.

        Raises:
            OutboxError: The write was not recorded.
            ValueError: The timestamp has no time zone, or the idempotency key is not allowed.
        """
        receipt: Receipt[AgentInstance] = await self._calls.start(
            agent_instance_id, timestamp, idempotency_key
        )
        return receipt

    async def finish(
        self,
        agent_instance_id: str,
        status: FinishStatus | None = None,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt[AgentInstance]:
        """Record the finish of an instance; see `AgentInstanceClient.finish`.

        Args:
            agent_instance_id: Id of the instance.
            status: ``complete`` (default) or ``failed`` for an active instance, ``cancelled`` for
                a pending one.
            timestamp: When it finished, with a time zone; by default the time of this call.
            idempotency_key: Idempotency key, 8 to 64 characters; by default a new one.

        Returns:
            The receipt. If the instance was terminated before, the write counts as delivered.

        Raises:
            OutboxError: The write was not recorded.
            ValueError: The status or the idempotency key is not allowed, or the timestamp has no
                time zone.
        """
        receipt: Receipt[AgentInstance] = await self._calls.finish(
            agent_instance_id, status, timestamp, idempotency_key
        )
        return receipt

    async def terminate(
        self, agent_instance_id: str, reason: str, idempotency_key: str | None = None
    ) -> Receipt[AgentInstance]:
        """Record the termination of an instance; see `AgentInstanceClient.terminate`.

        Args:
            agent_instance_id: Id of the instance.
            reason: Reason of the termination; not blank.
            idempotency_key: Idempotency key, 8 to 64 characters; by default a new one.

        Returns:
            The receipt.

        Raises:
            OutboxError: The write was not recorded.
            ValueError: The reason is blank, or the idempotency key is not allowed.
        """
        receipt: Receipt[AgentInstance] = await self._calls.terminate(
            agent_instance_id, reason, idempotency_key
        )
        return receipt

    async def record_quality(
        self,
        agent_instance_id: str,
        name: str,
        payload: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt[AgentInstance]:
        """Record a quality payload; see `AgentInstanceClient.record_quality`.

        Args:
            agent_instance_id: Id of the instance, which may be in any state.
            name: Name of the registered quality schema.
            payload: The payload. None removes the recorded payload of this name.
            idempotency_key: Idempotency key, 8 to 64 characters; by default a new one.

        Returns:
            The receipt.

        Raises:
            OutboxError: The write was not recorded.
            TypeError: The payload is not a dict.
            ValueError: The name is blank, or the idempotency key is not allowed.
        """
        receipt: Receipt[AgentInstance] = await self._calls.record_quality(
            agent_instance_id, name, payload, idempotency_key
        )
        return receipt


class OutboxSpans:
    """Records writes about spans: `Outbox.agent_spans`.

    The methods have the arguments of `AgentSpanClient`, and check them in the same way. They return
    when the write is in the file. A ``control_signal_callback`` is called in the process that
    delivers the write, if that is this one.
    """

    def __init__(self, recorder: Recorder, account: Account, receipts: Receipts) -> None:
        self._calls = cast("Any", AgentSpanClient(recorder))
        self._account = account
        self._receipts = receipts

    async def create(
        self,
        agent_instance_id: str,
        schema_name: str,
        status: SpanStatus,
        payload: Mapping[str, object] | None = None,
        result_payload: Mapping[str, object] | None = None,
        id: str | None = None,
        parent_span_id: str | None = None,
        started_at: datetime | None = None,
        finished_at: datetime | None = None,
        idempotency_key: str | None = None,
        control_signal_callback: ControlSignalCallback | None = None,
        *,
        sensitive_encoding: bool | None = None,
    ) -> Receipt[AgentSpan]:
        """Record the creation of a span; see `AgentSpanClient.create`.

        Args:
            agent_instance_id: Instance of the span.
            schema_name: Name of the span type in the instance's schema version.
            status: Initial status: ``active``, ``pending``, or a final status for a step that has
                already finished.
            payload: Input of the step; an empty object by default.
            result_payload: Result of the step, for a final status.
            id: Id of the span; by default a new one.
            parent_span_id: Parent of the span.
            started_at: When the step started, with a time zone; for ``active``, ``complete`` and
                ``failed`` by default the time of this call.
            finished_at: When the step finished, with a time zone; for ``complete`` and ``failed``
                by default the time of this call.
            idempotency_key: Idempotency key, 8 to 64 characters; by default a new one.
            control_signal_callback: Called with the reason if the instance was terminated.
            sensitive_encoding: Whether the payloads wrap sensitive values.

        Returns:
            The receipt. Its ``id`` is that of the span.

        Raises:
            OutboxError: The write was not recorded.
            TypeError: A payload is not a dict.
            ValueError: The status or the idempotency key is not allowed, a text is blank, or a
                timestamp has no time zone.
        """
        own_id = await self._account.id_for(id, agent_instance_id)
        receipt: Receipt[AgentSpan] = await self._calls.create(
            agent_instance_id,
            schema_name,
            status,
            payload,
            result_payload,
            own_id,
            parent_span_id,
            started_at,
            finished_at,
            idempotency_key,
            sensitive_encoding=sensitive_encoding,
        )
        if control_signal_callback is not None:
            self._receipts.on_signal(receipt, control_signal_callback)
        return receipt

    async def finish(
        self,
        agent_span_id: str,
        status: FinishStatus | None = None,
        result_payload: Mapping[str, object] | None = None,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
        control_signal_callback: ControlSignalCallback | None = None,
        *,
        sensitive_encoding: bool | None = None,
    ) -> Receipt[AgentSpan]:
        """Record the finish of a span; see `AgentSpanClient.finish`.

        It is delivered after the earlier writes of the span's instance, if the outbox has created
        the span.

        Args:
            agent_span_id: Id of the span.
            status: ``complete`` (default) or ``failed`` for an active span, ``cancelled`` for a
                pending one.
            result_payload: Result of the step.
            timestamp: When it finished, with a time zone; by default the time of this call.
            idempotency_key: Idempotency key, 8 to 64 characters; by default a new one.
            control_signal_callback: Called with the reason if the instance was terminated.
            sensitive_encoding: Whether the result wraps sensitive values.

        Returns:
            The receipt.

        Raises:
            OutboxError: The write was not recorded.
            TypeError: The result is not a dict.
            ValueError: The status or the idempotency key is not allowed, or the timestamp has no
                time zone.
        """
        receipt: Receipt[AgentSpan] = await self._calls.finish(
            agent_span_id,
            status,
            result_payload,
            timestamp,
            idempotency_key,
            sensitive_encoding=sensitive_encoding,
        )
        if control_signal_callback is not None:
            self._receipts.on_signal(receipt, control_signal_callback)
        return receipt
