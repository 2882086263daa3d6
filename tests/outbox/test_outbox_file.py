"""The file: limits, disk problems, files that cannot be used, and who may use them."""

import asyncio
import json
import os
import sqlite3
import stat
import sys
from contextlib import closing, suppress

import pytest
from outbox_support import SCHEMA, VERSION, client_of, record_lifecycle, register, until

from prefactor_http.idempotency import new_id
from prefactor_http.outbox import (
    Outbox,
    OutboxDroppedError,
    OutboxError,
    OutboxFileError,
    OutboxFullError,
)
from prefactor_http.testing import LocalPrefactor


async def test_the_file_is_private_and_does_not_contain_the_token(path, api, client):
    async with Outbox(path, client) as outbox:
        await api.stop()
        await record_lifecycle(outbox, api)
        files = [*path.parent.iterdir()]
        assert {file.name for file in files} == {
            "outbox.db",
            "outbox.db-wal",
            "outbox.db-shm",
            "outbox.db.lock",
        }
        for file in files:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert api.token.encode() not in file.read_bytes()
        await outbox.close(0)


async def test_the_log_is_copied_into_the_file_while_nothing_is_recorded(path, api, client):
    def copied():
        # Without the write-ahead log. While it is being copied, the file may be inconsistent.
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection,
            suppress(sqlite3.DatabaseError),
        ):
            return connection.execute("SELECT count(*) FROM pending").fetchone()[0]
        return 0

    await api.stop()
    async with Outbox(path, client) as outbox:
        instance = await register(outbox, api)
        # It is copied when it has 250 commits, some of which are about deliveries. On a busy
        # machine, that may be before the last write, so there are enough writes for two copies.
        for _ in range(600):
            await outbox.agent_instances.start(instance.id)
        await until(lambda: copied() >= 250)
        await outbox.close(0)


def flip(body):
    return bytes(byte ^ 0x5A for byte in body)


async def test_bodies_can_be_encrypted(path, api, client):
    await api.stop()
    async with Outbox(path, client, encode=flip, decode=flip) as outbox:
        receipts = await record_lifecycle(outbox, api)
        assert not any(b"span_type_schemas" in file.read_bytes() for file in path.parent.iterdir())
        await outbox.close(0)
    await api.start()
    async with Outbox(path, client, encode=flip, decode=flip) as outbox:
        assert await outbox.flush(10)
    assert len(api.effects) == len(receipts)


async def test_encoded_writes_are_not_sent_without_their_decoder(path, api, client):
    await api.stop()
    async with Outbox(path, client, encode=flip, decode=flip) as outbox:
        await register(outbox, api)
        await outbox.close(0)
    await api.start()
    with pytest.raises(OutboxFileError, match="encoded"):
        await Outbox(path, client).open()
    async with Outbox(path, client, encode=flip, decode=flip) as outbox:
        assert await outbox.flush(10)
    assert [effect.action for effect in api.effects] == ["agent_instances.register"]


async def test_a_body_that_cannot_be_decoded_waits(path, api, client):
    def fail(_):
        raise ValueError("wrong key")

    await api.stop()
    async with Outbox(path, client) as outbox:
        await record_lifecycle(outbox, api)
        await outbox.close(0)
    await api.start()
    async with Outbox(path, client, encode=bytes, decode=fail) as outbox:
        other = await register(outbox, api)
        assert not await outbox.flush(0.2)
        assert (await outbox.stats()).pending == 6
        await outbox.close(0)
    assert api.effects == []
    async with Outbox(path, client) as outbox:
        assert await outbox.flush(10)
    assert other.idempotency_key in {effect.idempotency_key for effect in api.effects}


async def test_a_full_outbox_raises_and_logs_one_error(path, api, client, caplog):
    await api.stop()
    async with Outbox(path, client, max_items=3) as outbox:
        registered = await register(outbox, api)
        await outbox.agent_instances.start(registered.id)
        await outbox.agent_instances.finish(registered.id)
        for _ in range(2):
            with pytest.raises(OutboxFullError, match="max_items=3"):
                await register(outbox, api)
        errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert ["was not recorded" in error for error in errors] == [True]
        await api.start()
        assert await outbox.flush(10)
        await register(outbox, api)


async def test_the_size_of_bodies_is_limited(path, api, client):
    await api.stop()
    async with Outbox(path, client, max_bytes=2000, when_full="wait") as outbox:
        registered = await register(outbox, api)
        with pytest.raises(OutboxFullError, match="max_bytes=2000"):
            await outbox.agent_spans.create(registered.id, "tool", "active", {"text": "x" * 2000})
        await outbox.close(0)


async def test_writes_wait_for_room_in_their_order(path, api, client):
    await api.stop()
    async with Outbox(path, client, max_items=2, when_full="wait") as outbox:
        registered = await register(outbox, api)
        started = await outbox.agent_instances.start(registered.id)
        tasks = [
            asyncio.create_task(outbox.agent_instances.finish(registered.id)),
            asyncio.create_task(register(outbox, api)),
            asyncio.create_task(register(outbox, api)),
        ]
        done, _ = await asyncio.wait(tasks, timeout=0.05)
        assert not done
        tasks[1].cancel()
        await api.start()
        finished, other = await tasks[0], await tasks[2]
        assert (await finished.delivered(10)).status == "complete"
        assert other.sequence == finished.sequence + 1 == started.sequence + 2
        assert await outbox.flush(10)
    assert len(api.effects) == 4


async def test_a_write_that_waits_for_room_fails_when_the_outbox_is_closed(path, api, client):
    await api.stop()
    async with Outbox(path, client, max_items=1, when_full="wait") as outbox:
        await register(outbox, api)
        task = asyncio.create_task(register(outbox, api))
        await asyncio.wait([task], timeout=0.05)
        await outbox.close(0)
        with pytest.raises(OutboxError, match="was closed"):
            await task


async def test_the_oldest_instances_are_dropped_as_a_whole(path, api, client):
    await api.stop()
    options = {"max_items": 30, "when_full": "drop_oldest", "chunk_size": 1, "concurrency": 1}
    async with Outbox(path, client, **options) as outbox:
        first = await register(outbox, api)
        await asyncio.sleep(0.05)  # until it is in flight
        runs = [await record_lifecycle(outbox, api) for _ in range(7)]
        stats = await outbox.stats()
        assert (stats.pending, stats.dropped) == (26, 10)
        with pytest.raises(OutboxDroppedError):
            await runs[1][0].delivered(1)
        late = await outbox.agent_instances.record_quality(runs[1][0].id, "score", {})
        child = await outbox.agent_spans.create(runs[1][0].id, "tool", "active")
        await api.start()
        with pytest.raises(OutboxDroppedError):
            await late.delivered(10)
        assert await outbox.flush(10)
        with pytest.raises(OutboxDroppedError):
            await child.delivered(1)
        stats = await outbox.stats()
        assert (stats.pending, stats.dead, stats.dropped) == (0, 0, 12)
        assert await first.delivered(1)
    kept = [run for run in runs if run[0].id in api.instances]
    assert [run[0] for run in kept] == [runs[0][0], *[run[0] for run in runs[3:]]]
    assert {api.instances[run[0].id]["status"] for run in kept} == {"complete"}


async def test_when_nothing_can_be_dropped_the_write_raises(path, api, client):
    await api.stop()
    async with Outbox(path, client, max_items=1, when_full="drop_oldest") as outbox:
        await register(outbox, api)
        await asyncio.sleep(0.05)  # until it is in flight
        with pytest.raises(OutboxFullError):
            await register(outbox, api)
        await outbox.close(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a database" * 100, "not a database"), (b"SQLite format 3\0" + b"x" * 999, "cannot")],
)
async def test_a_file_that_is_no_database_is_refused(path, client, content, message):
    path.write_bytes(content)
    with pytest.raises(OutboxFileError, match=message):
        await Outbox(path, client).open()


async def test_a_database_of_another_program_is_refused(path, client):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(OutboxFileError, match="not an outbox"):
        await Outbox(path, client).open()


async def test_a_file_of_a_newer_release_is_refused_and_unchanged(path, client):
    async with Outbox(path, client):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxFileError, match=r"schema version 99, .*: upgrade"):
        await Outbox(path, client).open()


async def test_a_path_that_cannot_be_opened_is_refused(tmp_path, client):
    with pytest.raises(OutboxFileError, match="cannot open"):
        await Outbox(tmp_path / "missing" / "outbox.db", client).open()
    with pytest.raises(OutboxFileError, match="cannot open"):
        await Outbox(tmp_path, client).open()


async def test_a_file_of_another_host_or_account_is_refused(path, api, client):
    async with Outbox(path, client) as outbox:
        await register(outbox, api)
        assert await outbox.flush(10)
        async with LocalPrefactor(seed=1) as other:
            foreign = other.agent_id[:10] + "zzzzzz" + other.agent_id[16:]
            with pytest.raises(OutboxFileError, match="another account"):
                await outbox.agent_instances.register(foreign, VERSION, SCHEMA)
            await outbox.close()
            async with client_of(other) as other_client:
                with pytest.raises(OutboxFileError, match="use another file"):
                    await Outbox(path, other_client).open()


async def test_ids_have_the_partition_that_the_api_or_the_file_says(path, api, client):
    deployment = {"agent_version": VERSION, "agent_schema_version": SCHEMA}
    async with client_of(api, token=api.deployment_token) as bound, Outbox(path, bound) as outbox:
        first = await outbox.agent_instances.register(**deployment)
        assert await first.delivered(10)
        await outbox.close()
    await api.stop()
    async with Outbox(path, client) as outbox:
        second = await outbox.agent_instances.register(**deployment)
        given = await outbox.agent_instances.register(id=new_id(api.agent_id), **deployment)
        await outbox.close(0)
    assert second.id[10:16] == first.id[10:16] == given.id[10:16] == api.agent_id[10:16]


async def test_an_id_without_a_partition_belongs_to_no_account(path, api, client):
    async with Outbox(path, client) as outbox:
        first = await register(outbox, api)
        assert await outbox.flush(10)
        await api.stop()
        second = await outbox.agent_instances.register("my-agent", VERSION, SCHEMA)
        assert second.id[10:16] == first.id[10:16]
        await outbox.close(0)


async def test_the_first_start_without_the_api_needs_an_id(path, api):
    await api.stop()
    async with client_of(api, max_retries=0) as client, Outbox(path, client) as outbox:
        with pytest.raises(OutboxError, match="Pass agent_id"):
            await outbox.agent_instances.register(None, VERSION, SCHEMA)


async def test_invalid_arguments_raise_before_anything_is_written(outbox, api):
    with pytest.raises(TypeError, match="agent_version"):
        await outbox.agent_instances.register(api.agent_id)
    with pytest.raises(ValueError, match="8 to 64 characters"):
        await register(outbox, api, idempotency_key="short")
    for name in ("", ".."):
        with pytest.raises(ValueError, match="not an id"):
            await outbox.agent_instances.start(name)
    with pytest.raises(TypeError, match="must be a str"):
        await outbox.agent_spans.finish(7)
    assert (await outbox.stats()).pending == 0


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "none"},
        {"when_full": "block"},
        {"max_items": 0},
        {"max_bytes": 0},
        {"chunk_size": 0},
        {"concurrency": 0},
        {"max_age": 0},
        {"poll_interval": 0},
        {"encode": bytes},
    ],
)
def test_options_are_checked(path, options):
    client = client_of(LocalPrefactor(port=1))
    with pytest.raises(ValueError, match=next(iter(options))):
        Outbox(path, client, **options)


async def _on_dead(letter):
    pytest.fail(f"called with {letter}")


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"max_items": "9"}, TypeError, "max_items must be an int or None, not str"),
        ({"max_bytes": 1e6}, TypeError, "max_bytes must be an int or None, not float"),
        ({"chunk_size": None}, TypeError, "chunk_size must be an int, not NoneType"),
        ({"concurrency": True}, TypeError, "concurrency must be an int, not bool"),
        ({"max_age": "1 h"}, TypeError, "max_age must be a number of seconds or None, not str"),
        ({"poll_interval": None}, TypeError, "poll_interval must be a number of seconds, not None"),
        ({"on_dead": 5}, TypeError, "on_dead must be a function or None, not int"),
        ({"on_dead": _on_dead}, ValueError, "on_dead must be a plain function"),
        ({"encode": "zlib", "decode": bytes}, TypeError, "encode must be a function or None"),
        ({"client": None}, TypeError, "client must be a PrefactorHttpClient, not NoneType"),
    ],
)
def test_types_are_checked(path, options, error, problem):
    client = client_of(LocalPrefactor(port=1))
    with pytest.raises(error, match=problem):
        Outbox(**{"path": path, "client": client, **options})


def test_an_age_may_be_unlimited(path):
    for age in (None, float("inf"), 10**400):
        Outbox(path, client_of(LocalPrefactor(port=1)), max_age=age)


async def test_writes_can_survive_a_power_failure(path, api, client):
    async with Outbox(path, client, durability="power") as outbox:
        await record_lifecycle(outbox, api)
        assert await outbox.flush(10)


FULL_DISK = """
import asyncio, json, resource, sys
from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.outbox import Outbox, OutboxStorageError

async def main(path, url, token, agent_id, environment_id):
    version, schema = {"name": "v"}, {"span_type_schemas": []}
    recorded, ran = [], 0
    async with PrefactorHttpClient(HttpClientConfig(url, token)) as client:
        async with Outbox(path, client) as outbox:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            try:
                for number in range(10_000):
                    receipt = await outbox.agent_instances.register(
                        agent_id, version, schema, environment_id=environment_id
                    )
                    recorded.append(receipt.idempotency_key)
            except OutboxStorageError as error:
                print(error, file=sys.stderr)
            async with outbox.run(
                agent_id, version, schema, environment_id=environment_id
            ) as run:
                async with run.span("tool") as span:
                    ran += not run.recorded and not run.id and not span.id
            try:
                async with outbox.run(
                    agent_id, version, schema, environment_id=environment_id, required=True
                ):
                    ran += 100
            except OutboxStorageError:
                ran += 1
            await outbox.close(0)
    print(json.dumps([recorded, ran]))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_full_disk_raises_and_loses_nothing(path, api, client):
    await api.stop()
    arguments = [api.url, api.token, api.agent_id, api.environment_id]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FULL_DISK,
        path,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    recorded, ran = json.loads(out)
    assert ran == 2
    assert b"cannot write to the outbox" in err
    assert err.count(b"nothing can be recorded") == 1
    assert len(recorded) > 100
    await api.start()
    async with Outbox(path, client) as outbox:
        assert await outbox.flush(10)
    assert {effect.idempotency_key for effect in api.effects} == {*recorded}
    assert api.doubled == []


async def test_a_forked_child_raises_and_leaves_the_parent_alone(path, api, client):
    async with Outbox(path, client) as outbox:
        await register(outbox, api)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            text = "nothing was raised"
            try:
                outbox.agent_instances.start("x").send(None)
            except BaseException as exc:  # noqa: BLE001 # sent to the parent
                text = str(exc)
            os.write(writer, text.encode())
            os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
        assert b"forked" in os.read(reader, 1000)
        os.close(reader)
        os.close(writer)
        await record_lifecycle(outbox, api)
        assert await outbox.flush(10)


async def test_another_event_loop_raises(outbox):
    def use():
        async def start():
            await outbox.agent_instances.start("x")

        with pytest.raises(OutboxError, match="another event loop"):
            asyncio.run(start())

    await asyncio.to_thread(use)
