"""The token is in no message, and no decision depends on redacted text."""

import logging
import pickle

import pytest
from raw_server import reply

from prefactor_http import HttpClientConfig, PrefactorHttpClient, PrefactorHttpError
from prefactor_http._http.redaction import Redactor

TOKEN = "canary-7f3a9"


def client_of(raw_server, token=TOKEN, **options):
    options = {"initial_retry_delay": 0.001, **options}
    return PrefactorHttpClient(HttpClientConfig(raw_server.url, token, **options))


def error_body(code="forbidden", message="no", **more):
    return {"status": "error", "code": code, "message": message, **more}


RESPONSES = {
    "message": reply(403, error_body(message=f"token {TOKEN} may not")),
    "code": reply(403, error_body(code=f"no_{TOKEN}")),
    "errors": reply(422, error_body(errors={TOKEN: [TOKEN, {TOKEN: TOKEN}]})),
    "escaped": reply(403, rb'{"status":"error","code":"x","message":"\u0063anary-7f3a9"}'),
    "truncated escape": reply(403, rb'{"message":"\u0063anary-7f3a9'),
    "page": reply(502, f"<html>{' ' * 195}{TOKEN}".encode()),
    "long page": reply(502, (f"<html>{' ' * 795}{TOKEN} " * 3).encode()),
    "success": reply(200, f"Bearer {TOKEN}".encode()),
    "wrong shape": reply(200, {"status": "success", "details": TOKEN}),
    "wrong id": reply(200, {"status": "success", "details": {"id": TOKEN}}),
    "request id": reply(500, b"{}", X_Request_Id=TOKEN),
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES.keys())
async def test_the_token_is_in_no_error_and_no_log(raw_server, caplog, response):
    caplog.set_level(logging.DEBUG)
    raw_server.script(*[response] * 4)
    async with client_of(raw_server, max_retries=3) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await client.agent_instances.start("i-1")
    error = caught.value
    shown = [str(error), repr(error), repr(vars(error)), *error.__notes__, caplog.text]
    assert all(TOKEN not in text for text in shown)
    assert TOKEN.encode() not in pickle.dumps(error)


@pytest.mark.parametrize("token", ["token", "t", "status", "progress", "in_progress", "1", "error"])
async def test_a_token_inside_a_code_changes_neither_the_code_nor_a_decision(raw_server, token):
    raw_server.script(*[reply(409, error_body(code="idempotency_in_progress"))] * 2)
    async with client_of(raw_server, token, max_retries=1) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await client.agent_instances.start("i-1")
    assert caught.value.last_error.code == "idempotency_in_progress"
    assert caught.value.attempts == 2


async def test_a_short_token_is_not_redacted(raw_server):
    raw_server.script(reply(403, error_body(message="a token is missing")))
    async with client_of(raw_server, "token") as client:
        with pytest.raises(PrefactorHttpError, match="a token is missing"):
            await client.agent_instances.start("i-1")


async def test_text_of_the_api_is_truncated_to_a_thousand_characters(raw_server):
    problems = {"field": ["e" * 5000], "f" * 5000: {"deep": {"deeper": {"x": {"y": {"z": 1}}}}}}
    body = error_body(code="c" * 5000, message="m" * 10_000_000, errors=problems)
    raw_server.script(reply(422, body, X_Request_Id="r" * 5000))
    async with client_of(raw_server) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await client.agent_instances.start("i-1")
    error = caught.value
    assert error.message == "m" * 1000 + "…"
    assert len(error.code) == len(error.request_id) == 1001
    assert len(error.errors["field"][0]) == 1001
    assert len(str(error)) < 2100
    assert len(pickle.dumps(error)) < 10_000


def test_the_longer_of_two_secrets_is_replaced_first():
    redactor = Redactor("secret-1", "secret-12", "short")
    redactor.add("secret-1")
    assert redactor.text("secret-12 secret-1 short") == "[token] [token] short"
    assert "secret" not in repr(redactor).replace("secrets", "")
    assert redactor.json([{"secret-1": ("secret-1", 1, None)}]) == [
        {"[token]": ("secret-1", 1, None)}
    ]


QUOTED = "it's/a-canary"
LIMIT = 64 * 1024  # bytes of a body that a snippet is made from


@pytest.mark.parametrize(
    "body",
    [
        rb'{"message":"it\u0027s\/a-canary',
        rb"<html>it's\/a-canary",
        rb"<html>it\'s/a-canary",
        rb"<html>it\\'s\\/a\x2dcanary",
        rb"<html>it\\\\u0027s/a-canary",
    ],
)
async def test_a_token_that_is_escaped_in_an_undecoded_body_is_redacted(raw_server, body):
    raw_server.script(reply(500, body))
    async with client_of(raw_server, QUOTED, max_retries=0) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await client.agent_instances.start("i-1")
    assert caught.value.body_snippet.endswith("[token]")


async def test_a_token_that_a_message_quotes_with_escapes_is_redacted(raw_server):
    # Python's repr writes text with both kinds of quotes with a backslash.
    details = {"id": f'"{QUOTED}"'}
    raw_server.script(*[reply(200, {"status": "success", "details": details})] * 2)
    async with client_of(raw_server, QUOTED, max_retries=0) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await client.accounts.get("i-1")
    assert "canary" not in str(caught.value)
    assert "[token]" in str(caught.value)
    assert "canary" not in Redactor(QUOTED).text(repr(f'"{QUOTED}"'))


@pytest.mark.parametrize("kept", range(1, len(TOKEN)))
@pytest.mark.parametrize("is_escaped", [False, True])
async def test_the_end_of_a_long_body_leaves_no_part_of_a_token(raw_server, kept, is_escaped):
    characters = [f"\\u{ord(c):04x}" if is_escaped else c for c in TOKEN]
    beginning = "".join(characters[:kept])
    # Spaces are collapsed, so the end of what is read is in the snippet.
    page = f"<html>{' ' * (LIMIT - 6 - len(beginning))}{''.join(characters)} and more"
    raw_server.script(reply(500, page.encode()))
    async with client_of(raw_server, max_retries=0) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await client.agent_instances.start("i-1")
    assert caught.value.body_snippet == "<html>"


async def test_a_long_body_has_a_snippet_also_without_a_token_to_redact(raw_server):
    raw_server.script(reply(500, b"x" * LIMIT * 2))
    async with client_of(raw_server, "t", max_retries=0) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await client.agent_instances.start("i-1")
    assert caught.value.body_snippet == "x" * 200 + "…"
