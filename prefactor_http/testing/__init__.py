"""A local Prefactor API for tests and demonstrations, which breaks when told to."""

from prefactor_http.testing._faults import RANDOM_FAULTS, ErrorBody, Fault, FaultKind
from prefactor_http.testing._item_faults import TRANSIENT_CODES
from prefactor_http.testing._key_store import IdempotencyPolicy, OnConcurrent, OnMismatch
from prefactor_http.testing._ledger import Effect, Write
from prefactor_http.testing._rate_limit import RateLimit
from prefactor_http.testing._record import RecordedRequest
from prefactor_http.testing._server import LocalPrefactor
from prefactor_http.testing._thread import serving

__all__ = [
    "RANDOM_FAULTS",
    "TRANSIENT_CODES",
    "Effect",
    "ErrorBody",
    "Fault",
    "FaultKind",
    "IdempotencyPolicy",
    "LocalPrefactor",
    "OnConcurrent",
    "OnMismatch",
    "RateLimit",
    "RecordedRequest",
    "Write",
    "serving",
]
