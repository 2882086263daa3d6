"""What a failed request says: about the API, about its items, and about the run.

A bulk request can fail because the API is down, or because one of its items makes the API fail
every time (a *poison item*). The difference shows only over time, in what else succeeds. A request
that fails for the second time although another one has succeeded in between contains a poison
item, most likely. It is split until that item is alone. If nothing else succeeds, the API is down.

A poison item that is alone is given up when its failures cannot be chance. `FailureRate` counts
how often requests fail that are sent for the first time, directly after a success. That is the
probability that one more failure of an innocent item is chance, whatever an outage does: however
long it lasts, it counts as one such failure. Where few requests were made, the rate is assumed to
be higher than it looks, so that a good item survives an API that fails for two requests in five.
"""

from __future__ import annotations

from enum import Enum, auto

from prefactor_http._wire import IDEMPOTENCY_IN_PROGRESS
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorTimeoutError,
)

_TOO_LARGE = 413
_BLAMES_AN_ITEM = frozenset({400, 404, 405, 409, 422})
_NOT_NOW = frozenset({425, 429})
_TIMED_OUT = frozenset({408, 504, 524})
# Before anything is known: 3 failures in 8 requests.
_ASSUMED_FAILURES, _ASSUMED_REQUESTS = 1.5, 4.0
_CHANCE = 1e-6


class FailureKind(Enum):
    """What a failed request means."""

    FATAL = auto()
    """No request can succeed: the token is refused, the client is closed."""
    REFUSED = auto()
    """The API itself refused the request because of an item."""
    TOO_LARGE = auto()
    """A smaller request may succeed."""
    NOT_NOW = auto()
    """The API answered that the same request may succeed later."""
    TIMED_OUT = auto()
    """No response in time: perhaps the request was too much work."""
    MALFORMED = auto()
    """The response is JSON, but not what the API promises."""
    LOST = auto()
    """Anything else: the API is down, or an item makes it fail."""


def kind_of(error: PrefactorHttpError) -> FailureKind:
    """Classify the error of a bulk request that failed as a whole."""
    if isinstance(error, PrefactorClientError | PrefactorAuthError):
        return FailureKind.FATAL
    if isinstance(error, PrefactorConnectionError):
        return FailureKind.FATAL if error.certificate_error else FailureKind.LOST
    if isinstance(error, PrefactorTimeoutError):
        # Without a connection nothing was sent.
        return FailureKind.TIMED_OUT if error.outcome_unknown else FailureKind.LOST
    if isinstance(error, PrefactorResponseContractError) and not error.retryable:
        return FailureKind.MALFORMED
    return _kind_of_status(error) if isinstance(error, PrefactorApiError) else FailureKind.LOST


def _kind_of_status(error: PrefactorApiError) -> FailureKind:
    status = error.status_code
    if status == _TOO_LARGE:
        return FailureKind.TOO_LARGE
    if status in _NOT_NOW or error.code == IDEMPOTENCY_IN_PROGRESS:
        return FailureKind.NOT_NOW
    if status in _TIMED_OUT:
        return FailureKind.TIMED_OUT
    return FailureKind.REFUSED if error.from_api and status in _BLAMES_AN_ITEM else FailureKind.LOST


class FailureRate:
    """Counts chance failures, and says which failures cannot be chance; see above."""

    def __init__(self) -> None:
        self._tried = self._failed = 0

    def record(self, tried: int, failed: int) -> None:
        """Note first attempts, and how many of them failed."""
        self._tried += tried
        self._failed += failed

    def is_no_chance(self, failures: int) -> bool:
        """Whether that many failures of one item, the first of them recorded, are no chance."""
        failed = max(0, self._failed - 1) + _ASSUMED_FAILURES
        tried = max(failed, max(0, self._tried - 1) + _ASSUMED_REQUESTS)
        return (failed / tried) ** failures < _CHANCE
