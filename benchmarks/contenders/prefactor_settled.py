"""`prefactor_http` in a process that has allocated, and freed, one large block as README says."""

from __future__ import annotations

from benchmarks.contenders.prefactor import open_calls

bytes(4 << 20)

__all__ = ["open_calls"]
