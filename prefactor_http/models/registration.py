"""The agent version and the schema version that an instance registers with (contract §7.1)."""

from typing import Any, TypeVar

from msgspec import UNSET, Struct, StructMeta, UnsetType

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models.data_risk import DataRisk

T = TypeVar("T")


class RuntimeEnvironment(CheckedModel, frozen=True, kw_only=True):
    """What an agent version runs on.

    Attributes:
        agent_sdk: Packages of the agent framework, such as ``prefactor-langchain@0.2.7``.
        os: Operating system, such as ``linux``.
        prefactor_sdk: Packages of the Prefactor SDK.
        runtime: Language runtime, such as ``cpython@3.11``.

    Raises:
        ValueError: A field is not of its type.
    """

    agent_sdk: list[str] | UnsetType | None = UNSET
    os: str | UnsetType | None = UNSET
    prefactor_sdk: list[str] | UnsetType | None = UNSET
    runtime: str | UnsetType | None = UNSET


class AgentVersionForRegister(CheckedModel, frozen=True, kw_only=True):
    """The version of an agent.

    Attributes:
        external_identifier: The caller's name of the version, such as ``v1.0.0``.
        name: Its name for people.
        description: What it is.
        runtime_environment: What it runs on.

    Raises:
        ValueError: A field is not of its type.
    """

    external_identifier: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    runtime_environment: RuntimeEnvironment | UnsetType | None = UNSET


class SpanTypeSchemaForCreate(CheckedModel, frozen=True, kw_only=True):
    """One type of span that an agent makes.

    Attributes:
        name: The type's name, which spans give as ``schema_name``.
        params_schema: JSON schema of a span's payload.
        result_schema: JSON schema of its result.
        title: The type's name for people.
        description: What such a span does.
        template: Liquid template that renders a span's payload.
        result_template: Liquid template that renders its result.
        data_risk: How risky such spans are.

    Raises:
        ValueError: A field is not of its type.
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
    """Takes ``schema_`` for ``schema`` in the constructor, as releases before 1.0 did."""

    def __call__(cls: type[T], *args: Any, **kwargs: Any) -> T:  # noqa: N805 # an instance is a class
        if "schema_" in kwargs and "schema" not in kwargs:
            kwargs["schema"] = kwargs.pop("schema_")
        return super().__call__(*args, **kwargs)  # type: ignore[misc, no-any-return]


class QualitySchemaForCreate(CheckedModel, frozen=True, kw_only=True, metaclass=_SchemaKeyword):
    """One kind of quality payload that instances are evaluated with.

    Attributes:
        name: The name that payloads are recorded under.
        schema: JSON schema of a payload; the constructor takes it as ``schema_`` too.
        title: The name for people; the API takes ``name`` where there is none.
        description: What is evaluated.
        template: Template that renders a payload as its summary.
        data_risk: How risky such payloads are.

    Raises:
        ValueError: A field is not of its type.
    """

    name: str
    schema: dict[str, Any]
    title: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    template: str | UnsetType | None = UNSET
    data_risk: DataRisk | UnsetType | None = UNSET

    @property
    def schema_(self) -> dict[str, Any]:
        """``schema``, by its name in releases before 1.0."""
        return self.schema


class QualitySchemaDetails(Struct, frozen=True, kw_only=True, metaclass=_SchemaKeyword):
    """A quality schema as the API keeps it.

    Attributes:
        name: The name that payloads are recorded under.
        title: The name for people.
        schema: JSON schema of a payload; the constructor takes it as ``schema_`` too.
        description: What is evaluated.
        template: Template that renders a payload as its summary.
        data_risk: How risky such payloads are, as the API sent it.
        schema_validation: What the API found when it checked the schema.
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
        """``schema``, by its name in releases before 1.0."""
        return self.schema


class AgentSchemaVersionForRegister(CheckedModel, frozen=True, kw_only=True):
    """The types of spans that an agent makes, under one version.

    Span types come as ``span_type_schemas`` or, in the older form, as ``span_schemas``.

    Attributes:
        external_identifier: The caller's name of the version.
        span_type_schemas: The span types.
        span_schemas: JSON schemas of payloads by the span type's name.
        span_result_schemas: JSON schemas of results by name, beside ``span_schemas``.
        quality_schemas: The kinds of quality payloads.

    Raises:
        ValueError: A field is not of its type, or both forms are mixed.
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
