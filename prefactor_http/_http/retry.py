"""Decides what is retried, when, and for how long.

`Retry.run` makes the first attempt by itself. Only a failure involves tenacity, which then sees
that failure as its first attempt. An attempt ends in a value, the result or a `Failure`, so no
exception is caught, kept and raised again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from prefactor_http._http.backoff import backoff
from prefactor_http._http.codec import (
    GET,
    IDEMPOTENCY_IN_PROGRESS,
    TOO_EARLY,
    TOO_MANY_REQUESTS,
    PreparedRequest,
    contradiction_failure,
    describe,
    parse_response,
)
from prefactor_http._http.errors import (
    LOG,
    annotate_cancellation,
    build_error,
    interruption_error,
    report,
)
from prefactor_http._http.identity import confirms, sent_by_request
from prefactor_http._http.operation import Applied, Operation
from prefactor_http._http.reconciliation import may_reconcile, reconcile
from prefactor_http._http.response import Failure, Response, WriteStatus
from prefactor_http._http.retry_budget import FIRST_SUCCESS, retry_cost
from prefactor_http._http.state import ClientState
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorConflictError,
    PrefactorHttpError,
)

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

# The next one, on a connection of its own, is not a mistake of the pool.
MAX_CONTRADICTIONS = 1
DOUBTFUL_REFUSALS = frozenset({400, 404, 409, 422})


class Retry:
    """Runs calls under one configuration; views of a client differ in this alone.

    Args:
        config: How often, how long.
        state: What the client and its views share.
    """

    def __init__(self, config: HttpClientConfig, state: ClientState) -> None:
        self.config = config
        self.state = state

    async def run(self, prepared: PreparedRequest[T]) -> T:
        """Run a call, retrying transient failures.

        Args:
            prepared: The call; it records its attempts.

        Returns:
            Its result.

        Raises:
            PrefactorHttpError: See the tree in `prefactor_http.exceptions`.
        """
        try:
            self.state.check_usable()
        except PrefactorClientError as error:
            build_error(prepared, error, is_exhausted=False)  # to say which call it was
            raise
        if self.config.deadline is not None and prepared.expires_at is None:
            return await self._run_within(prepared, self.config.deadline)
        try:
            outcome = await self.attempt(prepared)
            if isinstance(outcome, Failure):
                recovery = _Recovery(self, prepared, outcome)
                del outcome  # or a raised error and this frame would hold each other
                return await recovery.run()
        except asyncio.CancelledError as exc:
            annotate_cancellation(prepared, exc)
            # Error reports show the variables of each frame, and aiohttp's hold headers and bodies.
            exc.__traceback__ = None
            raise
        self.state.budget.deposit(FIRST_SUCCESS)
        return outcome

    async def _run_within(self, prepared: PreparedRequest[T], deadline: float) -> T:
        timeout = self.state.timeouts.begin(deadline)
        prepared.expires_at = self.state.clock.monotonic() + deadline
        try:
            return await self.run(prepared)
        except asyncio.CancelledError:
            reason = timeout.cancel_reason()
            if reason is None:
                raise
        finally:
            self.state.timeouts.end(timeout)
        raise interruption_error(prepared, reason, deadline)

    async def attempt(self, prepared: PreparedRequest[T]) -> T | Failure:
        """Make one attempt, as soon as the rate limiter lets it through and a slot is free."""
        state, config = self.state, self.config
        if not state.admit_now(prepared):
            failure = await state.admit(prepared)
            if failure is not None:
                return failure
        prepared.attempts += 1
        prepared.in_flight = True
        is_observed = config.on_attempt is not None or LOG.isEnabledFor(logging.DEBUG)
        started = state.clock.monotonic() if is_observed else 0.0
        try:
            response = await state.transport.attempt(prepared, config.request_timeout)
        finally:
            state.release(prepared)
        prepared.in_flight = False
        outcome = parse_response(prepared, response, state.redactor, state.clock.utcnow)
        if state.seen.is_watching:
            if prepared.operation.is_anonymous is not None:
                outcome = self._doubt(prepared, response, outcome)
            elif prepared.resource_id is not None:
                state.seen.add(prepared.resource_id, prepared.key)
        if isinstance(outcome, Failure):
            self._record(prepared, outcome)
            state.limiter.record(prepared, outcome)
        elif not state.limiter.is_idle:
            state.limiter.record(prepared, outcome)
        if is_observed:
            seconds = state.clock.monotonic() - started
            report(prepared, outcome, response.status, seconds, config.on_attempt)
        return outcome

    def _record(self, prepared: PreparedRequest[Any], failure: Failure) -> None:
        """Note what a failed attempt means for its call, and for the connections of the pool."""
        seen, now = self.state.seen, self.state.clock.monotonic()
        if failure.contradicts:
            seen.distrust_connections(now)
            # Another call may read the answer to this one before this one does.
            sent_id = sent_by_request(prepared.request, prepared.resource_id).id
            if sent_id is not None:
                seen.add(sent_id, prepared.key)
        elif (
            failure.kind is WriteStatus.ANSWERED
            and failure.status in DOUBTFUL_REFUSALS
            and not prepared.needs_new_connection
            and seen.distrusts_connections(now)
        ):
            failure.contradicts, failure.kind = True, WriteStatus.UNKNOWN
        prepared.outcome_unknown |= (
            failure.kind is WriteStatus.UNKNOWN and prepared.operation.method != GET
        )
        prepared.contradictions += failure.contradicts
        # A response to another call came over a connection of the pool: trust none of them.
        prepared.needs_new_connection = failure.contradicts

    def _doubt(
        self, prepared: PreparedRequest[T], response: Response | Failure, outcome: T | Failure
    ) -> T | Failure:
        """Reject a success that may be the answer to another call; see `_doubt`."""
        if isinstance(outcome, Failure) or isinstance(response, Failure):
            return outcome
        seen, details = self.state.seen, prepared.operation.details_of(outcome)
        if prepared.doubted:
            seen.resolve(details.id, prepared.key)
        elif (
            seen.is_doubtful(details.id, prepared.key)
            and self.config.max_retries > 0
            and not confirms(sent_by_request(prepared.request, None), details)
        ):
            prepared.doubted = True
            problem = f"the response is about {details.id!r}, as that to another call was"
            return contradiction_failure(prepared, response, self.state.redactor, problem)
        seen.add(details.id, prepared.key)
        return outcome


class _Recovery(Generic[T]):
    """A call after its first failure: the strategies that tenacity asks, and the end."""

    def __init__(self, retry: Retry, prepared: PreparedRequest[T], first: Failure) -> None:
        self._retry = retry
        self._state = retry.state
        self._config = retry.config
        self._prepared = prepared
        self._first: Failure | None = first
        self._has_reconnected = False
        self._spent = 0
        self._is_exhausted = False

    async def run(self) -> T:
        # Not at the top: it costs 8 ms of start-up, and most processes never need it.
        import tenacity  # noqa: PLC0415

        controller = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(self._is_worth_repeating),
            wait=self._wait,
            stop=self._stop,
            sleep=self._state.pause,
            retry_error_callback=_outcome_of,
        )
        try:
            outcome: T | Failure = await controller(self._attempt)
        except asyncio.CancelledError:
            self._state.budget.deposit(self._spent)  # the API is not to blame
            raise
        finally:
            controller.iter_state.reset()  # its list of actions refers back to it
        if not self._is_worth_repeating(outcome):  # the API has answered, if only with a refusal
            self._state.budget.deposit(self._spent)
        if not isinstance(outcome, Failure):
            return outcome
        if self._prepared.outcome_unknown and outcome.kind is not WriteStatus.UNKNOWN:
            reconciled = await self._reconcile(outcome.error)
            if reconciled is not None:
                return reconciled
        # A contract error says more than that retries are used up.
        is_exhausted = self._is_exhausted and not (outcome.lost or outcome.contradicts)
        try:
            raise build_error(self._prepared, outcome.error, is_exhausted=is_exhausted)
        finally:
            del outcome  # or the error and this frame would hold each other

    async def _attempt(self) -> T | Failure:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._retry.attempt(self._prepared)

    def _is_worth_repeating(self, outcome: T | Failure) -> bool:
        if not isinstance(outcome, Failure) or outcome.permanent:
            return False
        if outcome.contradicts:
            return (
                self._prepared.is_repeatable and self._prepared.contradictions <= MAX_CONTRADICTIONS
            )
        if outcome.status is not None and not outcome.lost:
            if _is_in_progress(outcome.error):
                return self._prepared.operation.repeatable
            if outcome.status not in self._config.retry_on_status_codes:
                return False
            if outcome.status in {TOO_MANY_REQUESTS, TOO_EARLY}:
                return True
        return outcome.kind is WriteStatus.NOT_SENT or self._prepared.is_repeatable

    def _wait(self, state: RetryCallState) -> float:
        failure = _failure_of(state)
        if failure.contradicts:
            return 0.0
        if failure.disconnected and not self._has_reconnected:
            # Most likely a kept-alive connection that the server had closed: nothing to wait for.
            self._has_reconnected = True
            return 0.0
        retry = state.attempt_number - 1
        return max(backoff(self._config, retry), failure.retry_after or 0.0)

    def _stop(self, state: RetryCallState) -> bool:
        failure = _failure_of(state)
        error = failure.error
        if state.attempt_number > self._config.max_retries:
            self._is_exhausted = self._config.max_retries > 0
            return True
        if failure.retry_after is not None and failure.retry_after > self._config.max_retry_delay:
            error.add_note("not tried again: Retry-After is longer than max_retry_delay")
            return True
        expires_at = self._prepared.expires_at
        now = self._state.clock.monotonic()
        if expires_at is not None and now + state.upcoming_sleep >= expires_at:
            error.add_note("not tried again: the deadline comes first")
            return True
        cost = retry_cost(failure)
        if not self._state.budget.withdraw(cost):
            error.retry_budget_exhausted = True
            error.add_note("not tried again: the client's retry budget is used up")
            return True
        self._spent += cost
        return False

    async def _reconcile(self, error: PrefactorHttpError) -> T | None:
        """Find out whether an earlier attempt caused this refusal; see `_reconciliation`."""
        prepared = self._prepared
        operation = prepared.operation
        if operation.reconciliation is None:
            return None
        fields = msgspec.json.decode(prepared.body or b"{}", type=dict[str, Any])
        if not may_reconcile(operation, fields, error):
            return None
        found = await reconcile(
            self._read,
            operation,
            fields,
            prepared.resource_id,
            self._state.span_instances.get(prepared.resource_id),
        )
        if found.error is not None:
            LOG.warning(
                "could not verify the outcome of %s: %s", prepared.path, describe(found.error)
            )
        if found.applied is Applied.NO:
            prepared.outcome_unknown = False
        return cast("T | None", found.result)

    async def _read(
        self, operation: Operation[Any], resource_id: str | None, params: Mapping[str, str] | None
    ) -> Any:
        path = operation.path_for(resource_id)
        read = PreparedRequest(operation, path, resource_id=resource_id, params=params)
        read.expires_at = self._prepared.expires_at
        return await self._retry.run(read)


def _failure_of(state: RetryCallState) -> Failure:
    failure = _outcome_of(state)
    assert isinstance(failure, Failure)  # noqa: S101 # only failures are worth repeating
    return failure


def _outcome_of(state: RetryCallState) -> Any:
    assert state.outcome is not None  # noqa: S101 # tenacity asks after an attempt
    return state.outcome.result()


def _is_in_progress(error: PrefactorHttpError) -> bool:
    return isinstance(error, PrefactorConflictError) and error.code == IDEMPOTENCY_IN_PROGRESS
