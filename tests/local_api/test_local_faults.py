"""Each fault, seen from the other end of a real socket."""

import asyncio
import gzip
import json
import time
from datetime import UTC, datetime

import aiohttp
import pytest
from plain_caller import arrival_of

from prefactor_http.testing import (
    RANDOM_FAULTS,
    ErrorBody,
    Fault,
    FaultKind,
    LocalPrefactor,
)

REGISTER = "/agent_instance/register"
BROKEN = (
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientPayloadError,
    aiohttp.ClientResponseError,
)


async def raw_exchange(api, call, body):
    """Send a register by hand and return all that comes back, and how it ended."""
    payload = json.dumps(body).encode()
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /api/v1{REGISTER} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {api.token}\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
        + payload
    )
    received = b""
    try:
        while data := await reader.read(65536):
            received += data
        end = "closed"
    except ConnectionResetError:
        end = "reset"
    writer.close()
    return received, end


async def test_a_reset_before_reading_leaves_no_trace_but_the_attempt(api, call):
    api.fail_next(FaultKind.RESET_BEFORE_READING)
    received, end = await raw_exchange(api, call, call.registration())
    assert (received, end) == (b"", "reset")
    assert (len(api.instances), api.lost, len(api.requests)) == (0, [], 1)
    assert api.requests[0].body == b""
    assert api.requests[0].status is None


async def test_a_reset_after_the_write_sends_nothing(api, call):
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    received, end = await raw_exchange(api, call, call.registration())
    assert (received, end) == (b"", "reset")
    assert (len(api.instances), api.replies_lost, api.lost) == (1, 1, [])


async def test_a_cut_reply_promises_more_than_it_sends(api, call):
    api.fail_next(FaultKind.CUT_IN_BODY)
    received, end = await raw_exchange(api, call, call.registration())
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised
    assert end == "reset"
    assert (len(api.instances), api.replies_lost) == (1, 1)


@pytest.mark.parametrize("kind", [FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY])
async def test_a_stall_outlasts_the_client_and_ends_when_it_goes(api, call, kind):
    api.fail_next(kind)
    body = call.registration()
    with pytest.raises(asyncio.TimeoutError):
        await call.post(REGISTER, body, max_outage=0.1)
    assert (len(api.instances), api.replies_lost) == (1, 1)
    assert (await call.post(REGISTER, body)).status == 200
    assert (api.replays, api.doubled) == (1, [])


@pytest.mark.parametrize("kind", [FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY])
async def test_a_stall_that_the_client_waits_out_loses_nothing(api, call, kind):
    api.fail_next(Fault(kind, seconds=0.05))
    assert (await call.post(REGISTER, call.registration())).status == 200
    assert api.replies_lost == 0
    api.fail_next(Fault(kind, seconds=0.05))
    assert (await call.get("/ping")).status == 200
    assert api.replies_lost == 0


@pytest.mark.parametrize("kind", [FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY])
async def test_the_server_stops_fast_though_replies_are_stalled(session, call, kind):
    async with LocalPrefactor(stall=60.0) as api:
        api.fail_next(kind, FaultKind.DELAYED)
        other = type(call)(api, session)
        stalled = [asyncio.create_task(other.register(), name=str(n)) for n in range(2)]
        await arrival_of(api, 2)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 1.5
    await asyncio.gather(*stalled, return_exceptions=True)


@pytest.mark.parametrize(
    ("kind", "status", "content_type"),
    [
        (FaultKind.RATE_LIMITED, 429, "application/json"),
        (FaultKind.INTERNAL_ERROR, 500, "application/json"),
        (FaultKind.BAD_GATEWAY, 502, "text/html"),
        (FaultKind.UNAVAILABLE, 503, "application/json"),
        (FaultKind.TOO_LARGE, 413, "application/json"),
        (FaultKind.IN_PROGRESS, 409, "application/json"),
    ],
)
async def test_an_error_reply_stands_in_for_work_that_was_not_done(
    api, call, kind, status, content_type
):
    api.fail_next(kind)
    body = call.registration()
    reply = await call.post(REGISTER, body)
    assert reply.status == status
    assert reply.headers["Content-Type"].startswith(content_type)
    assert "Retry-After" not in reply.headers
    assert len(api.lost) == (0 if kind is FaultKind.TOO_LARGE else 1)
    assert (await call.post(REGISTER, body)).status == 200
    assert (api.lost, api.replays) == ([], 0)


async def test_a_bulk_request_too_large_refuses_no_row_for_good(api, call):
    api.fail_next(FaultKind.TOO_LARGE)
    assert (await call.bulk(call.item(), call.item())).status == 413
    assert len(api.lost) == 2


async def test_an_empty_error_has_no_body(api, call):
    api.fail_next(FaultKind.GATEWAY_TIMEOUT)
    reply = await call.register()
    assert (reply.status, reply.body) == (504, b"")


async def test_a_truncated_error_ends_in_good_order_but_early(api, call):
    api.fail_next(FaultKind.TRUNCATED_ERROR)
    received, end = await raw_exchange(api, call, call.registration())
    assert received.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert not received.endswith(b"</html>")
    assert end == "closed"
    assert not api.instances


@pytest.mark.parametrize(
    ("kind", "status"), [(FaultKind.APPLIED_THEN_500, 500), (FaultKind.APPLIED_THEN_503, 503)]
)
async def test_an_error_reply_can_hide_work_that_was_done(api, call, kind, status):
    api.fail_next(kind)
    body = call.registration()
    assert (await call.post(REGISTER, body)).status == status
    assert (len(api.instances), api.replies_lost) == (1, 1)
    assert (await call.post(REGISTER, body)).status == 200
    assert (api.replays, api.doubled) == (1, [])


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [
        (3, "3"),
        ("soon", "soon"),
        (datetime(2024, 1, 1, tzinfo=UTC), "Mon, 01 Jan 2024 00:00:00 GMT"),
    ],
)
async def test_retry_after_is_seconds_a_date_or_any_text(api, call, retry_after, header):
    api.fail_next(Fault(FaultKind.UNAVAILABLE, retry_after=retry_after, headers={"X-More": "1"}))
    reply = await call.register()
    assert reply.headers["Retry-After"] == header
    assert reply.headers["X-More"] == "1"


async def test_status_and_body_of_an_error_can_be_chosen(api, call):
    api.fail_next(
        Fault(FaultKind.INTERNAL_ERROR, status=502, body=ErrorBody.HTML),
        Fault(FaultKind.APPLIED_THEN_500, status=408, body=ErrorBody.EMPTY),
        Fault(FaultKind.INTERNAL_ERROR, status=418),
    )
    html, empty, odd = [await call.register() for _ in range(3)]
    assert (html.status, html.body[:6]) == (502, b"<html>")
    assert (empty.status, empty.body) == (408, b"")
    assert (odd.status, odd.code) == (418, "injected_fault")


async def test_a_closed_connection_had_promised_to_stay_open(api, call):
    api.fail_next(FaultKind.CLOSED_AFTER_REPLY)
    received, end = await raw_exchange(api, call, call.registration())
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" not in head.lower()
    assert json.loads(body)["status"] == "success"
    assert end == "closed"
    assert api.replies_lost == 0


async def test_a_garbage_status_line_is_no_http(api, call):
    api.fail_next(FaultKind.GARBAGE_STATUS_LINE)
    received, end = await raw_exchange(api, call, call.registration())
    assert not received.startswith(b"HTTP/")
    assert end == "closed"
    assert (len(api.instances), api.replies_lost) == (1, 1)


@pytest.mark.parametrize(("status", "sent"), [(None, 307), (302, 302)])
async def test_a_redirect_points_elsewhere_and_does_nothing(api, call, status, sent):
    api.fail_next(Fault(FaultKind.REDIRECTED, status=status))
    reply = await call.register()
    assert (reply.status, reply.headers["Location"]) == (sent, "/_local/redirected")
    assert not api.instances


async def test_replies_can_be_no_json_or_no_object_or_lack_their_details(api, call):
    api.fail_next(FaultKind.INVALID_JSON, FaultKind.JSON_ARRAY, FaultKind.MISSING_DETAILS)
    broken, array, bare = [await call.register() for _ in range(3)]
    assert [reply.status for reply in (broken, array, bare)] == [200, 200, 200]
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.body)
    assert isinstance(array.json, list)
    assert bare.json == {"status": "success"}
    assert (len(api.instances), api.replies_lost) == (3, 3)


async def test_replies_can_hold_more_than_is_known_today(api, call):
    api.fail_next(FaultKind.UNKNOWN_FIELDS, FaultKind.UNKNOWN_STATUS, FaultKind.UNKNOWN_FIELDS)
    fields, status, listed = [
        await call.register(),
        await call.register(),
        await call.get("/agent_instance"),
    ]
    assert "invented_later" in fields.details
    assert status.details["status"] == "hibernating"
    assert "also_invented_later" in listed.json
    assert {row["status"] for row in api.instances.values()} == {"pending"}
    assert api.replies_lost == 0


async def test_a_reply_can_be_larger_than_anyone_wants(api, call):
    api.fail_next(Fault(FaultKind.OVERSIZED_REPLY, size=200_000))
    reply = await call.register()
    assert len(reply.body) > 200_000
    assert reply.details["status"] == "pending"


async def test_an_oversized_reply_can_be_small_on_the_wire(api, call):
    api.fail_next(Fault(FaultKind.OVERSIZED_REPLY, size=200_000, compressed=True))
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        reply = await type(call)(api, session).register()
    assert reply.headers["Content-Encoding"] == "gzip"
    assert len(reply.body) < 5_000
    assert len(gzip.decompress(reply.body)) > 200_000


async def test_a_refusal_is_not_altered(api, call):
    api.fail_next(FaultKind.INVALID_JSON)
    reply = await call.register(agent_id="nobody")
    assert (reply.status, reply.code) == (404, "not_found")
    assert api.replies_lost == 0


async def test_unreadable_requests_can_be_refused_unread(api, call):
    api.fail_next(FaultKind.UNAVAILABLE)
    reply = await call.send("POST", REGISTER, data=b"{")
    assert reply.status == 503
    assert api.lost == []


async def test_scripted_faults_strike_in_order_and_only_what_they_match(api, call):
    api.fail_next(
        FaultKind.INTERNAL_ERROR, FaultKind.UNAVAILABLE, operation="agent_instances.start"
    )
    api.fail_next(FaultKind.GATEWAY_TIMEOUT, path="/agent_instance/*/finish")
    api.fail_next(FaultKind.BAD_GATEWAY, method="get", path="/api/v1/ping")
    assert (await call.register()).status == 200
    assert (await call.get("/ping")).status == 502
    instance_id = await call.instance()
    path = f"/agent_instance/{instance_id}"
    statuses = [(await call.post(f"{path}/start", {})).status for _ in range(3)]
    assert statuses == [500, 503, 200]
    assert api.faults_pending == 1
    assert (await call.post(f"{path}/finish", {})).status == 504
    assert api.faults_pending == 0
    assert api.faults_injected.total() == 4


async def test_random_faults_are_the_same_for_the_same_seed(session, call):
    async def run(seed):
        async with LocalPrefactor(faults=0.5, seed=seed, stall=0.0) as api:
            other = type(call)(api, session)
            for _ in range(40):
                try:
                    await other.register()
                except BROKEN:
                    continue
            return [request.fault for request in api.requests]

    first = await run(1)
    assert first == await run(1)
    assert first != await run(2)
    struck = [fault for fault in first if fault is not None]
    assert 10 < len(struck) < 30
    assert set(struck) <= set(RANDOM_FAULTS)


async def test_random_retry_after_is_what_was_asked_for(session, call):
    kinds = [FaultKind.UNAVAILABLE]
    async with LocalPrefactor(faults=1.0, fault_kinds=kinds, retry_after=7) as api:
        other = type(call)(api, session)
        assert (await other.register()).headers["Retry-After"] == "7"
        api.calm()
        assert (await other.register()).status == 200


def test_a_share_of_faults_is_between_none_and_all():
    with pytest.raises(ValueError, match="between 0 and 1"):
        LocalPrefactor(faults=30)
