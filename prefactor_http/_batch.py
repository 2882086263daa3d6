"""Streams any number of calls through the bulk endpoint, each exactly once (contract §9).

The source is pulled while there is room, requests in flight adapt to what the API bears, and every
item ends in one `Outcome`. What is sent again is sent with the same keys.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from prefactor_http._batch_intake import Intake, Source
from prefactor_http._batch_operation import BatchOperation
from prefactor_http._batch_options import BatchOptions
from prefactor_http._batch_outcome import Chunk, Entry, Outcome, State
from prefactor_http._batch_pace import Pace
from prefactor_http._batch_queue import BatchQueue
from prefactor_http._batch_release import Release
from prefactor_http._batch_reply import Verdict, judge
from prefactor_http._outcome import Attempt
from prefactor_http._sender import Sender
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorClientError,
    PrefactorHttpError,
    PrefactorResponseContractError,
    is_transient_http_error,
)

_LONGEST_DRAIN = 10.0
_BREACHES_BORNE = 2
_TOO_LARGE, _TOO_MANY, _BLAME_AN_ITEM = 413, 429, frozenset({400, 413, 422})


class Batch:
    """One run of a source through the bulk endpoint; iterate over `outcomes` once.

    Args:
        sender: The client.
        source: Items to send, and those that cannot be sent, which say why.
        options: How to run.
        operation: How to send.
    """

    def __init__(
        self,
        sender: Sender,
        source: Source,
        options: BatchOptions,
        operation: BatchOperation,
    ) -> None:
        self._operation = operation
        self._hook = sender.config.on_attempt
        self._sender = sender.with_options(on_attempt=self._watch, deadline=None)
        self._clock = sender.clock
        self._drain = min(_LONGEST_DRAIN, sender.config.request_timeout)
        self._options = options
        self._pace = Pace(options, sender.config)
        self._queue = BatchQueue()
        self._source = Intake(source)
        self._release = Release(ordered=options.ordered)
        self._under_way = self._failures = 0  # items without an outcome yet, and failed ones
        self._in_flight: dict[asyncio.Task[None], Chunk] = {}
        self._again: deque[Chunk] = deque()
        self._held: dict[asyncio.Task[None], Entry] = {}
        self._away_since: float | None = None
        self._away_tries = 0
        self._probe: asyncio.Task[None] | None = None
        self._end: PrefactorHttpError | None = None

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        """Run, and give each item's outcome as it is known."""
        try:
            while True:
                while self._release.ready:
                    yield self._release.ready.popleft()
                self._fill()
                self._launch()
                if self._release.ready:
                    await asyncio.sleep(0)  # a source of nothing but bad rows waits for nothing
                    continue
                waits = self._waits()
                if not waits and not self._sweep():
                    break
                if not self._release.ready:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                    self._collect()
            if self._end is not None:
                raise self._end
            self._source.check()
        finally:
            await self._stop()

    def _waits(self) -> list[asyncio.Future[Any]]:
        """What the run cannot go on without; after its end that is what is in flight alone."""
        waits: list[asyncio.Future[Any]] = [*self._in_flight]
        if self._end is None:
            waits += [*self._held, *self._source.waits]
            if self._probe is not None and self._away_since is not None:
                waits.append(self._probe)
        return waits

    def _fill(self) -> None:
        most = (self._options.concurrency + 1) * self._options.chunk_size
        while self._end is None and self._away_since is None:
            room = most - self._under_way - len(self._release)
            items = self._source.pull(room) if room > 0 else ()
            if not items:
                return
            self._under_way += len(items)
            self._queue.add(items)

    def _launch(self) -> None:
        while self._end is None:
            away = self._away_since is not None
            if len(self._in_flight) >= (1 if away else self._pace.limit):
                return
            if self._again and not (away and self._probe is not None):
                chunk: Chunk | None = self._again.popleft()
            elif away:
                return
            else:
                chunk = self._queue.take(self._pace.items, self._pace.max_bytes)
                self._report_unsent()
            if chunk is None:
                return
            self._in_flight[asyncio.create_task(self._send(chunk))] = chunk

    def _collect(self) -> None:
        for task in [task for task in self._in_flight if task.done()]:
            del self._in_flight[task]
            task.result()
        for task in [task for task in self._held if task.done()]:
            self._queue.resume(self._held.pop(task))
        if self._probe is not None and self._probe.done():
            self._probe = None

    async def _send(self, chunk: Chunk) -> None:
        started = self._clock.monotonic()
        try:
            reply = await self._sender.send(self._operation, chunk.body)
        except PrefactorHttpError as error:
            self._note_failure(chunk, error)
            return
        self._away_since, self._away_tries = None, 0
        verdict = judge(chunk, reply)
        seconds = self._clock.monotonic() - started
        self._pace.note_reply(seconds, len(verdict.ok) + len(verdict.ended), verdict.bad)
        self._apply(chunk, verdict)

    def _apply(self, chunk: Chunk, verdict: Verdict) -> None:
        self._under_way -= len(verdict.ok)
        self._release.add(verdict.ok)
        for entry, outcome in verdict.ended:
            self._settle(outcome, entry)
        rest = verdict.rest
        if verdict.missing is not None:
            rest = [entry for entry in rest if not self._is_missing_for_good(entry, verdict)]
        held, refusal = verdict.held, verdict.error
        if held is not None and refusal is not None:
            held.is_unknown |= refusal.outcome_unknown
            is_tired = held.is_tired(self._clock.monotonic(), self._options.patience)
            if is_tired or self._end is not None:
                self._settle(held.failed(refusal), held)
                held = None
        self._queue.give_back(chunk, rest, held)
        if held is not None:
            pause = asyncio.create_task(self._clock.sleep(self._pace.backoff(held.tries)))
            self._held[pause] = held

    def _is_missing_for_good(self, entry: Entry, verdict: Verdict) -> bool:
        entry.tries += 1
        if entry.tries <= _BREACHES_BORNE:
            return False
        self._settle(entry.ended(State.UNKNOWN, verdict.missing), entry)
        return True

    def _note_failure(self, chunk: Chunk, error: PrefactorHttpError) -> None:
        """Decide what a request that failed as a whole means for its items, and for the run."""
        now = self._clock.monotonic()
        for entry in chunk.entries:
            entry.is_unknown |= error.outcome_unknown
        if isinstance(error, PrefactorClientError | PrefactorAuthError):
            self._give_up(chunk, error)
            return
        if is_transient_http_error(error):
            self._pace.back_off(now)
            if self._away_since is None:
                self._away_since = now
            if now - self._away_since >= self._options.patience:
                self._give_up(chunk, error)
                return
            self._again.append(chunk)
            self._away_tries += 1
            if self._probe is None:
                pause = self._clock.sleep(self._pace.backoff(self._away_tries))
                self._probe = asyncio.create_task(pause)
            return
        self._away_since, self._away_tries = None, 0
        if isinstance(error, PrefactorResponseContractError):
            self._repeat_or_end(chunk, error)
        elif isinstance(error, PrefactorApiError) and error.status_code in _BLAME_AN_ITEM:
            self._cut(chunk, error)
        else:
            self._give_up(chunk, error)  # a wrong URL, a redirect, a certificate: no item's fault

    def _repeat_or_end(self, chunk: Chunk, error: PrefactorHttpError) -> None:
        for entry in chunk.entries:
            entry.tries += 1
        if chunk.entries[0].tries <= _BREACHES_BORNE:
            self._again.append(chunk)
            return
        for entry in chunk.entries:
            self._settle(entry.ended(State.UNKNOWN, error), entry)
        self._queue.give_back(chunk, [])

    def _cut(self, chunk: Chunk, error: PrefactorApiError) -> None:
        """Halve a request that was refused as a whole, until the item that spoils it is alone."""
        if len(chunk.entries) == 1:
            entry = chunk.entries[0]
            self._settle(entry.failed(error), entry)
            self._queue.give_back(chunk, [])
            return
        too_large = error.status_code == _TOO_LARGE
        self._pace.cut(len(chunk.entries), len(chunk.body), too_large=too_large)
        self._queue.give_back(chunk, chunk.entries)

    def _watch(self, attempt: Attempt) -> None:
        """See refusals that the client retries by itself: they say that this is too much."""
        if attempt.status == _TOO_MANY:
            self._pace.back_off(self._clock.monotonic())
        if self._hook is not None:
            self._hook(attempt)

    def _settle(self, outcome: Outcome, entry: Entry) -> None:
        """Take note of an item that ended otherwise than well."""
        self._under_way -= 1
        self._queue.break_group(entry.group)
        self._release.add([outcome])
        if outcome.failed and self._end is None:
            self._failures += 1
            most = self._options.max_failures
            if most is not None and self._failures >= most:
                self._abandon(
                    PrefactorClientError(f"the batch stopped after {most} failures (max_failures)")
                )

    def _report_unsent(self) -> None:
        unsent, self._queue.unsent = self._queue.unsent, []
        for entry in unsent:
            if entry.refusal is not None:
                self._settle(entry.failed(entry.refusal), entry)
                continue
            blocked = PrefactorClientError("not sent: an earlier item of its group did not succeed")
            self._settle(entry.ended(State.BLOCKED, blocked), entry)

    def _give_up(self, chunk: Chunk, error: PrefactorHttpError) -> None:
        """End the run because of an error that no item is to blame for."""
        self._again.appendleft(chunk)
        self._abandon(error)

    def _abandon(self, error: PrefactorHttpError) -> None:
        """Take nothing more in and send nothing more; what is in flight may end."""
        if self._end is None:
            self._end = error
            for task in self._held:
                task.cancel()
        self._sweep()

    def _sweep(self) -> bool:
        """Give what is left after the end its outcomes; tell whether there was anything."""
        left = [entry for chunk in self._again for entry in chunk.entries]
        left += [*self._held.values(), *self._queue.drain()]
        self._again.clear()
        self._held.clear()
        unsent = PrefactorClientError(f"not sent: {self._end}")
        for entry in left:
            error = self._end if entry.is_unknown else entry.refusal or unsent
            self._settle(entry.failed(error), entry)
        return bool(left)

    async def _stop(self) -> None:
        """Leave nothing behind: let requests in flight end, within a bound, then cancel them."""
        waits: set[asyncio.Future[Any]] = {*self._held, *self._source.waits}
        if self._probe is not None:
            waits.add(self._probe)
        for task in waits:
            task.cancel()
        waits.update(self._in_flight)
        try:
            if waits:
                await asyncio.wait(waits, timeout=self._drain)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            await self._source.close()
