"""`request` formats query parameters as the API expects, and rejects dot segments in paths."""

import datetime as dt
import decimal
import enum
import http
import types
import uuid

import numpy as np
import pandas as pd
import pytest

BERLIN = dt.timezone(dt.timedelta(hours=1))


class Status(enum.Enum):
    ACTIVE = "active"
    LIMIT = 5


class TextStatus(str, enum.Enum):  # noqa: UP042 # its str() is not its value
    ACTIVE = "active"


class Names(list):
    pass


@pytest.mark.parametrize(
    ("value", "query"),
    [
        (["a", "b"], "p=a&p=b"),
        (("a", 1, True), "p=a&p=1&p=true"),
        (Names(["a", None, "b"]), "p=a&p=b"),
        (range(2), "p=0&p=1"),
        ([Status.ACTIVE, Status.LIMIT], "p=active&p=5"),
        ([], ""),
        ("", "p="),
        (Status.ACTIVE, "p=active"),
        (TextStatus.ACTIVE, "p=active"),
        (http.HTTPStatus.OK, "p=200"),
        (True, "p=true"),
        (np.bool_(False), "p=false"),
        (np.int64(7), "p=7"),
        (np.float64(0.5), "p=0.5"),
        (np.str_("x"), "p=x"),
        (dt.datetime(2026, 1, 1, 1, tzinfo=BERLIN), "p=2026-01-01T00:00:00Z"),
        (pd.Timestamp("2026-01-01 01:00", tz=BERLIN), "p=2026-01-01T00:00:00Z"),
        (dt.date(2026, 1, 1), "p=2026-01-01"),
        (decimal.Decimal("1.50"), "p=1.50"),
        (uuid.UUID(int=1), "p=00000000-0000-0000-0000-000000000001"),
    ],
    ids=repr,
)
async def test_a_query_parameter_is_formatted_as_the_api_expects(raw_server, client, value, query):
    await client.request("GET", "/api/v1/x", params={"p": value})
    assert (
        raw_server.request.target.replace("%3A", ":") == f"/api/v1/x{'?' if query else ''}{query}"
    )


async def test_the_name_of_a_query_parameter_may_be_any_text_type(raw_server, client):
    await client.request("GET", "/api/v1/x?a=1", params={TextStatus.ACTIVE: 1, "left out": None})
    assert raw_server.request.target == "/api/v1/x?a=1&active=1"


@pytest.mark.parametrize(
    "value",
    [
        *({"k": 1}, types.MappingProxyType({}), b"x", bytearray(b"x"), {1, 2}, object(), [["a"]]),
        *([{"k": 1}], (x for x in "a"), np.array([1, 2]), dt.timedelta(1), 1j, int),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_unsupported_query_value_is_rejected(raw_server, client, value):
    with pytest.raises(TypeError, match="query parameter p must be text, a number, a bool, a date"):
        await client.request("GET", "/api/v1/x", params={"p": value})
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "query parameter p must not be nan"),
        (-float("inf"), "query parameter p must not be -inf"),
        ([np.float32("nan")], "query parameter p must not be nan"),
        (decimal.Decimal("nan"), "query parameter p must not be NaN"),
        (pd.NaT, "query parameter p must not be NaT"),
        (pd.NA, "query parameter p must not be"),
        (dt.datetime(2026, 1, 1), "query parameter p has no time zone"),  # noqa: DTZ001
    ],
    ids=repr,
)
async def test_nan_and_naive_datetimes_are_rejected_as_query_values(
    raw_server, client, value, message
):
    with pytest.raises(ValueError, match=message):
        await client.request("GET", "/api/v1/x", params={"p": value})
    assert raw_server.requests == []


@pytest.mark.parametrize("name", [1, None, b"p", float("nan")], ids=repr)
async def test_the_name_of_a_query_parameter_must_be_text(raw_server, client, name):
    with pytest.raises(TypeError, match="the name of a query parameter must be a str"):
        await client.request("GET", "/api/v1/x", params={name: "x"})
    assert raw_server.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/../x",
        "/api/v1/%2e%2e/%2e%2e/x",
        "/api/v1/%2E./x",
        "/api/v1/.%2e",
        "/api/v1/./x",
        "/api/v1/%2e",
        "/api/v1/..%2fx",
        "/api/v1/a%2F..%2Fx",
        "/api/v1/%2f%2e%2e",
        "/api/v1/..\\x",
        "/api/v1/a%5C..%5cx",
        "/api/v1/..;/x",
        "/api/v1/%2e%2e%3Ba=1/x",
        "/api/v1/..?a=1",
    ],
)
async def test_dot_segments_in_a_path_are_rejected_in_any_encoding(raw_server, client, path):
    with pytest.raises(ValueError, match="dot segments such"):
        await client.request("GET", path)
    assert raw_server.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/...",
        "/api/v1/..x/x..",
        "/api/v1/.hidden",
        "/api/v1/a%2Fb",
        "/api/v1/a;b",
        "/api/v1/x?y=/../z",
        # Decoded once, as a server does, this is a name with a percent sign.
        "/api/v1/%252e%252e/x",
        "/api/v1/%252e%252e%252fx",
    ],
)
async def test_a_path_that_only_resembles_dot_segments_is_sent_unchanged(raw_server, client, path):
    await client.request("GET", path)
    assert raw_server.request.target == path


async def test_a_path_must_be_text(raw_server, client):
    with pytest.raises(TypeError, match="path must be a str, not int"):
        await client.request("GET", 7)
    await client.request("GET", np.str_("/api/v1/x"))
    assert raw_server.request.target == "/api/v1/x"


async def test_the_keys_of_a_body_may_be_any_text_type(raw_server, client):
    body = {"idempotency_key": TextStatus.ACTIVE}
    await client.request("POST", "/api/v1/x", json_data=body, idempotency_key=np.str_("active"))
    assert raw_server.request.json == {"idempotency_key": "active"}
    assert raw_server.request.headers["idempotency-key"] == "active"
    with pytest.raises(TypeError, match="idempotency_key must be a str, not list"):
        await client.request("POST", "/api/v1/x", json_data={"idempotency_key": ["a"]})
