"""The token is shown nowhere and sent nowhere else, and a caller's values stay in their place."""

import asyncio
import logging
import pickle
import ssl
import traceback
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import RawServer, reply
from unused_port import unused_port

from prefactor_http import (
    BulkItem,
    BulkRequest,
    HttpClientConfig,
    PrefactorHttpClient,
    PrefactorHttpError,
    exceptions,
)

TOKEN = "canary/7f3a9'b+c="  # with characters that JSON, repr and URLs escape
BODY = {"status": "error", "code": f"no-{TOKEN}", "message": TOKEN, "errors": {TOKEN: [TOKEN]}}


def errors_of_the_package() -> Iterator[type]:
    """The exceptions that a call can raise."""
    for value in vars(exceptions).values():
        if isinstance(value, type) and issubclass(value, PrefactorHttpError):
            yield value


def refusal(status):
    return reply(status, BODY, X_Request_Id=TOKEN, Retry_After=TOKEN, Location=f"/{TOKEN}")


RESPONSES = {
    **{f"{status}": refusal(status) for status in (302, 400, 401, 403, 404, 409, 422, 429, 503)},
    "page": reply(500, f"<html>{TOKEN}".encode()),
    "array": reply(200, [TOKEN]),
    "not JSON": reply(200, TOKEN.encode()),
    "another instance": reply(200, {"details": {"id": TOKEN, "status": TOKEN}}),
    "too large": reply(200, TOKEN.encode() * 1000),
    "status line": f"HTTP/1.1 {TOKEN}\r\n\r\n".encode(),
    "no HTTP": f"{TOKEN}\r\n\r\n".encode(),
    "header": f"HTTP/1.1 200 OK\r\n{TOKEN}\0: {TOKEN}\0\r\n\r\n".encode(),
    "length": f"HTTP/1.1 200 OK\r\nContent-Length: {TOKEN}\r\n\r\n".encode(),
    "chunk": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n".encode(),
    "incomplete": f"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{TOKEN}".encode(),
    "closed": b"",
}


class Shown:
    """Collects what hooks and logs were given."""

    def __init__(self, caplog):
        caplog.set_level(logging.DEBUG)
        self._caplog = caplog
        self.events = []
        self.errors = []
        self.types = set()

    def options(self, **options):
        hooks = dict.fromkeys(("on_attempt", "on_retry", "on_throttle"), self.events.append)
        return {"max_retries": 1, "initial_retry_delay": 0.001, "request_timeout": 0.1} | {
            **hooks,
            **options,
        }

    def add(self, error):
        self.errors.append(error)
        while error is not None:
            self.types.add(type(error))
            error = error.__cause__ or error.__context__

    def texts(self):
        for error in self.errors:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            # Without the frame of the test, which has the token.
            frames = [f for f in shown.stack if f.filename != __file__]
            yield from (f"{frame.name}: {frame.locals}" for frame in frames)
            yield from shown.format_exception_only()
            yield repr((error, error.args, vars(error)))
            yield pickle.dumps(error).decode("latin-1")
        yield repr(self.events)
        yield self._caplog.text
        yield from (repr(vars(record)) for record in self._caplog.records)

    def with_token(self):
        forms = (TOKEN, TOKEN.replace("'", "\\'"), TOKEN.replace("/", "\\/"))
        return [text for text in self.texts() if any(form in text for form in forms)]


@pytest.fixture
def shown(caplog):
    return Shown(caplog)


async def fail(shown, client):
    """Make a direct call and a bulk call that both fail."""
    item = BulkItem(
        _type="agent_instances/start", idempotency_key="key-0001", agent_instance_id="i"
    )
    calls = (
        client.agent_instances.start("i-1"),
        client.request("POST", "/api/v1/agent", json_data={}),
        client.bulk.execute(BulkRequest(items=[item])),
    )
    for call in calls:
        try:
            await call
        except PrefactorHttpError as error:
            shown.add(error)


async def test_no_error_hook_or_log_shows_the_token(raw_server, shown):
    for response in RESPONSES.values():
        raw_server.answer = lambda _, response=response: response
        options = shown.options(max_response_bytes=5000)
        async with PrefactorHttpClient(
            HttpClientConfig(raw_server.url, TOKEN, **options)
        ) as client:
            await fail(shown, client)
            assert TOKEN not in repr((client, vars(client)))
    raw_server.answer = lambda _: asyncio.sleep(30, b"")
    for options in ({}, {"deadline": 0.05}):
        config = HttpClientConfig(raw_server.url, TOKEN, **shown.options(**options))
        client = PrefactorHttpClient(config)
        await fail(shown, client)
        await client.close()
        await fail(shown, client)
        assert TOKEN not in repr(config)
    url = f"http://127.0.0.1:{unused_port()}"
    async with PrefactorHttpClient(HttpClientConfig(url, TOKEN, **shown.options())) as client:
        await fail(shown, client)
    assert shown.with_token() == []
    assert shown.types >= {*errors_of_the_package()} - {PrefactorHttpError}
    assert len(shown.events) > 50


async def test_a_failed_handshake_and_a_cancellation_do_not_show_the_token(raw_server, shown):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with RawServer(tls=context) as server:
        config = HttpClientConfig(server.url, TOKEN, **shown.options())
        async with PrefactorHttpClient(config) as client:
            await fail(shown, client)
    assert len(shown.errors) == 3
    raw_server.answer = lambda _: asyncio.sleep(30, b"")
    was_sent = asyncio.Event()
    raw_server.on_request = was_sent.set
    async with PrefactorHttpClient(HttpClientConfig(raw_server.url, TOKEN)) as client:
        call = asyncio.create_task(client.agent_instances.start("i-1"))
        await was_sent.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
    shown.errors.append(caught.value)
    assert caught.value.__notes__
    assert shown.with_token() == []


@pytest.mark.parametrize("status", [201, 300, 301, 302, 303, 304, 305, 307, 308, 401, 503])
@pytest.mark.parametrize("header", ["Location", "Content-Location", "Refresh", "Link"])
async def test_the_token_is_not_sent_to_an_address_in_a_response(raw_server, status, header):
    async with RawServer() as elsewhere:
        value = {"Refresh": f"0; url={elsewhere.url}", "Link": f"<{elsewhere.url}>; rel=next"}
        redirect = reply(status, {}, **{header: value.get(header, f"{elsewhere.url}/x")})
        raw_server.answer = lambda _: redirect
        config = HttpClientConfig(raw_server.url, TOKEN, max_retries=1, initial_retry_delay=0.001)
        async with PrefactorHttpClient(config) as client:
            for call in (
                client.agent_instances.start("i-1"),
                client.agent_instances.list("a-1"),
                client.agents.delete("a-1"),
            ):
                with pytest.raises(PrefactorHttpError):
                    await call
        assert elsewhere.connections == 0


few = settings(max_examples=60, deadline=None)
CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(st.sampled_from("/.\\?#%&;:@\r\n\t\0 ~éaA1") | CHARACTERS, max_size=12)


async def sent_by(call, **config):
    """Return the requests that a call sent, and whether it was refused before."""
    async with RawServer() as server:
        server.answer = lambda _: reply(400)
        options = {"max_retries": 0, **config}
        try:
            async with PrefactorHttpClient(HttpClientConfig(server.url, **options)) as client:
                await call(client)
        except ValueError:
            assert server.requests == []
        except PrefactorHttpError:
            assert len(server.requests) == 1
        else:
            pytest.fail("the call succeeded")
        return server.requests


def names_of(request):
    return sorted(request.headers)


@pytest.fixture(scope="module")
def usual_headers():
    (request,) = asyncio.run(sent_by(lambda c: c.agent_instances.start("i-1"), api_token=TOKEN))
    return names_of(request)


@few
@given(TEXTS)
def test_an_id_stays_in_its_path_segment(id_):
    for request in asyncio.run(
        sent_by(lambda c: c.agent_instances.start(id_), api_token="token-1234")
    ):
        empty, api, version, resource, segment, action = request.target.split("/")
        assert (empty, api, version, resource, action) == (
            *("", "api", "v1", "agent_instance", "start"),
        )
        assert unquote(segment) == id_
        assert segment not in {".", ".."}
        assert not {*"?#\\ \r\n"} & {*segment}


@few
@given(TEXTS)
def test_a_key_adds_no_header(usual_headers, key):
    for request in asyncio.run(
        sent_by(
            lambda c: c.agent_instances.start("i-1", idempotency_key=key), api_token="token-1234"
        )
    ):
        assert names_of(request) == usual_headers
        assert request.json["idempotency_key"] == key


@few
@given(TEXTS)
def test_a_token_adds_no_header(usual_headers, token):
    for request in asyncio.run(sent_by(lambda c: c.agent_instances.start("i"), api_token=token)):
        assert names_of(request) == usual_headers
        assert request.headers["authorization"] == f"Bearer {token}"


@few
@given(st.dictionaries(TEXTS, TEXTS, max_size=2))
def test_the_callers_headers_add_no_others(usual_headers, headers):
    for request in asyncio.run(
        sent_by(lambda c: c.agent_instances.start("i-1"), api_token=TOKEN, default_headers=headers)
    ):
        assert {*names_of(request)} == {*usual_headers, *map(str.lower, headers)}
