"""What the API refuses becomes a dead letter; everything else is delivered."""

import asyncio
import logging

import pytest
from outbox_support import SCHEMA, VERSION, client_of, record_lifecycle, register, until

from prefactor_http.exceptions import PrefactorConflictError, PrefactorNotFoundError
from prefactor_http.outbox import Outbox, OutboxBlockedError
from prefactor_http.testing import FaultKind


async def test_a_refused_write_is_a_dead_letter_and_does_not_block_its_instance(
    path, api, client, caplog
):
    died = []
    async with Outbox(path, client, on_dead=died.append) as outbox:
        registered = await register(outbox, api)
        refused = await outbox.agent_instances.finish(registered.id)  # it is not active
        started = await outbox.agent_instances.start(registered.id)
        finished = await outbox.agent_instances.finish(registered.id)

        with pytest.raises(PrefactorConflictError) as raised:
            await refused.delivered(10)
        await started.delivered(10)
        assert (await finished.delivered(10)).status == "complete"

        assert raised.value.idempotency_key == refused.idempotency_key
        [letter] = died
        assert [each.sequence for each in await outbox.dead_letters()] == [letter.sequence]
        assert (letter.sequence, letter.state) == (refused.sequence, "refused")
        assert letter.type == "agent_instances/finish"
        assert letter.idempotency_key == refused.idempotency_key
        assert letter.id == letter.agent_instance_id == registered.id
        assert letter.exception.code == "invalid_action"
        assert letter.died_at >= letter.recorded_at
        stats = await outbox.stats()
        assert (stats.pending, stats.bytes, stats.dead, stats.delivered) == (0, 0, 1, 3)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [registered.id in error.getMessage() for error in errors] == [True]


async def test_a_dead_register_blocks_what_refers_to_it_and_takes_it_along(path, api, client):
    async with Outbox(path, client) as outbox:
        registered = await outbox.agent_instances.register(api.agent_id, VERSION, SCHEMA)
        started = await outbox.agent_instances.start(registered.id)
        other = await record_lifecycle(outbox, api)
        assert await outbox.flush(10)
        late = await outbox.agent_instances.finish(registered.id)
        with pytest.raises(OutboxBlockedError, match=f"dead letter {registered.sequence}"):
            await late.delivered(10)

        letters = await outbox.dead_letters()
        assert [(letter.sequence, letter.state) for letter in letters] == [
            (registered.sequence, "refused"),
            (started.sequence, "blocked"),
            (late.sequence, "blocked"),
        ]
        assert [letter.blocked_by for letter in letters] == [None, *[registered.sequence] * 2]
        assert all([await receipt.delivered(1) for receipt in other])

        api_requests = len(api.requests)
        assert await outbox.retry([registered.sequence]) == 3
        assert await outbox.flush(10)
        assert len(api.requests) > api_requests
        letters = await outbox.dead_letters()
        assert [letter.state for letter in letters] == ["refused", "blocked", "blocked"]
        assert await outbox.drop([letters[0].sequence]) == 1
        assert await outbox.retry() == 2
        assert await outbox.flush(10)
        assert [type(each.exception) for each in await outbox.dead_letters()] == [
            PrefactorNotFoundError,
            PrefactorNotFoundError,
        ]
        assert await outbox.drop() == 2


async def test_a_dead_span_blocks_its_finish_and_its_children(outbox, api):
    registered = await register(outbox, api)
    await outbox.agent_instances.start(registered.id)
    unknown = registered.id[:-1] + ("0" if registered.id[-1] != "0" else "1")
    dead = await outbox.agent_spans.create(registered.id, "tool", "active", parent_span_id=unknown)
    child = await outbox.agent_spans.create(registered.id, "tool", "active", parent_span_id=dead.id)
    child_finished = await outbox.agent_spans.finish(child.id)
    finished = await outbox.agent_spans.finish(dead.id)
    ended = await outbox.agent_instances.finish(registered.id)

    assert (await ended.delivered(10)).status == "complete"

    letters = {letter.sequence: letter for letter in await outbox.dead_letters()}
    assert letters[dead.sequence].state == "refused"
    for blocked in (child, child_finished, finished):
        assert letters[blocked.sequence].state == "blocked"
        assert letters[blocked.sequence].blocked_by == dead.sequence
    assert len(letters) == 4


async def test_a_finish_of_a_terminated_instance_counts_as_delivered(outbox, api, client):
    registered = await register(outbox, api)
    started = await outbox.agent_instances.start(registered.id)
    await started.delivered(10)
    await client.agent_instances.terminate(registered.id, "stop it")

    finished = await outbox.agent_instances.finish(registered.id)

    assert (await finished.delivered(10)).termination_reason == "stop it"
    assert (await outbox.stats()).dead == 0


async def test_a_termination_signal_reaches_the_callback(outbox, api, client):
    registered = await register(outbox, api)
    started = await outbox.agent_instances.start(registered.id)
    await started.delivered(10)
    await client.agent_instances.terminate(registered.id, "stop it")
    reasons = []

    created = await outbox.agent_spans.create(
        registered.id, "tool", "active", control_signal_callback=reasons.append
    )
    finished = await outbox.agent_spans.finish(created.id, control_signal_callback=reasons.append)
    await finished.delivered(10)

    assert reasons == ["stop it", "stop it"]


async def test_a_token_that_is_not_accepted_pauses_delivery_with_one_error(path, api, caplog):
    async with client_of(api) as client, Outbox(path, client) as outbox:
        api.set_token_active(api.token, active=False)
        receipts = await record_lifecycle(outbox, api)
        await until(lambda: outbox.pause_reason is not None)
        api.set_token_active(api.token, active=True)

        assert [await receipt.delivered(10) is not None for receipt in receipts] == [True] * 5

        assert outbox.pause_reason is None
        assert (await outbox.stats()).dead == 0
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert ["paused delivery" in each.getMessage() for each in errors] == [True]


async def test_twenty_equal_refusals_pause_delivery(path, api, client, caplog):
    async with Outbox(path, client) as outbox:
        for _ in range(30):
            await outbox.agent_instances.register(api.agent_id, VERSION, SCHEMA)
        await until(lambda: outbox.pause_reason is not None)

        stats = await outbox.stats()
        assert (stats.dead, stats.pending) == (19, 11)
        await outbox.close(0)
    paused = [each for each in caplog.records if "paused delivery" in each.getMessage()]
    assert len(paused) == 1


async def test_a_callback_that_raises_does_not_stop_delivery(path, api, client, caplog):
    def fail(_):
        raise RuntimeError("from the callback")

    async with Outbox(path, client, on_dead=fail) as outbox:
        registered = await register(outbox, api)
        refused = await outbox.agent_instances.finish(registered.id)
        started = await outbox.agent_instances.start(registered.id)
        await started.delivered(10)
        await client.agent_instances.terminate(registered.id, "stop it")
        created = await outbox.agent_spans.create(
            registered.id, "tool", "active", control_signal_callback=fail
        )
        assert (await created.delivered(10)).id == created.id
        with pytest.raises(PrefactorConflictError):
            await refused.delivered(1)
    texts = [each.getMessage() for each in caplog.records]
    assert {"on_dead raised", "a control_signal_callback raised"} <= {*texts}


async def test_a_server_error_of_one_item_is_retried_without_limit(outbox, api):
    receipt = await register(outbox, api)
    api.fail_next_item(*["internal_server_error"] * 12, key=receipt.idempotency_key)
    other = await record_lifecycle(outbox, api)

    assert (await receipt.delivered(20)).id == receipt.id
    assert await other[-1].delivered(10)


async def test_a_request_that_is_too_large_for_the_server_is_a_dead_letter(path):
    from prefactor_http.testing import LocalPrefactor

    async with (
        LocalPrefactor(largest_request=20_000) as api,
        client_of(api) as client,
        Outbox(path, client) as outbox,
    ):
        registered = await register(outbox, api)
        await outbox.agent_instances.start(registered.id)
        large = await outbox.agent_spans.create(
            registered.id, "tool", "complete", payload={"text": "x" * 30_000}
        )
        finished = await outbox.agent_instances.finish(registered.id)

        assert (await finished.delivered(10)).status == "complete"
        [letter] = await outbox.dead_letters()
        assert (letter.sequence, letter.exception.status_code) == (large.sequence, 413)


async def test_lost_answers_are_repeated_with_their_keys(outbox, api):
    api.fail_next(*[FaultKind.APPLIED_THEN_RESET] * 3, FaultKind.APPLIED_THEN_500)
    receipts = await asyncio.gather(*(record_lifecycle(outbox, api) for _ in range(3)))
    assert await outbox.flush(10)
    assert api.doubled == api.lost == []
    assert len(api.effects) == 5 * len(receipts)
