"""Writes without a definite answer, and servers that behave badly."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from outbox_support import SCHEMA, VERSION, client_of, record_lifecycle, register, until
from raw_server import reply

from prefactor_http.exceptions import (
    PrefactorConflictError,
    PrefactorHttpError,
    PrefactorValidationError,
)
from prefactor_http.idempotency import new_id
from prefactor_http.outbox import Outbox

AGENT = "01kdvdna00v0p0fke7sw42acnhh9yvy1"
NOW = "2026-01-01T00:00:00Z"
IDS = dict.fromkeys(("account_id", "agent_id", "agent_version_id", "environment_id"), "x")


class ScriptedApi:
    """Answers each item of a bulk request, and each read, with what a test chooses."""

    token = "token-1234"

    def __init__(self, raw_server):
        self.url = raw_server.url
        self.items = []
        self.output_of = self.success
        self.read = lambda _: reply(404, self.error("not_found"))
        raw_server.answer = self.answer

    def answer(self, request):
        if request.method == "GET":
            return self.read(request)
        outputs = {}
        for item in request.json["items"]:
            self.items.append(item)
            output = outputs[item["idempotency_key"]] = self.output_of(item)
            if output["status"] == "error":
                break
        return reply(200, {"status": "success", "outputs": outputs})

    def answer_reads(self, status, *, after):
        """Answer reads of instances after so many that fail. Returns the list of reads."""
        reads = []

        def read(request):
            reads.append(request)
            instance = self.instance({"_type": "x/finish", "id": request.target.split("/")[-1]})
            body = {"status": "success", "details": {**instance, "status": status}}
            return reply(200, body) if len(reads) > after else reply(503)

        self.read = read
        return reads

    def success(self, item):
        if item["_type"].startswith("agent_spans"):
            return {"status": "success", "details": self.span(item)}
        return {"status": "success", "details": self.instance(item)}

    def instance(self, item):
        own = item.get("id") or item["agent_instance_id"]
        name = item["_type"].rpartition("/")[2]
        status = {"register": "pending", "finish": "complete"}.get(name, "active")
        moments = {"inserted_at": NOW, "updated_at": NOW}
        return {"type": "agent_instance", "id": own, "status": status, **IDS, **moments}

    def span(self, item):
        details = item["details"]
        return {"type": "agent_span", **details, "account_id": "x", "agent_id": "x"}

    def error(self, code, **errors):
        return {"status": "error", "code": code, "message": code, "errors": errors}


@pytest.fixture
def scripted(raw_server):
    return ScriptedApi(raw_server)


@pytest.fixture
async def raw_client(scripted):
    async with client_of(scripted, max_retries=0) as client:
        yield client


async def in_doubt(path, scripted, client, record):
    """Record something that is in flight when the outbox is closed."""
    scripted.output_of = lambda _: {"status": "error", "code": "service_unavailable"}
    async with Outbox(path, client) as outbox:
        receipts = await record(outbox)
        await until(lambda: scripted.items)
        await outbox.close(0)
    scripted.items.clear()
    return receipts


def register_one(outbox):
    return outbox.agent_instances.register(AGENT, VERSION, SCHEMA)


async def test_a_write_that_stays_unknown_becomes_a_dead_letter(path, scripted, raw_client):
    def answer(item):
        if item["idempotency_key"] == "key-bad1":
            return {"status": "success"}  # no details
        return scripted.success(item)

    scripted.output_of = answer
    async with Outbox(path, raw_client, max_age=0.1) as outbox:
        bad = await outbox.agent_instances.register(
            AGENT, VERSION, SCHEMA, idempotency_key="key-bad1"
        )
        good = await register_one(outbox)
        assert (await good.delivered(10)).id == good.id
        with pytest.raises(PrefactorHttpError, match="contract"):
            await bad.delivered(10)
        await outbox.agent_instances.start(bad.id)
        assert await outbox.flush(10)
        letters = await outbox.dead_letters()
        assert [letter.state for letter in letters] == ["unknown", "blocked"]
        assert letters[0].exception.outcome_unknown

        scripted.output_of = scripted.success
        assert await outbox.retry() == 2
        assert await outbox.flush(10)
        assert (await outbox.stats()).dead == 0


async def test_a_refused_register_in_doubt_that_does_not_exist_is_a_dead_letter(
    path, scripted, raw_client
):
    receipt = await in_doubt(path, scripted, raw_client, register_one)
    scripted.output_of = lambda _: scripted.error("invalid_action")
    async with Outbox(path, raw_client) as outbox:
        assert await outbox.flush(10)
        [letter] = await outbox.dead_letters()
    assert (letter.sequence, letter.state) == (receipt.sequence, "refused")
    assert len(scripted.items) == 5  # a replica may not have had it


async def test_a_refused_register_in_doubt_waits_until_it_can_be_read(path, scripted, raw_client):
    await in_doubt(path, scripted, raw_client, register_one)
    scripted.output_of = lambda _: scripted.error("validation_errors", external_identifier=["x"])
    reads = []

    def read(request):
        reads.append(request)
        if len(reads) < 3:
            return reply(503)
        return reply(200, {"status": "success", "details": scripted.instance(scripted.items[0])})

    scripted.read = read
    async with Outbox(path, raw_client) as outbox:
        assert await outbox.flush(10)
        assert (await outbox.stats()).dead == 0


async def test_a_span_in_doubt_is_found_in_the_list(path, scripted, raw_client):
    instance_id = new_id(AGENT)

    async def record(outbox):
        return await outbox.agent_spans.create(instance_id, "tool", "active")

    await in_doubt(path, scripted, raw_client, record)
    scripted.output_of = lambda _: scripted.error("invalid_action")

    def read(request):
        if "?" not in request.target:
            return reply(404, scripted.error("not_found"))
        summaries = [scripted.span(scripted.items[0])]
        return reply(200, {"status": "success", "summaries": summaries})

    scripted.read = read
    async with Outbox(path, raw_client) as outbox:
        assert await outbox.flush(10)
        assert (await outbox.stats()).dead == 0


async def test_a_finish_waits_while_the_instance_cannot_be_read(path, scripted, raw_client):
    def answer(item):
        if item["_type"].endswith("finish"):
            return scripted.error("invalid_action")
        return scripted.success(item)

    scripted.output_of = answer
    scripted.answer_reads("terminated", after=2)
    async with Outbox(path, raw_client) as outbox:
        registered = await register_one(outbox)
        finished = await outbox.agent_instances.finish(registered.id)
        span = await outbox.agent_spans.create(registered.id, "tool", "active")
        span_finished = await outbox.agent_spans.finish(span.id)
        assert (await finished.delivered(10)).status == "terminated"
        assert await span_finished.delivered(10) is None


async def test_an_instance_with_many_writes_waits_in_the_file(path, scripted, raw_client):
    def answer(item):
        is_bad = item["_type"].endswith("finish") and item["timestamp"].startswith("2020")
        return scripted.error("bad_request") if is_bad else scripted.success(item)

    scripted.output_of = answer
    from datetime import UTC, datetime

    async with Outbox(path, raw_client) as outbox:
        registered = await register_one(outbox)
        bad, *receipts = await asyncio.gather(
            outbox.agent_instances.finish(
                registered.id, timestamp=datetime(2020, 1, 1, tzinfo=UTC)
            ),
            *(outbox.agent_instances.start(registered.id) for _ in range(250)),
        )
        assert await outbox.flush(10)
        with pytest.raises(PrefactorValidationError):
            await bad.delivered(1)
    sent = [item["idempotency_key"] for item in scripted.items]
    ours = {receipt.idempotency_key for receipt in receipts}
    assert [key for key in sent if key in ours] == [each.idempotency_key for each in receipts]


async def test_large_bodies_do_not_fill_the_memory(path, api, client):
    await api.stop()
    async with Outbox(path, client) as outbox:
        registered = await register(outbox, api)
        for _ in range(3):
            await outbox.agent_spans.create(registered.id, "t", "complete", {"x": "y" * 4_000_000})
        await asyncio.sleep(0.1)
        await api.start()
        assert await outbox.flush(20)


async def test_delivery_continues_when_the_file_can_be_read_again(path, api, client, caplog):
    async with Outbox(path, client, poll_interval=0.02) as outbox:
        await record_lifecycle(outbox, api)
        assert await outbox.flush(10)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("ALTER TABLE totals RENAME TO hidden")
        await until(lambda: outbox.pause_reason is not None)
        with pytest.raises(PrefactorHttpError, match="cannot write to the outbox"):
            await register(outbox, api)
        with pytest.raises(PrefactorHttpError, match="cannot read the outbox"):
            await outbox.stats()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("ALTER TABLE hidden RENAME TO totals")
        receipt = await register(outbox, api)
        assert await receipt.delivered(10)
        assert outbox.pause_reason is None


async def test_a_row_that_cannot_become_a_dead_letter_is_tried_again(path, api, client):
    async with Outbox(path, client) as outbox:
        registered = await register(outbox, api)
        assert await registered.delivered(10)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("ALTER TABLE dead ADD COLUMN needed TEXT NOT NULL DEFAULT ''")
            connection.execute(
                "CREATE TRIGGER no_room BEFORE INSERT ON dead BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        refused = await outbox.agent_instances.finish(registered.id)
        await asyncio.sleep(0.1)
        assert (await outbox.stats()).dead == 0
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DROP TRIGGER no_room")
        with pytest.raises(PrefactorHttpError, match="invalid_action"):
            await refused.delivered(10)


async def test_delivered_rows_that_cannot_be_deleted_are_deleted_later(path, api, client):
    async with Outbox(path, client) as outbox:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "CREATE TRIGGER no_room BEFORE DELETE ON pending "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        receipts = await record_lifecycle(outbox, api)
        assert await receipts[-1].delivered(10)
        assert (await outbox.stats()).pending == 5
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DROP TRIGGER no_room")
        assert await outbox.flush(10)
        assert len(api.effects) == 5
    assert api.replays == 0


async def test_an_unexpected_exception_pauses_delivery(path, api, caplog):
    class Clock:
        def __init__(self):
            from prefactor_http._http.clock import SystemClock

            self._clock = SystemClock()
            self.monotonic = self._clock.monotonic
            self.sleep = self._clock.sleep
            self.fails = False

        def utcnow(self):
            if self.fails:
                raise RuntimeError("from the clock")
            return self._clock.utcnow()

    from prefactor_http import HttpClientConfig, PrefactorHttpClient

    clock = Clock()
    async with (
        PrefactorHttpClient(HttpClientConfig(api.url, api.token), clock=clock) as client,
        Outbox(path, client, poll_interval=0.02) as outbox,
    ):
        receipt = await register(outbox, api)
        await receipt.delivered(10)
        clock.fails = True
        await until(lambda: outbox.pause_reason is not None)
        clock.fails = False
        receipt = await register(outbox, api)
        assert await receipt.delivered(10)
    assert "the outbox could not deliver" in caplog.text


async def test_a_quality_payload_in_doubt_can_be_refused(path, scripted, raw_client):
    instance_id = new_id(AGENT)
    await in_doubt(
        path,
        scripted,
        raw_client,
        lambda outbox: outbox.agent_instances.record_quality(instance_id, "score", {"n": 1}),
    )
    instance = scripted.instance({"_type": "x/start", "id": instance_id})
    scripted.read = lambda _: reply(200, {"status": "success", "details": instance})
    scripted.output_of = lambda _: scripted.error("invalid_action")
    async with Outbox(path, raw_client) as outbox:
        assert await outbox.flush(10)
        [letter] = await outbox.dead_letters()
    assert letter.state == "refused"


async def test_a_quality_payload_in_doubt_is_not_sent_again_if_it_is_recorded(
    path, scripted, raw_client
):
    instance_id = new_id(AGENT)
    await in_doubt(
        path,
        scripted,
        raw_client,
        lambda outbox: outbox.agent_instances.record_quality(instance_id, "score", {"n": 1}),
    )
    instance = scripted.instance({"_type": "x/start", "id": instance_id})
    recorded = {**instance, "quality_payloads": {"score": {"n": 1}}}
    scripted.read = lambda _: reply(200, {"status": "success", "details": recorded})
    async with Outbox(path, raw_client) as outbox:
        assert await outbox.flush(10)
        assert await outbox.dead_letters() == []
    assert scripted.items == []


async def test_closing_waits_until_a_refusal_is_handled(path, scripted, raw_client):
    scripted.output_of = lambda _: scripted.error("invalid_action")
    reads = []

    async def read(request):
        reads.append(request)
        await asyncio.sleep(0.1)
        return reply(404, scripted.error("not_found"))

    scripted.read = read
    async with Outbox(path, raw_client) as outbox:
        await outbox.agent_instances.finish(new_id(AGENT))
        await until(lambda: reads)
        await outbox.close(0)


async def test_a_signal_that_does_not_terminate_is_ignored(path, scripted, raw_client):
    scripted.output_of = lambda item: {**scripted.success(item), "control": {"terminate": False}}
    reasons = []
    async with Outbox(path, raw_client) as outbox:
        created = await outbox.agent_spans.create(
            new_id(AGENT), "tool", "active", control_signal_callback=reasons.append
        )
        assert await created.delivered(10)
    assert reasons == []


async def test_a_write_is_sent_again_after_an_outage_that_ended_with_malformed_responses(
    path, scripted, raw_client, raw_server
):
    responses = [None, *[reply(200, {"status": "success"})] * 3]

    def answer(request):
        return responses.pop(0) if responses else scripted.answer(request)

    raw_server.answer = answer
    async with Outbox(path, raw_client) as outbox:
        receipt = await register_one(outbox)
        assert (await receipt.delivered(10)).id == receipt.id
    assert not responses


async def test_a_refusal_that_a_read_has_confirmed_says_that_the_write_was_not_applied(
    path, scripted, raw_client
):
    def answer(item):
        if not item["_type"].endswith("start"):
            return scripted.success(item)
        starts = [each for each in scripted.items if each["_type"].endswith("start")]
        return scripted.error("invalid_action") if starts[1:] else {"status": "success"}

    scripted.output_of = answer
    reads = scripted.answer_reads("cancelled", after=1)
    async with Outbox(path, raw_client) as outbox:
        registered = await register_one(outbox)
        started = await outbox.agent_instances.start(registered.id)
        with pytest.raises(PrefactorHttpError) as caught:
            await started.delivered(10)
        [letter] = await outbox.dead_letters()
    assert len(reads) == 2
    assert not caught.value.outcome_unknown
    assert not letter.exception.outcome_unknown


async def test_a_refusal_that_cannot_be_verified_stays_unknown_with_the_key_of_the_write(
    path, scripted, raw_client
):
    def answer(item):
        if not item["_type"].endswith("finish"):
            return scripted.success(item)
        return scripted.error("invalid_action")

    def read(_):
        another = scripted.instance({"_type": "x/finish", "id": AGENT})
        return reply(200, {"status": "success", "details": another})

    scripted.output_of, scripted.read = answer, read
    async with Outbox(path, raw_client, max_age=0.05) as outbox:
        registered = await register_one(outbox)
        finished = await outbox.agent_instances.finish(registered.id)
        with pytest.raises(PrefactorConflictError) as caught:
            await finished.delivered(10)
        [letter] = await outbox.dead_letters()
    assert letter.state == "unknown"
    assert caught.value.outcome_unknown
    assert caught.value.idempotency_key == letter.idempotency_key == finished.idempotency_key
    assert any("could not verify" in note for note in caught.value.__notes__)
