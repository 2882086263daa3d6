"""Registering instances by the hundred thousand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any, Unpack

from msgspec import UNSET

from prefactor_http import _api
from prefactor_http._batch_options import BatchOptions, Group, StreamOptions
from prefactor_http._batch_outcome import Outcome
from prefactor_http._sender import Sender
from prefactor_http.endpoints._arguments import optional_text
from prefactor_http.models.agent_instance import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    RegisterAgentInstanceRequest,
)
from prefactor_http.models.types import InstancePurpose


class AgentInstanceBatch:
    """The calls on many agent instances at once.

    Args:
        http_client: The client that sends.
    """

    def __init__(self, http_client: Sender) -> None:
        self._client = http_client

    def register_many(
        self,
        rows: Iterable[dict[str, Any] | RegisterAgentInstanceRequest]
        | AsyncIterable[dict[str, Any] | RegisterAgentInstanceRequest],
        *,
        agent_id: str | None = None,
        environment_id: str | None = None,
        agent_version: AgentVersionForRegister | dict[str, Any] | None = None,
        agent_schema_version: AgentSchemaVersionForRegister | dict[str, Any] | None = None,
        update_current_version: bool = True,
        purpose: InstancePurpose | None = None,
        job: str | None = None,
        group: Group = None,
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[Outcome, None]:
        """Register any number of instances: ``POST /bulk`` (contract §7.1, §9).

        Each row ends in exactly one outcome, as with `BulkClient.stream`. What a row lacks comes
        from the arguments, which are encoded once. In a row, None, UNSET, NaN and blank text mean
        that the field is left out; blanks around an ``id`` or ``external_identifier`` are
        removed. A row that is not valid ends as failed with an error that says why, and the
        others go on.

        Args:
            rows: Dicts of the fields of `RegisterAgentInstanceRequest`, or those themselves.
            agent_id: Agent of the rows that name none.
            environment_id: Environment of the rows that name none.
            agent_version: Version of the rows that have none.
            agent_schema_version: Schema version of the rows that have none.
            update_current_version: Whether the deployment is to run this version from now on.
            purpose: Purpose of the rows that name none.
            job: Name of the job. A row's key is then derived from it and the row's ``id`` or
                ``external_identifier``, or else its position and content: run again, on any
                machine, the job registers each row once. Rows of one name have one key: the API
                answers the later ones with the first one's instance, or refuses them if their
                content differs.
            group: See `BulkClient.stream`.
            **options: ``chunk_size``, ``max_chunk_bytes``, ``concurrency``, ``patience``,
                ``ordered``, ``max_failures`` and ``max_same_refusals`` of `BulkClient.stream`.

        Returns:
            The outcomes; ``outcome.instance`` is the instance of a row that is ok.

        Raises:
            PrefactorHttpError: The run ended early, after an outcome for each row taken in.
            TypeError: The rows cannot be iterated, an option is not known, or an argument is of the
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
        batch_options = BatchOptions(**options)
        # Not at the top: 1 % of start-up, and most processes register one at a time.
        from prefactor_http._batch_items import row_maker  # noqa: PLC0415
        from prefactor_http._batch_source import Source  # noqa: PLC0415
        from prefactor_http._batch_stream import OutcomeStream  # noqa: PLC0415

        source = Source(rows, row_maker(given, job, group), self._client.clock)
        return OutcomeStream(self._client, source, batch_options, _api.REGISTER_MANY)
