"""The server itself: recording, statistics, limits, lifecycle and the pytest fixture."""

import asyncio
import subprocess
import sys
import urllib.request

import aiohttp
import pytest
from plain_caller import Caller
from unused_port import unused_port
from yarl import URL

from prefactor_http.testing import FaultKind, LocalPrefactor, RateLimit, serving
from prefactor_http.testing.resources.response import ApiError
from prefactor_http.testing.server.rate_limit import TokenBucket

pytest_plugins = ["pytester"]


async def test_a_request_is_recorded_as_sent_with_the_token_masked(api, caller):
    body = caller.registration(idempotency_key="recorded-key", purpose=None)
    await caller.post("/agent_instance/register", body, headers={"X-Prefactor-SDK": "a@1 b@2"})
    (request,) = api.requests
    assert request.method == "POST"
    assert request.path == request.raw_path == "/api/v1/agent_instance/register"
    assert request.headers["x-prefactor-sdk"] == "a@1 b@2"
    assert request.json == body
    assert request.json["purpose"] is None
    assert request.idempotency_key == "recorded-key"
    assert request.operation == "agent_instances.register"
    assert (request.fault, request.status) == (None, 200)
    assert api.token not in repr(api.requests)


async def test_queries_are_recorded_raw_and_decoded(api, caller, session):
    path = "/api/v1/agent_instance?pagination%5Boffset%5D=0&agent_id=a%2Fb"
    async with session.get(URL(api.url + path, encoded=True)):
        pass
    await caller.get("/nowhere")
    listed, unknown = api.requests
    assert listed.raw_path == path
    assert listed.query == [("pagination[offset]", "0"), ("agent_id", "a/b")]
    assert listed.idempotency_key is None
    assert (unknown.operation, unknown.status) == (None, 404)


async def test_a_request_without_a_token_is_recorded_without_one(api, session):
    async with session.get(f"{api.url}/api/v1/ping"):
        pass
    assert "Authorization" not in api.requests[0].headers


async def test_requests_are_not_kept_when_recording_is_off(session):
    async with LocalPrefactor(record=False) as api:
        other = Caller(api, session)
        await other.register()
        api.fail_next(FaultKind.APPLIED_THEN_RESET)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await other.register()
        assert api.requests == []
        assert len(api.effects) == 2


async def test_stats_are_available_over_http(api, caller, session):
    api.fail_next(FaultKind.APPLIED_THEN_500)
    body = caller.registration()
    await caller.post("/agent_instance/register", body)
    await caller.post("/agent_instance/register", body)
    await caller.register(agent_id="unknown")
    await caller.get("/ping")
    async with session.get(f"{api.url}/_local/stats") as response:
        stats = await response.json()
    assert stats == api.stats()
    assert stats == {
        "calls": 3,
        "attempts": 4,
        "faults": {"applied then 500": 1},
        "replays": 1,
        "replies_lost": 1,
        "effects": {"agent_instances.register": 1},
        "doubled": 0,
        "lost": 0,
        "keyless_writes": 0,
        "bytes_changed": 0,
        "keys_reused": 0,
        "largest_bulk": 0,
        "flat_bulk_items": 0,
        "violations": [],
    }


async def test_an_effect_has_the_id_of_the_created_resource(api, caller):
    body = caller.registration()
    made = (await caller.post("/agent_instance/register", body)).details["id"]
    assert [tuple(effect) for effect in api.effects] == [
        ("agent_instances.register", body["idempotency_key"], made)
    ]


async def test_a_request_over_the_size_limit_gets_a_413(session):
    async with LocalPrefactor(largest_request=2_000) as api:
        other = Caller(api, session)
        items = [other.item() for _ in range(5)]
        assert (await other.bulk(*items)).status == 413
        assert (await other.bulk(items[0])).status == 200


async def test_a_rate_limited_response_has_retry_after(session):
    async with LocalPrefactor(rate_limit=RateLimit(0.01, burst=2)) as api:
        other = Caller(api, session)
        responses = [await other.register() for _ in range(3)]
        assert [response.status for response in responses] == [200, 200, 429]
        assert responses[2].code == "rate_limited"
        assert 90 <= int(responses[2].headers["Retry-After"]) <= 100
        assert api.lost == []


def test_a_token_bucket_refills_over_time_up_to_its_capacity():
    now = 0.0
    bucket = TokenBucket(RateLimit(2.0, says_when=False), lambda: now)
    bucket.take()
    bucket.take()
    with pytest.raises(ApiError) as rejected:
        bucket.take()
    assert rejected.value.retry_after is None
    now = 0.5
    bucket.take()
    now = 100.0
    bucket.take()
    bucket.take()
    with pytest.raises(ApiError):
        bucket.take()


async def test_a_version_clash_can_be_refused_as_by_older_servers(session):
    async with LocalPrefactor(refuse_version_clashes=True) as api:
        other = Caller(api, session)
        await other.register()
        assert (await other.register()).status == 200
        response = await other.register(agent_version={"name": "x", "external_identifier": "v1"})
        assert "already exists" in str(response.json["errors"])
        unnamed = {"agent_version": {}, "agent_schema_version": {"span_type_schemas": []}}
        assert (await other.register(**unnamed)).status == 200


async def test_the_state_survives_a_restart_on_the_same_port(session):
    api = LocalPrefactor(port=unused_port())
    await api.stop()
    await api.start()
    with pytest.raises(RuntimeError, match="already listening"):
        await api.start()
    url, other = api.url, Caller(api, session)
    body = other.registration()
    first = await other.post("/agent_instance/register", body)
    await api.stop()
    with pytest.raises(aiohttp.ClientError):
        await other.register()
    await api.start()
    assert api.url == url
    assert (await other.post("/agent_instance/register", body)).body == first.body
    await api.stop()


async def test_starting_on_a_port_in_use_raises_an_os_error(api):
    taken = LocalPrefactor(port=int(api.url.rsplit(":", 1)[1]))
    with pytest.raises(OSError, match="address already in use"):
        await taken.start()


async def test_a_start_that_is_cancelled_frees_the_port():
    port = unused_port()
    turns = 0
    while True:
        api = LocalPrefactor(port=port)
        starting = asyncio.create_task(api.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not starting.cancel():
            break
        with pytest.raises(asyncio.CancelledError):
            await starting
        turns += 1
    await starting  # raises an OSError if the port is still in use
    assert turns > 2
    await api.stop()


def test_a_server_in_a_thread_needs_no_event_loop_in_the_test():
    with serving(LocalPrefactor()) as api:
        api.fail_next(FaultKind.DELAYED)
        request = urllib.request.Request(
            f"{api.url}/api/v1/ping", headers={"Authorization": f"Bearer {api.token}"}
        )
        with urllib.request.urlopen(request) as response:
            assert response.status == 200
        assert len(api.requests) == 1


def test_the_thread_ends_if_its_server_cannot_start():
    with serving(LocalPrefactor()) as api:
        taken = LocalPrefactor(port=int(api.url.rsplit(":", 1)[1]))
        with pytest.raises(OSError, match="address already in use"), serving(taken):
            pass


def test_the_fixture_needs_no_asyncio_plugin(pytester):
    pytester.makepyfile(
        """
        import urllib.request

        def test_it(prefactor_server):
            with urllib.request.urlopen(prefactor_server.url + "/_local/stats") as response:
                assert response.status == 200
            assert prefactor_server.agent_id in prefactor_server.agents
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=1)


def test_the_plugin_imports_nothing_until_it_is_used():
    script = (
        "import prefactor_http_pytest, sys; "
        "sys.exit(any(name.split('.')[0] in ('aiohttp', 'prefactor_http') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
