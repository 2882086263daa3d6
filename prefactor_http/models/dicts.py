"""The dicts that calls accept instead of models, as TypedDicts, for annotations.

A type checker finds misspelled keys where these are used as annotations. At run time they are plain
dicts: a key that the API does not know is logged once and sent unchanged.
"""

from collections.abc import Mapping, Sequence
from typing import Required, TypeAlias, TypedDict

from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.models.data_risk import ActionProfile, DataCategories, DataRisk
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    QualitySchemaForCreate,
    RuntimeEnvironment,
    SpanTypeSchemaForCreate,
)
from prefactor_http.models.types import (
    ActionPermission,
    DataClassification,
    DataPresence,
    InstancePurpose,
)


class RuntimeEnvironmentDict(TypedDict, total=False):
    """A `RuntimeEnvironment` as a dict."""

    agent_sdk: Sequence[str] | None
    os: str | None
    prefactor_sdk: Sequence[str] | None
    runtime: str | None


class AgentVersionDict(TypedDict, total=False):
    """An `AgentVersionForRegister` as a dict."""

    external_identifier: str | None
    name: str | None
    description: str | None
    runtime_environment: RuntimeEnvironmentDict | RuntimeEnvironment | None


class ActionProfileDict(TypedDict, total=False):
    """An `ActionProfile` as a dict."""

    create_data: ActionPermission
    read_data: ActionPermission
    update_data: ActionPermission
    destroy_data: ActionPermission
    financial_transactions: ActionPermission
    external_communication: ActionPermission


class DataCategoriesDict(TypedDict, total=False):
    """A `DataCategories` as a dict."""

    personal_identifiers: DataPresence
    contact_information: DataPresence
    financial_information: DataPresence
    health_and_medical: DataPresence
    criminal_justice: DataPresence
    authentication_and_secrets: DataPresence
    organisational_confidential: DataPresence
    minors_data: DataPresence
    location_and_tracking: DataPresence
    behavioural_and_inferred: DataPresence
    gdpr_racial_or_ethnic_origin: DataPresence
    gdpr_political_opinions: DataPresence
    gdpr_religious_or_philosophical_beliefs: DataPresence
    gdpr_trade_union_membership: DataPresence
    gdpr_genetic_data: DataPresence
    gdpr_biometric_for_identification: DataPresence
    gdpr_sex_life_or_sexual_orientation: DataPresence
    classification: DataClassification


class DataRiskDict(TypedDict):
    """A `DataRisk` as a dict."""

    action_profile: ActionProfileDict | ActionProfile
    params_data_categories: DataCategoriesDict | DataCategories
    result_data_categories: DataCategoriesDict | DataCategories


class SpanTypeSchemaDict(TypedDict, total=False):
    """A `SpanTypeSchemaForCreate` as a dict."""

    name: Required[str]
    params_schema: Required[Mapping[str, object]]
    result_schema: Mapping[str, object] | None
    title: str | None
    description: str | None
    template: str | None
    result_template: str | None
    data_risk: DataRiskDict | DataRisk | None


class QualitySchemaDict(TypedDict, total=False):
    """A `QualitySchemaForCreate` as a dict."""

    name: Required[str]
    schema: Required[Mapping[str, object]]
    title: str | None
    description: str | None
    template: str | None
    data_risk: DataRiskDict | DataRisk | None


class AgentSchemaVersionDict(TypedDict, total=False):
    """An `AgentSchemaVersionForRegister` as a dict."""

    external_identifier: str | None
    span_type_schemas: Sequence[SpanTypeSchemaDict | SpanTypeSchemaForCreate] | None
    span_schemas: Mapping[str, Mapping[str, object]] | None
    span_result_schemas: Mapping[str, Mapping[str, object]] | None
    quality_schemas: Sequence[QualitySchemaDict | QualitySchemaForCreate] | None


AgentVersionInput: TypeAlias = AgentVersionForRegister | AgentVersionDict | Mapping[str, object]
"""What a call accepts as the version of an agent."""

AgentSchemaVersionInput: TypeAlias = (
    AgentSchemaVersionForRegister | AgentSchemaVersionDict | Mapping[str, object]
)
"""What a call accepts as a schema version."""


class RegisterDict(TypedDict, total=False):
    """The arguments that all instances of an agent share, for ``register(**agent)``.

    The same dict fits ``run(**agent)``, ``register_many(rows, **agent)`` and the like. `RowDict`
    also has the arguments that differ between instances.
    """

    agent_id: str | None
    environment_id: str | None
    agent_version: Required[AgentVersionInput]
    agent_schema_version: Required[AgentSchemaVersionInput]
    update_current_version: bool
    purpose: InstancePurpose | None


class RowDict(TypedDict, total=False):
    """A row of `register_many`: all arguments of a register, each of which may be left out."""

    agent_id: str | None
    environment_id: str | None
    agent_version: AgentVersionInput | None
    agent_schema_version: AgentSchemaVersionInput | None
    update_current_version: bool | None
    purpose: InstancePurpose | None
    id: str | None
    external_identifier: str | None
    idempotency_key: str | None


RowInput: TypeAlias = RegisterAgentInstanceRequest | RowDict | Mapping[str, object]
"""What `register_many` accepts as a row."""

__all__ = [
    "ActionProfileDict",
    "AgentSchemaVersionDict",
    "AgentSchemaVersionInput",
    "AgentVersionDict",
    "AgentVersionInput",
    "DataCategoriesDict",
    "DataRiskDict",
    "QualitySchemaDict",
    "RegisterDict",
    "RowDict",
    "RowInput",
    "RuntimeEnvironmentDict",
    "SpanTypeSchemaDict",
]
