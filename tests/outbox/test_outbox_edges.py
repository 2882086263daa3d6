"""Rare cases: locks, limits of the platform, cancelled calls and small disks."""

import asyncio
import errno
import fcntl
import resource
import sqlite3
import sys
import time
from contextlib import closing
from datetime import UTC, datetime

import psutil
import pytest
from outbox_support import client_of, record_lifecycle, register, until

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http._values import forks
from prefactor_http.idempotency import new_id
from prefactor_http.outbox import (
    Outbox,
    OutboxError,
    OutboxFileError,
    OutboxFullError,
    OutboxStorageError,
)
from prefactor_http.testing import Fault, FaultKind

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


async def test_another_process_takes_over_when_the_forwarder_is_killed(path, api, client):
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOLDER,
        f"{path}.lock",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    await holder.stdout.readline()
    async with Outbox(path, client, poll_interval=0.02) as outbox:
        receipts = await record_lifecycle(outbox, api)
        assert not await outbox.flush(0.1)
        assert not outbox.is_forwarding
        holder.kill()
        await holder.wait()
        assert await outbox.flush(10)
        assert outbox.is_forwarding
        assert await receipts[0].delivered(1)


async def test_a_lock_file_that_cannot_be_used_is_reported(path, api, client, monkeypatch, caplog):
    lock = path.with_name("outbox.db.lock")
    lock.mkdir()
    with pytest.raises(OutboxFileError, match="cannot open"):
        await Outbox(path, client).open()
    lock.rmdir()

    def fail(*_):
        raise OSError(errno.ENOLCK, "no locks")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "lockf", fail)
        async with Outbox(path, client) as outbox:
            await until(lambda: outbox.pause_reason is not None)
            assert "cannot lock" in str(outbox.pause_reason)
            assert not outbox.is_forwarding


async def test_a_platform_without_locks_is_refused(path, client, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(OutboxFileError, match="POSIX"):
        await Outbox(path, client).open()


async def test_a_file_system_without_shared_memory_is_refused(path, client, monkeypatch):
    connect = sqlite3.connect

    def connect_without_locks(path, *args, **options):
        return connect(f"file:{path}?vfs=unix-none", *args, uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", connect_without_locks)
    with pytest.raises(OutboxFileError, match="local file system"):
        await Outbox(path, client).open()


async def test_recording_continues_when_the_disk_has_room_again(path, api, client, caplog):
    caplog.set_level("INFO")
    await api.stop()
    async with Outbox(path, client) as outbox:
        receipts = []

        async def record_until_it_fails():
            while True:
                receipts.extend(await record_lifecycle(outbox, api))

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        try:
            for _ in range(2):
                with pytest.raises(OutboxStorageError, match="cannot write"):
                    await record_until_it_fails()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        receipts += await record_lifecycle(outbox, api)
        await api.start()
        assert await outbox.flush(10)
    assert caplog.text.count("nothing can be recorded") >= 1
    assert "can be written again" in caplog.text
    keys = {effect.idempotency_key for effect in api.effects}
    assert keys >= {receipt.idempotency_key for receipt in receipts}
    assert api.doubled == []


async def test_cancelled_calls_leave_the_outbox_intact(path, api, client):
    async with Outbox(path, client, max_items=1) as outbox:
        await register(outbox, api)
        assert await outbox.flush(10)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("ALTER TABLE totals RENAME TO hidden")
        task = asyncio.create_task(outbox.stats())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.wait([asyncio.create_task(outbox.dead_letters())])
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("ALTER TABLE hidden RENAME TO totals")
        for call in (outbox.stats(), register(outbox, api), register(outbox, api)):
            task = asyncio.create_task(call)
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await outbox.flush(10)
        receipt = await register(outbox, api)
        assert await receipt.delivered(10)
    assert api.doubled == []


async def test_receipts_that_nobody_keeps_do_not_accumulate(path, api, client):
    await api.stop()
    async with Outbox(path, client) as outbox:
        kept = await register(outbox, api)
        instance_id = new_id(api.agent_id)

        async def record(number):
            for _ in range(number):
                await outbox.agent_instances.start(instance_id)

        await asyncio.gather(*(record(41) for _ in range(250)))
        assert repr(kept) == f"<Receipt 1 of {kept.id} (key {kept.idempotency_key})>"
        await outbox.close(0)
    with pytest.raises(OutboxError, match="it is kept"):
        await kept.delivered()


async def test_the_span_of_an_earlier_process_is_finished_after_its_other_writes(path, api, client):
    await api.stop()
    async with Outbox(path, client) as outbox:
        registered = await register(outbox, api)
        await outbox.agent_instances.start(registered.id)
        created = await outbox.agent_spans.create(registered.id, "tool", "active")
        await outbox.close(0)
    await api.start()
    async with Outbox(path, client) as outbox:
        finished = await outbox.agent_spans.finish(created.id)
        assert (await finished.delivered(10)).status == "complete"
        assert (await outbox.stats()).dead == 0


async def test_a_span_of_another_client_can_be_finished(outbox, api, client):
    registered = await register(outbox, api)
    started = await outbox.agent_instances.start(registered.id)
    await started.delivered(10)
    span = await client.agent_spans.create(registered.id, "tool", "active")
    finished = await outbox.agent_spans.finish(span.id)
    assert (await finished.delivered(10)).status == "complete"


async def test_a_termination_can_be_recorded(outbox, api):
    registered = await register(outbox, api)
    await outbox.agent_instances.start(registered.id)
    terminated = await outbox.agent_instances.terminate(registered.id, "stop it")
    assert (await terminated.delivered(10)).termination_reason == "stop it"


async def test_a_closed_outbox_refuses_calls(path, client):
    outbox = Outbox(path, client)
    with pytest.raises(OutboxError, match="not open"):
        _ = outbox.agent_instances
    with pytest.raises(OutboxError, match="not open"):
        _ = outbox.agent_spans
    assert outbox.pause_reason is None


async def test_only_the_chosen_dead_letters_are_retried(outbox, api):
    refused = []
    for _ in range(2):
        registered = await register(outbox, api)
        refused.append(await outbox.agent_instances.finish(registered.id))
    assert await outbox.flush(10)
    assert await outbox.retry([refused[1].sequence]) == 1
    assert await outbox.flush(10)
    [first, second] = await outbox.dead_letters()
    assert first.sequence == refused[0].sequence
    assert second.idempotency_key == refused[1].idempotency_key


async def test_a_quality_payload_in_doubt_of_an_unknown_instance_is_sent(path, api):
    async with client_of(api, request_timeout=0.3) as client:
        api.fail_next(*[FaultKind.INTERNAL_ERROR] * 50, path="/bulk")
        async with Outbox(path, client) as outbox:
            registered = await register(outbox, api)
            await outbox.agent_instances.record_quality(registered.id, "score", {"n": 1})
            await until(lambda: api.requests)
            await outbox.close(0)
        api.calm()
        async with Outbox(path, client) as outbox:
            assert await outbox.flush(10)
            assert (await outbox.stats()).dead == 0
    assert api.instances[registered.id]["quality_payloads"] == {"score": {"n": 1}}


async def test_one_write_that_is_too_large_does_not_affect_others(path, api, client):
    async with Outbox(path, client, max_bytes=100_000) as outbox:
        registered = await register(outbox, api)
        await outbox.agent_instances.start(registered.id)

        def create(size):
            payload = {"text": "x" * size}
            return outbox.agent_spans.create(registered.id, "tool", "complete", payload)

        results = await asyncio.gather(
            create(1), create(200_000), *(create(1) for _ in range(31)), return_exceptions=True
        )
        assert [type(result) is OutboxFullError for result in results] == [
            False,
            True,
            *[False] * 31,
        ]
        assert await outbox.flush(10)
    assert len(api.spans) == 32


async def test_the_counters_are_right_although_a_row_was_deleted_by_hand(path, api, client):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=0.3), path="/bulk")
    async with Outbox(path, client) as outbox:
        first = await register(outbox, api)
        await until(lambda: api.effects)
        await register(outbox, api)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM pending WHERE sequence = 1")
        assert await first.delivered(10)
        await register(outbox, api)
        assert await outbox.flush(10)
        stats = await outbox.stats()
        assert (stats.pending, stats.bytes, stats.delivered) == (0, 0, 2)


async def test_a_forked_child_cannot_use_the_outbox_of_its_parent(path, api, client, monkeypatch):
    async with Outbox(path, client) as outbox:
        with monkeypatch.context() as patch:
            patch.setattr(forks, "_forks", [*forks._forks, None])
            with pytest.raises(OutboxError, match="forked"):
                await register(outbox, api)
        assert await (await register(outbox, api)).delivered(10)


async def test_a_cancelled_write_that_waits_for_room_is_not_recorded(path, api, client):
    await api.stop()
    async with Outbox(path, client, max_items=1, when_full="wait") as outbox:
        await register(outbox, api)
        tasks = [asyncio.create_task(register(outbox, api))]
        await asyncio.wait(tasks, timeout=0.05)
        tasks.append(asyncio.create_task(register(outbox, api)))
        await asyncio.wait(tasks, timeout=0.05)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0.6)  # until it tries again
        assert (await outbox.stats()).pending == 1
        await outbox.close(0)


class FastClock:
    """A clock that runs twenty times as fast."""

    def monotonic(self):
        return time.monotonic() * 20

    def utcnow(self):
        return datetime.now(UTC)

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / 20)


async def test_a_long_pause_logs_one_error(path, api, caplog):
    config = HttpClientConfig(api.url, api.token)
    async with (
        PrefactorHttpClient(config, clock=FastClock()) as client,
        Outbox(path, client) as outbox,
    ):
        api.set_token_active(api.token, active=False)
        receipt = await register(outbox, api)
        await until(lambda: len(api.requests) >= 4)
        api.set_token_active(api.token, active=True)
        assert await receipt.delivered(10)
    errors = [each for each in caplog.records if each.levelname == "ERROR"]
    assert len(errors) == 1


async def test_an_answer_that_arrives_while_closing_counts(path, api, client):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=0.1), path="/bulk")
    async with Outbox(path, client) as outbox:
        await register(outbox, api)
        await until(lambda: api.effects)
        await outbox.close(0)
    async with Outbox(path, client) as outbox:
        stats = await outbox.stats()
    assert (stats.pending, stats.delivered) == (0, 1)


async def test_closed_outboxes_leave_no_open_file(tmp_path, api, client):
    def open_files():
        return [file.path for file in psutil.Process().open_files() if "outbox" in file.path]

    for number in range(3):
        path = tmp_path / f"outbox-{number}.db"
        async with (
            Outbox(path, client) as outbox,
            Outbox(path, client, poll_interval=0.02) as other,
        ):
            await record_lifecycle(outbox, api)
            assert await outbox.flush(10)
            await outbox.close()
            await until(lambda: other.is_forwarding)
            assert open_files()
    assert open_files() == []
