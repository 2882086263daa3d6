"""What a failed request says: about the API, about its items, and about the run.

A bulk request can fail because the API is down, or because one of its items makes the API fail
every time (a *poison item*). The difference shows only over time, in what else succeeds. A request
that fails for the second time although another one has succeeded in between contains a poison
item, most likely. It is split until that item is alone. If nothing else succeeds, the API is down.

A poison item that is alone is given up when its failures cannot be chance. `FailureRates` counts
how often requests fail that are sent for the first time, directly after a success. That is the
probability that one more failure of a good item is chance, whatever an outage does: however long
it lasts, it counts as one such failure. A poison item mostly fails in the same way each time, and
chance seldom does, so each way of failing has a rate of its own. Where few requests were made, the
rates are assumed to be higher than they look. In a run that goes well otherwise, a poison item is
given up after six failures; an API that fails for two requests in five costs no good item its
outcome.
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

_TOO_LARGE = 413
_BLAMES_AN_ITEM = frozenset({400, 404, 405, 409, 422})
_NOT_NOW = frozenset({425, 429})
_TIMED_OUT = frozenset({408, 504, 524})
# Failures and requests that are assumed before anything is known, and how probable a mistake about
# any of a run's items may be: for failures of one kind, and for failures of any kind.
_SAME, _ANY = (0.5, 6.0, 1e-8), (1.0, 4.0, 1e-10)
# Where more first attempts fail, it is because many requests contain a poison item.
_MAX_RATE = 0.4


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


def way_of(error: PrefactorHttpError) -> Hashable:
    """Return how a request failed: the same for two failures of one cause, mostly."""
    if isinstance(error, PrefactorApiError):
        return error.status_code, error.code
    return type(error).__name__


class FailureRates:
    """Counts first attempts and their failures, and says which failures cannot be chance."""

    def __init__(self) -> None:
        self._tried = 0
        self._failed: Counter[Hashable] = Counter()

    def record_success(self, number: int = 1) -> None:
        """Count first attempts that succeeded."""
        self._tried += number

    def record_failure(self, way: Hashable) -> None:
        """Count a first attempt that failed."""
        self._tried += 1
        self._failed[way] += 1

    def explain(self, way: Hashable) -> None:
        """Take out a failed first attempt that was no chance."""
        if self._failed[way]:
            self._failed[way] -= 1
            self._tried -= 1

    def is_no_chance(self, way: Hashable, same: int, failures: int) -> bool:
        """Whether the failures of one item are no chance.

        Args:
            way: How it has failed last.
            same: How often in a row it has failed in that way.
            failures: How often it has failed in all.
        """
        return self._exclude(self._failed[way], same, *_SAME) or self._exclude(
            self._failed.total(), failures, *_ANY
        )

    def _exclude(
        self, failed: int, failures: int, assumed: float, assumed_tried: float, mistakes: float
    ) -> bool:
        # Without the item's own first failure.
        rate = (max(0, failed - 1) + assumed) / (max(0, self._tried - 1) + assumed_tried)
        return min(rate, _MAX_RATE) ** failures < mistakes / max(1, self._tried)
