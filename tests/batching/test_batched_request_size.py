"""The size of requests follows the measured durations, and bounds are checked."""

from __future__ import annotations

from typing import Any

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http._bulk.latency import LatencyModel


def model_of(base: float, per_item: float) -> LatencyModel:
    """Return a model that knows requests of 1, 8 and 25 calls."""
    model = LatencyModel(request_timeout=10.0, max_requests=8, max_connections=100)
    for number in range(20):
        for size in (1, 8, 25):
            model.record(size, base + per_item * size, now=float(number))
    return model


def test_the_first_requests_differ_in_size() -> None:
    model = LatencyModel(10.0, 8, 100)
    assert model.max_size(64) == 25
    model.record(25, 0.1, now=0.0)
    assert model.max_size(64) == 6


def test_fast_items_are_sent_together_and_slow_ones_directly() -> None:
    assert model_of(0.03, 0.0).max_size(64) == 100
    assert model_of(0.001, 0.02).max_size(64) == 1


def test_in_direct_mode_one_bulk_request_is_tried_now_and_then() -> None:
    model = model_of(0.001, 0.02)
    assert not model.begin_trial(10, now=1000.0)
    for _ in range(1000):
        model.record(1, 0.021, now=20.0)
    assert not model.begin_trial(3, now=1000.0)
    assert model.begin_trial(10, now=1000.0)
    assert not model.begin_trial(10, now=1000.0)  # the others go on directly


@pytest.mark.parametrize(
    ("bounds", "kind"),
    [
        ({"max_items": 0}, ValueError),
        ({"max_bytes": True}, TypeError),
        ({"concurrency": 1.5}, TypeError),
        ({"linger": -1}, ValueError),
        ({"linger": "1"}, TypeError),
    ],
)
def test_bad_bounds_are_rejected(bounds: dict[str, Any], kind: type[Exception]) -> None:
    client = PrefactorHttpClient(HttpClientConfig("http://127.0.0.1:1", "token-1234"))
    with pytest.raises(kind, match=next(iter(bounds))):
        client.batched(**bounds)
