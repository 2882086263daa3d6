"""Idempotency keys at the local API, and the policies for them (contract §10)."""

import asyncio
from dataclasses import replace

import pytest
from plain_caller import wait_for_attempts

from prefactor_http.testing import (
    Fault,
    FaultKind,
    IdempotencyPolicy,
    KeyScope,
    OnConcurrent,
    OnMismatch,
)
from prefactor_http.testing.resources.response import Success
from prefactor_http.testing.server.key_store import KeyedWrite, KeyStore

pytestmark = pytest.mark.virtual_time

SLOW = Fault(FaultKind.DELAYED, seconds=0.2)


async def test_a_repeated_write_gets_the_stored_response(api, caller):
    body = caller.registration()
    first = await caller.post("/agent_instance/register", body)
    again = await caller.post("/agent_instance/register", body)
    assert again.body == first.body
    assert (len(api.instances), api.replays, api.doubled) == (1, 1, [])


async def test_a_replay_takes_precedence_over_the_state_check(caller):
    instance_id = await caller.instance("active")
    path = f"/agent_instance/{instance_id}/finish"
    body = {"status": "complete", "idempotency_key": "finish-key"}
    first = await caller.post(path, body)
    assert (await caller.post(path, body)).body == first.body
    assert (await caller.post(path, {**body, "idempotency_key": "other"})).status == 409


async def test_a_replay_returns_the_first_response_after_the_state_changed(caller):
    body = caller.registration()
    first = await caller.post("/agent_instance/register", body)
    await caller.post(f"/agent_instance/{first.details['id']}/start", {})
    again = await caller.post("/agent_instance/register", body)
    assert again.details["status"] == "pending"


async def test_keys_are_scoped_to_their_action(caller):
    instance_id = await caller.instance()
    body = {"idempotency_key": "one-key"}
    assert (await caller.post(f"/agent_instance/{instance_id}/start", body)).status == 200
    assert (await caller.post(f"/agent_instance/{instance_id}/finish", body)).status == 200


async def test_keys_can_be_scoped_to_their_route(api, caller):
    api.policy = IdempotencyPolicy(scope=KeyScope.ROUTE)
    item = caller.item()
    single = {name: value for name, value in item.items() if name != "_type"}
    for _ in range(2):
        await caller.bulk(item)
        await caller.post("/agent_instance/register", single)
    assert (len(api.instances), api.replays) == (2, 2)
    assert [tuple(write) for write in api.doubled] == [
        ("agent_instances.register", item["idempotency_key"])
    ]


async def test_a_route_forgets_its_own_key_when_a_response_is_lost(api, caller):
    forgetful = frozenset({"agent_instances.register"})
    api.policy = IdempotencyPolicy(scope=KeyScope.ROUTE, forget_when_lost=forgetful)
    item = caller.item()
    single = {name: value for name, value in item.items() if name != "_type"}
    await caller.post("/agent_instance/register", single)
    api.fail_next(FaultKind.APPLIED_THEN_500, operation="bulk.execute")
    await caller.bulk(item)
    await caller.post("/agent_instance/register", single)
    assert (len(api.instances), api.replays) == (2, 1)
    await caller.bulk(item)
    assert (len(api.instances), api.replays) == (3, 1)


async def test_other_content_for_a_known_key_is_a_conflict(api, caller):
    await caller.register(idempotency_key="one-key", purpose="live")
    response = await caller.register(idempotency_key="one-key", purpose="eval")
    assert (response.status, response.code) == (409, "idempotency_conflict")
    assert [tuple(write) for write in api.keys_reused] == [("agent_instances.register", "one-key")]
    assert api.bytes_changed == api.keys_reused


async def test_the_id_in_the_path_is_part_of_the_content(caller):
    one, other = await caller.instance(), await caller.instance()
    body = {"idempotency_key": "one-key"}
    await caller.post(f"/agent_instance/{one}/start", body)
    response = await caller.post(f"/agent_instance/{other}/start", body)
    assert response.code == "idempotency_conflict"


async def test_other_content_for_a_known_key_can_be_replayed(api, caller):
    api.policy = IdempotencyPolicy(mismatch=OnMismatch.REPLAY)
    first = await caller.register(idempotency_key="one-key", purpose="live")
    again = await caller.register(idempotency_key="one-key", purpose="eval")
    assert again.body == first.body
    assert len(api.keys_reused) == 1


async def test_the_order_of_fields_changes_the_bytes_but_not_the_content(api, caller):
    body = caller.registration()
    first = await caller.post("/agent_instance/register", body)
    again = await caller.post("/agent_instance/register", dict(reversed(body.items())))
    assert again.body == first.body
    assert len(api.bytes_changed) == 1
    assert api.keys_reused == []


async def test_a_concurrent_duplicate_waits_for_the_first_request(api, caller):
    api.fail_next(SLOW)
    body = caller.registration()
    responses = await asyncio.gather(
        *(caller.post("/agent_instance/register", body) for _ in range(3))
    )
    assert len({response.body for response in responses}) == 1
    assert (len(api.instances), api.replays) == (1, 2)


async def test_a_concurrent_duplicate_can_be_refused(api, caller):
    api.policy = IdempotencyPolicy(concurrent=OnConcurrent.REFUSE)
    api.fail_next(SLOW)
    body = caller.registration()
    first = asyncio.create_task(caller.post("/agent_instance/register", body))
    await wait_for_attempts(api, 1)
    refused = await caller.post("/agent_instance/register", body)
    assert (refused.status, refused.code) == (409, "idempotency_in_progress")
    assert (await first).status == 200
    assert (len(api.instances), api.lost) == (1, [])


async def test_another_key_does_not_wait(api, caller):
    api.fail_next(SLOW)
    slow = asyncio.create_task(caller.register())
    await wait_for_attempts(api, 1)
    await caller.register()
    assert not slow.done()
    await slow
    assert len(api.instances) == 2


async def test_a_slow_request_finishes_after_its_client_disconnects(api, caller):
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.1))
    body = caller.registration()
    with pytest.raises(asyncio.TimeoutError):
        await caller.post("/agent_instance/register", body, total_timeout=0.03)
    assert not api.instances
    # The second request waits for the first, whose client has disconnected.
    assert (await caller.post("/agent_instance/register", body)).status == 200
    assert (len(api.instances), api.replays) == (1, 1)


async def test_errors_are_not_stored_unless_configured(api, caller):
    instance_id = await caller.instance()
    path, body = f"/agent_instance/{instance_id}/finish", {"idempotency_key": "finish-key"}
    assert (await caller.post(path, body)).status == 409
    await caller.post(f"/agent_instance/{instance_id}/start", {})
    assert (await caller.post(path, body)).status == 200

    api.policy = replace(api.policy, store_refusals=True)
    instance_id = await caller.instance()
    path, body = f"/agent_instance/{instance_id}/finish", {"idempotency_key": "other-key"}
    first = await caller.post(path, body)
    await caller.post(f"/agent_instance/{instance_id}/start", {})
    again = await caller.post(path, body)
    assert (again.status, again.body) == (409, first.body)


async def test_a_write_with_a_forgotten_key_takes_effect_again(api, caller):
    body = caller.registration()
    await caller.post("/agent_instance/register", body)
    api.forget_keys(["agent_instances.start"])
    await caller.post("/agent_instance/register", body)
    assert len(api.instances) == 1
    api.forget_keys(["agent_instances.register"])
    await caller.post("/agent_instance/register", body)
    assert len(api.instances) == 2
    assert [tuple(write) for write in api.doubled] == [
        ("agent_instances.register", body["idempotency_key"])
    ]


async def test_a_key_can_be_forgotten_when_its_response_is_lost(api, caller):
    api.policy = IdempotencyPolicy(forget_when_lost=frozenset({"agent_instances.start"}))
    instance_id = await caller.instance()
    path, body = f"/agent_instance/{instance_id}/start", {"idempotency_key": "start-key"}
    api.fail_next(FaultKind.APPLIED_THEN_500)
    assert (await caller.post(path, body)).status == 500
    assert (await caller.post(path, body)).code == "invalid_action"
    assert (api.doubled, api.lost) == ([], [])
    finish = {"idempotency_key": "finish-key"}
    api.fail_next(FaultKind.APPLIED_THEN_500)
    await caller.post(f"/agent_instance/{instance_id}/finish", finish)
    assert (await caller.post(f"/agent_instance/{instance_id}/finish", finish)).status == 200


def test_keys_expire():
    now = 100.0
    store = KeyStore(IdempotencyPolicy(expires_after=60.0), lambda: now)
    write = KeyedWrite("action", "key")
    store.store(write, b"digest", Success(None))
    now = 159.0
    assert store.find(write) is not None
    now = 160.0
    assert store.find(write) is None
    assert store.find(write) is None


@pytest.mark.parametrize("key", ["", "x" * 65, "with blank", "bell\a", "naïve", 12])
async def test_an_invalid_key_is_refused(api, caller, key):
    response = await caller.register(idempotency_key=key)
    assert list(response.json["errors"]) == ["idempotency_key"]
    assert not api.instances


@pytest.mark.parametrize("key", ["!", "x" * 64])
async def test_the_shortest_and_the_longest_key_are_accepted(caller, key):
    assert (await caller.register(idempotency_key=key)).status == 200


async def test_writes_without_a_key_are_applied_each_time_and_counted(api, caller):
    for absent in (..., None):
        assert (await caller.register(idempotency_key=absent)).status == 200
    assert len(api.instances) == 2
    assert api.stats()["keyless_writes"] == 2
    assert [effect.idempotency_key for effect in api.effects] == [None, None]
    assert (api.doubled, api.lost) == ([], [])
