"""`prefactor_http` with a settled allocator: it first allocates and frees a large block."""

from __future__ import annotations

from benchmarks.contenders.prefactor import open_calls

bytes(4 << 20)

__all__ = ["open_calls"]
