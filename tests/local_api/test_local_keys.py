"""Idempotency keys at the local API, and the switches about them (contract §10)."""

import asyncio
from dataclasses import replace

import pytest
from plain_caller import arrival_of

from prefactor_http.testing import (
    Fault,
    FaultKind,
    IdempotencyPolicy,
    OnConcurrent,
    OnMismatch,
)
from prefactor_http.testing.resources.response import Success
from prefactor_http.testing.server.key_store import KeyStore

SLOW = Fault(FaultKind.DELAYED, seconds=0.2)


async def test_a_repeated_write_is_answered_from_memory(api, call):
    body = call.registration()
    first = await call.post("/agent_instance/register", body)
    again = await call.post("/agent_instance/register", body)
    assert again.body == first.body
    assert (len(api.instances), api.replays, api.doubled) == (1, 1, [])


async def test_a_replay_comes_before_the_state_check(call):
    instance_id = await call.instance("active")
    path = f"/agent_instance/{instance_id}/finish"
    body = {"status": "complete", "idempotency_key": "finish-key"}
    first = await call.post(path, body)
    assert (await call.post(path, body)).body == first.body
    assert (await call.post(path, {**body, "idempotency_key": "other"})).status == 409


async def test_a_replay_shows_the_first_reply_though_the_state_went_on(call):
    body = call.registration()
    first = await call.post("/agent_instance/register", body)
    await call.post(f"/agent_instance/{first.details['id']}/start", {})
    again = await call.post("/agent_instance/register", body)
    assert again.details["status"] == "pending"


async def test_keys_count_for_their_action_only(call):
    instance_id = await call.instance()
    body = {"idempotency_key": "one-key"}
    assert (await call.post(f"/agent_instance/{instance_id}/start", body)).status == 200
    assert (await call.post(f"/agent_instance/{instance_id}/finish", body)).status == 200


async def test_other_content_for_a_known_key_is_a_conflict(api, call):
    await call.register(idempotency_key="one-key", purpose="live")
    reply = await call.register(idempotency_key="one-key", purpose="eval")
    assert (reply.status, reply.code) == (409, "idempotency_conflict")
    assert [tuple(write) for write in api.keys_reused] == [("agent_instances.register", "one-key")]
    assert api.bytes_changed == api.keys_reused


async def test_the_id_in_the_path_is_part_of_the_content(call):
    one, other = await call.instance(), await call.instance()
    body = {"idempotency_key": "one-key"}
    await call.post(f"/agent_instance/{one}/start", body)
    assert (await call.post(f"/agent_instance/{other}/start", body)).code == "idempotency_conflict"


async def test_other_content_can_be_answered_with_the_first_reply(api, call):
    api.policy = IdempotencyPolicy(mismatch=OnMismatch.REPLAY)
    first = await call.register(idempotency_key="one-key", purpose="live")
    again = await call.register(idempotency_key="one-key", purpose="eval")
    assert again.body == first.body
    assert len(api.keys_reused) == 1


async def test_the_order_of_fields_is_not_content_but_other_bytes(api, call):
    body = call.registration()
    first = await call.post("/agent_instance/register", body)
    again = await call.post("/agent_instance/register", dict(reversed(body.items())))
    assert again.body == first.body
    assert len(api.bytes_changed) == 1
    assert api.keys_reused == []


async def test_a_key_at_work_makes_its_double_wait(api, call):
    api.fail_next(SLOW)
    body = call.registration()
    replies = await asyncio.gather(*(call.post("/agent_instance/register", body) for _ in range(3)))
    assert len({reply.body for reply in replies}) == 1
    assert (len(api.instances), api.replays) == (1, 2)


async def test_a_key_at_work_can_refuse_its_double(api, call):
    api.policy = IdempotencyPolicy(concurrent=OnConcurrent.REFUSE)
    api.fail_next(SLOW)
    body = call.registration()
    first = asyncio.create_task(call.post("/agent_instance/register", body))
    await arrival_of(api, 1)
    refused = await call.post("/agent_instance/register", body)
    assert (refused.status, refused.code) == (409, "idempotency_in_progress")
    assert (await first).status == 200
    assert (len(api.instances), api.lost) == (1, [])


async def test_another_key_does_not_wait(api, call):
    api.fail_next(SLOW)
    slow = asyncio.create_task(call.register())
    await arrival_of(api, 1)
    await call.register()
    assert not slow.done()
    await slow
    assert len(api.instances) == 2


async def test_slow_work_goes_on_though_its_client_has_gone(api, call):
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.1))
    body = call.registration()
    with pytest.raises(asyncio.TimeoutError):
        await call.post("/agent_instance/register", body, max_outage=0.03)
    assert not api.instances
    # The second waits for the first, whose client has gone.
    assert (await call.post("/agent_instance/register", body)).status == 200
    assert (len(api.instances), api.replays) == (1, 1)


async def test_refusals_are_forgotten_unless_they_are_to_be_kept(api, call):
    instance_id = await call.instance()
    path, body = f"/agent_instance/{instance_id}/finish", {"idempotency_key": "finish-key"}
    assert (await call.post(path, body)).status == 409
    await call.post(f"/agent_instance/{instance_id}/start", {})
    assert (await call.post(path, body)).status == 200

    api.policy = replace(api.policy, store_refusals=True)
    instance_id = await call.instance()
    path, body = f"/agent_instance/{instance_id}/finish", {"idempotency_key": "other-key"}
    first = await call.post(path, body)
    await call.post(f"/agent_instance/{instance_id}/start", {})
    again = await call.post(path, body)
    assert (again.status, again.body) == (409, first.body)


async def test_forgotten_keys_take_effect_again(api, call):
    body = call.registration()
    await call.post("/agent_instance/register", body)
    api.forget_keys(["agent_instances.start"])
    await call.post("/agent_instance/register", body)
    assert len(api.instances) == 1
    api.forget_keys(["agent_instances.register"])
    await call.post("/agent_instance/register", body)
    assert len(api.instances) == 2
    assert [tuple(write) for write in api.doubled] == [
        ("agent_instances.register", body["idempotency_key"])
    ]


async def test_a_key_whose_reply_is_lost_can_be_forgotten(api, call):
    api.policy = IdempotencyPolicy(forget_when_lost=frozenset({"agent_instances.start"}))
    instance_id = await call.instance()
    path, body = f"/agent_instance/{instance_id}/start", {"idempotency_key": "start-key"}
    api.fail_next(FaultKind.APPLIED_THEN_500)
    assert (await call.post(path, body)).status == 500
    assert (await call.post(path, body)).code == "invalid_action"
    assert (api.doubled, api.lost) == ([], [])
    finish = {"idempotency_key": "finish-key"}
    api.fail_next(FaultKind.APPLIED_THEN_500)
    await call.post(f"/agent_instance/{instance_id}/finish", finish)
    assert (await call.post(f"/agent_instance/{instance_id}/finish", finish)).status == 200


def test_keys_expire_by_the_clock():
    now = 100.0
    store = KeyStore(IdempotencyPolicy(expires_after=60.0), lambda: now)
    store.store("action", "key", b"digest", Success(None))
    now = 159.0
    assert store.find("action", "key") is not None
    now = 160.0
    assert store.find("action", "key") is None
    assert store.find("action", "key") is None


@pytest.mark.parametrize("key", ["", "x" * 65, "with blank", "bell\a", "naïve", 12])
async def test_a_key_outside_the_rules_is_refused(api, call, key):
    reply = await call.register(idempotency_key=key)
    assert list(reply.json["errors"]) == ["idempotency_key"]
    assert not api.instances


@pytest.mark.parametrize("key", ["!", "x" * 64])
async def test_the_shortest_and_the_longest_key_are_good(call, key):
    assert (await call.register(idempotency_key=key)).status == 200


async def test_writes_without_a_key_are_done_each_time_and_counted(api, call):
    for absent in (..., None):
        assert (await call.register(idempotency_key=absent)).status == 200
    assert len(api.instances) == 2
    assert api.stats()["keyless_writes"] == 2
    assert [effect.idempotency_key for effect in api.effects] == [None, None]
    assert (api.doubled, api.lost) == ([], [])
