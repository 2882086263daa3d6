"""What a failed request says about the API, its items and the run.

A bulk request can fail because the API is down, or because one of its items makes the API fail
every time (a *poison item*). Only time shows the difference, through what else succeeds. A request
that fails for the second time although another one has succeeded in between probably contains a
poison item. It is split until that item is alone. If nothing else succeeds, the API is down.

A poison item that is alone is given up when its failures cannot be chance. `FailureRates` counts
how often requests fail that are sent for the first time, directly after a success. This is the
probability that one more failure of a good item is chance. Outages do not distort it: an outage
counts as one such failure, however long it lasts. A poison item mostly fails in the same way each
time, and chance seldom does, so each failure signature has a rate of its own. After few requests
the rates are assumed to be higher than measured. In a run that goes well otherwise, a poison item
is given up after six failures. No good item is given up while the API fails two requests in five.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from enum import Enum, auto

from prefactor_http._http.codec import IDEMPOTENCY_IN_PROGRESS
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorTimeoutError,
)

_PAYLOAD_TOO_LARGE = 413
_ITEM_ERRORS = frozenset({400, 404, 405, 409, 422})
_RETRY_LATER = frozenset({425, 429})
_TIMEOUTS = frozenset({408, 504, 524})
# Prior for failures of one signature and for all failures: assumed failed requests, assumed
# requests, and the accepted probability of a mistake about any item of the run.
_SAME_SIGNATURE_PRIOR = (0.5, 6.0, 1e-8)
_ANY_SIGNATURE_PRIOR = (1.0, 4.0, 1e-10)
# A higher rate of first failures means that many requests contain a poison item.
_MAX_RATE = 0.4


class FailureKind(Enum):
    """What a failed request means."""

    FATAL = auto()
    """No request can succeed: the token is refused, or the client is closed."""
    REFUSED = auto()
    """The API itself refused the request because of an item."""
    TOO_LARGE = auto()
    """A smaller request may succeed."""
    RETRY_LATER = auto()
    """The API answered that the same request may succeed later."""
    TIMED_OUT = auto()
    """No response in time: the request may have been too much work."""
    MALFORMED = auto()
    """The response is JSON, but breaks the API's contract."""
    UNEXPLAINED = auto()
    """Anything else: the API is down, or an item makes it fail."""


def kind_of(error: PrefactorHttpError) -> FailureKind:
    """Classify the error of a bulk request that failed as a whole."""
    if isinstance(error, PrefactorClientError | PrefactorAuthError):
        return FailureKind.FATAL
    if isinstance(error, PrefactorConnectionError):
        return FailureKind.FATAL if error.certificate_error else FailureKind.UNEXPLAINED
    if isinstance(error, PrefactorTimeoutError):
        # A timeout before the request was sent says nothing about its size.
        return FailureKind.TIMED_OUT if error.outcome_unknown else FailureKind.UNEXPLAINED
    if isinstance(error, PrefactorResponseContractError) and not error.retryable:
        return FailureKind.MALFORMED
    return (
        _kind_of_status(error) if isinstance(error, PrefactorApiError) else FailureKind.UNEXPLAINED
    )


def _kind_of_status(error: PrefactorApiError) -> FailureKind:
    status = error.status_code
    if status == _PAYLOAD_TOO_LARGE:
        return FailureKind.TOO_LARGE
    if status in _RETRY_LATER or error.code == IDEMPOTENCY_IN_PROGRESS:
        return FailureKind.RETRY_LATER
    if status in _TIMEOUTS:
        return FailureKind.TIMED_OUT
    is_refusal = error.from_api and status in _ITEM_ERRORS
    return FailureKind.REFUSED if is_refusal else FailureKind.UNEXPLAINED


def failure_signature(error: PrefactorHttpError) -> Hashable:
    """Return what failures of one cause mostly have in common."""
    if isinstance(error, PrefactorApiError):
        return error.status_code, error.code
    return type(error).__name__


class FailureRates:
    """Counts first attempts and their failures, and decides which failures are not chance."""

    def __init__(self) -> None:
        self._attempts = 0
        self._failures: Counter[Hashable] = Counter()

    def record_success(self, number: int = 1) -> None:
        """Count first attempts that succeeded."""
        self._attempts += number

    def record_failure(self, signature: Hashable) -> None:
        """Count a first attempt that failed."""
        self._attempts += 1
        self._failures[signature] += 1

    def discount(self, signature: Hashable) -> None:
        """Remove a failed first attempt that a poison item explains."""
        if self._failures[signature]:
            self._failures[signature] -= 1
            self._attempts -= 1

    def is_significant(self, signature: Hashable, same_signature: int, failures: int) -> bool:
        """Whether the failures of one item cannot be chance.

        Args:
            signature: How it has failed last.
            same_signature: How many times in a row it has failed in that way.
            failures: How many times it has failed in all.
        """
        return self._excludes_chance(
            self._failures[signature], same_signature, *_SAME_SIGNATURE_PRIOR
        ) or self._excludes_chance(self._failures.total(), failures, *_ANY_SIGNATURE_PRIOR)

    def _excludes_chance(
        self, failed: int, failures: int, prior_failed: float, prior_attempts: float, p: float
    ) -> bool:
        # Without the item's own first failure.
        rate = (max(0, failed - 1) + prior_failed) / (max(0, self._attempts - 1) + prior_attempts)
        return min(rate, _MAX_RATE) ** failures < p / max(1, self._attempts)
