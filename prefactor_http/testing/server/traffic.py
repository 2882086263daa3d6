"""What came in over the wire, and what was done to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from prefactor_http.testing.faults.faults import FaultKind
from prefactor_http.testing.server.record import RecordedRequest


@dataclass(slots=True)
class Traffic:
    """Counts of a server's traffic.

    Attributes:
        attempts: Requests to the API.
        reads: Those of them that are GETs.
        replies_lost: Successes of writes that the client got no readable reply of.
        faults: Injected faults by kind.
        requests: Every attempt in the order of arrival, where they are recorded.
    """

    attempts: int = 0
    reads: int = 0
    replies_lost: int = 0
    faults: Counter[FaultKind] = field(default_factory=Counter[FaultKind])
    requests: list[RecordedRequest] = field(default_factory=list[RecordedRequest])
