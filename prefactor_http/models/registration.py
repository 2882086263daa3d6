"""Agent version and schema version of a registration (contract §7.1)."""

from typing import Any, TypeVar

from msgspec import UNSET, Struct, StructMeta, UnsetType

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models.data_risk import DataRisk

T = TypeVar("T")


class RuntimeEnvironment(CheckedModel, frozen=True, kw_only=True):
    """Runtime environment of an agent version.

    Attributes:
        agent_sdk: Packages of the agent framework, such as ``prefactor-langchain@0.2.7``.
        os: Operating system, such as ``linux``.
        prefactor_sdk: Packages of the Prefactor SDK.
        runtime: Language runtime, such as ``cpython@3.11``.

    Raises:
        ValueError: A field has the wrong type.
    """

    agent_sdk: list[str] | UnsetType | None = UNSET
    os: str | UnsetType | None = UNSET
    prefactor_sdk: list[str] | UnsetType | None = UNSET
    runtime: str | UnsetType | None = UNSET


class AgentVersionForRegister(CheckedModel, frozen=True, kw_only=True):
    """Version of an agent.

    Attributes:
        external_identifier: The caller's name for the version, such as ``v1.0.0``.
        name: Display name.
        description: Description.
        runtime_environment: Runtime environment.

    Raises:
        ValueError: A field has the wrong type.
    """

    external_identifier: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    runtime_environment: RuntimeEnvironment | UnsetType | None = UNSET


class SpanTypeSchemaForCreate(CheckedModel, frozen=True, kw_only=True):
    """A span type of an agent.

    Attributes:
        name: Name of the span type, which spans send as ``schema_name``.
        params_schema: JSON schema of the payload.
        result_schema: JSON schema of the result.
        title: Display name.
        description: Description.
        template: Liquid template that renders the payload.
        result_template: Liquid template that renders the result.
        data_risk: Data risk of the span type.

    Raises:
        ValueError: A field has the wrong type.
    """

    name: str
    params_schema: dict[str, Any]
    result_schema: dict[str, Any] | UnsetType | None = UNSET
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    template: str | UnsetType | None = UNSET
    result_template: str | UnsetType | None = UNSET
    data_risk: DataRisk | UnsetType | None = UNSET


class _SchemaKeyword(StructMeta):
    """Accepts ``schema_`` for ``schema`` in the constructor, as releases before 1.0 did."""

    def __call__(cls: type[T], *args: Any, **kwargs: Any) -> T:  # noqa: N805 # an instance is a class
        if "schema_" in kwargs and "schema" not in kwargs:
            kwargs["schema"] = kwargs.pop("schema_")
        return super().__call__(*args, **kwargs)  # type: ignore[misc, no-any-return]


class QualitySchemaForCreate(CheckedModel, frozen=True, kw_only=True, metaclass=_SchemaKeyword):
    """A quality schema: the form of quality payloads that are recorded under a name.

    Attributes:
        name: Name of the quality schema.
        schema: JSON schema of the payload; the constructor also accepts it as ``schema_``.
        title: Display name; the API's default is ``name``.
        description: Description.
        template: Template that renders a payload as its summary.
        data_risk: Data risk of the payload.

    Raises:
        ValueError: A field has the wrong type.
    """

    name: str
    schema: dict[str, Any]
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    template: str | UnsetType | None = UNSET
    data_risk: DataRisk | UnsetType | None = UNSET

    @property
    def schema_(self) -> dict[str, Any]:
        """``schema``, under its name in releases before 1.0."""
        return self.schema


class QualitySchemaDetails(Struct, frozen=True, kw_only=True, metaclass=_SchemaKeyword):
    """A quality schema in a response.

    Attributes:
        name: Name of the quality schema.
        title: Display name.
        schema: JSON schema of the payload; the constructor also accepts it as ``schema_``.
        description: Description.
        template: Template that renders a payload as its summary.
        data_risk: Data risk of the payload, as the API sent it.
        schema_validation: Result of the API's validation of the schema.
    """

    name: str
    title: str
    schema: dict[str, Any]
    description: str | None = None
    template: str | None = None
    data_risk: dict[str, Any] | None = None
    schema_validation: dict[str, Any] | None = None

    @property
    def schema_(self) -> dict[str, Any]:
        """``schema``, under its name in releases before 1.0."""
        return self.schema


class AgentSchemaVersionForRegister(CheckedModel, frozen=True, kw_only=True):
    """Version of the span types and quality schemas of an agent.

    Span types are given as ``span_type_schemas`` or, in the older form, as ``span_schemas``.

    Attributes:
        external_identifier: The caller's name for the schema version.
        span_type_schemas: Span types.
        span_schemas: JSON schemas of payloads by the name of the span type.
        span_result_schemas: JSON schemas of results by name, together with ``span_schemas``.
        quality_schemas: Quality schemas.

    Raises:
        ValueError: A field has the wrong type, or both forms are used.
    """

    external_identifier: str | UnsetType | None = UNSET
    span_type_schemas: list[SpanTypeSchemaForCreate] | UnsetType | None = UNSET
    span_schemas: dict[str, dict[str, Any]] | UnsetType | None = UNSET
    span_result_schemas: dict[str, dict[str, Any]] | UnsetType | None = UNSET
    quality_schemas: list[QualitySchemaForCreate] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        has_types, has_schemas, has_results = (
            value is not None and value is not UNSET
            for value in (self.span_type_schemas, self.span_schemas, self.span_result_schemas)
        )
        name = type(self).__name__
        if has_types and has_schemas:
            raise ValueError(f"{name}: give span_type_schemas or span_schemas, not both")
        if has_results and not has_schemas:
            raise ValueError(
                f"{name}: span_result_schemas needs span_schemas; "
                "in span_type_schemas each type has its result_schema"
            )


__all__ = [
    "AgentSchemaVersionForRegister",
    "AgentVersionForRegister",
    "QualitySchemaDetails",
    "QualitySchemaForCreate",
    "RuntimeEnvironment",
    "SpanTypeSchemaForCreate",
]
