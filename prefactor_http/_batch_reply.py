"""What a bulk reply says about the items of a chunk; matched by key, never by position."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from prefactor_http import _api
from prefactor_http._batch_outcome import Chunk, Entry, Outcome, State
from prefactor_http._bulk_item import ItemReader
from prefactor_http.exceptions import (
    PrefactorHttpError,
    PrefactorResponseContractError,
    is_transient_http_error,
)
from prefactor_http.models.bulk import BulkReply
from prefactor_http.models.bulk_output import ReceivedOutput


class Verdict(Struct):
    """What a reply settles, and what it leaves open.

    Attributes:
        outcomes: Items with their outcomes.
        rest: Items that the API did not reach, in order.
        held: The item that the API refused for the moment.
        error: What it was refused with.
        missing: Set where the rest should have been reached: the reply broke its promise.
        bad: How many items failed.
    """

    outcomes: list[tuple[Entry, Outcome]]
    rest: list[Entry]
    held: Entry | None = None
    error: PrefactorHttpError | None = None
    missing: PrefactorResponseContractError | None = None
    bad: int = 0


def judge(chunk: Chunk, reply: BulkReply) -> Verdict:
    """Read a reply.

    Args:
        chunk: What was asked.
        reply: The reply.

    Returns:
        The verdict.
    """
    verdict = Verdict([], [])
    outputs = reply.outputs
    register = _api.REGISTER
    for entry in chunk.entries:
        raw = outputs.get(entry.key)
        if raw is None:
            verdict.rest.append(entry)
            continue
        output = ReceivedOutput(raw, ItemReader(entry.key, entry.type))
        if entry.type == register.bulk:
            try:
                # One decoding tells of success, and gives the instance: a refusal has no details.
                instance = register.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass  # read below for what it is
            else:
                ok = Outcome(
                    index=entry.index,
                    idempotency_key=entry.key,
                    state=State.OK,
                    output=output,
                    instance=instance,
                )
                verdict.outcomes.append((entry, ok))
                continue
        _read(entry, output, verdict)
    if verdict.rest and not verdict.bad:
        verdict.missing = PrefactorResponseContractError(
            "the reply to a bulk request lacks outputs of items that nothing had stopped"
        )
    return verdict


def _read(entry: Entry, output: ReceivedOutput, verdict: Verdict) -> None:
    state = State.OK
    error: PrefactorHttpError | None = None
    try:
        output.decode()
    except PrefactorResponseContractError as exc:
        state, error = State.UNKNOWN, exc.with_traceback(None)
    except PrefactorHttpError as exc:
        state, error = State.FAILED, exc.with_traceback(None)
        verdict.bad += 1
        if is_transient_http_error(error):
            if verdict.held is None:
                verdict.held, verdict.error = entry, error
            else:
                verdict.rest.append(entry)
            return
    outcome = Outcome(
        index=entry.index,
        idempotency_key=entry.key,
        state=state,
        output=output,
        error=error,
    )
    verdict.outcomes.append((entry, outcome))
