"""Agent versions and schema versions, as the API keeps them (contract §7.1, §12)."""

from typing import Any, ClassVar

from msgspec import Struct

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime
from prefactor_http.models.registration import AgentSchemaVersionForRegister, QualitySchemaDetails


class AgentVersion(Struct, frozen=True, kw_only=True):
    """A version of an agent.

    Attributes:
        id: Its id.
        agent_id: Agent that it is a version of.
        type: ``agent_version``; None where the reply does not say.
        account_id: Account that it belongs to.
        external_identifier: The caller's name of the version.
        name: Its name for people.
        description: What it is.
        runtime_environment: What it runs on, as the API sent it.
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
    """One type of span of a schema version.

    Attributes:
        name: The type's name; None where it is only the key in the map.
        title: The type's name for people.
        description: What such a span does.
        params_schema: JSON schema of a span's payload.
        result_schema: JSON schema of its result.
        template: Template that renders a payload.
        result_template: Template that renders a result.
        data_risk: How risky such spans are, as the API sent it.
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
    """A version of the types of spans that an agent makes.

    Attributes:
        id: Its id.
        agent_id: Agent that it belongs to.
        type: ``agent_schema_version``; None where the reply does not say.
        account_id: Account that it belongs to.
        external_identifier: The caller's name of the version.
        external_identifier_repeats: How often that name was used for other content.
        current_agent_deployment_refs: Deployments that use it now.
        span_type_schemas: The types of spans by name.
        quality_schemas: The kinds of quality payloads, in a list or by name.
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
