"""Options are checked when the stream is created; `patience` is the old name of `max_outage`."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from batch_support import collect, register, registration, rows

OPTIONS = (
    "chunk_size, max_chunk_bytes, concurrency, max_outage, ordered, max_failures, max_same_refusals"
)


def stream(client, api, **options):
    return client.bulk.stream([], **options)


def register_many(client, api, **options):
    return client.agent_instances.register_many([], **options)


both = pytest.mark.parametrize("front_end", [stream, register_many])


@both
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"max_chunk_bytes": 0}, "max_chunk_bytes must be at least 1"),
        ({"concurrency": -1}, "concurrency must be at least 1"),
        ({"max_outage": -0.1}, "max_outage must be a number of seconds, 0 or more"),
        ({"max_outage": float("nan")}, "max_outage must be a number of seconds, 0 or more"),
        ({"patience": -0.1}, "max_outage must be a number of seconds, 0 or more"),
        ({"max_failures": 0}, "max_failures must be at least 1 or None"),
        ({"max_same_refusals": 0}, "max_same_refusals must be at least 1 or None"),
    ],
)
@pytest.mark.filterwarnings("ignore:patience:DeprecationWarning")
async def test_an_option_out_of_range_raises_before_any_request(
    api, client, front_end, options, problem
):
    with pytest.raises(ValueError, match=problem):
        front_end(client, api, **options)
    assert api.requests == []


@both
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"chunk_size": "100"}, "chunk_size must be an int, not str"),
        ({"concurrency": None}, "concurrency must be an int, not NoneType"),
        ({"max_chunk_bytes": 1e6}, "max_chunk_bytes must be an int, not float"),
        ({"max_failures": True}, "max_failures must be an int or None, not bool"),
        ({"max_outage": "5 min"}, "max_outage must be a number of seconds, not str"),
        ({"max_outage": None}, "max_outage must be a number of seconds, not NoneType"),
    ],
)
async def test_an_option_of_the_wrong_type_raises_before_any_request(
    api, client, front_end, options, problem
):
    with pytest.raises(TypeError, match=problem):
        front_end(client, api, **options)
    assert api.requests == []


@both
async def test_options_may_be_numbers_of_numpy_and_without_limit(client, api, front_end):
    limits = {"max_outage": float("inf"), "max_failures": None, "max_same_refusals": None}
    async for _ in front_end(client, api, chunk_size=np.int64(5), **limits):
        pytest.fail("an empty source has no outcomes")


@both
async def test_an_unknown_option_raises_an_error_that_lists_the_options(api, client, front_end):
    with pytest.raises(TypeError, match=f"unknown option chunks; the options are {OPTIONS}$"):
        front_end(client, api, chunks=3)


async def test_a_source_that_is_not_iterable_raises_immediately(client):
    with pytest.raises(TypeError, match="items must be an iterable or async iterable, not int"):
        client.bulk.stream(7)
    with pytest.raises(TypeError, match="rows must be an iterable or async iterable, not int"):
        client.agent_instances.register_many(7)


@both
async def test_patience_warns_with_the_callers_file_as_location(api, client, front_end):
    with pytest.warns(DeprecationWarning, match="patience is now called max_outage") as warned:
        front_end(client, api, patience=5)
    assert [warning.filename for warning in warned] == [__file__]


@both
async def test_patience_and_max_outage_together_are_an_error(api, client, front_end):
    with pytest.raises(TypeError, match="pass only max_outage"):
        front_end(client, api, patience=5, max_outage=5)


@both
async def test_patience_has_the_effect_of_max_outage(api, client, front_end):
    api.fail_next_item("rate_limited")
    sources = {stream: [registration(api)], register_many: rows(1)}
    create = {stream: client.bulk.stream, register_many: partial(register, client, api)}
    with pytest.warns(DeprecationWarning, match="max_outage"):
        outcomes = create[front_end](sources[front_end], patience=0.0)
    (outcome,) = await collect(outcomes)
    assert outcome.failed
    assert outcome.error.code == "rate_limited"
