"""The server itself: what it records and counts, limits, life and the pytest fixture."""

import subprocess
import sys
import urllib.request

import aiohttp
import pytest
from yarl import URL

from prefactor_http.testing import FaultKind, LocalPrefactor, RateLimit, serving
from prefactor_http.testing.resources.response import ApiError
from prefactor_http.testing.server.rate_limit import TokenBucket

pytest_plugins = ["pytester"]


async def test_a_request_is_recorded_as_it_stood_on_the_wire(api, call):
    body = call.registration(idempotency_key="recorded-key", purpose=None)
    await call.post("/agent_instance/register", body, headers={"X-Prefactor-SDK": "a@1 b@2"})
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


async def test_paths_and_queries_are_recorded_undecoded_and_decoded(api, call, session):
    path = "/api/v1/agent_instance?pagination%5Boffset%5D=0&agent_id=a%2Fb"
    async with session.get(URL(api.url + path, encoded=True)):
        pass
    await call.get("/nowhere")
    listed, unknown = api.requests
    assert listed.raw_path == path
    assert listed.query == [("pagination[offset]", "0"), ("agent_id", "a/b")]
    assert listed.idempotency_key is None
    assert (unknown.operation, unknown.status) == (None, 404)


async def test_a_request_without_a_token_is_recorded_without_one(api, session):
    async with session.get(f"{api.url}/api/v1/ping"):
        pass
    assert "Authorization" not in api.requests[0].headers


async def test_nothing_is_recorded_where_nobody_looks(session, call):
    async with LocalPrefactor(record=False) as api:
        other = type(call)(api, session)
        await other.register()
        api.fail_next(FaultKind.APPLIED_THEN_RESET)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await other.register()
        assert api.requests == []
        assert len(api.effects) == 2


async def test_counts_can_be_asked_for_over_the_wire(api, call, session):
    api.fail_next(FaultKind.APPLIED_THEN_500)
    body = call.registration()
    await call.post("/agent_instance/register", body)
    await call.post("/agent_instance/register", body)
    await call.register(agent_id="nobody")
    await call.get("/ping")
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


async def test_an_effect_names_what_it_made(api, call):
    body = call.registration()
    made = (await call.post("/agent_instance/register", body)).details["id"]
    assert [tuple(effect) for effect in api.effects] == [
        ("agent_instances.register", body["idempotency_key"], made)
    ]


async def test_a_request_too_large_is_refused_but_its_rows_are_not_lost_for_good(session, call):
    async with LocalPrefactor(largest_request=2_000) as api:
        other = type(call)(api, session)
        items = [other.item() for _ in range(5)]
        assert (await other.bulk(*items)).status == 413
        assert (await other.bulk(items[0])).status == 200


async def test_a_rate_limit_says_when_to_come_again(session, call):
    async with LocalPrefactor(rate_limit=RateLimit(0.01, burst=2)) as api:
        other = type(call)(api, session)
        replies = [await other.register() for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert replies[2].code == "rate_limited"
        assert 90 <= int(replies[2].headers["Retry-After"]) <= 100
        assert api.lost == []


def test_a_token_bucket_fills_with_time():
    now = 0.0
    bucket = TokenBucket(RateLimit(2.0, says_when=False), lambda: now)
    bucket.take()
    bucket.take()
    with pytest.raises(ApiError) as refused:
        bucket.take()
    assert refused.value.retry_after is None
    now = 0.5
    bucket.take()
    now = 100.0
    bucket.take()
    bucket.take()
    with pytest.raises(ApiError):
        bucket.take()


async def test_older_servers_refuse_a_version_with_other_content(session, call):
    async with LocalPrefactor(refuse_version_clashes=True) as api:
        other = type(call)(api, session)
        await other.register()
        assert (await other.register()).status == 200
        reply = await other.register(agent_version={"name": "x", "external_identifier": "v1"})
        assert "already exists" in str(reply.json["errors"])
        unnamed = {"agent_version": {}, "agent_schema_version": {"span_type_schemas": []}}
        assert (await other.register(**unnamed)).status == 200


async def test_what_was_written_outlives_a_restart_on_the_same_port(session, call):
    api = LocalPrefactor()
    await api.stop()
    await api.start()
    with pytest.raises(RuntimeError, match="already listening"):
        await api.start()
    url, other = api.url, type(call)(api, session)
    body = other.registration()
    first = await other.post("/agent_instance/register", body)
    await api.stop()
    with pytest.raises(aiohttp.ClientError):
        await other.register()
    await api.start()
    assert api.url == url
    assert (await other.post("/agent_instance/register", body)).body == first.body
    await api.stop()


async def test_a_taken_port_is_an_os_error(api):
    taken = LocalPrefactor(port=int(api.url.rsplit(":", 1)[1]))
    with pytest.raises(OSError, match="address already in use"):
        await taken.start()


def test_a_server_in_a_thread_serves_tests_without_a_loop():
    with serving(LocalPrefactor()) as api:
        api.fail_next(FaultKind.DELAYED)
        request = urllib.request.Request(
            f"{api.url}/api/v1/ping", headers={"Authorization": f"Bearer {api.token}"}
        )
        with urllib.request.urlopen(request) as response:
            assert response.status == 200
        assert len(api.requests) == 1


def test_a_thread_ends_though_its_server_cannot_start():
    with serving(LocalPrefactor()) as api:
        taken = LocalPrefactor(port=int(api.url.rsplit(":", 1)[1]))
        with pytest.raises(OSError, match="address already in use"), serving(taken):
            pass


def test_the_fixture_needs_no_plugin_but_its_own(pytester):
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
