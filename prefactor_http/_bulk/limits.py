"""Ends a run in which too many items fail: `max_failures` and `max_same_refusals`."""

from __future__ import annotations

from prefactor_http._bulk.options import BatchOptions
from prefactor_http._http.codec import describe
from prefactor_http.exceptions import PrefactorApiError, PrefactorClientError, PrefactorHttpError


class FailureLimits:
    """Counts failed items.

    Attributes:
        has_ok: Whether an item has succeeded.
    """

    def __init__(self, options: BatchOptions) -> None:
        self._max_failures = options.max_failures
        self._max_same_refusals = options.max_same_refusals
        self._failures = 0
        self._last_reason: tuple[object, ...] | None = None
        self._same_refusals = 0
        self.has_ok = False

    def record_failure(self, error: Exception | None) -> PrefactorClientError | None:
        """Count a failed item.

        Returns:
            The error that ends the run, if a limit is reached.
        """
        self._failures += 1
        if isinstance(error, PrefactorApiError):
            limit = self.record_refusal((error.code, *sorted(error.errors)), error)
            if limit is not None:
                return limit
        if self._max_failures is None or self._failures < self._max_failures:
            return None
        return PrefactorClientError(
            f"the batch stopped after {self._max_failures} failures (max_failures)"
        )

    def record_refusal(
        self, reason: tuple[object, ...], error: PrefactorHttpError
    ) -> PrefactorClientError | None:
        """Count an item that was refused, among consecutive ones with the same reason.

        Returns:
            The error that ends the run, if all items so far were refused for that reason.
        """
        self._same_refusals = self._same_refusals + 1 if reason == self._last_reason else 1
        self._last_reason = reason
        limit = self._max_same_refusals
        if limit is None or self._same_refusals < limit or self.has_ok:
            return None
        return PrefactorClientError(
            f"the batch stopped: {limit} items in a row were refused with the same error, and "
            f"none has succeeded (max_same_refusals): {describe(error)}"
        )
