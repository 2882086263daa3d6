"""Values that the API defines today.

Requests take these alone. Replies may hold values that were added later: there the fields are
plain ``str``, and a comparison with these values simply fails.
"""

from typing import Literal, TypeAlias

AgentStatus: TypeAlias = Literal[
    "pending", "active", "complete", "failed", "cancelled", "terminated"
]
"""States of an agent instance (contract §7.3)."""

SpanStatus: TypeAlias = Literal["pending", "active", "complete", "failed", "cancelled"]
"""States of a span (contract §8): those of an instance but ``terminated``."""

FinishStatus: TypeAlias = Literal["complete", "failed", "cancelled"]
"""How an instance or a span may be finished."""

EnvironmentPurpose: TypeAlias = Literal["development", "staging", "testing", "production"]
"""What an environment is used for (contract §12)."""

TokenScope: TypeAlias = Literal["account", "agent_deployment", "environment"]
"""What an API token covers (contract §1)."""

InstancePurpose: TypeAlias = Literal["live", "smoke_test", "eval"]
"""Why an instance runs; the API takes ``live`` where nothing is said."""

ActionPermission: TypeAlias = Literal["unknown", "allowed", "disallowed"]
"""Whether spans of a type may act in some way."""

DataPresence: TypeAlias = Literal["unknown", "included", "excluded"]
"""Whether a payload holds data of some category."""

DataClassification: TypeAlias = Literal[
    "unknown", "public", "internal", "confidential", "restricted", "secret"
]
"""How confidential a payload is."""

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
