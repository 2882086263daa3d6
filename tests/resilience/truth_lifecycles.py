"""Lifecycles with direct calls: register, start, spans, finish. Failed calls are repeated."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from truth_oracle import Oracle, Reported, Violation, Write

from prefactor_http import (
    Attempt,
    HttpClientConfig,
    PrefactorApiError,
    PrefactorHttpClient,
    PrefactorHttpError,
)

REGISTER, START = "agent_instances.register", "agent_instances.start"
FINISH, TERMINATE = "agent_instances.finish", "agent_instances.terminate"
CREATE_SPAN, FINISH_SPAN = "agent_spans.create", "agent_spans.finish"
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
REPEATS = 8  # for calls with an unknown outcome, or that a proxy rejected
_BEGIN = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
_VERDICTS = {"invalid_action", "validation_errors", "idempotency_conflict", "not_found"}
_MAX_RESPONSE = 2_000_000
_ENDLESS = 60.0  # seconds; many times what a call can take

# Both are short enough to end in the middle of an attempt or a backoff.
_DEADLINE = 0.03
_CANCELLED_WITHIN = 0.03
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Call = Callable[[PrefactorHttpClient, str | None], Coroutine[Any, Any, Any]]


@asynccontextmanager
async def open_client(
    url: str,
    token: str,
    *,
    borrowed: bool,
    tls: ssl.SSLContext | None = None,
    **settings: Any,
) -> AsyncGenerator[PrefactorHttpClient, None]:
    """Open a client that retries quickly, on its own session or on a borrowed one."""
    config = HttpClientConfig(
        url,
        token,
        **{
            "max_retries": 6,
            "request_timeout": 0.5,
            "connect_timeout": 0.3,
            "initial_retry_delay": 0.002,
            "max_retry_delay": 0.05,
            "max_response_bytes": _MAX_RESPONSE,
            "retry_budget": None,
            **settings,
        },
    )
    if not borrowed:
        own = config if tls is None else replace(config, ssl=tls)
        async with PrefactorHttpClient(own) as client:
            yield client
        return
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls or True)) as session,
        PrefactorHttpClient(config, session=session) as client,
    ):
        yield client


class Attempts:
    """An `on_attempt` hook that adds each attempt to the history of its write."""

    def __init__(self) -> None:
        self._writes: dict[str, Write] = {}

    def watch(self, key: str, write: Write) -> None:
        self._writes[key] = write

    def clear(self) -> None:
        self._writes.clear()

    def __call__(self, attempt: Attempt) -> None:
        write = self._writes.get(attempt.idempotency_key or "")
        if write is not None:
            write.note(f"attempt {attempt.number}: {attempt.status} {attempt.error or 'ok'}"[:300])


class _StuckError(Exception):
    """The lifecycle cannot continue."""


class Lifecycles:
    """Runs lifecycles.

    Args:
        client: Makes the calls; its ``on_attempt`` is ``attempts``.
        oracle: Records each write.

    Attributes:
        completed: Lifecycles whose calls all succeeded.
        repeated: Calls that the caller repeated.
    """

    def __init__(
        self,
        client: PrefactorHttpClient,
        oracle: Oracle,
        attempts: Attempts,
        *,
        seed: int,
    ) -> None:
        self._client = client
        self._client_with_deadline = client.with_options(deadline=_DEADLINE)
        # Few retries: the caller gets errors that more retries would hide.
        self._impatient = [client.with_options(max_retries=n) for n in (0, 1)]
        self._oracle = oracle
        self._attempts = attempts
        self._seed = seed
        self._seen_ids: set[str] = set()
        self.completed = 0
        self.repeated = 0

    async def run(self, numbers: range, at_a_time: int) -> None:
        """Run lifecycles and wait for all of them."""
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                try:
                    await self._lifecycle(number)
                    self.completed += 1
                except _StuckError:
                    pass

        await asyncio.gather(*(work() for _ in range(at_a_time)))
        self._attempts.clear()

    async def _lifecycle(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        mark = f"{self._seed}-{number}"
        moments = (_BEGIN + timedelta(seconds=n, microseconds=number) for n in range(99))
        # The response to a register with neither id nor name does not identify it.
        identity = rng.choice(("id", "name", "both", "none"))
        id_ = f"5{self._seed % 1000:07d}{number:024d}" if identity in {"id", "both"} else None
        name = f" run {mark} " if identity in {"name", "both"} else None
        version = {"name": mark, "external_identifier": "v1"}
        instance = await self._write(
            REGISTER,
            mark,
            lambda client, key: client.agent_instances.register(
                "1" * 32, version, SCHEMA, id=id_, idempotency_key=key, external_identifier=name
            ),
            rng,
        )
        if rng.random() < 0.05:
            moment = next(moments)
            await self._write(
                FINISH,
                instance.id,
                lambda client, key: client.agent_instances.finish(
                    instance.id, "cancelled", moment, key
                ),
                rng,
            )
            return
        started = next(moments)
        await self._write(
            START,
            instance.id,
            lambda client, key: client.agent_instances.start(instance.id, started, key),
            rng,
        )
        for place in range(rng.choice((1, 1, 2))):
            await self._span(instance.id, f"{mark}/{place}", place, number, moments, rng)
        if rng.random() < 0.3:
            await self._read(instance.id)
        if rng.random() < 0.1:
            reason = rng.choice((" over budget ", "x" * 300))
            await self._write(
                TERMINATE,
                instance.id,
                lambda client, key: client.agent_instances.terminate(instance.id, reason, key),
                rng,
            )
            return
        status = rng.choice((None, "complete", "failed"))
        finished = next(moments)
        await self._write(
            FINISH,
            instance.id,
            lambda client, key: client.agent_instances.finish(instance.id, status, finished, key),
            rng,
        )

    async def _span(
        self,
        instance_id: str,
        mark: str,
        place: int,
        number: int,
        moments: Any,
        rng: random.Random,
    ) -> None:
        id_ = f"4{self._seed % 1000:07d}{number:020d}{place:04d}" if rng.random() < 0.5 else None
        status = rng.choice(("active", "active", "active", "pending"))
        started = next(moments)
        span = await self._write(
            CREATE_SPAN,
            mark,
            lambda client, key: client.agent_spans.create(
                instance_id,
                "step",
                status,
                {"mark": mark},
                id=id_,
                started_at=started,
                idempotency_key=key,
            ),
            rng,
        )
        ended = next(moments)
        end = "cancelled" if status == "pending" else rng.choice((None, "complete", "failed"))
        result = rng.choice((None, {"sum": 2.50, "words": ["a", None]}))
        await self._write(
            FINISH_SPAN,
            span.id,
            lambda client, key: client.agent_spans.finish(span.id, end, result, ended, key),
            rng,
        )

    async def _read(self, id_: str) -> None:
        try:
            instance = await self._client.agent_instances.get(id_)
        except PrefactorHttpError:
            return
        if instance.id != id_:
            read = Write("agent_instances.get", id_, resource=instance.id, reported=Reported.OK)
            self._oracle.report(Violation.MIXED_UP, read, "another instance was read")

    async def _write(self, operation: str, mark: str, call: Call, rng: random.Random) -> Any:
        write = self._oracle.write(operation, mark)
        # Most callers let the client generate the key; here it is given, to trace the call.
        key = f"{operation}-{mark}"[-64:].replace("agent_", "") if rng.random() < 0.8 else None
        for _ in range(REPEATS):
            if key is not None:
                write.keys.add(key)
                self._attempts.watch(key, write)
            try:
                async with asyncio.timeout(_ENDLESS):
                    result = await self._call(call, key, rng)
            except asyncio.CancelledError as error:
                key = self._note_cancelled(write, key, error)
            except PrefactorHttpError as error:
                if self._note(write, key, error):
                    break
                key = error.idempotency_key
            except TimeoutError:
                self._oracle.report(Violation.ENDLESS, write, "the call did not end")
                raise _StuckError from None
            except Exception as error:  # noqa: BLE001 # any other exception is a violation
                self._oracle.report(Violation.UNEXPECTED, write, repr(error))
                raise _StuckError from None
            else:
                write.reported, write.resource = Reported.OK, result.id
                if operation in {REGISTER, CREATE_SPAN}:
                    self._add_id(result.id)
                return result
            self.repeated += 1
        raise _StuckError

    async def _call(self, call: Call, key: str | None, rng: random.Random) -> Any:
        """Make the call, at times with few retries, a short deadline or an early cancellation."""
        choice = rng.random()
        if choice > 0.97:
            return await call(self._client_with_deadline, key)
        if choice > 0.4:
            return await call(rng.choice(self._impatient), key)
        if choice > 0.03:
            return await call(self._client, key)
        task = asyncio.create_task(call(self._client, key))
        done, _ = await asyncio.wait({task}, timeout=rng.uniform(0, _CANCELLED_WITHIN))
        if not done:
            task.cancel()
        return await task

    def _note_cancelled(
        self, write: Write, key: str | None, error: asyncio.CancelledError
    ) -> str | None:
        """Record the note of a cancelled call and return its key."""
        notes = " ".join(getattr(error, "__notes__", ()))
        write.note(f"cancelled: {notes}")
        write.reported = Reported.UNKNOWN
        found = _UUID.search(notes)
        if key is None and found:
            write.keys.add(found[0])
            return found[0]
        if key is None or key not in notes:
            self._oracle.report(Violation.NO_KEY, write, f"notes: {notes!r}")
            raise _StuckError
        return key

    def _note(self, write: Write, key: str | None, error: PrefactorHttpError) -> bool:
        """Record the error of a call and return whether repeating the call is pointless."""
        unknown = error.outcome_unknown
        text = "unknown" if unknown else "refused"
        write.note(f"{text} after {error.attempts}: {type(error).__name__}: {error}"[:400])
        if error.idempotency_key is None or (key is not None and error.idempotency_key != key):
            self._oracle.report(Violation.WRONG_KEY, write, f"{error.idempotency_key}, not {key}")
            raise _StuckError
        write.keys.add(error.idempotency_key)
        is_verdict = isinstance(error, PrefactorApiError) and error.code in _VERDICTS
        if unknown or write.reported is Reported.UNKNOWN:
            # An error of the repeated call may be caused by the success of the first.
            write.reported = Reported.UNKNOWN
            return is_verdict
        write.reported = Reported.NOT_APPLIED
        if self._oracle.was_applied(write):
            self._oracle.report(
                Violation.DENIED, write, "it had been applied when the error was raised"
            )
            write.reported = Reported.UNKNOWN
        return is_verdict

    def _add_id(self, id_: str) -> None:
        if id_ in self._seen_ids:
            raise _StuckError  # of another lifecycle; the oracle reports it
        self._seen_ids.add(id_)
