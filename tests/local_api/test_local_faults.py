"""Injected faults, observed through a real socket."""

import asyncio
import gzip
import json
import time
from datetime import UTC, datetime

import aiohttp
import pytest
from plain_caller import Caller, wait_for_attempts

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


async def raw_exchange(api, body):
    """Send a register over a raw socket; return the bytes received and how the connection ended."""
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


async def test_a_reset_before_reading_changes_nothing_but_is_recorded(api, caller):
    api.fail_next(FaultKind.RESET_BEFORE_READING)
    received, end = await raw_exchange(api, caller.registration())
    assert (received, end) == (b"", "reset")
    assert (len(api.instances), api.lost, len(api.requests)) == (0, [], 1)
    assert api.requests[0].body == b""
    assert api.requests[0].status is None


async def test_a_reset_after_the_write_sends_nothing(api, caller):
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    received, end = await raw_exchange(api, caller.registration())
    assert (received, end) == (b"", "reset")
    assert (len(api.instances), api.replies_lost, api.lost) == (1, 1, [])


async def test_a_response_cut_in_its_body_is_shorter_than_its_content_length(api, caller):
    api.fail_next(FaultKind.CUT_IN_BODY)
    received, end = await raw_exchange(api, caller.registration())
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    content_length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < content_length
    assert end == "reset"
    assert (len(api.instances), api.replies_lost) == (1, 1)


@pytest.mark.parametrize("kind", [FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY])
async def test_a_stall_ends_when_the_client_disconnects(api, caller, kind):
    api.fail_next(kind)
    body = caller.registration()
    with pytest.raises(asyncio.TimeoutError):
        await caller.post(REGISTER, body, total_timeout=0.1)
    assert (len(api.instances), api.replies_lost) == (1, 1)
    assert (await caller.post(REGISTER, body)).status == 200
    assert (api.replays, api.doubled) == (1, [])


@pytest.mark.parametrize("kind", [FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY])
async def test_a_client_that_waits_for_the_end_of_a_stall_gets_the_response(api, caller, kind):
    api.fail_next(Fault(kind, seconds=0.05))
    assert (await caller.post(REGISTER, caller.registration())).status == 200
    assert api.replies_lost == 0
    api.fail_next(Fault(kind, seconds=0.05))
    assert (await caller.get("/ping")).status == 200
    assert api.replies_lost == 0


@pytest.mark.parametrize("kind", [FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY])
async def test_the_server_stops_quickly_while_responses_are_stalled(session, kind):
    async with LocalPrefactor(stall=60.0) as api:
        api.fail_next(kind, FaultKind.DELAYED)
        other = Caller(api, session)
        stalled = [asyncio.create_task(other.register(), name=str(n)) for n in range(2)]
        await wait_for_attempts(api, 2)
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
async def test_an_error_response_replaces_a_write_that_was_not_applied(
    api, caller, kind, status, content_type
):
    api.fail_next(kind)
    body = caller.registration()
    response = await caller.post(REGISTER, body)
    assert response.status == status
    assert response.headers["Content-Type"].startswith(content_type)
    assert "Retry-After" not in response.headers
    assert len(api.lost) == (0 if kind is FaultKind.TOO_LARGE else 1)
    assert (await caller.post(REGISTER, body)).status == 200
    assert (api.lost, api.replays) == ([], 0)


async def test_a_413_for_a_bulk_request_is_not_final_for_its_items(api, caller):
    api.fail_next(FaultKind.TOO_LARGE)
    assert (await caller.bulk(caller.item(), caller.item())).status == 413
    assert len(api.lost) == 2


async def test_an_empty_error_response_has_no_body(api, caller):
    api.fail_next(FaultKind.GATEWAY_TIMEOUT)
    response = await caller.register()
    assert (response.status, response.body) == (504, b"")


async def test_a_truncated_error_is_incomplete_and_closes_with_fin(api, caller):
    api.fail_next(FaultKind.TRUNCATED_ERROR)
    received, end = await raw_exchange(api, caller.registration())
    assert received.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert not received.endswith(b"</html>")
    assert end == "closed"
    assert not api.instances


@pytest.mark.parametrize(
    ("kind", "status"), [(FaultKind.APPLIED_THEN_500, 500), (FaultKind.APPLIED_THEN_503, 503)]
)
async def test_an_error_response_can_follow_a_write_that_was_applied(api, caller, kind, status):
    api.fail_next(kind)
    body = caller.registration()
    assert (await caller.post(REGISTER, body)).status == status
    assert (len(api.instances), api.replies_lost) == (1, 1)
    assert (await caller.post(REGISTER, body)).status == 200
    assert (api.replays, api.doubled) == (1, [])


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [
        (3, "3"),
        ("soon", "soon"),
        (datetime(2024, 1, 1, tzinfo=UTC), "Mon, 01 Jan 2024 00:00:00 GMT"),
    ],
)
async def test_retry_after_can_be_seconds_a_date_or_any_text(api, caller, retry_after, header):
    api.fail_next(Fault(FaultKind.UNAVAILABLE, retry_after=retry_after, headers={"X-More": "1"}))
    response = await caller.register()
    assert response.headers["Retry-After"] == header
    assert response.headers["X-More"] == "1"


async def test_status_and_body_of_an_error_can_be_configured(api, caller):
    api.fail_next(
        Fault(FaultKind.INTERNAL_ERROR, status=502, body=ErrorBody.HTML),
        Fault(FaultKind.APPLIED_THEN_500, status=408, body=ErrorBody.EMPTY),
        Fault(FaultKind.INTERNAL_ERROR, status=418),
    )
    html, empty, odd = [await caller.register() for _ in range(3)]
    assert (html.status, html.body[:6]) == (502, b"<html>")
    assert (empty.status, empty.body) == (408, b"")
    assert (odd.status, odd.code) == (418, "injected_fault")


async def test_a_connection_closed_after_the_response_had_no_close_header(api, caller):
    api.fail_next(FaultKind.CLOSED_AFTER_REPLY)
    received, end = await raw_exchange(api, caller.registration())
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" not in head.lower()
    assert json.loads(body)["status"] == "success"
    assert end == "closed"
    assert api.replies_lost == 0


async def test_a_garbage_status_line_is_not_http(api, caller):
    api.fail_next(FaultKind.GARBAGE_STATUS_LINE)
    received, end = await raw_exchange(api, caller.registration())
    assert not received.startswith(b"HTTP/")
    assert end == "closed"
    assert (len(api.instances), api.replies_lost) == (1, 1)


@pytest.mark.parametrize(("status", "sent"), [(None, 307), (302, 302)])
async def test_a_redirect_has_a_location_and_applies_nothing(api, caller, status, sent):
    api.fail_next(Fault(FaultKind.REDIRECTED, status=status))
    response = await caller.register()
    assert (response.status, response.headers["Location"]) == (sent, "/_local/redirected")
    assert not api.instances


async def test_a_response_can_be_invalid_json_an_array_or_lack_details(api, caller):
    api.fail_next(FaultKind.INVALID_JSON, FaultKind.JSON_ARRAY, FaultKind.MISSING_DETAILS)
    broken, array, bare = [await caller.register() for _ in range(3)]
    assert [response.status for response in (broken, array, bare)] == [200, 200, 200]
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.body)
    assert isinstance(array.json, list)
    assert bare.json == {"status": "success"}
    assert (len(api.instances), api.replies_lost) == (3, 3)


async def test_a_response_can_contain_unknown_fields_and_statuses(api, caller):
    api.fail_next(FaultKind.UNKNOWN_FIELDS, FaultKind.UNKNOWN_STATUS, FaultKind.UNKNOWN_FIELDS)
    fields, status, listed = [
        await caller.register(),
        await caller.register(),
        await caller.get("/agent_instance"),
    ]
    assert "invented_later" in fields.details
    assert status.details["status"] == "hibernating"
    assert "also_invented_later" in listed.json
    assert {row["status"] for row in api.instances.values()} == {"pending"}
    assert api.replies_lost == 0


async def test_a_response_can_be_oversized(api, caller):
    api.fail_next(Fault(FaultKind.OVERSIZED_REPLY, size=200_000))
    response = await caller.register()
    assert len(response.body) > 200_000
    assert response.details["status"] == "pending"


async def test_an_oversized_response_can_be_compressed(api):
    api.fail_next(Fault(FaultKind.OVERSIZED_REPLY, size=200_000, compressed=True))
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        response = await Caller(api, session).register()
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(response.body) < 5_000
    assert len(gzip.decompress(response.body)) > 200_000


async def test_an_error_response_is_not_altered(api, caller):
    api.fail_next(FaultKind.INVALID_JSON)
    response = await caller.register(agent_id="unknown")
    assert (response.status, response.code) == (404, "not_found")
    assert api.replies_lost == 0


async def test_a_fault_can_refuse_a_request_with_an_invalid_body(api, caller):
    api.fail_next(FaultKind.UNAVAILABLE)
    response = await caller.send("POST", REGISTER, data=b"{")
    assert response.status == 503
    assert api.lost == []


async def test_scripted_faults_apply_in_order_to_matching_attempts_only(api, caller):
    api.fail_next(
        FaultKind.INTERNAL_ERROR, FaultKind.UNAVAILABLE, operation="agent_instances.start"
    )
    api.fail_next(FaultKind.GATEWAY_TIMEOUT, path="/agent_instance/*/finish")
    api.fail_next(FaultKind.BAD_GATEWAY, method="get", path="/api/v1/ping")
    assert (await caller.register()).status == 200
    assert (await caller.get("/ping")).status == 502
    instance_id = await caller.instance()
    path = f"/agent_instance/{instance_id}"
    statuses = [(await caller.post(f"{path}/start", {})).status for _ in range(3)]
    assert statuses == [500, 503, 200]
    assert api.faults_pending == 1
    assert (await caller.post(f"{path}/finish", {})).status == 504
    assert api.faults_pending == 0
    assert api.faults_injected.total() == 4


async def test_random_faults_are_the_same_for_the_same_seed(session):
    async def run(seed):
        async with LocalPrefactor(faults=0.5, seed=seed, stall=0.0) as api:
            other = Caller(api, session)
            for _ in range(40):
                try:
                    await other.register()
                except BROKEN:
                    continue
            return [request.fault for request in api.requests]

    first = await run(1)
    assert first == await run(1)
    assert first != await run(2)
    injected = [fault for fault in first if fault is not None]
    assert 10 < len(injected) < 30
    assert set(injected) <= set(RANDOM_FAULTS)


async def test_random_faults_send_the_configured_retry_after(session):
    kinds = [FaultKind.UNAVAILABLE]
    async with LocalPrefactor(faults=1.0, fault_kinds=kinds, retry_after=7) as api:
        other = Caller(api, session)
        assert (await other.register()).headers["Retry-After"] == "7"
        api.calm()
        assert (await other.register()).status == 200


def test_the_fault_rate_must_be_between_zero_and_one():
    with pytest.raises(ValueError, match="between 0 and 1"):
        LocalPrefactor(faults=30)
