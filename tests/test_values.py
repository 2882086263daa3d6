"""Values of other libraries, subclasses and enum members are sent as plain values."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import re
import subprocess
import sys
import types
import uuid
from collections import ChainMap, OrderedDict

import freezegun
import msgspec
import numpy as np
import pandas as pd
import pendulum
import pydantic
import pytest
from raw_server import reply

from prefactor_http import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    BulkItem,
    BulkOutput,
    BulkRequest,
    HttpClientConfig,
    PrefactorHttpClient,
    RuntimeEnvironment,
)
from prefactor_http.idempotency import check_key, derive_key, new_id
from prefactor_http.models.data_risk import ActionProfile
from prefactor_http.testing import LocalPrefactor

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
SPAN = {
    "type": "agent_span",
    "id": "s-1",
    "agent_instance_id": "i-1",
    "schema_name": "llm",
    "status": "complete",
}
PAGE = {"status": "success", "summaries": [], "pagination": None}


class Text(str):  # noqa: SLOT000 # as users write them
    def __str__(self):
        return "another text"


class Count(int):
    def __int__(self):
        return 99


class Share(float):
    pass


class Fields(dict):
    pass


class Amount(decimal.Decimal):
    pass


class Id(uuid.UUID):
    pass


class Blob(bytes):
    pass


class Colour(enum.Enum):
    RED = "red"


class TextColour(str, enum.Enum):  # noqa: UP042 # its str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Answer(pydantic.BaseModel):
    text: str = "hi"
    at: object = None
    left_out: int | None = None


class Numbers(pydantic.RootModel[list[int]]):
    pass


@dataclasses.dataclass
class Step:
    name: str
    answer: Answer


def shown(value):
    """Return an id without memory addresses, which differ between the workers of a test run."""
    return f"{type(value).__name__} {re.sub(' at 0x[0-9a-f]+', '', repr(value)):.40}"


async def sent_payload(raw_server, client, payload):
    raw_server.script(reply(body={"status": "success", "details": SPAN}))
    await client.agent_spans.finish("s-1", result_payload=payload)
    return raw_server.requests[-1].json["result_payload"]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        # Values that release 0.4.3 sent.
        (Answer(), {"text": "hi"}),
        (Numbers([1, 2]), [1, 2]),
        (Step("s", Answer()), {"name": "s", "answer": {"text": "hi"}}),
        (np.float64(0.5), 0.5),
        (np.str_("x"), "x"),
        (Text("x"), "x"),
        (Count(3), 3),
        (Share(0.5), 0.5),
        (Fields(a=Text("x")), {"a": "x"}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (TextColour.RED, "red"),
        (Level.LOW, 1),
        ((1, 2), [1, 2]),
        (2**70, 2**70),
        (
            {None: 1, True: 2, False: 3, 4: 4, 0.5: 5},
            {"null": 1, "true": 2, "false": 3, "4": 4, "0.5": 5},
        ),
        ({Text("k"): 1, np.str_("n"): 2, TextColour.RED: 3}, {"k": 1, "n": 2, "red": 3}),
        # Values that it rejected.
        (
            Answer(at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
            {"text": "hi", "at": "2026-01-01T00:00:00Z"},
        ),
        (Colour.RED, "red"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Id(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.50"), "1.50"),
        (Amount("1.50"), "1.50"),
        (Blob(b"ab"), "YWI="),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(["a", None], dtype=object), ["a", None]),
        (pd.Series([1, 2]), [1, 2]),
        ({np.int64(1): 1, np.float64(0.5): 2}, {"1": 1, "0.5": 2}),
        (types.MappingProxyType({"a": np.int64(1)}), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (pd.Timestamp("2026-01-01 01:00", tz="Europe/Berlin"), "2026-01-01T01:00:00+01:00"),
        (pd.Timestamp("2026-01-01T00:00:00.123456789", tz="UTC"), "2026-01-01T00:00:00.123456Z"),
        (pendulum.datetime(2026, 1, 1), "2026-01-01T00:00:00Z"),
        (pendulum.date(2026, 1, 1), "2026-01-01"),
        (pendulum.time(1), "01:00:00"),
        (pendulum.duration(days=1, seconds=3), "P1DT3S"),
        (pd.Timedelta(3, "s"), "PT3S"),
    ],
    ids=shown,
)
async def test_a_value_in_a_payload_is_sent(raw_server, client, value, sent):
    assert await sent_payload(raw_server, client, {"value": value}) == {"value": sent}


async def test_the_order_of_keys_in_a_payload_is_preserved(raw_server, client):
    await sent_payload(raw_server, client, {"b": 1, "a": {"d": 1, "c": 2}})
    assert b'{"b":1,"a":{"d":1,"c":2}}' in raw_server.request.body


async def test_a_payload_may_be_any_mapping(raw_server, client):
    payload = types.MappingProxyType({"a": 1})
    assert await sent_payload(raw_server, client, payload) == {"a": 1}


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"a": [0, {"b c": object()}]}, "result_payload.a[1]['b c'] is of type object"),
        ({"a": Answer}, "result_payload.a is of type"),
        ({"a": Answer(at=object())}, "result_payload.a.at is of type object"),
        ({"a": Step("s", Answer(at=object()))}, "result_payload.a.answer.at is of type object"),
        ({"a": RuntimeEnvironment(os="b"), "c": {1: Share}}, "c[1] is of type"),
        ({"a": np.array([object()])}, "result_payload.a[0] is of type object"),
        ({"a": np.datetime64("2026-01-01")}, "result_payload.a is of type numpy.datetime64"),
        ({"a": np.longdouble(1)}, "result_payload.a is of type numpy.longdouble"),
        ({"a": pd.DataFrame({"b": [1]})}, "result_payload.a is of type pandas."),
        ({"a": {(1, 2): 3}}, "unsupported type of a value or key: tuple"),
        ({"a": {frozenset([1]): "b"}}, "unsupported type of a value or key: frozenset"),
        ({"a": {"\ud800": 1}, "b": object()}, "a key of a dict must be Unicode text"),
        ({"a": object(), "b": "\ud800"}, "is of type object"),
    ],
    ids=shown,
)  # fmt: skip
async def test_a_value_that_cannot_be_encoded_is_reported_with_its_path(
    raw_server, client, payload, problem
):
    with pytest.raises((TypeError, ValueError), match="cannot encode") as caught:
        await client.agent_spans.finish("s-1", result_payload=payload)
    assert problem in str(caught.value)
    assert raw_server.requests == []


async def test_the_path_of_an_unsupported_value_is_found_among_other_invalid_values(client):
    loop = {}
    loop["self"] = loop
    with pytest.raises(ValueError, match="nested too deep, or refers to itself"):
        await client.agent_spans.finish("s-1", result_payload={"loop": loop, "other": object()})
    with pytest.raises(TypeError, match="unsupported type of a value or key: tuple"):
        await client.agent_spans.finish("s-1", result_payload={"a": {(1, 2): 3}, "loop": loop})
    payload = {"other": {"deeper": {"still": [object()]}}, "loop": loop, "text": Text("\ud800")}
    with pytest.raises(TypeError, match=r"other\.deeper\.still\[0\] is of type object"):
        await client.agent_spans.finish("s-1", result_payload=payload)


async def test_the_path_inside_an_attrs_object_is_reported(raw_server, client, caplog):
    attrs = pytest.importorskip("attr")
    thing = attrs.make_class("Thing", ["share"])(float("nan"))
    assert await sent_payload(raw_server, client, {"a": thing}) == {"a": {"share": None}}
    assert "result_payload.a.share" in caplog.text


@pytest.mark.parametrize(
    ("payload", "paths"),
    [
        ({"a": float("nan")}, "result_payload.a"),
        ({"a": [1.5, float("inf"), None]}, "result_payload.a[1]"),
        ({"a": {"b": -float("inf")}, "id": 1.0}, "result_payload.a.b"),
        ({"id": float("nan"), "name": float("nan")}, "result_payload.id, result_payload.name"),
        ({"a": np.float64("nan")}, "result_payload.a"),
        ({"a": np.array([1.0, np.nan])}, "result_payload.a[1]"),
        ({"a": pd.NaT, "b": pd.NA}, "result_payload.a, result_payload.b"),
        ({"a": Answer(at=float("nan"))}, "result_payload.a.at"),
        ({"a": Step("s", Answer(at=float("nan")))}, "result_payload.a.answer.at"),
        ({"a b": {"c": {1: float("nan")}}}, "result_payload['a b'].c[1]"),
        ({"a": [float("nan")] * 7}, "result_payload.a[4] and 2 more"),
    ],
    ids=shown,
)
async def test_nan_and_infinity_are_sent_as_null_with_one_warning(
    raw_server, client, caplog, payload, paths
):
    sent = await sent_payload(raw_server, client, payload)
    assert "null" in json.dumps(sent)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().endswith(
        f"agent_spans.finish: sent as null, because JSON has neither NaN nor infinity: {paths}"
    ) or (paths.endswith("more") and record.getMessage().endswith(paths))


async def test_none_is_sent_as_null_without_a_warning(raw_server, client, caplog):
    payload = {"a": None, "b": [None, "null", 1.5], "c": {"d": None}, "e": (Colour.RED, {1, 2})}
    sent = await sent_payload(raw_server, client, payload)
    assert sent["b"] == [None, "null", 1.5]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"agent_instance_id": float("nan")}, "agent_instance_id"),
        ({"timestamp": pd.NaT}, "timestamp"),
        ({"details": {"id": float("nan"), "payload": {}}}, "details.id"),
        ({"details": {"started_at": pd.NaT}}, "details.started_at"),
        ({"agent_version": {"external_identifier": float("nan")}}, "external_identifier"),
        ({"agent_schema_version": {"span_type_schemas": [{"name": float("nan")}]}}, "[0].name"),
    ],
    ids=shown,
)
async def test_an_id_a_name_or_a_timestamp_must_not_be_nan(raw_server, client, item, path):
    items = [BulkItem(_type="some/thing", idempotency_key="key-0001", **item)]
    with pytest.raises(ValueError, match="must not be NaN or infinite") as caught:
        await client.bulk.execute(BulkRequest(items=items))
    assert path in str(caught.value)
    outcomes = [outcome async for outcome in client.bulk.stream(items)]
    assert [outcome.failed for outcome in outcomes] == [True]
    assert path in str(outcomes[0].error)
    assert raw_server.requests == []


async def test_a_schema_may_use_these_names_for_its_own_fields(raw_server, client, caplog):
    raw_server.script(reply(body={"a": 1}))
    schema = {"span_schemas": {"llm": {"id": float("nan")}}}
    await client.request("POST", "/api/v1/x", json_data={"agent_schema_version": schema})
    assert "agent_schema_version.span_schemas.llm.id" in caplog.text


MOMENTS = [
    (pd.Timestamp("2026-01-01 01:00", tz="Europe/Berlin"), "2026-01-01T00:00:00Z"),
    (pd.Timestamp("2026-01-01T00:00:00.123456789", tz="UTC"), "2026-01-01T00:00:00.123456Z"),
    (pendulum.datetime(2026, 1, 1, 1, tz="Europe/Berlin"), "2026-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(("moment", "sent"), MOMENTS, ids=shown)
async def test_a_timestamp_may_be_a_datetime_of_another_library(raw_server, client, moment, sent):
    instance = {
        **dict.fromkeys(("type", "account_id", "agent_id", "agent_version_id"), "x"),
        "id": "i-1",
        "environment_id": "e-1",
        "status": "active",
        "inserted_at": sent,
        "updated_at": sent,
    }
    raw_server.script(reply(body={"status": "success", "details": instance}))
    await client.agent_instances.start("i-1", timestamp=moment)
    assert raw_server.requests[-1].json["timestamp"] == sent
    raw_server.script(reply(body={"status": "success", "details": SPAN}))
    await client.agent_spans.create("i-1", "llm", "complete", started_at=moment, finished_at=moment)
    details = raw_server.requests[-1].json["details"]
    assert (details["started_at"], details["finished_at"]) == (sent, sent)
    raw_server.script(reply(body=PAGE))
    await client.agent_spans.list("i-1", start_time=moment)
    assert f"start_time={sent}" in raw_server.requests[-1].target.replace("%3A", ":")


async def test_nat_is_not_a_timestamp(raw_server, client):
    with pytest.raises(ValueError, match="timestamp must be a timestamp, not NaT"):
        await client.agent_instances.start("i-1", timestamp=pd.NaT)
    with pytest.raises(ValueError, match="started_at must be a timestamp, not NaT"):
        await client.agent_spans.create("i-1", "llm", "active", started_at=pd.NaT)
    assert raw_server.requests == []


async def test_a_lifecycle_runs_under_freezegun():
    async with (
        LocalPrefactor() as api,
        PrefactorHttpClient(HttpClientConfig(api.url, api.deployment_token)) as client,
    ):
        with freezegun.freeze_time("2026-01-01 12:00:00", tick=True):
            async with (
                client.agent_instances.run(None, VERSION, SCHEMA) as run,
                run.span("llm", {"at": dt.datetime.now(dt.UTC)}),
            ):
                pass
    assert run.instance.started_at.replace(microsecond=0, second=0) == dt.datetime(
        2026, 1, 1, 12, tzinfo=dt.UTC
    )
    (span,) = api.spans.values()
    assert span["payload"]["at"].startswith("2026-01-01T12:00:0")


IMPORTED_WHILE_FROZEN = """
import asyncio, freezegun
with freezegun.freeze_time("2026-01-01", tick=True):
    from prefactor_http import AgentVersionForRegister, HttpClientConfig, PrefactorHttpClient
    from prefactor_http.testing import LocalPrefactor

async def main():
    version = AgentVersionForRegister(name=type("Name", (str,), {})("x"))
    schema = {"external_identifier": "s1", "span_type_schemas": []}
    async with LocalPrefactor() as api:
        config = HttpClientConfig(api.url, api.deployment_token, max_retries=0)
        async with PrefactorHttpClient(config) as client:
            async with client.agent_instances.run(None, version, schema) as run:
                print(type(run.instance.started_at))

asyncio.run(main())
"""


def test_the_package_may_be_imported_while_time_is_frozen():
    run = subprocess.run(
        [sys.executable, "-c", IMPORTED_WHILE_FROZEN], check=True, capture_output=True, text=True
    )
    assert run.stdout == "<class 'datetime.datetime'>\n"


@pytest.mark.parametrize(
    "text", [Text("red"), np.str_("red"), Colour.RED, TextColour.RED], ids=shown
)
async def test_ids_names_and_keys_may_be_of_any_text_type(raw_server, client, text):
    raw_server.script(reply(body={"status": "success", "details": {**SPAN, "id": "red"}}))
    await client.agent_spans.finish(text, idempotency_key=text)
    assert raw_server.requests[-1].target == "/api/v1/agent_spans/red/finish"
    assert raw_server.requests[-1].json["idempotency_key"] == "red"
    span = {**SPAN, "id": "red", "agent_instance_id": "red"}
    raw_server.script(reply(body={"status": "success", "details": span}))
    await client.agent_spans.create(text, text, "pending", id=text, parent_span_id=text)
    sent = raw_server.requests[-1].json["details"]
    assert {
        sent[name] for name in ("agent_instance_id", "schema_name", "id", "parent_span_id")
    } == {"red"}
    raw_server.script(reply(body=PAGE))
    await client.agent_instances.list(agent_id=text, sorting=text)
    assert "agent_id=red&sorting=red" in raw_server.requests[-1].target
    assert check_key(text) == "red"
    assert type(check_key(text)) is str
    assert derive_key(text, "a") == derive_key("red", "a")


class Status(enum.Enum):
    FAILED = "failed"


class TextStatus(str, enum.Enum):  # noqa: UP042
    FAILED = "failed"


@pytest.mark.parametrize("status", list(Status) + list(TextStatus) + [np.str_("failed")], ids=shown)
async def test_a_status_may_be_an_enum_member(raw_server, client, status):
    raw_server.script(reply(body={"status": "success", "details": SPAN}))
    await client.agent_spans.finish("s-1", status)
    assert raw_server.requests[-1].json["status"] == "failed"
    raw_server.script(reply(body={"status": "success", "details": {**SPAN, "id": "s-2"}}))
    await client.agent_spans.create("i-1", "llm", status)
    assert raw_server.requests[-1].json["details"]["status"] == "failed"


class Page(enum.IntEnum):
    SIZE = 7


@pytest.mark.parametrize("size", [np.int64(7), Page.SIZE, Count(7)], ids=shown)
async def test_a_page_size_may_be_any_integer(raw_server, client, size):
    raw_server.script(reply(body=PAGE))
    await client.agent_instances.list(page_size=size)
    assert (
        "page_size%5D=7" in raw_server.request.target or "page_size]=7" in raw_server.request.target
    )


@pytest.mark.parametrize("size", [True, 7.0, "7", np.bool_(True)], ids=shown)
async def test_a_page_size_must_be_an_integer(raw_server, client, size):
    with pytest.raises(TypeError, match="page_size must be an int"):
        await client.agent_instances.list(page_size=size)
    assert raw_server.requests == []


@pytest.mark.parametrize("bad", [float("nan"), 1, b"a", pd.NaT], ids=shown)
async def test_an_id_that_is_not_text_is_rejected(raw_server, client, bad):
    with pytest.raises(TypeError, match="an id must be a str, not"):
        await client.agent_instances.get(bad)
    with pytest.raises(TypeError, match="external_identifier must be a str, not"):
        await client.agent_instances.register("a", VERSION, SCHEMA, external_identifier=bad)
    with pytest.raises(TypeError, match="agent_id must be a str, not"):
        await client.agent_instances.list(agent_id=bad)
    with pytest.raises(TypeError, match="agent_id must be a str, not"):
        client.agent_instances.register_many([], agent_id=bad)
    assert raw_server.requests == []


@pytest.mark.parametrize(
    "number", [np.int64(3), Count(3), enum.IntEnum("N", {"A": 3}).A], ids=shown
)
def test_a_part_of_a_derived_key_may_be_any_integer(number):
    assert derive_key("job", number) == derive_key("job", 3)


def test_new_id_accepts_any_text_type():
    related = "013xrzp12g3nqk8n0000000000000000"
    kind = enum.Enum("Kind", {"ID": related})
    for text in (Text(related), np.str_(related), kind.ID):
        assert new_id(text)[10:16] == related[10:16]
    with pytest.raises(TypeError, match="related_to must be a str, not int"):
        new_id(1)


def test_the_configuration_accepts_any_text_type():
    config = HttpClientConfig(Text("https://api.example"), TextColour.RED)
    assert (config.api_url, config.api_token) == ("https://api.example", "red")
    assert {type(config.api_url), type(config.api_token)} == {str}
    with pytest.raises(TypeError, match=r"api_token must be a str, or a .*, not SecretStr"):
        HttpClientConfig("https://api.example", pydantic.SecretStr("token-1234"))


class Permission(str, enum.Enum):  # noqa: UP042
    ALLOWED = "allowed"


class PlainPermission(enum.Enum):
    ALLOWED = "allowed"


def test_a_model_accepts_values_of_other_types_for_plain_ones():
    version = AgentVersionForRegister(
        external_identifier=Text("v1"),
        name=np.str_("name"),
        description=Colour.RED,
        runtime_environment=RuntimeEnvironment(agent_sdk=np.array(["sdk@1"]), os=Text("linux")),
    )
    profile = ActionProfile(create_data=Permission.ALLOWED, read_data=PlainPermission.ALLOWED)
    output = BulkOutput(status="success", details={"version": version, "profile": profile})
    assert output.details["version"] == {
        "external_identifier": "v1",
        "name": "name",
        "description": "red",
        "runtime_environment": {"agent_sdk": ["sdk@1"], "os": "linux"},
    }
    assert output.details["profile"]["create_data"] == "allowed"
    assert output.details["profile"]["read_data"] == "allowed"


@pytest.mark.parametrize(
    "name", [1, float("nan"), uuid.UUID(int=1), b"v", Answer(), object()], ids=shown
)
def test_a_name_in_a_model_must_be_text(name):
    with pytest.raises(ValueError, match=r"AgentVersionForRegister\.name: Expected `str"):
        AgentVersionForRegister(name=name)


def test_a_model_accepts_a_schema_of_any_depth():
    schema = {}
    for _ in range(100_000):
        schema = {"properties": schema}
    made = AgentSchemaVersionForRegister(span_schemas={"llm": schema, "tool": Fields()})
    with pytest.raises(RecursionError):
        msgspec.json.encode(made)


@pytest.mark.parametrize("kind", [Text("agents/list"), enum.Enum("K", {"A": "agents/list"}).A])
def test_the_type_of_a_bulk_item_may_be_any_text_type(kind):
    item = BulkItem(_type=kind, idempotency_key=Text("key-0001"))
    assert vars(item) == {"_type": "agents/list", "idempotency_key": "key-0001"}
    assert type(item.idempotency_key) is str
