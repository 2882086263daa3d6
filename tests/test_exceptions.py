"""Exceptions: their tree, their attributes, and which are transient or permanent."""

import asyncio
import copy
import pickle

import aiohttp
import pytest

from prefactor_http import exceptions as e

API_ERRORS = [
    e.PrefactorApiError,
    e.PrefactorAuthError,
    e.PrefactorNotFoundError,
    e.PrefactorConflictError,
    e.PrefactorValidationError,
    e.PrefactorRateLimitError,
]
PLAIN_ERRORS = [
    e.PrefactorHttpError,
    e.PrefactorClientError,
    e.PrefactorConnectionError,
    e.PrefactorTimeoutError,
]
CALL = {
    "method": "POST",
    "path": "/api/v1/agent_instance/register",
    "attempts": 3,
    "idempotency_key": "key-1",
    "outcome_unknown": True,
    "retry_budget_exhausted": True,
}


def api(status, code="some_code", of=e.PrefactorApiError):
    return of("message", code, status)


def exhausted(last):
    return e.PrefactorRetryExhaustedError("message", last)


def breach(status):
    return e.PrefactorResponseContractError("message", status_code=status)


def without_certificate():
    error = e.PrefactorConnectionError("message")
    error.certificate_error = True
    return error


def unknown(error):
    error.outcome_unknown = True
    return error


def lost():
    error = breach(200)
    error.retryable = True
    return error


def with_all_attributes(error, **more):
    for name, value in {**CALL, **more}.items():
        setattr(error, name, value)
    error.add_note("a note")
    return error


def every_error():
    for cls in PLAIN_ERRORS:
        yield with_all_attributes(cls("message"))
    for cls in API_ERRORS:
        error = cls("message", "code", 422, {"name": ["is blank"]})
        yield with_all_attributes(error, retry_after=1.5, request_id="r-1", body_snippet="<html>")
    yield with_all_attributes(without_certificate())
    yield with_all_attributes(
        e.PrefactorResponseContractError(
            "message", status_code=200, body_snippet="<html>", cause=ValueError("broken")
        )
    )
    yield with_all_attributes(exhausted(api(503)))


def state(error):
    """Return all attributes of an error, including those of nested errors."""
    return {
        name: (type(value), value.args, state(value)) if isinstance(value, Exception) else value
        for name, value in vars(error).items()
    }


def test_all_errors_have_one_base_class():
    errors = {cls for cls in vars(e).values() if isinstance(cls, type) and "Prefactor" in str(cls)}
    assert errors == {type(error) for error in every_error()}
    assert all(issubclass(error, e.PrefactorHttpError) for error in errors)


@pytest.mark.parametrize("cls", API_ERRORS[1:])
def test_errors_of_the_api_are_api_errors(cls):
    assert cls.__bases__ == (e.PrefactorApiError,)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (e.PrefactorConnectionError, ConnectionError),
        (e.PrefactorTimeoutError, TimeoutError),
        (e.PrefactorTimeoutError, asyncio.TimeoutError),
    ],
)
def test_builtin_exceptions_catch_connection_and_timeout_errors(cls, builtin):
    with pytest.raises(builtin):
        raise cls("message")


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "renew",
    [copy.copy, copy.deepcopy]
    + [lambda error, p=p: pickle.loads(pickle.dumps(error, p)) for p in range(6)],
    ids=["copy", "deepcopy", *(f"pickle {p}" for p in range(6))],
)
def test_an_error_can_be_pickled_and_copied(error, renew):
    renewed = renew(error)
    assert type(renewed) is type(error)
    assert renewed.args == error.args
    assert str(renewed) == str(error)
    assert state(renewed) == state(error)
    assert renewed.__notes__ == ["a note"]


@pytest.mark.parametrize("cls", PLAIN_ERRORS)
def test_an_error_without_a_call_has_default_attributes(cls):
    error = cls("message")
    assert str(error) == "message"
    assert {name: getattr(error, name) for name in CALL} == {
        "method": None,
        "path": None,
        "attempts": 0,
        "idempotency_key": None,
        "outcome_unknown": False,
        "retry_budget_exhausted": False,
    }


def test_the_constructors_of_0_4_3_still_work():
    error = e.PrefactorApiError("message", "code", 418)
    assert (error.message, error.code, error.status_code, error.errors) == (
        "message",
        "code",
        418,
        {},
    )
    error = e.PrefactorApiError(message="message", code="code", status_code=418)
    assert error.args == ("message",)
    error = e.PrefactorValidationError("message", "code", 422, {"name": ["is blank"]})
    assert error.errors == {"name": ["is blank"]}
    error = e.PrefactorValidationError(message="m", code="c", status_code=400, errors={})
    assert (error.errors, error.status_code) == ({}, 400)
    assert e.PrefactorRetryExhaustedError("message").last_error is None
    last = ValueError("last")
    assert e.PrefactorRetryExhaustedError("message", last).last_error is last
    assert e.PrefactorRetryExhaustedError("message", last_error=last).last_error is last
    error = e.PrefactorResponseContractError(
        "message", status_code=200, body_snippet="<html>", cause=last
    )
    assert (error.status_code, error.body_snippet, error.cause) == (200, "<html>", last)
    bare = e.PrefactorResponseContractError("message")
    assert (bare.status_code, bare.body_snippet, bare.cause) == (None, None, None)


def test_two_errors_do_not_share_their_errors_dict():
    one, other = api(422), api(422)
    one.errors["name"] = ["is blank"]
    assert other.errors == {}


TRANSIENT, PERMANENT, NEITHER = (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        *((api(status), TRANSIENT) for status in e.TRANSIENT_STATUSES),
        *((api(status), NEITHER) for status in (501, 505, 525, 599)),
        *((unknown(api(status)), NEITHER) for status in (302, 409, 422, 501)),
        (unknown(breach(200)), NEITHER),
        (lost(), TRANSIENT),
        *((api(status), PERMANENT) for status in (301, 400, 401, 403, 404, 409, 413, 422)),
        (api(409, "idempotency_in_progress", e.PrefactorConflictError), TRANSIENT),
        (api(409, "invalid_action", e.PrefactorConflictError), PERMANENT),
        (api(429, of=e.PrefactorRateLimitError), TRANSIENT),
        (api(401, of=e.PrefactorAuthError), PERMANENT),
        (e.PrefactorConnectionError("message"), TRANSIENT),
        (without_certificate(), PERMANENT),
        (e.PrefactorTimeoutError("message"), TRANSIENT),
        (breach(200), PERMANENT),
        (breach(None), PERMANENT),
        (breach(502), TRANSIENT),
        (exhausted(api(503)), TRANSIENT),
        (exhausted(api(422)), PERMANENT),
        (exhausted(aiohttp.ServerDisconnectedError()), TRANSIENT),
        (exhausted(exhausted(api(503))), TRANSIENT),
        (exhausted(None), NEITHER),
        (e.PrefactorClientError("message"), NEITHER),
        (e.PrefactorHttpError("message"), NEITHER),
        (aiohttp.ClientError(), TRANSIENT),
        (aiohttp.ClientOSError(), TRANSIENT),
        (aiohttp.ServerDisconnectedError(), TRANSIENT),
        (aiohttp.ServerTimeoutError(), TRANSIENT),
        (aiohttp.ClientPayloadError(), TRANSIENT),
        (TimeoutError(), TRANSIENT),
        (ValueError("message"), NEITHER),
        (OSError(), NEITHER),
    ],
    ids=lambda value: repr(value) if isinstance(value, Exception) else "",
)
def test_an_error_is_transient_permanent_or_neither(error, verdict):
    assert (e.is_transient_http_error(error), e.is_permanent_http_error(error)) == verdict


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            e.PrefactorValidationError(
                "invalid",
                "validation_errors",
                422,
                {"external_identifier": ["has already been taken"]},
            ),
            "422 validation_errors: external_identifier has already been taken",
        ),
        (
            e.PrefactorValidationError("invalid", "v", 422, {"a": ["x", "y"], "b": "z", "c": 1}),
            "422 v: a x, y; b z; c 1",
        ),
        (
            e.PrefactorValidationError("invalid", "v", 422, {"d": {"a": ["x"]}, "l": [{"k": "v"}]}),
            "422 v: d.a x; l k v",
        ),
        (
            e.PrefactorValidationError(
                "invalid", "v", 422, {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}, "b": [[1]]}
            ),
            "422 v: a.a.a.a.a …; b …",
        ),
        (e.PrefactorApiError("not\n now ", "busy", 409), "409 busy: not now"),
        (e.PrefactorApiError("Bad Gateway", "unknown", 502), "502: Bad Gateway"),
        (e.PrefactorApiError("agents/list: odd", "odd", 200), "odd: agents/list: odd"),
        (e.PrefactorApiError("agents/list: odd", "unknown", 200), "agents/list: odd"),
    ],
)
def test_the_text_of_an_api_error_is_enough_to_act_on(error, text):
    assert str(error) == text
    error.request_id = "8f2c"
    assert str(error) == f"{text} (request 8f2c)"
