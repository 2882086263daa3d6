"""What a bulk reply says about the items of a chunk; matched by key, never by position."""

from __future__ import annotations

from msgspec import Struct

from prefactor_http._batch_operation import BatchReply, Registered
from prefactor_http._batch_outcome import Chunk, Entry, Outcome, State
from prefactor_http._bulk_item import ItemReader
from prefactor_http.exceptions import (
    PrefactorHttpError,
    PrefactorResponseContractError,
    is_transient_http_error,
)
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.bulk_output import ReceivedOutput


class Verdict(Struct):
    """What a reply settles, and what it leaves open.

    Attributes:
        ok: Outcomes of the items that took effect.
        ended: The other items that are settled, with their outcomes.
        rest: Items that the API did not reach, in order.
        held: The item that the API refused for the moment.
        error: What it was refused with.
        missing: Set where the rest should have been reached: the reply broke its promise.
        bad: How many items failed.
    """

    ok: list[Outcome]
    ended: list[tuple[Entry, Outcome]]
    rest: list[Entry]
    held: Entry | None = None
    error: PrefactorHttpError | None = None
    missing: PrefactorResponseContractError | None = None
    bad: int = 0


def judge(chunk: Chunk, reply: BatchReply) -> Verdict:
    """Read a reply.

    Args:
        chunk: What was asked.
        reply: The reply.

    Returns:
        The verdict.
    """
    verdict = Verdict([], [], [])
    registers = reply.registers
    ok, took_effect = verdict.ok, State.OK
    for entry in chunk.entries:
        key = entry.key
        output = registers.get(key)
        if isinstance(output, Registered):
            outcome = Outcome(
                index=entry.index,
                idempotency_key=key,
                type=entry.type,
                state=took_effect,
                instance=output.details,
                reply=reply,
            )
            ok.append(outcome)
        elif key in reply.outputs:
            _read(entry, reply, verdict)
        else:
            verdict.rest.append(entry)
    if verdict.rest and not verdict.bad:
        verdict.missing = PrefactorResponseContractError(
            "the reply to a bulk request lacks outputs of items that nothing had stopped"
        )
    return verdict


def _read(entry: Entry, reply: BatchReply, verdict: Verdict) -> None:
    state = State.OK
    error: PrefactorHttpError | None = None
    result: object = None
    try:
        result = ReceivedOutput(
            reply.outputs[entry.key], ItemReader(entry.key, entry.type)
        ).decode()
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
        type=entry.type,
        state=state,
        error=error,
        instance=result if isinstance(result, AgentInstance) else None,
        reply=reply,
    )
    if error is None:
        verdict.ok.append(outcome)
    else:
        verdict.ended.append((entry, outcome))
