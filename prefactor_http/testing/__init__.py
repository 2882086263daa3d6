"""A local Prefactor API with fault injection, for tests and demonstrations."""

from prefactor_http.testing.faults.faults import RANDOM_FAULTS, ErrorBody, Fault, FaultKind
from prefactor_http.testing.faults.item_faults import TRANSIENT_CODES
from prefactor_http.testing.server.bulk_policy import BulkPolicy, OnUnknownType
from prefactor_http.testing.server.key_store import (
    IdempotencyPolicy,
    KeyScope,
    OnConcurrent,
    OnMismatch,
)
from prefactor_http.testing.server.ledger import Effect, Write
from prefactor_http.testing.server.rate_limit import RateLimit
from prefactor_http.testing.server.recorded_request import RecordedRequest
from prefactor_http.testing.server.server import LocalPrefactor
from prefactor_http.testing.server.thread import serving

__all__ = [
    "RANDOM_FAULTS",
    "TRANSIENT_CODES",
    "BulkPolicy",
    "Effect",
    "ErrorBody",
    "Fault",
    "FaultKind",
    "IdempotencyPolicy",
    "KeyScope",
    "LocalPrefactor",
    "OnConcurrent",
    "OnMismatch",
    "OnUnknownType",
    "RateLimit",
    "RecordedRequest",
    "Write",
    "serving",
]
