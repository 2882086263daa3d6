"""Text with lone surrogates, as from file names that are not UTF-8, is rejected before any I/O.

aiohttp would leave them out of the URL: the call would be about something else.
"""

import enum

import pytest

from prefactor_http.batch import register_partition
from prefactor_http.idempotency import derive_key

ODD = "i\udcff"
VERSIONS = {
    "agent_version": {"external_identifier": "v1"},
    "agent_schema_version": {"external_identifier": "s1", "span_type_schemas": []},
}


class Odd(enum.Enum):
    TEXT = ODD


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("agent_instances.start: an id", lambda client: client.agent_instances.start(ODD)),
        ("agent_instances.get: an id", lambda client: client.agent_instances.get(ODD)),
        ("agent_spans.finish: an id", lambda client: client.agent_spans.finish(ODD)),
        ("agents.retire: an id", lambda client: client.agents.retire(ODD)),
        (
            "agent_instances.start: an id",
            lambda client: client.batched().agent_instances.start(ODD),
        ),
        ("agent_id", lambda client: client.agents.show(agent_id=ODD)),
        ("external_identifier", lambda client: client.agents.show(external_identifier=ODD)),
        ("agent_id", lambda client: client.agent_instances.register(agent_id=ODD, **VERSIONS)),
        ("id", lambda client: client.agent_instances.register("a", id=ODD, **VERSIONS)),
        ("reason", lambda client: client.agent_instances.terminate("i", ODD)),
        ("path", lambda client: client.request("GET", f"/api/v1/{ODD}")),
        ("path", lambda client: client.request("POST", f"/api/v1/x?a={ODD}", json_data={})),
        ("query parameter p", lambda client: client.request("GET", "/x", params={"p": ODD})),
        ("query parameter p", lambda client: client.request("GET", "/x", params={"p": ["a", ODD]})),
        ("the name of a query p", lambda client: client.request("GET", "/x", params={ODD: "a"})),
    ],
)
async def test_a_call_is_not_made_about_something_else(raw_server, client, name, call):
    with pytest.raises(ValueError, match=rf"^{name}.* must be Unicode text.*'\\udcff'"):
        await call(client)
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        (r"payload\.text", {"text": ODD}),
        (r"payload\.lines\[1\]", {"lines": ["a", ODD]}),
        (r"payload\.a\.b", {"n": 1, "a": {"b": Odd.TEXT}}),
        ("a key of a dict", {ODD: 1}),
    ],
)
async def test_a_value_of_a_body_is_named(raw_server, client, name, payload):
    problem = rf"cannot encode the request as JSON: (details\.)?{name} must be Unicode text"
    with pytest.raises(ValueError, match=problem):
        await client.agent_spans.create("i-1", "tool", "active", payload=payload)
    assert raw_server.requests == []


async def test_a_filter_is_not_changed(raw_server, client):
    with pytest.raises(ValueError, match="agent_id must be Unicode text"):
        client.agent_instances.list(agent_id=ODD)
    assert raw_server.requests == []


async def test_the_name_of_a_job_is_rejected_immediately(raw_server, client):
    with pytest.raises(ValueError, match="job must be Unicode text"):
        client.agent_instances.register_many([{}], job=ODD, **VERSIONS)
    with pytest.raises(ValueError, match="partition must be Unicode text"):
        register_partition([{}], job="j", partition=ODD)
    assert raw_server.requests == []


def test_no_key_is_derived_from_it():
    with pytest.raises(ValueError, match="a part of a key must be Unicode text"):
        derive_key("register", ODD)


async def test_other_text_is_sent_as_utf_8(raw_server, client):
    await client.request("GET", "/api/v1/ü", params={"p": "\U0001f600"})
    assert raw_server.request.target == "/api/v1/%C3%BC?p=%F0%9F%98%80"
