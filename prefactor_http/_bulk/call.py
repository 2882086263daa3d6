"""A call that waits to be sent with others, and what bounds the requests that it may join."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

from msgspec import Struct

from prefactor_http._bulk.batch_item import BatchItem
from prefactor_http._bulk.queue import Chunk
from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.retry import Retry
from prefactor_http._values.numbers import integer, seconds
from prefactor_http.config import HttpClientConfig


class BatchBounds(Struct, frozen=True, kw_only=True):
    """Bounds of automatic batching; see `PrefactorHttpClient.batched`.

    Raises:
        TypeError: A bound is not a number.
        ValueError: A bound is out of range.
    """

    max_items: int = 100
    max_bytes: int = 1_000_000
    concurrency: int = 8
    linger: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_items", "max_bytes", "concurrency"):
            integer(getattr(self, name), name, 1)
        seconds(self.linger, "linger", may_be_zero=True)


class Lane:
    """Calls with the same options. Only they share requests.

    Args:
        config: Their options.
        retry: Sends their bulk requests.
        sends_alone: Whether each call is sent alone, directly.
    """

    def __init__(self, config: HttpClientConfig, retry: Retry, *, sends_alone: bool) -> None:
        self.config = config
        self.retry = retry
        self.sends_alone = sends_alone
        self.reset()

    def reset(self) -> None:
        """Forget all calls."""
        self.waiting = 0  # calls
        self.direct_calls = 0  # that need not wait, since bulk requests would take longer
        self.requests = 0  # in flight
        self.calls = 0  # in flight
        self.sent_at = -math.inf
        self.sent_size = 1
        self.next_full = 0  # number of waiting calls from which a full request is looked for

    def begin_request(self, calls: int, now: float) -> None:
        self.requests += 1
        self.calls += calls
        self.sent_at, self.sent_size = now, calls

    def end_request(self, calls: int) -> None:
        self.requests -= 1
        self.calls -= calls


class Call(BatchItem, eq=False, kw_only=True):
    """A call that waits for its turn or for its result.

    Attributes:
        prepared: The call.
        head_length: Size of what `body` has before the body of the direct call.
        turn: Resolved with the result of the call, or with `Batcher.ALONE`.
        own_lanes: The lanes of the call's options: shared, and alone.
        is_direct: Whether it is made directly now; False after its first attempt in a bulk request.
        was_refused: Whether /bulk has refused the call, so that it is made directly.
        is_exhausted: Whether it failed because no retry was left.
        spent: Tokens of the retry budget that retries after errors of this call alone have cost.
    """

    prepared: PreparedRequest[Any]
    head_length: int
    turn: asyncio.Future[Any]
    own_lanes: tuple[Lane, Lane]
    is_direct: bool | None = None
    was_refused: bool = False
    is_exhausted: bool = False
    spent: int = 0

    def describe(self, error: Any) -> Any:
        """Leave the error as it is: `build_error` describes the call in it."""
        notes = getattr(error, "__notes__", None)
        if notes is not None:
            error.__notes__ = [*notes]  # copies share the list
        return error


def calls_of(chunk: Chunk) -> list[Call]:
    """Return the calls in a request of a batcher, which contains nothing else."""
    return cast("list[Call]", chunk.items)


def lane_of(item: BatchItem) -> Lane:
    return cast("Lane", item.lane)
