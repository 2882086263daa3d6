"""Enums of the API.

Requests accept only these values. Responses may contain values that the API added later, so their
fields are plain ``str``.
"""

from typing import Literal, TypeAlias

AgentStatus: TypeAlias = Literal[
    "pending", "active", "complete", "failed", "cancelled", "terminated"
]
"""Statuses of an agent instance (contract §7.3)."""

SpanStatus: TypeAlias = Literal["pending", "active", "complete", "failed", "cancelled"]
"""Statuses of a span (contract §8): those of an instance except ``terminated``."""

FinishStatus: TypeAlias = Literal["complete", "failed", "cancelled"]
"""Final statuses that a finish may set."""

EnvironmentPurpose: TypeAlias = Literal["development", "staging", "testing", "production"]
"""What an environment is used for (contract §12)."""

TokenScope: TypeAlias = Literal["account", "agent_deployment", "environment"]
"""What an API token covers (contract §1)."""

InstancePurpose: TypeAlias = Literal["live", "smoke_test", "eval"]
"""Purposes of an instance; the API's default is ``live``."""

ActionPermission: TypeAlias = Literal["unknown", "allowed", "disallowed"]
"""Whether spans of a type may take an action."""

DataPresence: TypeAlias = Literal["unknown", "included", "excluded"]
"""Whether a payload contains data of a category."""

DataClassification: TypeAlias = Literal[
    "unknown", "public", "internal", "confidential", "restricted", "secret"
]
"""Classification of a payload."""

__all__ = [
    "ActionPermission",
    "AgentStatus",
    "DataClassification",
    "DataPresence",
    "EnvironmentPurpose",
    "FinishStatus",
    "InstancePurpose",
    "SpanStatus",
    "TokenScope",
]
