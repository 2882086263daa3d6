"""Invalid arguments are refused before any I/O, and unusual ids are sent correctly."""

import re
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import unquote

import pytest
from raw_server import reply

from prefactor_http import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    HttpClientConfig,
    PrefactorHttpClient,
)

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
VERSIONS = {"agent_version": VERSION, "agent_schema_version": SCHEMA}
TIMESTAMP = "2024-05-01T12:00:00Z"
INSTANCE = {
    "type": "agent_instance",
    "id": "i-1",
    "account_id": "acc-1",
    "agent_id": "a-1",
    "agent_version_id": "v-1",
    "environment_id": "e-1",
    "status": "complete",
    "inserted_at": TIMESTAMP,
    "updated_at": TIMESTAMP,
}
NAIVE = datetime(2024, 5, 1, 12)  # noqa: DTZ001 # the refused value


@pytest.fixture
async def instances(raw_server):
    async with PrefactorHttpClient(HttpClientConfig(raw_server.url, "token-1234")) as client:
        yield client.agent_instances


def answer_with_an_instance(raw_server, **fields):
    raw_server.script(reply(body={"status": "success", "details": {**INSTANCE, **fields}}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (VERSION, SCHEMA),
            (
                "register takes agent_id first, then agent_version and agent_schema_version; "
                "pass agent_version=… and agent_schema_version=… by name"
            ),
        ),
        (("a-1",), "agent_version must be a dict or AgentVersionForRegister, it is missing"),
        (
            ("a-1", None, SCHEMA),
            "agent_version must be a dict or AgentVersionForRegister, it is missing",
        ),
        (
            ("a-1", VERSION),
            "agent_schema_version must be a dict or AgentSchemaVersionForRegister, it is missing",
        ),
        (("a-1", "v1", SCHEMA), "agent_version must be a dict or AgentVersionForRegister, not str"),
        (
            ("a-1", VERSION, [SCHEMA]),
            "agent_schema_version must be a dict or AgentSchemaVersionForRegister, not list",
        ),
        (
            (
                "a-1",
                AgentSchemaVersionForRegister(external_identifier="s", span_type_schemas=[]),
                SCHEMA,
            ),
            (
                "agent_version must be a dict or AgentVersionForRegister, "
                "not AgentSchemaVersionForRegister"
            ),
        ),
        (
            ("a-1", VERSION, AgentVersionForRegister(external_identifier="v1")),
            (
                "agent_schema_version must be a dict or AgentSchemaVersionForRegister, "
                "not AgentVersionForRegister"
            ),
        ),
    ],
    ids=repr,
)
async def test_register_says_which_version_is_wrong(raw_server, instances, arguments, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        await instances.register(*arguments)
    assert raw_server.requests == []


# Each method with valid arguments: its name, an id if it takes one, and keyword arguments.
WRITES = [
    ("register", (), VERSIONS),
    ("start", ("i-1",), {}),
    ("finish", ("i-1",), {}),
    ("terminate", ("i-1",), {"reason": "stop"}),
    ("record_quality", ("i-1",), {"name": "score"}),
]
WITH_ID = [*WRITES[1:], ("get", ("i-1",), {})]


@pytest.mark.parametrize(("method", "ids", "arguments"), WRITES)
@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("", ValueError, "idempotency_key must have 1 to 64 characters, got 0"),
        ("x" * 65, ValueError, "idempotency_key must have 1 to 64 characters, got 65"),
        ("a b", ValueError, "printable ASCII without spaces"),
        ("ключ", ValueError, "printable ASCII without spaces"),
        (17, TypeError, "idempotency_key must be a str, not int"),
    ],
)
async def test_an_invalid_key_is_refused(
    raw_server, instances, method, ids, arguments, key, error, message
):
    with pytest.raises(error, match=message):
        await getattr(instances, method)(*ids, **arguments, idempotency_key=key)
    assert raw_server.requests == []


@pytest.mark.parametrize(("method", "ids", "arguments"), WITH_ID)
@pytest.mark.parametrize("bad", ["", ".", ".."])
async def test_an_id_must_not_be_empty_or_a_path_step(
    raw_server, instances, method, ids, arguments, bad
):
    with pytest.raises(ValueError, match=rf"agent_instances\.{method}: '{bad}' is not an id"):
        await getattr(instances, method)(bad, **arguments)
    assert raw_server.requests == []


@pytest.mark.parametrize(("method", "ids", "arguments"), WITH_ID)
@pytest.mark.parametrize("bad", [None, 7, b"i-1", INSTANCE], ids=repr)
async def test_an_id_must_be_text(raw_server, instances, method, ids, arguments, bad):
    with pytest.raises(TypeError, match=f"an id must be a str, not {type(bad).__name__}"):
        await getattr(instances, method)(bad, **arguments)
    assert raw_server.requests == []


@pytest.mark.parametrize(("method", "ids", "arguments"), WITH_ID)
@pytest.mark.parametrize(
    "odd", ["a/b", "../agent", "a b", "a?b=c", "a#b", "a%2Fb", "a+b", "ünï", "~x", "a;b,c&d", "..."]
)
async def test_an_unusual_id_is_percent_encoded(raw_server, instances, method, ids, arguments, odd):
    answer_with_an_instance(raw_server, id=odd)
    await getattr(instances, method)(odd, **arguments)
    target = raw_server.request.target
    head, tail = "/api/v1/agent_instance/", "" if method == "get" else f"/{method}"
    assert target.startswith(head)
    assert target.endswith(tail)
    sent = target[len(head) : len(target) - len(tail)]
    assert not set(sent) & set("/?# ")
    assert unquote(sent, errors="strict") == odd


@pytest.mark.parametrize("method", ["start", "finish"])
async def test_a_timestamp_without_a_time_zone_is_refused(raw_server, instances, method):
    with pytest.raises(ValueError, match="timestamp has no time zone"):
        await getattr(instances, method)("i-1", timestamp=NAIVE)
    assert raw_server.requests == []


@pytest.mark.parametrize("method", ["start", "finish"])
@pytest.mark.parametrize(
    "timestamp", [TIMESTAMP, 1714564800, datetime(2024, 5, 1, tzinfo=UTC).date()]
)
async def test_a_timestamp_must_be_a_datetime(raw_server, instances, method, timestamp):
    kind = type(timestamp).__name__
    with pytest.raises(TypeError, match=f"timestamp must be a datetime, not {kind}"):
        await getattr(instances, method)("i-1", timestamp=timestamp)
    assert raw_server.requests == []


@pytest.mark.parametrize("method", ["start", "finish"])
async def test_a_timestamp_is_sent_in_utc(raw_server, instances, method):
    answer_with_an_instance(raw_server)
    east = timezone(timedelta(hours=2))
    await getattr(instances, method)("i-1", timestamp=datetime(2024, 5, 1, 14, 0, 0, 250, east))
    assert raw_server.request.json["timestamp"] == "2024-05-01T12:00:00.000250Z"


@pytest.mark.parametrize("method", ["start", "finish"])
async def test_the_default_timestamp_is_the_time_of_the_call(raw_server, instances, method):
    answer_with_an_instance(raw_server)
    before = datetime.now(UTC)
    await getattr(instances, method)("i-1")
    text = raw_server.request.json["timestamp"]
    assert text.endswith("Z")
    assert before <= datetime.fromisoformat(text) <= datetime.now(UTC)


@pytest.mark.parametrize("purpose", ["", "production", "Live"])
async def test_a_purpose_must_be_one_that_the_api_defines(raw_server, instances, purpose):
    message = f"purpose must be one of live, smoke_test, eval; got '{purpose}'"
    with pytest.raises(ValueError, match=f"^{message}$"):
        await instances.register("a-1", **VERSIONS, purpose=purpose)
    assert raw_server.requests == []


@pytest.mark.parametrize("status", ["", "active", "terminated", "Complete"])
async def test_the_status_of_a_finish_must_be_final(raw_server, instances, status):
    message = f"status must be one of complete, failed, cancelled; got '{status}'"
    with pytest.raises(ValueError, match=f"^{message}$"):
        await instances.finish("i-1", status)
    assert raw_server.requests == []


@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
async def test_a_reason_must_not_be_blank(raw_server, instances, reason):
    with pytest.raises(ValueError, match="reason must not be blank"):
        await instances.terminate("i-1", reason)
    assert raw_server.requests == []


async def test_the_name_of_a_quality_payload_must_not_be_blank(raw_server, instances):
    with pytest.raises(ValueError, match="name must not be blank"):
        await instances.record_quality("i-1", "", {"score": 1})
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offset": -1}, "offset must be at least 0 or None, got -1"),
        ({"page_size": 0}, "page_size must be from 1 to 100 or None, got 0"),
        ({"page_size": 101}, "page_size must be from 1 to 100 or None, got 101"),
    ],
    ids=repr,
)
async def test_offset_and_page_size_must_be_in_range(raw_server, instances, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        await instances.list(**arguments)
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda i: i.register("a-1", {"name": object()}, SCHEMA), TypeError),
        (lambda i: i.register("a-1", {"name": "\ud800"}, SCHEMA), ValueError),
        (lambda i: i.record_quality("i-1", "score", {"value": object()}), TypeError),
    ],
)
async def test_a_value_without_a_json_form_is_refused(raw_server, instances, call, error):
    with pytest.raises(error, match=r"agent_instances\.\w+: cannot encode the request as JSON"):
        await call(instances)
    assert raw_server.requests == []


async def test_register_does_not_send_omitted_arguments(raw_server, instances):
    answer_with_an_instance(raw_server)
    await instances.register(**VERSIONS, idempotency_key="k-1")
    assert raw_server.request.json == {
        **VERSIONS,
        "update_current_version": True,
        "idempotency_key": "k-1",
    }


async def test_register_sends_all_arguments(raw_server, instances):
    answer_with_an_instance(raw_server, external_identifier="run 7")
    await instances.register(
        "a-1",
        AgentVersionForRegister(external_identifier="v1", name="One"),
        SCHEMA,
        "i-1",
        "k-1",
        False,
        environment_id="e-1",
        purpose="eval",
        external_identifier="run 7",
    )
    assert raw_server.request.json == {
        "agent_id": "a-1",
        "agent_version": {"external_identifier": "v1", "name": "One"},
        "agent_schema_version": SCHEMA,
        "id": "i-1",
        "idempotency_key": "k-1",
        "update_current_version": False,
        "environment_id": "e-1",
        "purpose": "eval",
        "external_identifier": "run 7",
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.register(7, {}, {}), "agent_id must be a str, not int"),
        (lambda i: i.terminate("i-1", None), "reason must be a str, not NoneType"),
        (lambda i: i.record_quality("i-1", 7), "name must be a str, not int"),
        (
            lambda i: i.record_quality("i-1", "score", [1]),
            "payload must be a dict or None, not list",
        ),
        (lambda i: i.list(offset=1.5), "offset must be an int or None, not float"),
        (lambda i: i.list(page_size=True), "page_size must be an int or None, not bool"),
    ],
)
async def test_a_value_of_the_wrong_type_is_refused(raw_server, instances, call, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        await call(instances)
    assert raw_server.requests == []
