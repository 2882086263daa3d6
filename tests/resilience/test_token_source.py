"""Tokens that come from a function: they expire and rotate while the client runs."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
import traceback
from collections import Counter

import aiohttp
import pytest
from raw_server import reply
from resilience_support import SCHEMA, VERSION, ManualClock, until

from prefactor_http import (
    HttpClientConfig,
    PrefactorAuthError,
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpClient,
    PrefactorTimeoutError,
)
from prefactor_http.testing import LocalPrefactor

OLD, NEW = "old-canary-1", "new-canary-2"
REFUSED = reply(401, {"status": "error", "code": "bad_authtoken", "message": "no"})
UNAVAILABLE = reply(503, {"status": "error", "code": "service_unavailable", "message": "later"})


class Provider:
    """An async function that returns its tokens in turn, and then the last one again."""

    def __init__(self, *tokens: object) -> None:
        self.tokens = list(tokens)
        self.calls = 0

    async def __call__(self) -> object:
        self.calls += 1
        await asyncio.sleep(0.001)
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        if isinstance(token, BaseException):
            raise token
        return token


class Held:
    """An async function that returns a token when it is released."""

    def __init__(self) -> None:
        self.calls = 0
        self.released = asyncio.Event()
        self.is_cancelled = False

    async def __call__(self) -> str:
        self.calls += 1
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        return OLD


def client_of(server, token, *, session=None, clock=None, **config):
    config = {"initial_retry_delay": 0.001, "max_retry_delay": 0.01, **config}
    settings = HttpClientConfig(server.url, token, **config)
    return PrefactorHttpClient(settings, session=session, clock=clock)


def sent(raw_server):
    return [
        request.headers["authorization"].removeprefix("Bearer ") for request in raw_server.requests
    ]


async def new_token(api, client):
    details = {"token_scope": "account", "account_id": api.account_id}
    return (await client.api_tokens.create(details)).token


def register(client, api):
    return client.agent_instances.register(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
    )


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_token_that_expires_during_200_calls_is_replaced_once(api, client_for, is_async):
    admin = await client_for(api)
    tokens = [api.token, await new_token(api, admin)]
    calls = 0

    def current():
        nonlocal calls
        calls += 1
        time.sleep(0.01)  # other calls are refused meanwhile
        return tokens[calls - 1]

    async def current_async():
        return await asyncio.to_thread(current)

    source = current_async if is_async else current
    async with client_of(api, source, max_connections=40, max_retries=0) as client:
        attempts = Counter()
        observed = client.with_options(on_attempt=lambda a: attempts.update([a.status]))

        async def expire():
            await until(lambda: len(api.instances) >= 50)
            api.set_token_active(tokens[0], active=False)

        expiry = asyncio.create_task(expire())
        instances = await asyncio.gather(*(register(observed, api) for _ in range(200)))
        await expiry
    assert len({instance.id for instance in instances}) == len(api.instances) == 200
    assert api.doubled == api.lost == api.bytes_changed == []
    assert calls == 2
    assert attempts[200] == 200
    assert attempts[401] >= 1


async def test_a_token_that_expires_during_a_batch_is_replaced_once(api, client_for):
    admin = await client_for(api)
    provider = Provider(api.token, await new_token(api, admin))
    async with client_of(api, provider) as client:
        rows = ({"external_identifier": f"row-{number}"} for number in range(500))
        outcomes = []
        async for outcome in client.agent_instances.register_many(
            rows,
            agent_id=api.agent_id,
            environment_id=api.environment_id,
            agent_version=VERSION,
            agent_schema_version=SCHEMA,
            chunk_size=20,
        ):
            outcomes.append(outcome)
            if len(outcomes) == 100:
                api.set_token_active(api.token, active=False)
    assert all(outcome.ok for outcome in outcomes)
    assert len(outcomes) == len(api.instances) == 500
    assert api.doubled == api.lost == []
    assert provider.calls == 2
    assert 401 in [request.status for request in api.requests]


async def test_concurrent_first_calls_and_views_share_one_call_of_the_function(raw_server):
    provider = Provider(OLD)
    async with client_of(raw_server, provider) as client:
        view = client.with_options(max_retries=0)
        await asyncio.gather(*(each.validate_token() for each in (client, view) * 10))
    assert provider.calls == 1
    assert set(sent(raw_server)) == {OLD}


async def test_a_refused_write_is_repeated_with_the_same_key_and_bytes(raw_server):
    raw_server.script(REFUSED)
    async with client_of(raw_server, Provider(OLD, NEW), max_retries=0) as client:
        await client.request("POST", "/api/v1/x", json_data={"a": 1}, idempotency_key="key-1")
    first, second = raw_server.requests
    assert sent(raw_server) == [OLD, NEW]
    assert first.body == second.body
    same = [{**request.headers, "authorization": ""} for request in raw_server.requests]
    assert same[0] == same[1]
    assert same[0]["idempotency-key"] == "key-1"


async def test_an_unchanged_token_raises_the_401(raw_server):
    raw_server.script(REFUSED)
    provider = Provider(OLD)
    async with client_of(raw_server, provider) as client:
        with pytest.raises(PrefactorAuthError) as caught:
            await client.validate_token()
    assert caught.value.attempts == len(raw_server.requests) == 1
    assert provider.calls == 2


async def test_a_new_token_that_is_refused_too_raises_the_401(raw_server):
    raw_server.script(REFUSED, REFUSED)
    provider = Provider(OLD, NEW, "third-canary")
    async with client_of(raw_server, provider) as client:
        with pytest.raises(PrefactorAuthError) as caught:
            await client.validate_token()
    assert caught.value.attempts == 2
    assert provider.calls == 2


async def test_each_retry_may_replace_the_token_again(raw_server):
    raw_server.script(REFUSED, UNAVAILABLE, REFUSED)
    async with client_of(raw_server, Provider("t-1", "t-2", "t-3"), max_retries=1) as client:
        await client.validate_token()
    assert sent(raw_server) == ["t-1", "t-2", "t-2", "t-3"]


async def test_a_token_that_was_replaced_meanwhile_is_not_asked_for_again(raw_server):
    provider = Provider(OLD, NEW)
    is_second_sent = asyncio.Event()

    async def answer(request):
        if NEW.encode() in request.raw:
            return reply()
        if len(raw_server.requests) == 1:  # answered after the other call got the new token
            await is_second_sent.wait()
        return REFUSED

    raw_server.answer = answer
    async with client_of(raw_server, provider) as client:
        slow = asyncio.create_task(client.validate_token())
        await until(lambda: raw_server.requests)
        await client.validate_token()
        is_second_sent.set()
        await slow
    assert sent(raw_server) == [OLD, OLD, NEW, NEW]
    assert provider.calls == 2


async def test_without_a_function_a_401_is_raised_at_once(raw_server):
    raw_server.script(REFUSED)
    async with client_of(raw_server, OLD) as client:
        with pytest.raises(PrefactorAuthError):
            await client.validate_token()
    assert len(raw_server.requests) == 1


def plain():
    return OLD


async def coroutine_function():
    return OLD


def returns_an_awaitable():
    return coroutine_function()


@pytest.mark.parametrize(
    "function",
    [plain, coroutine_function, returns_an_awaitable, functools.partial(coroutine_function)],
)
async def test_the_function_can_be_plain_or_async(raw_server, function):
    async with client_of(raw_server, function) as client:
        await client.validate_token()
    assert sent(raw_server) == [OLD]


async def test_a_plain_function_runs_in_a_thread(raw_server):
    threads = []

    def current():
        threads.append(threading.current_thread())
        return OLD

    async with client_of(raw_server, current) as client:
        await client.validate_token()
    assert threads != [threading.current_thread()]


@pytest.mark.parametrize(
    "session_options",
    [None, {}, {"trust_env": True}],
    ids=["own session", "borrowed session", "trust_env"],
)
async def test_every_kind_of_session_sends_the_new_token(raw_server, session_options):
    raw_server.script(REFUSED)
    provider = Provider(OLD, NEW)
    if session_options is None or session_options:
        async with client_of(raw_server, provider, **(session_options or {})) as client:
            await client.validate_token()
    else:
        async with (
            aiohttp.ClientSession() as session,
            client_of(raw_server, provider, session=session) as client,
        ):
            await client.validate_token()
    assert sent(raw_server) == [OLD, NEW]


async def test_a_client_without_calls_does_not_call_the_function(raw_server):
    provider = Provider(OLD)
    async with client_of(raw_server, provider):
        pass
    assert provider.calls == 0


# Errors of the function


async def test_a_function_that_raises_fails_the_calls_and_nothing_is_sent(raw_server):
    problem = LookupError("the vault is sealed")
    async with client_of(raw_server, Provider(problem, OLD)) as client:
        results = await asyncio.gather(
            *(client.agent_instances.start("i-1") for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in results] == [PrefactorClientError] * 3
        assert len({id(error) for error in results}) == 3
        for error in results:
            assert str(error) == "api_token raised LookupError: the vault is sealed"
            assert error.__cause__ is problem
            assert (error.attempts, error.outcome_unknown) == (0, False)
            assert error.idempotency_key
        assert raw_server.requests == []
        await client.validate_token()  # the function is called again
    assert sent(raw_server) == [OLD]


async def test_a_function_that_raises_after_a_401_fails_the_call(raw_server):
    raw_server.script(REFUSED)
    async with client_of(raw_server, Provider(OLD, LookupError(f"no {OLD}"))) as client:
        with pytest.raises(PrefactorClientError, match=r"LookupError: no \[token\]") as caught:
            await client.agent_instances.start("i-1")
    assert caught.value.attempts == 1
    assert not caught.value.outcome_unknown
    assert any("401 bad_authtoken" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "api_token must return a str, not NoneType"),
        (b"bytes-canary", "api_token must return a str, not bytes"),
        ("", "api_token returned a blank token"),
        (" \n", "api_token returned a blank token"),
        ("two canary words", "must be printable ASCII without spaces, quotes or backslashes"),
        ("from-a-file-canary\n", r"remove the whitespace with \.strip\(\)"),
        ("a\r\nX-Injected: canary", "must be printable ASCII"),
    ],
)
async def test_an_invalid_token_is_a_clear_error_that_does_not_show_it(
    raw_server, returned, message
):
    async with client_of(raw_server, Provider(returned)) as client:
        with pytest.raises(PrefactorClientError, match=message) as caught:
            await client.validate_token()
    assert raw_server.requests == []
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if frame.f_globals["__name__"].startswith("prefactor_http"):
            assert "canary" not in repr(frame.f_locals)


async def test_an_exhausted_iterator_as_function_is_an_error(raw_server):
    async with client_of(raw_server, iter(()).__next__) as client:
        with pytest.raises(PrefactorClientError, match="api_token raised RuntimeError: StopIter"):
            await client.validate_token()


async def test_a_function_that_cancels_itself_is_an_error(raw_server):
    async with client_of(raw_server, Provider(asyncio.CancelledError())) as client:
        with pytest.raises(PrefactorClientError, match="the call of api_token was cancelled"):
            await client.validate_token()


async def test_every_token_is_redacted(raw_server):
    raw_server.script(REFUSED, reply(403, {"code": "x", "message": f"{OLD} and {NEW}"}))
    async with client_of(raw_server, Provider(OLD, NEW)) as client:
        with pytest.raises(PrefactorAuthError, match=r"\[token\] and \[token\]"):
            await client.validate_token()
        for thing in (client, client.config, client._executor.state.tokens):
            assert "canary" not in repr(thing)


# Time limits, cancellation and closing


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_deadline_holds_while_the_function_runs(raw_server, is_async):
    release = threading.Event()
    source = Held() if is_async else functools.partial(release.wait, 20)
    async with client_of(raw_server, source, deadline=0.05) as client:
        started = time.monotonic()
        with pytest.raises(PrefactorTimeoutError) as caught:
            await client.agent_instances.start("i-1")
        assert time.monotonic() - started < 5
        release.set()
    assert not caught.value.outcome_unknown
    assert raw_server.requests == []


async def test_the_function_has_the_request_timeout(raw_server):
    held = Held()
    async with client_of(raw_server, held, request_timeout=0.05) as client:
        with pytest.raises(PrefactorClientError, match=r"returned no token within 0\.05 s"):
            await client.validate_token()
    assert held.is_cancelled


async def test_a_cancelled_call_does_not_interrupt_the_function_for_others(raw_server):
    held = Held()
    async with client_of(raw_server, held) as client:
        first, second = (asyncio.create_task(client.agent_instances.start("i-1")) for _ in "ab")
        await until(lambda: held.calls)
        first.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await first
        assert "was not sent" in caught.value.__notes__[0]
        held.released.set()
        raw_server.answer = lambda _: reply(404, {"code": "not_found", "message": "no"})
        with pytest.raises(Exception, match="404 not_found"):
            await second
    assert held.calls == 1
    assert not held.is_cancelled


async def test_a_call_joins_the_call_of_the_function_whose_first_caller_was_cancelled(raw_server):
    held = Held()
    async with client_of(raw_server, held) as client:
        first = asyncio.create_task(client.validate_token())
        await until(lambda: held.calls)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(client.validate_token())
        await asyncio.sleep(0.01)
        held.released.set()
        await second
    assert held.calls == 1


@pytest.mark.parametrize("has_caller", [True, False])
async def test_closing_the_client_ends_the_function_and_the_calls_that_wait(raw_server, has_caller):
    held = Held()
    async with client_of(raw_server, held) as client:
        call = asyncio.create_task(client.validate_token())
        await until(lambda: held.calls)
        if not has_caller:
            call.cancel()
            await asyncio.wait([call])
    if has_caller:
        with pytest.raises(PrefactorClientError, match="the client was closed"):
            await call
    assert held.is_cancelled
    assert len(asyncio.all_tasks() - {asyncio.current_task()}) <= 1  # the raw server's connection


async def test_a_401_that_arrives_while_the_client_closes_does_not_call_the_function(raw_server):
    provider = Provider(OLD, NEW)
    closing = asyncio.Event()

    async def answer(_):
        await closing.wait()
        return REFUSED

    raw_server.answer = answer
    async with client_of(raw_server, provider) as client:
        call = asyncio.create_task(client.validate_token())
        await until(lambda: raw_server.requests)
        asyncio.get_running_loop().call_later(0.02, closing.set)
    with pytest.raises(PrefactorClientError, match="the client was closed"):
        await call
    assert provider.calls == 1


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_client_gets_a_token_again_on_another_loop(is_closed):
    async def use(client, api):
        call = asyncio.create_task(client.validate_token())
        await asyncio.sleep(0.01)
        if is_closed:
            await client.close()
        call.cancel()

    async def use_again(client, api, held):
        await client.close()
        held.released = asyncio.Event()
        held.released.set()
        async with api, client:
            await client.validate_token()

    held = Held()
    api = LocalPrefactor()
    api.token = OLD
    api._state.tokens.add(OLD)
    asyncio.run(_start_and_stop(api))
    client = client_of(api, held)
    asyncio.run(use(client, api))
    asyncio.run(use_again(client, api, held))
    assert held.calls == 2


def test_a_loop_that_was_closed_during_the_call_of_the_function_is_forgotten(caplog):
    async def abandon(client):
        calls.append(asyncio.create_task(client.validate_token()))
        await until(lambda: held.calls)
        calls.extend(asyncio.all_tasks() - {asyncio.current_task(), *calls})

    async def use(client):
        await client.close()
        held.released = asyncio.Event()
        held.released.set()
        async with client:
            with pytest.raises(PrefactorConnectionError):
                await client.validate_token()

    held, calls = Held(), []
    settings = HttpClientConfig("http://127.0.0.1:9", held, max_retries=0, request_timeout=5.0)
    client = PrefactorHttpClient(settings)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(abandon(client))
    loop.close()
    asyncio.run(use(client))
    assert held.calls == 2
    for task in calls:  # asyncio would report them as destroyed
        task._log_destroy_pending = False


async def _start_and_stop(api):
    async with api:
        pass


# The interval


async def test_the_function_is_called_again_after_the_interval(raw_server):
    clock = ManualClock()
    provider = Provider(OLD, NEW)
    async with client_of(raw_server, provider, clock=clock, token_refresh_interval=60) as client:
        await client.validate_token()
        clock.now += 59
        await client.validate_token()
        clock.now += 1
        await asyncio.gather(*(client.validate_token() for _ in range(5)))
    assert sent(raw_server) == [OLD, OLD, *[NEW] * 5]
    assert provider.calls == 2


async def test_without_an_interval_the_function_is_called_once(raw_server):
    clock = ManualClock()
    provider = Provider(OLD, NEW)
    async with client_of(raw_server, provider, clock=clock) as client:
        await client.validate_token()
        clock.now += 1e9
        await client.validate_token()
    assert provider.calls == 1


async def test_a_token_that_cannot_be_replaced_at_its_interval_stays_in_use(raw_server, caplog):
    caplog.set_level(logging.INFO)
    clock = ManualClock()
    provider = Provider(OLD, LookupError("sealed"), NEW)
    options = {"token_refresh_interval": 3600, "max_retry_delay": 60.0}
    async with client_of(raw_server, provider, clock=clock, **options) as client:
        await client.validate_token()
        clock.now += 3600
        await client.validate_token()
        await client.validate_token()
        assert provider.calls == 2
        clock.now += 60  # it is tried again after `max_retry_delay`
        await client.validate_token()
    assert sent(raw_server) == [OLD, OLD, OLD, NEW]
    assert caplog.messages == ["could not refresh the token: api_token raised LookupError: sealed"]
