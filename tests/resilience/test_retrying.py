"""Retries: what is retried, by kind of fault, and after which delay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import aiohttp
import pytest

from prefactor_http import (
    PrefactorApiError,
    PrefactorConflictError,
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorNotFoundError,
    PrefactorRateLimitError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
    PrefactorValidationError,
)
from prefactor_http.testing import Fault, FaultKind

RETRIED = [
    FaultKind.RESET_BEFORE_READING,
    FaultKind.APPLIED_THEN_RESET,
    FaultKind.CUT_IN_BODY,
    FaultKind.STALLED_BEFORE_REPLY,
    FaultKind.STALLED_IN_BODY,
    FaultKind.RATE_LIMITED,
    FaultKind.INTERNAL_ERROR,
    FaultKind.BAD_GATEWAY,
    FaultKind.TRUNCATED_ERROR,
    FaultKind.UNAVAILABLE,
    FaultKind.GATEWAY_TIMEOUT,
    FaultKind.APPLIED_THEN_500,
    FaultKind.APPLIED_THEN_503,
    FaultKind.GARBAGE_STATUS_LINE,
    FaultKind.IN_PROGRESS,
]
# These faults prove that the write was not applied; after the others it is unknown.
REFUSED = {FaultKind.RATE_LIMITED}


def keys_of(api):
    return {request.idempotency_key for request in api.requests if request.method == "POST"}


@pytest.mark.parametrize("kind", RETRIED)
async def test_a_fault_is_retried_with_the_same_bytes_and_applied_once(
    api, client_for, register, kind
):
    api.fail_next(Fault(kind))
    client = await client_for(api, request_timeout=0.5)
    instance = await register(client)
    assert list(api.instances) == [instance.id]
    assert api.doubled == []
    assert api.lost == []
    bodies = {request.body for request in api.requests if request.body}
    assert len(bodies) == 1
    assert len(keys_of(api) - {None}) == 1
    assert len(api.requests) == 2


@pytest.mark.parametrize("kind", RETRIED)
async def test_an_exhausted_call_reports_whether_the_outcome_is_known(
    api, client_for, register, kind
):
    api.fail_next(Fault(kind), Fault(kind))
    client = await client_for(api, request_timeout=0.3, max_retries=1)
    with pytest.raises(PrefactorRetryExhaustedError) as caught:
        await register(client)
    error = caught.value
    assert error.attempts == 2
    assert error.outcome_unknown is (kind not in REFUSED)
    assert error.method == "POST"
    assert error.path == "/api/v1/agent_instance/register"
    assert error.idempotency_key in keys_of(api) | {error.idempotency_key}
    assert isinstance(error.last_error, PrefactorHttpError)
    assert error.last_error.outcome_unknown is error.outcome_unknown
    assert error.__cause__ is error.last_error


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.RESET_BEFORE_READING, PrefactorConnectionError),
        (FaultKind.CUT_IN_BODY, PrefactorConnectionError),
        (FaultKind.GARBAGE_STATUS_LINE, PrefactorConnectionError),
        (FaultKind.STALLED_BEFORE_REPLY, PrefactorTimeoutError),
        (FaultKind.STALLED_IN_BODY, PrefactorTimeoutError),
        (FaultKind.RATE_LIMITED, PrefactorRateLimitError),
        (FaultKind.BAD_GATEWAY, PrefactorApiError),
        (FaultKind.IN_PROGRESS, PrefactorConflictError),
    ],
)
async def test_without_retries_the_original_error_is_raised(api, client_for, register, kind, error):
    api.fail_next(Fault(kind))
    client = await client_for(api, request_timeout=0.3, max_retries=0)
    with pytest.raises(error) as caught:
        await register(client)
    assert caught.value.attempts == 1
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(FaultKind.JSON_ARRAY), PrefactorResponseContractError),
        (Fault(FaultKind.MISSING_DETAILS), PrefactorResponseContractError),
        (Fault(FaultKind.REDIRECTED), PrefactorApiError),
        (Fault(FaultKind.REDIRECTED, status=302), PrefactorApiError),
        (Fault(FaultKind.TOO_LARGE), PrefactorApiError),
        (Fault(FaultKind.INTERNAL_ERROR, status=501), PrefactorApiError),
    ],
)
async def test_permanent_errors_are_not_retried(api, client_for, register, fault, error):
    api.fail_next(fault)
    client = await client_for(api)
    with pytest.raises(error):
        await register(client)
    assert len(api.requests) == 1


async def test_a_response_without_details_names_the_field_and_has_an_unknown_outcome(
    api, client_for, register
):
    api.fail_next(Fault(FaultKind.MISSING_DETAILS))
    client = await client_for(api)
    with pytest.raises(PrefactorResponseContractError, match="details") as caught:
        await register(client)
    assert caught.value.outcome_unknown
    assert caught.value.status_code == 200


@pytest.mark.parametrize("kind", [FaultKind.UNKNOWN_FIELDS, FaultKind.UNKNOWN_STATUS])
async def test_fields_and_values_that_the_api_adds_later_are_accepted(
    api, client_for, register, kind
):
    api.fail_next(Fault(kind))
    client = await client_for(api)
    instance = await register(client)
    assert instance.id in api.instances
    assert len(api.requests) == 1


async def test_a_redirect_is_reported_and_not_followed(api, client_for, register):
    api.fail_next(Fault(FaultKind.REDIRECTED))
    client = await client_for(api)
    with pytest.raises(PrefactorApiError, match="redirects are not followed") as caught:
        await register(client)
    assert caught.value.status_code == 307
    assert [request.method for request in api.requests] == ["POST"]


async def test_statuses_missing_from_retry_on_status_codes_are_not_retried(
    api, client_for, register
):
    api.fail_next(Fault(FaultKind.UNAVAILABLE))
    client = await client_for(api, retry_on_status_codes=(500,))
    with pytest.raises(PrefactorApiError) as caught:
        await register(client)
    assert caught.value.status_code == 503
    assert caught.value.outcome_unknown


async def test_a_refused_connection_is_retried_and_the_write_is_not_applied(
    client_for, register, unused_tcp_port, clock, api
):
    client = await client_for(api, clock=clock)
    gone = await client_for(
        SimpleNamespace(url=f"http://127.0.0.1:{unused_tcp_port}", token="t"),
        clock=clock,
        max_retries=2,
    )
    with pytest.raises(PrefactorRetryExhaustedError) as caught:
        await register(gone)
    assert not caught.value.outcome_unknown
    assert isinstance(caught.value.last_error, PrefactorConnectionError)
    assert caught.value.attempts == 3
    assert len(clock.sleeps) == 2
    assert (await register(client)).status == "pending"


async def test_api_errors_are_not_retried(api, client_for, register):
    client = await client_for(api)
    with pytest.raises(PrefactorNotFoundError):
        await client.agent_instances.get("0" * 32)
    with pytest.raises(PrefactorValidationError) as caught:
        await register(client, id="not-a-pfid")
    assert "id" in caught.value.errors
    assert not caught.value.outcome_unknown
    instance = await register(client)
    with pytest.raises(PrefactorConflictError) as conflict:
        await client.agent_instances.finish(instance.id)
    assert conflict.value.code == "invalid_action"
    assert not conflict.value.outcome_unknown
    assert conflict.value.attempts == 1


async def test_the_outcome_stays_unknown_when_a_later_attempt_is_refused(api, client_for, register):
    api.fail_next(
        Fault(FaultKind.APPLIED_THEN_RESET),
        Fault(FaultKind.RATE_LIMITED),
        Fault(FaultKind.TOO_LARGE),
    )
    client = await client_for(api)
    with pytest.raises(PrefactorApiError) as caught:
        await register(client)
    assert caught.value.status_code == 413
    assert caught.value.outcome_unknown
    assert caught.value.attempts == 3


async def test_backoff_is_between_half_and_all_of_a_growing_bound(api, client_for, register, clock):
    client = await client_for(
        api,
        clock=clock,
        initial_retry_delay=1.0,
        retry_multiplier=2.0,
        max_retry_delay=4.0,
        max_retries=6,
    )
    for _ in range(12):
        api.fail_next(*[Fault(FaultKind.INTERNAL_ERROR)] * 6)
        await register(client)
    rounds = [clock.sleeps[start : start + 6] for start in range(0, 72, 6)]
    for bound, waits in zip((1, 2, 4, 4, 4, 4), zip(*rounds, strict=True), strict=True):
        assert all(bound / 2 <= wait <= bound for wait in waits)
        assert max(waits) > 0.75 * bound  # 12 draws below: once in 4096 times six
        assert len(set(waits)) == 12


async def test_the_first_disconnect_is_retried_immediately_and_the_second_after_a_delay(
    api, client_for, register, clock
):
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET), Fault(FaultKind.APPLIED_THEN_RESET))
    client = await client_for(api, clock=clock, initial_retry_delay=1.0, max_retry_delay=4.0)
    await register(client)
    first, second = clock.sleeps
    assert first == 0
    assert second > 0


async def test_retry_after_in_seconds_is_a_lower_bound_of_the_delay(
    api, client_for, register, clock
):
    api.fail_next(Fault(FaultKind.UNAVAILABLE, retry_after=7))
    client = await client_for(api, clock=clock, max_retry_delay=60.0)
    await register(client)
    assert max(clock.sleeps) >= 7
    assert max(clock.sleeps) < 9


async def test_retry_after_as_a_date_is_relative_to_the_date_header(
    api, client_for, register, clock
):
    then = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)  # the server's clock is wrong
    api.fail_next(
        Fault(
            FaultKind.RATE_LIMITED,
            retry_after=then + timedelta(seconds=9),
            headers={"Date": then.strftime("%a, %d %b %Y %H:%M:%S GMT")},
        )
    )
    client = await client_for(api, clock=clock, max_retry_delay=60.0)
    await register(client)
    assert 9 <= max(clock.sleeps) < 11


@pytest.mark.parametrize("value", ["nan", "-5", "1e99", "soon", "inf", "Wed, 99 Foo 2026"])
async def test_an_invalid_retry_after_is_ignored(api, client_for, register, clock, value):
    api.fail_next(Fault(FaultKind.UNAVAILABLE, retry_after=value))
    client = await client_for(api, clock=clock)
    await register(client)
    assert max(clock.sleeps) < 1


async def test_a_retry_after_beyond_max_retry_delay_raises_immediately(
    api, client_for, register, clock
):
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=3600))
    client = await client_for(api, clock=clock, max_retry_delay=60.0)
    with pytest.raises(PrefactorRateLimitError) as caught:
        await register(client)
    assert caught.value.retry_after == 3600
    assert clock.sleeps == []


async def test_an_untrusted_certificate_is_not_retried(
    client_for, register, untrusted_tls_server, clock
):
    client = await client_for(untrusted_tls_server, clock=clock)
    with pytest.raises(PrefactorConnectionError, match="certificate") as caught:
        await register(client)
    assert caught.value.certificate_error
    assert caught.value.attempts == 1
    assert clock.sleeps == []


async def test_a_borrowed_session_is_used_and_stays_open(api, client_for, register):
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        client = await client_for(api, session=session)
        api.fail_next(Fault(FaultKind.INTERNAL_ERROR))
        assert (await register(client)).status == "pending"
        await client.close()
        assert not session.closed
    assert all(r.headers["User-Agent"].startswith("prefactor-http/1") for r in api.requests)


async def test_a_borrowed_session_closed_by_its_owner_is_reported(api, client_for, register):
    session = aiohttp.ClientSession()
    client = await client_for(api, session=session)
    await session.close()
    with pytest.raises(PrefactorHttpError, match=r"[Ss]ession is closed") as caught:
        await register(client)
    assert not caught.value.outcome_unknown


async def test_a_put_without_a_connection_was_not_sent(client_for, unused_tcp_port, clock):
    nobody = SimpleNamespace(url=f"http://127.0.0.1:{unused_tcp_port}", token="t")
    client = await client_for(nobody, clock=clock, max_retries=1)
    with pytest.raises(PrefactorRetryExhaustedError) as caught:
        await client.agents.delete("a-1")
    assert not caught.value.outcome_unknown
