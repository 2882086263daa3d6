"""API tokens: their life, and their secret, which the API returns once and nothing else shows."""

import copy
import logging
import pickle
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from raw_server import reply
from rich.pretty import pretty_repr

from prefactor_http import (
    HttpClientConfig,
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorClientError,
    PrefactorConflictError,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorNotFoundError,
)
from prefactor_http.models import ApiTokenForCreate

SECRET = "canary-secret-5d2f"
CREATED = {"status": "success", "details": {"id": "t-1", "status": "active"}, "token": SECRET}
ACCOUNT_TOKEN = ApiTokenForCreate(token_scope="account")


async def is_accepted(api, secret):
    async with PrefactorHttpClient(HttpClientConfig(api.url, secret)) as client:
        try:
            await client.validate_token()
        except PrefactorAuthError:
            return False
    return True


async def test_a_token_from_its_creation_to_its_deletion(api, client):
    created = await client.api_tokens.create(ACCOUNT_TOKEN)
    token_id = created.details.id
    assert (created.details.status, created.details.last_used_at) == ("active", None)
    assert await is_accepted(api, created.token)
    with pytest.raises(PrefactorConflictError):
        await client.api_tokens.delete(token_id)
    with pytest.raises(PrefactorConflictError):
        await client.api_tokens.activate(token_id)

    assert (await client.api_tokens.suspend(token_id)).status == "suspended"
    assert not await is_accepted(api, created.token)
    with pytest.raises(PrefactorConflictError):
        await client.api_tokens.suspend(token_id)

    activated = await client.api_tokens.activate(token_id)
    assert activated.status == "active"
    assert activated.last_used_at is not None
    assert await is_accepted(api, created.token)

    assert (await client.api_tokens.revoke(token_id)).status == "revoked"
    assert not await is_accepted(api, created.token)
    for call in (client.api_tokens.revoke, client.api_tokens.activate, client.api_tokens.suspend):
        with pytest.raises(PrefactorConflictError):
            await call(token_id)

    await client.api_tokens.delete(token_id)
    assert not await is_accepted(api, created.token)
    with pytest.raises(PrefactorNotFoundError):
        await client.api_tokens.suspend(token_id)


async def test_an_expired_token_is_not_accepted(api, client):
    now = datetime.now(UTC)
    for days, accepted in ((1, True), (-1, False)):
        created = await client.api_tokens.create(
            ApiTokenForCreate(token_scope="account", expires_at=now + timedelta(days=days))
        )
        assert created.details.expires_at == now + timedelta(days=days)
        assert await is_accepted(api, created.token) == accepted


async def test_a_deployment_token_covers_its_agent_and_environment(api, client):
    created = await client.api_tokens.create(
        ApiTokenForCreate(
            token_scope="agent_deployment",
            agent_id=api.agent_id,
            environment_id=api.environment_id,
        )
    )
    async with PrefactorHttpClient(HttpClientConfig(api.url, created.token)) as worker:
        instance = await worker.agent_instances.register(
            agent_version={}, agent_schema_version={"span_type_schemas": []}
        )
        assert instance.agent_deployment_id == api.deployment_id
        with pytest.raises(PrefactorAuthError):
            await worker.api_tokens.create(ACCOUNT_TOKEN)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"token_scope": "all"}, "'all' is none of 'account', 'agent_deployment', 'environment'"),
        ({"token_scope": "account", "agent_id": " "}, "agent_id: must not be blank"),
        ({"token_scope": "account", "account_id": 7}, "account_id: Expected `str | null`"),
        (
            {"token_scope": "account", "expires_at": datetime(2030, 1, 1)},  # noqa: DTZ001
            "expires_at: Expected `datetime` with a timezone component",
        ),
    ],
)
def test_fields_that_cannot_be_right_are_refused(fields, message):
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        ApiTokenForCreate(**fields)


async def test_the_secret_is_shown_by_nothing_but_its_attribute(raw_server, raw_client, caplog):
    caplog.set_level(logging.DEBUG)
    raw_server.script(reply(body=CREATED))
    created = await raw_client.api_tokens.create(ACCOUNT_TOKEN)
    assert created.token == SECRET
    shown = [
        repr(created),
        str(created),
        f"{created}",
        repr([created]),
        pretty_repr(created),
        repr(created.details),
        repr(raw_client),
        repr(vars(raw_client)),
        caplog.text,
    ]
    assert "attempt 1: 200" in caplog.text
    assert all(SECRET not in text for text in shown)
    assert copy.copy(created) == pickle.loads(pickle.dumps(created)) == created


async def test_later_errors_and_logs_do_not_show_the_secret(raw_server, raw_client, caplog):
    caplog.set_level(logging.DEBUG)
    raw_server.script(reply(body=CREATED))
    await raw_client.with_options(max_retries=1).api_tokens.create(ACCOUNT_TOKEN)
    refusal = {"status": "error", "code": "forbidden", "message": f"{SECRET} may not"}
    raw_server.script(reply(403, {**refusal, "errors": {SECRET: [SECRET]}}, X_Request_Id=SECRET))
    with pytest.raises(PrefactorApiError) as caught:
        await raw_client.agents.get("a-1")
    assert caught.value.message == "[token] may not"
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(
        vars(caught.value)
    )
    assert SECRET not in caplog.text


TEXT = b'{"status":"success","token":"canary-secret-5d2f","details":'
BROKEN = {
    "truncated": reply(200, TEXT),
    "no id": reply(200, TEXT + b"{}}"),
    "no details": reply(200, {"status": "success", "token": SECRET}),
    "not JSON": reply(200, f"<html>{SECRET}".encode()),
    "an array": reply(200, [SECRET]),
    "a proxy's page": reply(502, f"<html>{SECRET}".encode()),
    "a redirect": reply(302, f"<html>{SECRET}".encode()),
    "a lost connection": b"",
}


@pytest.mark.parametrize("response", BROKEN.values(), ids=BROKEN.keys())
async def test_an_error_of_the_creation_does_not_show_the_secret(
    raw_server, raw_client, caplog, response
):
    caplog.set_level(logging.DEBUG)
    raw_server.script(response)
    with pytest.raises(PrefactorHttpError) as caught:
        await raw_client.api_tokens.create(ACCOUNT_TOKEN)
    error = caught.value
    assert error.outcome_unknown
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown = ["".join(told.format()), repr(error), repr(vars(error)), caplog.text]
    # The frame of this test holds the scripted response; what the client shows follows it.
    frames = [frame for frame in told.stack if "prefactor_http" in frame.filename]
    shown[0] = repr([(frame.line, frame.locals) for frame in frames]) + str(error)
    assert all(SECRET not in text for text in shown)
    assert SECRET.encode() not in pickle.dumps(error)
    assert len(raw_server.requests) == 1


async def test_a_closed_client_creates_no_token(raw_server, raw_client):
    await raw_client.close()
    with pytest.raises(PrefactorClientError):
        await raw_client.api_tokens.create(ACCOUNT_TOKEN)
    assert raw_server.requests == []


async def test_the_local_api_does_not_show_the_secret(api, client):
    created = await client.api_tokens.create(ACCOUNT_TOKEN)
    assert await is_accepted(api, created.token)
    assert created.token not in repr(api.requests) + repr(
        api._state.tokens.bearer(f"Bearer {created.token}")
    )
