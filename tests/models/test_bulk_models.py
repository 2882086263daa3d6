"""Bulk: items and their keys, and outputs that are decoded when they are looked at."""

import copy
import pickle

import msgspec
import pytest

from prefactor_http._bulk.output import ItemReader
from prefactor_http.exceptions import PrefactorApiError, PrefactorResponseContractError
from prefactor_http.models import (
    BulkItem,
    BulkOutput,
    BulkReply,
    BulkRequest,
    BulkResponse,
    ReceivedOutput,
)

REPLY = (
    b'{"status":"success","outputs":{'
    b'"key-0001":{"status":"success","details":{"id":"1"},"control":{"terminate":true}},'
    b'"key-0002":{"status":"error","code":"validation_errors","message":"no","errors":{"id":["x"]}}'
    b"}}"
)


def item(key="key-0001", **fields):
    return BulkItem(_type="agents/show", idempotency_key=key, **fields)


def respond():
    reply = msgspec.json.decode(REPLY, type=BulkReply)
    return reply.result.to_response(dict.fromkeys(["key-0001", "key-0002", "key-0003", "key-0004"]))


def test_an_item_can_be_read_like_an_object():
    shown = item(agent_id="a", payload={"deep": 1})
    assert shown.type == "agents/show"
    assert shown.idempotency_key == "key-0001"
    assert shown.agent_id == "a"
    assert shown.payload == {"deep": 1}
    with pytest.raises(AttributeError):
        _ = shown.agent_name
    assert repr(item(agent_id="a")) == (
        "BulkItem(_type='agents/show', idempotency_key='key-0001', agent_id='a')"
    )


def test_items_with_the_same_content_are_equal():
    assert item(agent_id="a") == item(agent_id="a")
    assert item(agent_id="a") != item(agent_id="b")
    assert item() != "agents/show"
    assert copy.deepcopy(item(agent_id="a")) == pickle.loads(pickle.dumps(item(agent_id="a")))


@pytest.mark.parametrize("key", ["", "k" * 7, "k" * 65, "with space", "tab\tulated", "schlüssel"])
def test_a_key_that_the_api_would_refuse_is_refused(key):
    with pytest.raises(ValueError, match="idempotency_key"):
        item(key)


@pytest.mark.parametrize("key", ["k" * 8, "k" * 64, "!~#$%&/8"])
def test_a_key_at_the_limits_is_taken(key):
    assert item(key).idempotency_key == key


def test_a_key_must_be_a_str():
    with pytest.raises(TypeError, match="idempotency_key"):
        item(12345678)


@pytest.mark.parametrize("kind", ["", None, 3])
def test_a_type_must_be_text(kind):
    with pytest.raises(ValueError, match="_type"):
        BulkItem(_type=kind, idempotency_key="key-0001")


def test_a_request_goes_out_with_its_items_in_order():
    request = BulkRequest(items=[item(agent_id="a"), item("key-0002", details={"name": "n"})])
    assert msgspec.json.encode(request.body) == (
        b'{"items":[{"_type":"agents/show","idempotency_key":"key-0001","agent_id":"a"},'
        b'{"_type":"agents/show","idempotency_key":"key-0002","details":{"name":"n"}}]}'
    )


def test_a_dict_of_arguments_is_made_an_item():
    request = BulkRequest(items=[{"_type": "agents/show", "idempotency_key": "key-0001"}])
    assert request.items == [item()]


def test_a_request_needs_items():
    with pytest.raises(ValueError, match="at least one item"):
        BulkRequest(items=[])


def test_a_key_used_twice_is_named():
    with pytest.raises(ValueError, match="'key-0002'"):
        BulkRequest(items=[item(), item("key-0002"), item("key-0002")])


def test_a_response_tells_ok_failed_and_not_attempted_apart():
    response = respond()
    assert response.status == "success"
    assert [(key, output.ok, output.failed) for key, output in response.outputs.items()] == [
        ("key-0001", True, False),
        ("key-0002", False, True),
    ]
    assert response.not_attempted == ("key-0003", "key-0004")


def test_an_output_tells_what_the_api_said():
    good, bad = respond().outputs.values()
    assert good.status == "success"
    assert good.details == {"id": "1"}
    assert good.control == {"terminate": True}
    assert (good.code, good.message, good.errors) == (None, None, None)
    assert bad.status == "error"
    assert (bad.code, bad.message, bad.errors) == ("validation_errors", "no", {"id": ["x"]})
    assert bad.raw == (
        b'{"status":"error","code":"validation_errors","message":"no","errors":{"id":["x"]}}'
    )
    with pytest.raises(AttributeError, match="'details'"):
        _ = bad.details


def test_an_output_is_read_by_the_reader_of_its_item():
    reply = msgspec.json.decode(REPLY, type=BulkReply)
    response = reply.to_response({"key-0001": lambda output: output.details["id"]})
    assert response.outputs["key-0001"].decode() == "1"


def test_an_output_of_an_unknown_call_is_read_as_a_dict():
    good, bad = respond().outputs.values()
    assert good.decode() == good.fields
    with pytest.raises(PrefactorApiError, match="validation_errors: id x") as caught:
        bad.decode()
    assert caught.value.code == "validation_errors"
    assert caught.value.errors == {"id": ["x"]}


def test_an_error_without_code_and_message_is_raised_all_the_same():
    with pytest.raises(PrefactorApiError, match="unknown"):
        BulkOutput(status="error").decode()


@pytest.mark.parametrize("raw", [b'{"details":{}}', b'{"status":"odd"}', b"[]", b'{"status":1}'])
def test_an_output_that_says_neither_success_nor_error_breaks_the_contract(raw):
    with pytest.raises(PrefactorResponseContractError, match="bulk output"):
        _ = ReceivedOutput(raw).ok


def test_an_output_made_by_hand_is_like_one_received():
    received = respond().outputs["key-0001"]
    made = BulkOutput(status="success", details={"id": "1"}, control={"terminate": True})
    assert made == received
    assert made.ok
    assert made.details == {"id": "1"}
    assert made != BulkOutput(status="error")
    assert made != {"status": "success"}
    assert repr(BulkOutput(status="error", code="x")) == "BulkOutput(status='error', code='x')"
    assert BulkResponse(outputs={"key-0001": made}).not_attempted == ()


def test_an_output_made_by_hand_needs_a_status_that_exists():
    with pytest.raises(ValueError, match="'odd'"):
        BulkOutput(status="odd")


def test_an_output_survives_copying_and_pickling():
    for output in respond().outputs.values():
        assert copy.copy(output) == copy.deepcopy(output) == pickle.loads(pickle.dumps(output))


@pytest.mark.parametrize("read", [None, ItemReader("key-0001", "agent_instances/register")])
@pytest.mark.parametrize("status", ["success", "error"])
def test_an_output_that_is_nested_too_deep_breaks_the_contract(read, status):
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    raw = f'{{"status":"{status}","details":{deep},"errors":{deep}}}'.encode()
    output = ReceivedOutput(raw, read)
    with pytest.raises(PrefactorResponseContractError):
        output.decode()
