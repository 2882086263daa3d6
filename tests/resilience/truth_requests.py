"""The same lifecycles as items of `bulk.execute`, resent by the caller until all are done."""

from __future__ import annotations

import asyncio
from collections import Counter

from truth_lifecycles import REPEATS
from truth_oracle import Oracle, Told, Violation, Write
from truth_streams import GroupedItems

from prefactor_http import (
    BulkItem,
    BulkOutput,
    BulkRequest,
    BulkResponse,
    PrefactorHttpClient,
    PrefactorHttpError,
)


async def execute(
    client: PrefactorHttpClient, oracle: Oracle, sources: list[GroupedItems], at_a_time: int
) -> Counter[str]:
    """Send each source as one request, and what is left of it again.

    Returns:
        How often each thing was told in the end.
    """
    waiting = iter(sources)
    told: Counter[str] = Counter()

    async def work() -> None:
        for source in waiting:
            items = list(source)
            await _execute(client, oracle, _by_key(items, source.writes))
            told.update(str(write.told) for write in source.writes)

    await asyncio.gather(*(work() for _ in range(at_a_time)))
    return told


def _by_key(items: list[BulkItem], writes: list[Write]) -> dict[str, tuple[BulkItem, Write]]:
    pairs = zip(items, writes, strict=True)
    return {item.idempotency_key: (item, write) for item, write in pairs}


async def _execute(
    client: PrefactorHttpClient, oracle: Oracle, left: dict[str, tuple[BulkItem, Write]]
) -> None:
    for _ in range(REPEATS):
        try:
            response = await client.bulk.execute(BulkRequest(items=[i for i, _ in left.values()]))
        except PrefactorHttpError as error:
            for _, write in left.values():
                _refuse(oracle, write, f"all: {error!r}", unknown=error.outcome_unknown)
        except Exception as error:  # noqa: BLE001 # whatever it is, it must not come out
            oracle.report(Violation.UNEXPECTED, None, repr(error))
            return
        else:
            _hear(oracle, response, left)
        if not left:
            return


def _hear(oracle: Oracle, response: BulkResponse, left: dict[str, tuple[BulkItem, Write]]) -> None:
    # Outputs under keys that were not asked for are handed on, and concern nobody.
    told = [*(left.keys() & response.outputs.keys()), *response.not_attempted, *response.unknown]
    if sorted(told) != sorted(left):
        oracle.report(Violation.CONTRACT, None, f"asked for {list(left)}, told of {told}")
    for key in left.keys() & set(response.not_attempted):
        _refuse(oracle, left[key][1], "not attempted", unknown=False)
    for key in left.keys() & set(response.unknown):
        _refuse(oracle, left[key][1], "no output", unknown=True)
    for key in left.keys() & response.outputs.keys():
        if _read(oracle, left[key][1], response.outputs[key]):
            del left[key]


def _read(oracle: Oracle, write: Write, output: BulkOutput) -> bool:
    try:
        output.decode()
    except PrefactorHttpError as error:
        if error.idempotency_key not in write.keys:
            oracle.report(Violation.WRONG_KEY, write, f"{error.idempotency_key}")
        _refuse(oracle, write, repr(error), unknown=error.outcome_unknown)
        return False
    write.note("ok")
    write.told = Told.OK
    write.resource = str(output.fields["details"]["id"])
    return True


def _refuse(oracle: Oracle, write: Write, text: str, *, unknown: bool) -> None:
    write.note(f"{'unknown' if unknown else 'refused'}: {text}"[:400])
    if unknown or write.told is Told.UNKNOWN:
        write.told = Told.UNKNOWN  # a refusal of the repeated call may be an echo of the first
        return
    write.told = Told.NOT_APPLIED
    if oracle.was_applied(write):
        oracle.report(Violation.DENIED, write, "it was applied when this was said")
        write.told = Told.UNKNOWN
