"""Retries: decides which failures are retried, after which delay, and how often.

`Retry.run` makes the first attempt without tenacity. If it fails, tenacity takes over and counts
that failure as its first attempt. Attempts return a result or a `Failure` instead of raising, so
that no exception is caught, stored and raised again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from prefactor_http._http.captured_response import (
    Capture,
    CapturedCall,
    CapturedResponse,
    captures_of,
    keep_response,
    public_headers,
)
from prefactor_http._http.codec import (
    GET,
    UNAUTHORIZED,
    PreparedRequest,
    contradiction_failure,
    describe,
    parse_response,
    request_id,
)
from prefactor_http._http.errors import annotate_cancellation, build_error, interruption_error
from prefactor_http._http.identity import confirms, sent_by_request
from prefactor_http._http.observer import installed
from prefactor_http._http.operation import Applied, Operation
from prefactor_http._http.reconciliation import may_reconcile, reconcile
from prefactor_http._http.reporting import LOG, report_attempt, report_retry, retry_reason
from prefactor_http._http.response import Failure, Response, WriteStatus
from prefactor_http._http.retry_budget import FIRST_SUCCESS, retry_cost
from prefactor_http._http.retry_decisions import (
    BUDGET_EXHAUSTED,
    DEADLINE_TOO_EARLY,
    RETRY_AFTER_TOO_LONG,
    is_retry_after_too_long,
    retry_delay,
    should_retry,
)
from prefactor_http._http.state import ClientState
from prefactor_http._http.token_source import TokenSource
from prefactor_http.config import HttpClientConfig
from prefactor_http.events import Retry as RetryEvent
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorHttpError,
)

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


class Retry:
    """Runs calls under one configuration. Each view of a client has its own.

    Args:
        config: Limits of retries and delays.
        state: The state that the client and its views share.
    """

    def __init__(self, config: HttpClientConfig, state: ClientState) -> None:
        self.config = config
        self.state = state

    async def run(self, prepared: PreparedRequest[T]) -> T:
        """Run a call, retrying transient failures.

        Raises:
            PrefactorHttpError: See the tree in `prefactor_http.exceptions`.
        """
        if self.state.capture_count and prepared.capture is None:
            captures = captures_of(self.state)
            if captures:
                return await self._run_captured(prepared, captures)
        try:
            self.state.check_usable()
        except PrefactorClientError as error:
            build_error(prepared, error, is_exhausted=False)  # adds method, path and key
            raise
        if self.config.deadline is not None and prepared.expires_at is None:
            return await self._run_within(prepared, self.config.deadline)
        try:
            outcome = await self.attempt(prepared)
            if isinstance(outcome, Failure):
                loop = _RetryLoop(self, prepared, outcome)
                del outcome  # avoids a reference cycle of the raised error and this frame
                return await loop.run()
        except asyncio.CancelledError as exc:
            annotate_cancellation(prepared, exc)
            # Error reporters show the local variables of each frame, and aiohttp's hold headers
            # and bodies.
            exc.__traceback__ = None
            raise
        self.state.budget.deposit(FIRST_SUCCESS)
        return outcome

    async def _run_captured(self, prepared: PreparedRequest[T], captures: tuple[Capture, ...]) -> T:
        capture = prepared.capture = CapturedCall(captures)
        started = self.state.clock.monotonic()
        try:
            return await self.run(prepared)
        finally:
            seconds = self.state.clock.monotonic() - started
            self._add_captured(prepared, capture, seconds)

    def _add_captured(
        self, prepared: PreparedRequest[Any], call: CapturedCall, seconds: float
    ) -> None:
        response, redactor = call.response, self.state.redactor
        captured = CapturedResponse(
            operation=prepared.operation.name,
            method=prepared.operation.method,
            path=prepared.path,
            status=None if response is None else response.status,
            headers=public_headers(response, redactor),
            request_id=request_id(response, redactor) if isinstance(response, Response) else None,
            attempts=prepared.attempts,
            seconds=seconds,
        )
        for capture in call.captures:
            if capture.responses is not None:
                capture.responses.append(captured)

    async def _run_within(self, prepared: PreparedRequest[T], deadline: float) -> T:
        timeout = self.state.timeouts.start(deadline)
        prepared.expires_at = self.state.clock.monotonic() + deadline
        try:
            return await self.run(prepared)
        except asyncio.CancelledError:
            reason = timeout.cancel_reason()
            if reason is None:
                raise
        finally:
            self.state.timeouts.stop(timeout)
        raise interruption_error(prepared, reason, deadline)

    async def attempt(  # noqa: C901 # the path of every call: each step is one branch
        self, prepared: PreparedRequest[T], *, may_replace_token: bool = True
    ) -> T | Failure:
        """Make one attempt, once the rate limiter admits it and a slot is free.

        If the token comes from a function, a 401 is followed by another request with a new token.
        """
        state, config = self.state, self.config
        if not state.acquire_nowait(prepared):
            failure = await state.acquire(prepared)
            if failure is not None:
                return failure
        tokens = state.tokens
        token = None if tokens is None else tokens.token
        prepared.attempts += 1
        prepared.in_flight = True
        is_observed = (
            config.on_attempt is not None
            or installed.observer is not None
            or prepared.capture is not None
            or LOG.isEnabledFor(logging.DEBUG)
        )
        started = 0.0
        if is_observed or prepared.is_timed:
            started = prepared.sent_at = state.clock.monotonic()
        if prepared.resource_id is not None and state.seen.is_enabled:
            # Before the response, which is not read if the call is interrupted.
            state.seen.add(prepared.resource_id, prepared.key)
        try:
            response = await state.transport.attempt(prepared, config.request_timeout)
        finally:
            state.release(prepared)
        prepared.in_flight = False
        outcome = parse_response(prepared, response, state.redactor, state.clock.utcnow)
        if (
            prepared.operation.is_anonymous is not None
            and state.seen.is_enabled
            and not isinstance(outcome, Failure)
        ):
            created_id = prepared.operation.details_of(outcome).id
            if self._is_response_suspect(prepared, created_id) or prepared.was_suspect:
                outcome = self._check_identity(prepared, response, outcome)
        if isinstance(outcome, Failure):
            self._record(prepared, outcome)
            state.limiter.record(prepared, outcome)
        elif not state.limiter.is_idle:
            state.limiter.record(prepared, outcome)
        if is_observed:
            seconds = state.clock.monotonic() - started
            report_attempt(
                prepared,
                response,
                outcome,
                seconds,
                state.redactor,
                config.on_attempt,
                is_instrumented=state.transport.is_instrumented,
            )
            keep_response(prepared.capture, response)
        if tokens is not None and token is not None and may_replace_token:
            return await self._replace_token(prepared, outcome, tokens, token)
        return outcome

    async def _replace_token(
        self, prepared: PreparedRequest[T], outcome: T | Failure, tokens: TokenSource, refused: str
    ) -> T | Failure:
        """After a 401, get another token than the refused one and repeat the attempt with it."""
        if not isinstance(outcome, Failure) or outcome.status != UNAUTHORIZED:
            return outcome
        failure = await self.state.replace_token(tokens, refused)
        if failure is not None:
            failure.error.add_note(f"the API had refused the token: {describe(outcome.error)}")
            return failure
        if tokens.token == refused:
            return outcome
        return await self.attempt(prepared, may_replace_token=False)

    def _record(self, prepared: PreparedRequest[Any], failure: Failure) -> None:
        """Update the call and the pooled connections after a failed attempt."""
        seen = self.state.seen
        if failure.contradicts:
            seen.suspect_connections(self.state.clock.monotonic())
            # Another call may receive the response to this one.
            sent_id = sent_by_request(prepared.request, prepared.resource_id).id
            if sent_id is not None:
                seen.add(sent_id, prepared.key)
        elif failure.write_status is WriteStatus.ANSWERED and self._is_connection_suspect(prepared):
            failure.contradicts, failure.write_status = True, WriteStatus.UNKNOWN
        prepared.outcome_unknown |= (
            failure.write_status is WriteStatus.UNKNOWN and prepared.operation.method != GET
        )
        prepared.contradictions += failure.contradicts
        # A pooled connection delivered the response to another call: no retry uses one of them.
        prepared.needs_new_connection |= failure.contradicts

    def _is_connection_suspect(self, prepared: PreparedRequest[Any]) -> bool:
        """Whether the response may be the one to another request on the same connection."""
        return (
            self.state.seen.has_suspect_connections
            and not prepared.needs_new_connection
            and self.state.seen.are_connections_suspect(self.state.clock.monotonic())
        )

    def _is_response_suspect(self, prepared: PreparedRequest[Any], created_id: str) -> bool:
        """Whether the response to a create may be that to another call. If not, note the id."""
        seen = self.state.seen
        if self._is_connection_suspect(prepared) and not seen.is_known(created_id, prepared.key):
            return True
        return not seen.add(created_id, prepared.key)

    def _check_identity(
        self, prepared: PreparedRequest[T], response: Response | Failure, outcome: T
    ) -> T | Failure:
        """Turn a success that may belong to another call into a failure; see `seen_resources`."""
        details = prepared.operation.details_of(outcome)
        if prepared.was_suspect:
            self.state.seen.record_repeat(details.id, prepared.key)
        elif not confirms(sent_by_request(prepared.request, None), details):
            prepared.was_suspect = True
            problem = f"the response is about {details.id!r}, and may be that to another call"
            return contradiction_failure(
                prepared, cast("Response", response), self.state.redactor, problem
            )
        return outcome


class _RetryLoop(Generic[T]):
    """Retries one call after its first failure: tenacity's strategies, and the final error."""

    def __init__(self, retry: Retry, prepared: PreparedRequest[T], first: Failure) -> None:
        self._retry = retry
        self._state = retry.state
        self._config = retry.config
        self._prepared = prepared
        self._first: Failure | None = first
        self._has_reconnected = False
        self._spent = 0
        self._waited = 0.0
        self._is_exhausted = False

    async def run(self) -> T:
        # Imported here to keep the import of the package fast.
        import tenacity  # noqa: PLC0415

        controller = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(self._should_retry),
            wait=self._wait,
            stop=self._stop,
            sleep=self._state.sleep,
            before_sleep=self._report,
            retry_error_callback=_outcome_of,
        )
        try:
            outcome: T | Failure = await controller(self._attempt)
        except asyncio.CancelledError:
            self._state.budget.deposit(self._spent)  # not the API's fault
            raise
        finally:
            controller.iter_state.reset()  # its list of actions is a reference cycle
        if not self._should_retry(outcome):  # the API has answered, if only with an error
            self._state.budget.deposit(self._spent)
        if not isinstance(outcome, Failure):
            return outcome
        if self._prepared.outcome_unknown and outcome.write_status is not WriteStatus.UNKNOWN:
            reconciled = await self._reconcile(outcome.error)
            if reconciled is not None:
                return reconciled
        # A contract error says more than "retries exhausted".
        is_exhausted = self._is_exhausted and not (outcome.lost or outcome.contradicts)
        try:
            raise build_error(self._prepared, outcome.error, is_exhausted=is_exhausted)
        finally:
            del outcome  # avoids a reference cycle of the error and this frame

    async def _attempt(self) -> T | Failure:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._retry.attempt(self._prepared)

    def _should_retry(self, outcome: T | Failure) -> bool:
        return isinstance(outcome, Failure) and should_retry(self._prepared, outcome, self._config)

    def _wait(self, state: RetryCallState) -> float:
        failure = _failure_of(state)
        delay = retry_delay(
            failure,
            state.attempt_number - 1,
            self._config,
            has_reconnected=self._has_reconnected,
        )
        self._has_reconnected |= failure.disconnected and not failure.contradicts
        return delay

    def _stop(self, state: RetryCallState) -> bool:
        failure = _failure_of(state)
        error = failure.error
        if state.attempt_number > self._limit:
            self._is_exhausted = self._config.max_retries > 0
            return True
        if is_retry_after_too_long(failure, self._config):
            error.add_note(RETRY_AFTER_TOO_LONG)
            return True
        expires_at = self._prepared.expires_at
        now = self._state.clock.monotonic()
        if expires_at is not None and now + state.upcoming_sleep >= expires_at:
            error.add_note(DEADLINE_TOO_EARLY)
            return True
        cost = retry_cost(failure)
        if not self._state.budget.withdraw(cost):
            error.retry_budget_exhausted = True
            error.add_note(BUDGET_EXHAUSTED)
            return True
        self._spent += cost
        return False

    @property
    def _limit(self) -> int:
        """Maximum number of retries. To confirm a suspect response is not one of `max_retries`."""
        return self._config.max_retries + self._prepared.was_suspect

    def _report(self, state: RetryCallState) -> None:
        failure, prepared = _failure_of(state), self._prepared
        report_retry(
            RetryEvent(
                operation=prepared.operation.name,
                method=prepared.operation.method,
                path=prepared.path,
                number=state.attempt_number,
                max_retries=self._limit,
                reason=retry_reason(failure.error),
                error=describe(failure.error),
                wait_for=state.upcoming_sleep,
                waited_so_far=self._waited,
                idempotency_key=prepared.key,
                items=prepared.items,
            ),
            self._config.on_retry,
        )
        self._waited += state.upcoming_sleep

    async def _reconcile(self, error: PrefactorHttpError) -> T | None:
        """Find out whether an earlier attempt caused this error; see `reconciliation`.

        Returns:
            The result of the call if an earlier attempt was applied, otherwise None.
        """
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
    assert isinstance(failure, Failure)  # noqa: S101 # only failures are retried
    return failure


def _outcome_of(state: RetryCallState) -> Any:
    assert state.outcome is not None  # noqa: S101 # tenacity calls this after an attempt
    return state.outcome.result()
