"""Refusals for `FakeApi`, and what the errors of calls say."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from batching_support import FakeApi, Output, items_in, output_of
from raw_server import Request

from prefactor_http import PrefactorHttpError

Item = dict[str, Any]


def is_bulk(request: Request) -> bool:
    return request.target.endswith("/bulk")


def keys_in(request: Request) -> list[str]:
    return [item["idempotency_key"] for item in items_in(request)]


def types_in(request: Request) -> set[str]:
    return {item["_type"] for item in items_in(request)}


def refuse_in_bulk(api: FakeApi, refuse: Callable[[Item], Output | None]) -> None:
    """Answer some items of bulk requests with an error; their direct calls succeed."""

    def answer(request: Request) -> None:
        refused = refuse if is_bulk(request) else lambda _: None
        api.output_of = lambda item: refused(item) or output_of(item)

    api.answer = answer


def first_time(key: str, output: Output, times: int = 1) -> Callable[[Item], Output]:
    """Answer a call with an output the first times that it is sent."""
    left = [times]

    def answer(item: Item) -> Output:
        if item["idempotency_key"] == key and left[0]:
            left[0] -= 1
            return output
        return output_of(item)

    return answer


def facts_of(error: BaseException, *, but: Collection[str] = ()) -> dict[str, Any]:
    """Return what an error says. Its text may name the request that has failed.

    Args:
        error: The error.
        but: Attributes to leave out.
    """
    assert isinstance(error, PrefactorHttpError)
    text = str(error).replace("bulk.execute:", "agent_instances.register:")
    facts = {"type": type(error), **vars(error), "text": text, "cause": repr(error.__cause__)}
    facts = {name: fact for name, fact in facts.items() if fact is not None and name not in but}
    last = facts.pop("last_error", None)
    return facts | ({} if last is None else {"last": facts_of(last, but=but)})
