"""Detects rejections that are not caused by the rate of calls; see `rate_limiter`."""

from __future__ import annotations

import math

_MAX_KEYS = 256
_ISOLATED = -1
_MAX_RECENT, _PER_SUCCESS = 4.0, 0.25
_HINT = 0.25
_ENOUGH_EVIDENCE = 2.0
_PRIOR_CALLS, _PRIOR_REJECTIONS, _MAX_CALLS = 50.0, 1.0, 2000.0
_RISE, _MIN_USUAL, _MAX_USUAL, _MAX_RISEN = 0.2, 0.01, 0.7, 0.95
_THRESHOLD = 7.0


class IsolatedRejections:
    """Distinguishes rejections of single calls from those of an API at its limit.

    A rejection is isolated if the same resource or call was rejected before and others have
    succeeded in between. Once there is enough evidence that other rejections are isolated, too,
    all count as isolated as long as their share does not rise.
    """

    def __init__(self) -> None:
        self._successes = 0
        self._recent = 0.0  # rejections, less a quarter of the successes since
        self._rejected_keys: dict[str, int] = {}  # key -> successes before its rejection
        self._evidence = 0.0
        self._share: _Share | None = None

    def record_success(self, key: str) -> None:
        """Record a call that was not rejected."""
        self._successes += 1
        self._recent = max(0.0, self._recent - _PER_SUCCESS)
        self._rejected_keys.pop(key, None)
        if self._share is not None:
            self._share.record(is_rejected=False)

    def record_rejection(self, key: str) -> bool:
        """Record a rejected call. Returns whether the rejection is isolated."""
        before = self._rejected_keys.get(key)
        if before == _ISOLATED:
            return True
        self._recent += 1
        # At a limit, earlier calls are rejected again, too, but then there are many rejections.
        if before is not None and before < self._successes and self._recent <= _MAX_RECENT:
            self._rejected_keys[key] = _ISOLATED
            self.add_evidence(_HINT)
            return True
        self.remember(key)
        return self._share is not None and not self._share.record(is_rejected=True)

    def remember(self, key: str) -> None:
        """Record a rejected call while the operation is paused."""
        self._rejected_keys[key] = self._successes
        if len(self._rejected_keys) > _MAX_KEYS:
            del self._rejected_keys[next(iter(self._rejected_keys))]

    def add_evidence(self, evidence: float) -> bool:
        """Record evidence about a rejection that paused the operation.

        Args:
            evidence: 0 to 1 if it was isolated, negative if the API was at its limit.

        Returns:
            Whether isolated rejections are expected from now on, but were not before.
        """
        self._evidence = max(0.0, self._evidence + evidence)
        if self._evidence < _ENOUGH_EVIDENCE or self._share is not None:
            return False
        self._share = _Share()
        return True


class _Share:
    """Detects when the share of rejected calls rises.

    Compares two hypotheses: the usual share, and one 0.2 higher. The score adds the logarithm of
    the likelihood ratio of each call and never falls below zero (Page's CUSUM test). With a usual
    share of 2 %, three rejections in a row are a rise, or four among fifteen calls.
    """

    def __init__(self) -> None:
        self._calls, self._rejections = _PRIOR_CALLS, _PRIOR_REJECTIONS
        self._score = 0.0

    def record(self, *, is_rejected: bool) -> bool:
        usual = min(max(self._rejections / self._calls, _MIN_USUAL), _MAX_USUAL)
        risen = min(usual + _RISE, _MAX_RISEN)
        ratio = risen / usual if is_rejected else (1 - risen) / (1 - usual)
        self._score = max(0.0, self._score + math.log(ratio))
        self._calls += 1
        self._rejections += is_rejected
        if self._calls > _MAX_CALLS:  # older calls lose weight
            self._calls, self._rejections = self._calls / 2, self._rejections / 2
        if self._score < _THRESHOLD:
            return False
        self._score = 0.0
        return True
