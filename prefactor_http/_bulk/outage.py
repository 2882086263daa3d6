"""Tracks whether the API is down, for how long, and when to probe it.

An outage starts with a failure that no item of the request explains, and ends with the next
response. While it lasts, one request at a time is sent as a probe. The first probe is sent
immediately if the failure is probably that of an item, or of a pooled connection that the server
had closed; each later one after a longer backoff. The last probe is sent when `max_outage` is over.
"""

from __future__ import annotations

import math

from prefactor_http._bulk.concurrency import ConcurrencyController
from prefactor_http._http.codec import describe
from prefactor_http._http.reporting import LOG
from prefactor_http.exceptions import (
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorRetryExhaustedError,
)

_LOG_THRESHOLD = 3  # consecutive failures
_SECONDS_PER_NEW_PROBE = 2.0


class OutageMonitor:
    """Counts failed requests since the last response, and schedules probes.

    Args:
        name: Name of the operation, for messages.
        max_outage: Seconds after which an outage ends the run.
        max_retries: Failures that are allowed even if they take longer than that.
        controller: Computes backoff; reduces concurrency after failures that no item explains.

    Attributes:
        is_down: Whether only probes are sent.
        failures: Failed requests since the last response.
        probe_at: When the next probe is due.
        send_at: When the next request of any kind may be sent, because of ``Retry-After``.
    """

    def __init__(
        self, name: str, max_outage: float, max_retries: int, controller: ConcurrencyController
    ) -> None:
        self._name = name
        self._max_outage = max_outage
        self._max_retries = max_retries
        self._controller = controller
        self._since: float | None = None
        self._unexplained = 0
        self._new_probes = 0
        self.is_down = False
        self.failures = 0
        self.probe_at = self.send_at = 0.0

    def record_failure(self, error: PrefactorHttpError, now: float) -> bool:
        """Count a failed request.

        Returns:
            Whether the API has been down for longer than `max_outage`, or will be.
        """
        if self._since is None:
            self._since = now
        self.failures += 1
        if self.failures == _LOG_THRESHOLD:
            LOG.warning(
                "%s: the API seems to be down; trying %s: %s",
                self._name,
                "until it responds"
                if self._max_outage == math.inf
                else f"for up to {self._max_outage:g} s",
                describe(error),
            )
        ends_at = self._since + self._max_outage
        retry_after: float = getattr(error, "retry_after", None) or 0.0
        if retry_after:
            self.send_at = max(self.send_at, now + retry_after)
            if self.send_at > ends_at:
                return True
        return now >= ends_at and self.failures > self._max_retries

    def enter(self, error: PrefactorHttpError, now: float, *, is_explained: bool) -> None:
        """Start an outage, or continue it, and schedule the next probe.

        Args:
            error: The error of the failed request.
            now: Current time.
            is_explained: Whether the failure is probably that of an item.
        """
        if self.is_down or not is_explained:
            self._unexplained += 1
            self._controller.back_off(now)
        self.is_down = True
        is_immediate = not self._unexplained or (self._unexplained == 1 and _is_cut_off(error))
        ends_at = max(now, (self._since or now) + self._max_outage)
        wait = 0.0 if is_immediate else self._controller.backoff(self._unexplained)
        self.probe_at = min(now + wait, ends_at) if ends_at > now else now + wait

    def end(self) -> None:
        """Return to normal: the API has responded."""
        self.is_down = False
        self._since = None
        self.failures = self._unexplained = self._new_probes = 0

    def duration(self, now: float) -> float:
        """Return the seconds since the first failure."""
        return 0.0 if self._since is None else now - self._since

    def needs_new_probe(self, now: float) -> bool:
        """Whether to probe with another item: the items probed so far may be at fault."""
        return self._new_probes < 2 + int(self.duration(now) / _SECONDS_PER_NEW_PROBE)

    @property
    def probe_position(self) -> float:
        """Position of the next new probe among the items that wait: 0 is the first, 1 the last.

        Probes are spread evenly: the last item, the first, the middle, then the quarters.
        """
        if self._new_probes == 0:
            return 1.0
        number, position, step = self._new_probes - 1, 0.0, 0.5
        while number:
            number, digit = divmod(number, 2)
            position, step = position + digit * step, step / 2
        return position

    def record_new_probe(self) -> None:
        self._new_probes += 1

    def final_error(self, error: PrefactorHttpError, now: float) -> PrefactorHttpError:
        """Build the error of a run that ends because of an outage."""
        if getattr(error, "retry_after", None):
            error.add_note("not retried: waiting for Retry-After would exceed max_outage")
            return error
        if not self._max_retries:
            return error
        seconds = self.duration(now)
        exhausted = PrefactorRetryExhaustedError(
            f"{self._name} failed {self.failures} times in {seconds:.1f} s, "
            f"the last time with: {describe(error)}",
            error,
        )
        exhausted.__cause__ = error
        exhausted.method, exhausted.path = error.method, error.path
        exhausted.attempts = self.failures
        exhausted.outcome_unknown = error.outcome_unknown
        return exhausted


def _is_cut_off(error: PrefactorHttpError) -> bool:
    """Whether a connection was lost after the request had been sent."""
    return isinstance(error, PrefactorConnectionError) and error.outcome_unknown
