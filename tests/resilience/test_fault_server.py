"""The fault server: its ledger must be right, because the oracle relies on it."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fault_server.process import FaultServer

REGISTER = "/api/v1/agent_instance/register"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    with FaultServer(tmp_path / "ledger.sqlite") as server:
        yield server


def request(server: FaultServer, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    text = None if body is None else json.dumps(body)
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=5)) as connection:
        connection.request(method, path, text, authorization(server))
        response = connection.getresponse()
        content = response.read()
    return response.status, json.loads(content) if response.status != 302 else None


def authorization(server: FaultServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token}"}


def register(server: FaultServer, key: str, **fields: Any) -> tuple[int, Any]:
    return request(server, "POST", REGISTER, {"idempotency_key": key, **fields})


def act(server: FaultServer, id_: str, action: str, key: str, **fields: Any) -> tuple[int, Any]:
    path = f"/api/v1/agent_instance/{id_}/{action}"
    return request(server, "POST", path, {"idempotency_key": key, **fields})


def test_a_repeated_key_is_replayed_and_applied_once(server: FaultServer) -> None:
    first = register(server, "key-1", external_identifier=" a ")
    assert register(server, "key-1", external_identifier=" a ") == first
    assert first[1]["details"]["external_identifier"] == "a"
    effect = ("agent_instances.register", "a", "key-1", first[1]["details"]["id"], 1)
    assert server.effects() == [effect]
    assert server.times_applied("agent_instances.register", "a") == 1


def test_another_body_under_the_same_key_is_a_conflict(server: FaultServer) -> None:
    register(server, "key-1", external_identifier="a")
    status, body = register(server, "key-1", external_identifier="b")
    assert (status, body["code"]) == (409, "idempotency_conflict")
    assert server.counts()["conflicts"] == 1


def test_without_deduplication_the_ledger_counts_two_effects(server: FaultServer) -> None:
    server.configure(deduplicate=False)
    version = {"name": "mark"}
    first = register(server, "key-1", agent_version=version)
    assert register(server, "key-1", agent_version=version) != first
    assert server.times_applied("agent_instances.register", "mark") == 2


def test_a_forgotten_key_leads_to_a_409_if_the_state_has_changed(server: FaultServer) -> None:
    server.configure(forget=1.0)
    _, body = register(server, "key-1", id="0" * 32)
    status, again = register(server, "key-1", id="0" * 32)
    assert (status, list(again["errors"])) == (422, ["id"])
    id_ = body["details"]["id"]
    assert act(server, id_, "start", "key-2")[0] == 200
    assert act(server, id_, "start", "key-2")[1]["code"] == "invalid_action"
    assert register(server, "key-3") == register(server, "key-3")  # the server remembers this key
    assert server.counts()["forgotten_keys_seen"] == 2


def test_the_state_machine(server: FaultServer) -> None:
    id_ = register(server, "key-1")[1]["details"]["id"]
    assert act(server, id_, "finish", "key-2")[0] == 409  # the instance is pending
    moment = "2026-01-01T01:00:00.123456+01:00"
    started = act(server, id_, "start", "key-3", timestamp=moment)[1]["details"]
    assert (started["status"], started["started_at"]) == ("active", "2026-01-01T00:00:00.123Z")
    assert act(server, id_, "terminate", "key-4", reason=" ")[0] == 422
    ended = act(server, id_, "terminate", "key-4", reason=" why ")[1]["details"]
    assert (ended["status"], ended["termination_reason"]) == ("terminated", "why")
    assert act(server, id_, "finish", "key-5")[0] == 409
    assert request(server, "GET", f"/api/v1/agent_instance/{id_}")[1]["details"] == ended
    assert request(server, "GET", "/api/v1/agent_instance/none")[0] == 404


def test_spans_are_created_finished_read_and_listed(server: FaultServer) -> None:
    id_ = register(server, "key-1")[1]["details"]["id"]
    details = {"agent_instance_id": id_, "schema_name": "s", "status": "active", "payload": {}}
    body = {"idempotency_key": "key-2", "details": details}
    span = request(server, "POST", "/api/v1/agent_spans", body)[1]["details"]
    path = f"/api/v1/agent_spans/{span['id']}"
    finish = {"idempotency_key": "key-3", "result_payload": {"n": 1}}
    ended = request(server, "POST", f"{path}/finish", finish)[1]["details"]
    assert (ended["status"], ended["result_payload"]) == ("complete", {"n": 1})
    assert request(server, "GET", path)[1]["details"] == ended
    page = request(server, "GET", f"/api/v1/agent_spans?agent_instance_id={id_}")[1]
    assert page["summaries"] == [ended]
    server.configure(read_spans=False)
    assert request(server, "GET", path)[0] == 404


def bulk(server: FaultServer, *items: dict[str, Any]) -> tuple[int, Any]:
    return request(server, "POST", "/api/v1/bulk", {"items": items})


def item(key: str, action: str, **fields: Any) -> dict[str, Any]:
    return {"_type": f"agent_instances/{action}", "idempotency_key": key, **fields}


def test_a_bulk_request_stops_at_the_first_error(server: FaultServer) -> None:
    _, body = bulk(
        server,
        item("key-00001", "register", id="0" * 32),
        item("key-00002", "finish", agent_instance_id="0" * 32),
        item("key-00003", "start", agent_instance_id="0" * 32),
    )
    states = {key: output["status"] for key, output in body["outputs"].items()}
    assert states == {"key-00001": "success", "key-00002": "error"}
    assert [effect[0] for effect in server.effects()] == ["agent_instances.register"]
    assert bulk(server, item("short", "register"))[0] == 400


def test_poison_fails_each_request_that_contains_it(server: FaultServer) -> None:
    items = [item("key-00001", "register", external_identifier="poison")]
    with pytest.raises(http.client.RemoteDisconnected):
        bulk(server, *items)
    with pytest.raises(http.client.RemoteDisconnected):
        bulk(server, item("key-00003", "register", external_identifier="a"), *items)
    assert server.times_applied("agent_instances.register", "poison") == 0
    assert server.injected()["poison"] == 2


def test_a_script_assigns_faults_to_requests(server: FaultServer) -> None:
    server.configure(
        faults=1.0,
        kinds=["redirect_302"],
        script=[
            {"fault": None, "times": 2},
            {"fault": "state_before", "operation": "agent_instances.start"},
        ],
    )
    assert register(server, "key-1", id="0" * 32)[0] == 200
    status, body = act(server, "0" * 32, "start", "key-2")
    assert status == 200
    assert body["details"]["status"] == "active"
    assert register(server, "key-3")[0] == 302
    assert register(server, "key-4", id="1" * 32)[0] == 302
    assert server.injected() == {"redirect_302": 2}


def test_a_late_duplicate_is_a_second_copy_of_the_response(server: FaultServer) -> None:
    server.configure(script=[{"fault": "late_duplicate"}])
    url = urlsplit(server.url)
    assert url.hostname is not None
    with socket.create_connection((url.hostname, url.port or 0), timeout=5) as connection:
        body = b'{"idempotency_key": "key-1"}'
        head = f"POST {REGISTER} HTTP/1.1\r\nAuthorization: Bearer {server.token}\r\n"
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        received = b""
        while received.count(b'"agent_instance"') < 2:
            received += connection.recv(65536)
    first, second = received[: len(received) // 2], received[len(received) // 2 :]
    assert first == second


def test_a_restart_refuses_connections_and_keeps_port_and_ledger(server: FaultServer) -> None:
    register(server, "key-1", id="0" * 32)
    server.restart(0.2)
    with pytest.raises(ConnectionRefusedError):
        register(server, "key-1", id="0" * 32)
    ended = time.monotonic() + 10
    while True:
        try:
            status, _ = register(server, "key-1", id="0" * 32)
            break
        except ConnectionError:
            assert time.monotonic() < ended
            time.sleep(0.02)
    assert status == 200
    assert server.times_applied("agent_instances.register", "0" * 32) == 1


def test_requests_that_break_the_contract_are_counted(server: FaultServer) -> None:
    request(server, "GET", "/elsewhere")
    assert request(server, "POST", REGISTER, {})[0] == 422
    assert server.counts()["redirects_followed"] == 1
    assert server.counts()["keyless"] == 1


def test_without_accepting_connecting_takes_forever(server: FaultServer) -> None:
    register(server, "key-1", id="0" * 32)
    url = urlsplit(server.url)
    server.never_accept(0.3)
    with pytest.raises(TimeoutError):
        socket.create_connection((url.hostname or "", url.port or 0), timeout=0.1)
    ended = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection((url.hostname or "", url.port or 0), timeout=0.1):
                break
        except OSError:
            assert time.monotonic() < ended
    assert register(server, "key-1", id="0" * 32)[0] == 200
    assert server.times_applied("agent_instances.register", "0" * 32) == 1


def test_every_other_outage_is_a_restart(server: FaultServer) -> None:
    server.configure(outage_every=1, restart_seconds=0.01, never_accept_seconds=0.01)
    ended = time.monotonic() + 10
    while len(server.injected()) < 2:
        assert time.monotonic() < ended
        with suppress(OSError, http.client.HTTPException):
            register(server, "key-1")
        time.sleep(0.01)
    assert server.injected().keys() == {"restart", "never_accept"}


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("tls_untrusted", "unable to get local issuer"),
        ("tls_wrong_host", "not valid for '127.0.0.1'"),
        ("tls_expired", "has expired"),
        ("tls_cut", "EOF"),
    ],
)
def test_a_tls_handshake_fails_as_its_kind_says(
    server: FaultServer, kind: str, problem: str
) -> None:
    url, authority = server.open_tls()
    context = ssl.create_default_context(cadata=authority)

    def connect() -> None:
        connection = http.client.HTTPSConnection(urlsplit(url).netloc, timeout=5, context=context)
        connection.connect()
        connection.close()

    connect()
    server.configure(at_handshake=1.0)
    for _ in range(4):  # each kind is dealt once
        try:
            connect()
        except ssl.SSLError as error:
            if problem in str(error):
                break
    else:
        pytest.fail(f"no handshake failed with {problem}")
    assert server.injected()[kind] == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_has_each_form(server: FaultServer, status: int) -> None:
    forms: dict[str, set[str | None]] = {}
    for form in ("seconds", "date", "nonsense"):
        fault = f"status_{status}_retry_after_{form}"
        server.configure(script=[{"fault": fault, "times": 30}])
        forms[form] = {retry_after(server) for _ in range(30)}
    assert forms["seconds"] == {"0", "0.01", "0.02"}
    assert all(parsedate_to_datetime(str(value)) for value in forms["date"])
    assert {"soon", "-1"} < forms["nonsense"]


def retry_after(server: FaultServer) -> str | None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=5)
    connection.request("GET", "/api/v1/agent_instance/i", headers=authorization(server))
    value = connection.getresponse().headers["Retry-After"]
    connection.close()
    return value


def test_refusals_are_counted_by_code(server: FaultServer) -> None:
    id_ = register(server, "key-1", id="0" * 32)[1]["details"]["id"]
    register(server, "key-2", id="0" * 32)
    act(server, id_, "finish", "key-3")
    counts = server.counts()
    assert counts["refused_validation_errors"] == counts["refused_invalid_action"] == 1
