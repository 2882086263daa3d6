"""Agent versions and schema versions (contract §7.1, §12)."""

from typing import Any, ClassVar

from msgspec import Struct

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime
from prefactor_http.models.registration import AgentSchemaVersionForRegister, QualitySchemaDetails


class AgentVersion(Struct, frozen=True, kw_only=True):
    """A version of an agent.

    Attributes:
        id: Id of the agent version.
        agent_id: Agent of the version.
        type: ``agent_version``; None if the response does not contain it.
        account_id: Account of the version.
        external_identifier: The caller's name for the version.
        name: Display name.
        description: Description.
        runtime_environment: Runtime environment, as the API sent it.
        inserted_at: When it was first registered.
        updated_at: When it last changed.
    """

    id: str
    agent_id: str
    type: str | None = None
    account_id: str | None = None
    external_identifier: str | None = None
    name: str | None = None
    description: str | None = None
    runtime_environment: dict[str, Any] | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


class AgentVersionForCreate(CheckedModel, frozen=True, kw_only=True):
    """Fields of a new agent version.

    Attributes:
        agent_id: Agent of the version.
        external_identifier: The caller's name for the version, such as ``v1.0.0``.

    Raises:
        ValueError: A field has the wrong type or is blank.
    """

    _not_blank: ClassVar[tuple[str, ...]] = ("agent_id", "external_identifier")

    agent_id: str
    external_identifier: str


class SpanTypeSchemaDetails(Struct, frozen=True, kw_only=True):
    """A span type of a schema version.

    Attributes:
        name: Name of the span type; None if it is only the key in the map.
        title: Display name.
        description: Description.
        params_schema: JSON schema of the payload.
        result_schema: JSON schema of the result.
        template: Template that renders the payload.
        result_template: Template that renders the result.
        data_risk: Data risk, as the API sent it.
    """

    name: str | None = None
    title: str | None = None
    description: str | None = None
    params_schema: dict[str, Any] | None = None
    result_schema: dict[str, Any] | None = None
    template: str | None = None
    result_template: str | None = None
    data_risk: dict[str, Any] | None = None


class AgentSchemaVersion(Struct, frozen=True, kw_only=True):
    """A version of the span types and quality schemas of an agent.

    Attributes:
        id: Id of the schema version.
        agent_id: Agent of the schema version.
        type: ``agent_schema_version``; None if the response does not contain it.
        account_id: Account of the schema version.
        external_identifier: The caller's name for the schema version.
        external_identifier_repeats: How often that name was used for other content.
        current_agent_deployment_refs: Deployments that currently use it.
        span_type_schemas: Span types by name.
        quality_schemas: Quality schemas, as a list or by name.
        inserted_at: When it was first registered.
    """

    id: str
    agent_id: str
    type: str | None = None
    account_id: str | None = None
    external_identifier: str | None = None
    external_identifier_repeats: int | None = None
    current_agent_deployment_refs: list[str] | None = None
    span_type_schemas: dict[str, SpanTypeSchemaDetails] | None = None
    quality_schemas: list[QualitySchemaDetails] | dict[str, QualitySchemaDetails] | None = None
    inserted_at: datetime | None = None


class AgentSchemaVersionForCreate(AgentSchemaVersionForRegister, frozen=True, kw_only=True):
    """Fields of a new schema version: those of a registration, and the agent.

    Attributes:
        agent_id: Agent of the schema version.

    Raises:
        ValueError: A field has the wrong type or is blank, or both forms of span types are given.
    """

    _not_blank: ClassVar[tuple[str, ...]] = ("agent_id", "external_identifier")

    agent_id: str


__all__ = [
    "AgentSchemaVersion",
    "AgentSchemaVersionForCreate",
    "AgentVersion",
    "AgentVersionForCreate",
    "SpanTypeSchemaDetails",
]
