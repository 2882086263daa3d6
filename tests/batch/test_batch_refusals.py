"""Runs that stop after repeated refusals, and redaction of the token."""

from __future__ import annotations

import pickle
import traceback

import pytest
from batch_support import (
    client_of,
    collect,
    collect_until_error,
    failure,
    in_order,
    indexes,
    plain,
    register_rows,
    registered,
    rows,
    states,
    success,
)
from raw_server import reply

from prefactor_http import BulkItem, PrefactorClientError, PrefactorResponseContractError

TAKEN = failure("validation_errors", external_identifier=["has already been taken"])


async def test_a_run_stops_after_100_refusals_for_the_same_reason(raw_server, raw_client):
    raw_server.answer = in_order(lambda _: TAKEN)
    pulled = 0

    def source():
        nonlocal pulled
        for row in rows(5000):
            pulled += 1
            yield row

    stream = register_rows(raw_client, source())
    outcomes, error = await collect_until_error(stream, PrefactorClientError)
    assert "100 items in a row" in str(error)
    assert "max_same_refusals" in str(error)
    assert "has already been taken" in str(error)
    assert indexes(outcomes) == list(range(pulled))
    refused = [o for o in outcomes if o.output is not None]
    assert 100 <= len(refused) <= 108
    assert all("not sent" in str(o.error) for o in outcomes if o not in refused)


async def test_max_same_refusals_can_be_set_or_disabled(raw_server, raw_client):
    raw_server.answer = in_order(lambda _: TAKEN)
    stream = register_rows(raw_client, rows(50), max_same_refusals=3, concurrency=1)
    outcomes, _ = await collect_until_error(stream, PrefactorClientError)
    assert len([o for o in outcomes if o.output is not None]) == 3
    items = [plain(f"key-{n:04}") for n in range(120)]
    outcomes = await collect(raw_client.bulk.stream(items, max_same_refusals=None))
    assert states(outcomes) == {"failed": 120}


@pytest.mark.parametrize(
    ("outputs", "stops"),
    [
        ([TAKEN], True),
        ([TAKEN, failure("validation_errors", purpose=["odd"])], False),  # other fields
        ([TAKEN, failure("bad_request")], False),  # another code
        ([failure("bad_request"), failure("bad_request", message="another text")], False),
    ],
)
async def test_only_consecutive_refusals_with_the_same_code_and_fields_count(
    raw_server, raw_client, outputs, stops
):
    number = 0

    def output_of(_):
        nonlocal number
        number += 1
        return outputs[number % len(outputs)]

    raw_server.answer = in_order(output_of)
    stream = register_rows(raw_client, rows(40), max_same_refusals=10, concurrency=1)
    if stops:
        await collect_until_error(stream, PrefactorClientError)
    else:
        assert states(await collect(stream)) == {"failed": 40}


async def test_after_a_success_refusals_do_not_stop_the_run(raw_server, raw_client):
    raw_server.answer = in_order(
        lambda item: registered(item) if item["external_identifier"] == "row-5" else TAKEN
    )
    stream = register_rows(raw_client, rows(60), max_same_refusals=10, concurrency=1)
    assert states(await collect(stream)) == {"ok": 1, "failed": 59}


async def test_rows_that_are_invalid_locally_do_not_count(raw_server, raw_client):
    raw_server.answer = in_order(lambda _: TAKEN)
    source = [{"odd": n} for n in range(50)] + [*rows(5)]
    stream = register_rows(raw_client, source, max_same_refusals=6)
    assert states(await collect(stream)) == {"failed": 55}
    assert len(raw_server.requests) >= 5


async def test_a_server_that_is_not_the_api_stops_the_run(raw_server, raw_client):
    raw_server.answer = lambda _: reply(200, {"welcome": "to another API"})
    stream = register_rows(raw_client, rows(1000), max_same_refusals=150)
    outcomes, error = await collect_until_error(stream, PrefactorClientError)
    assert "max_same_refusals" in str(error)
    assert 150 <= len([o for o in outcomes if o.unknown]) <= 400
    assert len(raw_server.requests) <= 12


TOKEN = "canary-7f3a9"
LEAKS = {
    "refusal": failure("forbidden", token=[f"of {TOKEN}"], **{TOKEN: ["odd"]})
    | {"message": f"token {TOKEN} may not do this"},
    "unknown code": {"status": "error", "code": TOKEN, "message": "no"},
    "details": success(f"debug: Bearer {TOKEN}"),
    "escaped": {"status": "success", "details": "Bearer \u0063anary-7f3a9"},
    "status": {"status": TOKEN},
}


@pytest.mark.parametrize("output", LEAKS.values(), ids=LEAKS)
@pytest.mark.parametrize("kind", ["rows", "items"])
async def test_errors_and_outputs_of_a_batch_do_not_contain_the_token(raw_server, output, kind):
    raw_server.answer = in_order(lambda _: output)
    async with client_of(raw_server, token=TOKEN) as client:
        if kind == "rows":
            stream = register_rows(client, rows(1))
        else:
            stream = client.bulk.stream([plain("key-0001")])
        (outcome,) = await collect(stream)
    if outcome.error is None:
        assert output in (LEAKS["details"], LEAKS["escaped"])  # data is not redacted
        return
    for text in (
        str(outcome.error),
        "".join(traceback.format_exception(outcome.error)),
        repr(vars(outcome.error)),
        str(pickle.dumps(outcome.error)),
        str(pickle.dumps(outcome)),
    ):
        assert TOKEN not in text
    assert outcome.output is not None
    assert TOKEN not in str(outcome.output.raw)


async def test_an_output_that_is_not_unicode_does_not_contain_the_token(raw_server):
    output = b'{"status":"success","details":{"id":"\xff","type":"%b"}}' % TOKEN.encode()
    body = b'{"status":"success","outputs":{"key-0001":%b}}' % output
    raw_server.answer = lambda _: reply(200, body)
    item = BulkItem(_type="agents/show", idempotency_key="key-0001", agent_id="a")
    async with client_of(raw_server, token=TOKEN) as client:
        (outcome,) = await collect(client.bulk.stream([item]))
    assert isinstance(outcome.error, PrefactorResponseContractError)
    assert TOKEN not in f"{outcome.error}{vars(outcome.error)}{outcome.output.raw!r}"


async def test_invalid_rows_that_end_the_run_send_nothing_more(raw_server, raw_client):
    raw_server.answer = in_order(registered)
    first, *others = rows(5)
    stream = register_rows(
        raw_client,
        [first, {"odd": 1}, *others],
        max_failures=1,
        chunk_size=1,
        concurrency=1,
        ordered=True,
    )
    outcomes, _ = await collect_until_error(stream, PrefactorClientError)
    assert [o.state.value for o in outcomes] == ["ok", *["failed"] * (len(outcomes) - 1)]
    assert len(raw_server.requests) == 1


async def test_a_token_in_data_is_not_redacted(raw_server):
    raw_server.answer = in_order(registered)
    async with client_of(raw_server, token="customer") as client:
        (outcome,) = await collect(register_rows(client, [{"external_identifier": "customer-1"}]))
    assert outcome.instance.external_identifier == "customer-1"
    assert outcome.output.details["external_identifier"] == "customer-1"


async def test_a_token_that_equals_an_error_code_changes_no_decision(raw_server):
    raw_server.answer = in_order(lambda _: failure("not_found"))
    async with client_of(raw_server, token="not_found") as client:
        (outcome,) = await collect(client.bulk.stream([plain("key-0001")]))
    assert outcome.error.status_code == 404


async def test_contract_errors_of_a_whole_response_have_each_items_key(raw_server, raw_client):
    raw_server.answer = lambda _: reply(200, [1])
    items = [plain("key-0001"), plain("key-0002")]
    outcomes = await collect(raw_client.bulk.stream(items, ordered=True))
    assert [o.error.idempotency_key for o in outcomes] == ["key-0001", "key-0002"]
    for outcome in outcomes:
        assert isinstance(outcome.error, PrefactorResponseContractError)
        assert outcome.error.outcome_unknown
        assert outcome.error.attempts == 3
