"""The same lifecycles as items of `bulk.execute`, which the caller repeats until all are done."""

from __future__ import annotations

import asyncio
from collections import Counter

from truth_lifecycles import REPEATS
from truth_oracle import Oracle, Reported, Violation, Write
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
    """Send each source as one request, and repeat what is left of it.

    Returns:
        Number of final outcomes by kind.
    """
    waiting = iter(sources)
    reported: Counter[str] = Counter()

    async def work() -> None:
        for source in waiting:
            items = list(source)
            await _execute(client, oracle, _by_key(items, source.writes))
            reported.update(str(write.reported) for write in source.writes)

    await asyncio.gather(*(work() for _ in range(at_a_time)))
    return reported


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
                _record_error(oracle, write, f"all: {error!r}", unknown=error.outcome_unknown)
        except Exception as error:  # noqa: BLE001 # any other exception is a violation
            oracle.report(Violation.UNEXPECTED, None, repr(error))
            return
        else:
            _process(oracle, response, left)
        if not left:
            return


def _process(
    oracle: Oracle, response: BulkResponse, left: dict[str, tuple[BulkItem, Write]]
) -> None:
    # Outputs with unknown keys are passed on and ignored here.
    reported = [
        *(left.keys() & response.outputs.keys()),
        *response.not_attempted,
        *response.unknown,
    ]
    if sorted(reported) != sorted(left):
        oracle.report(Violation.CONTRACT, None, f"sent {list(left)}, got {reported}")
    for key in left.keys() & set(response.not_attempted):
        _record_error(oracle, left[key][1], "not attempted", unknown=False)
    for key in left.keys() & set(response.unknown):
        _record_error(oracle, left[key][1], "no output", unknown=True)
    for key in left.keys() & response.outputs.keys():
        if _record_output(oracle, left[key][1], response.outputs[key]):
            del left[key]


def _record_output(oracle: Oracle, write: Write, output: BulkOutput) -> bool:
    try:
        output.decode()
    except PrefactorHttpError as error:
        if error.idempotency_key not in write.keys:
            oracle.report(Violation.WRONG_KEY, write, f"{error.idempotency_key}")
        _record_error(oracle, write, repr(error), unknown=error.outcome_unknown)
        return False
    write.note("ok")
    write.reported = Reported.OK
    write.resource = str(output.fields["details"]["id"])
    return True


def _record_error(oracle: Oracle, write: Write, text: str, *, unknown: bool) -> None:
    write.note(f"{'unknown' if unknown else 'refused'}: {text}"[:400])
    if unknown or write.reported is Reported.UNKNOWN:
        write.reported = Reported.UNKNOWN  # the first one may have caused this error
        return
    write.reported = Reported.NOT_APPLIED
    if oracle.was_applied(write):
        oracle.report(Violation.DENIED, write, "it had been applied when the error was raised")
        write.reported = Reported.UNKNOWN
