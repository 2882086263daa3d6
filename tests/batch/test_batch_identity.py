"""An output about another resource is not a success."""

from __future__ import annotations

import re
from typing import Any

import pytest
from batch_support import (
    collect,
    in_order,
    instance_of,
    items_sent,
    register_rows,
    registered,
    states,
    success,
)
from raw_server import reply

from prefactor_http import BulkItem, PrefactorResponseContractError

ONE, TWO = "key-0001", "key-0002"


def outputs(**by_key: Any) -> bytes:
    return reply(200, {"status": "success", "outputs": by_key})


def row(key: str, **fields: Any) -> dict[str, Any]:
    return {"idempotency_key": key, **fields}


def answers(*details: dict[str, Any]) -> bytes:
    """Answer one or two items."""
    return outputs(**dict(zip((ONE, TWO), map(success, details), strict=False)))


WRONG = [
    ([row(ONE, id="i-1")], [instance_of("i-2")], {0}, "'i-2'.*'i-1'"),
    (
        [row(ONE, external_identifier="a")],
        [instance_of("i-1", external_identifier="b")],
        {0},
        "'a'",
    ),
    # Both have the same instance.
    (
        [row(ONE, external_identifier="a"), row(TWO, external_identifier="b")],
        [instance_of("i-1"), instance_of("i-1")],
        {0, 1},
        "same id 'i-1'",
    ),
    ([row(ONE), row(TWO)], [instance_of("i-1"), instance_of("i-1")], {0, 1}, "same id 'i-1'"),
    # Each has the output of the other.
    (
        [row(ONE, id="i-1"), row(TWO, external_identifier="b")],
        [instance_of("i-9", external_identifier="b"), instance_of("i-1")],
        {0, 1},
        "i-1|'b'",
    ),
    (
        [row(ONE), row(TWO, external_identifier="b")],
        [instance_of("i-9", external_identifier="b"), instance_of("i-1")],
        {0, 1},
        "belongs to key-0002",
    ),
]


@pytest.mark.parametrize(("source", "details", "bad", "problem"), WRONG)
async def test_rows_answered_with_another_instance_are_repeated_then_unknown(
    raw_server, raw_client, source, details, bad, problem
):
    raw_server.script(*[answers(*details)] * 2)
    outcomes = await collect(register_rows(raw_client, source, ordered=True))
    assert {o.index for o in outcomes if o.unknown} == bad
    first, second = raw_server.requests
    assert items_sent(second) == [items_sent(first)[number] for number in sorted(bad)]
    # The pooled connection cannot be trusted.
    assert second.connection != first.connection
    for outcome in outcomes:
        assert isinstance(outcome.error, PrefactorResponseContractError)
        assert outcome.error.outcome_unknown
        assert outcome.error.idempotency_key == outcome.idempotency_key
    assert any(re.search(problem, str(outcome.error)) for outcome in outcomes)


@pytest.mark.parametrize(("source", "details", "bad", "problem"), WRONG)
async def test_rows_answered_with_another_instance_once_are_registered(
    raw_server, raw_client, source, details, bad, problem
):
    del bad, problem
    raw_server.script(answers(*details))
    raw_server.answer = in_order(registered)
    outcomes = await collect(register_rows(raw_client, source, ordered=True))
    assert states(outcomes) == {"ok": len(source)}
    assert len({outcome.instance.id for outcome in outcomes}) == len(source)


@pytest.mark.parametrize(
    ("source", "details"),
    [
        ([row(ONE, external_identifier=" a ")], [instance_of("i-1", external_identifier="a")]),
        ([row(ONE, external_identifier="a")], [instance_of("i-1")]),  # the output has no name
        # The same name twice is the same instance.
        (
            [row(ONE, external_identifier="a"), row(TWO, external_identifier="a")],
            [instance_of("i-1", external_identifier="a")] * 2,
        ),
        ([row(ONE)], [instance_of("i-1", status="brand-new")]),
    ],
)
async def test_what_does_not_contradict_a_row_is_accepted(raw_server, raw_client, source, details):
    raw_server.script(answers(*details))
    outcomes = await collect(register_rows(raw_client, source))
    assert states(outcomes) == {"ok": len(source)}
    assert len(raw_server.requests) == 1


def call(kind: str, **fields: Any) -> BulkItem:
    return BulkItem(_type=kind, idempotency_key=ONE, **fields)


SPAN = {"type": "agent_span", "schema_name": "llm", "payload": {}}


@pytest.mark.parametrize(
    ("item", "details"),
    [
        (call("agent_instances/start", agent_instance_id="i-1"), instance_of("i-2", "active")),
        (call("agent_instances/start", agent_instance_id="i-1"), instance_of("i-1", "pending")),
        (call("agent_instances/finish", agent_instance_id="i-1"), instance_of("i-1", "active")),
        (call("agent_instances/show", agent_instance_id="i-1"), instance_of("i-2")),
        (
            call("agent_spans/create", details={"agent_instance_id": "i-1"}),
            {**SPAN, "id": "s-1", "agent_instance_id": "i-2", "status": "active"},
        ),
        (
            call("agent_spans/finish", agent_span_id="s-1"),
            {**SPAN, "id": "s-1", "agent_instance_id": "i-1", "status": "active"},
        ),
        (
            call("agent_spans/finish", agent_span_id="s-1"),
            {**SPAN, "id": "s-2", "agent_instance_id": "i-1", "status": "complete"},
        ),
    ],
)
async def test_an_item_answered_with_another_resource_or_the_previous_state_is_unknown(
    raw_server, raw_client, item, details
):
    raw_server.script(*[outputs(**{ONE: success(details)})] * 2)
    (outcome,) = await collect(raw_client.bulk.stream([item]))
    assert outcome.unknown
    assert isinstance(outcome.error, PrefactorResponseContractError)
    first, second = raw_server.requests
    assert second.body == first.body
    assert second.connection != first.connection


@pytest.mark.parametrize(
    ("item", "details"),
    [
        (call("agent_instances/start", agent_instance_id="i-1"), instance_of("i-1", "complete")),
        (call("agent_instances/start", agent_instance_id="i-1"), instance_of("i-1", "odd")),
        (
            call("agent_spans/finish", agent_span_id="s-1", status="active"),
            {**SPAN, "id": "s-1", "agent_instance_id": "i-1", "status": "active"},
        ),
        (call("agents/list"), []),
        (call("some/thing", agent_instance_id="i-1"), instance_of("i-2")),
    ],
)
async def test_later_unknown_and_requested_states_are_accepted(
    raw_server, raw_client, item, details
):
    output = {"status": "success", "summaries": []} if details == [] else success(details)
    raw_server.script(outputs(**{ONE: output}))
    (outcome,) = await collect(raw_client.bulk.stream([item]))
    assert outcome.ok


async def test_two_created_spans_or_agents_cannot_have_the_same_id(raw_server, raw_client):
    span = {**SPAN, "id": "s-1", "agent_instance_id": "i-1", "status": "active"}
    items = [
        BulkItem(
            _type="agent_spans/create", idempotency_key=key, details={"agent_instance_id": "i-1"}
        )
        for key in (ONE, TWO)
    ]
    raw_server.script(answers(span, span))
    raw_server.answer = in_order(
        lambda item: success({**span, "id": f"of-{item['idempotency_key']}"})
    )
    outcomes = await collect(raw_client.bulk.stream(items))
    assert states(outcomes) == {"ok": 2}
    assert len(raw_server.requests) == 2


async def test_two_calls_on_one_resource_can_have_the_same_id(raw_server, raw_client):
    items = [
        BulkItem(_type=f"agent_instances/{action}", idempotency_key=key, agent_instance_id="i-1")
        for key, action in ((ONE, "start"), (TWO, "finish"))
    ]
    raw_server.script(answers(instance_of("i-1", "active"), instance_of("i-1", "complete")))
    outcomes = await collect(raw_client.bulk.stream(items, group="agent_instance_id"))
    assert states(outcomes) == {"ok": 2}


async def test_items_of_a_group_wait_behind_a_contradicted_item(raw_server, raw_client):
    items = [
        BulkItem(_type=f"agent_instances/{action}", idempotency_key=key, agent_instance_id="i-1")
        for key, action in ((ONE, "start"), (TWO, "finish"))
    ]
    raw_server.script(
        outputs(**{ONE: success(instance_of("i-2", "active"))}),
        outputs(**{ONE: success(instance_of("i-1", "active"))}),
        outputs(**{TWO: success(instance_of("i-1", "complete"))}),
    )
    stream = raw_client.bulk.stream(items, group="agent_instance_id", ordered=True)
    outcomes = await collect(stream)
    assert states(outcomes) == {"ok": 2}
