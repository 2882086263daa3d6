"""Counts requests, injected faults and lost responses, and keeps the recorded requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from prefactor_http.testing.faults.faults import FaultKind
from prefactor_http.testing.server.recorded_request import RecordedRequest


@dataclass(slots=True)
class RequestLog:
    """The requests that a server has received.

    Attributes:
        attempts: Requests to the API.
        reads: How many of them are GETs.
        responses_lost: Responses to successful writes that the client could not read.
        faults: Injected faults by kind.
        requests: Every attempt in the order of arrival, if recording is enabled.
    """

    attempts: int = 0
    reads: int = 0
    responses_lost: int = 0
    faults: Counter[FaultKind] = field(default_factory=Counter[FaultKind])
    requests: list[RecordedRequest] = field(default_factory=list[RecordedRequest])
