"""The outbox: records writes in a local file and delivers them in the background."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from prefactor_http._http.background import BackgroundTasks
from prefactor_http._http.executor import Executor
from prefactor_http._values.forks import fork_count
from prefactor_http._values.numbers import optional_seconds, seconds
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.endpoints.agent_instance import AgentInstanceClient
from prefactor_http.endpoints.pfid import PfidClient
from prefactor_http.models.dicts import AgentSchemaVersionInput, AgentVersionInput
from prefactor_http.models.types import InstancePurpose
from prefactor_http.outbox import metrics
from prefactor_http.outbox.account import Account
from prefactor_http.outbox.database import Commit, Database
from prefactor_http.outbox.endpoints import OutboxInstances, OutboxSpans
from prefactor_http.outbox.errors import DROPPED, OutboxDroppedError, OutboxError, OutboxFileError
from prefactor_http.outbox.forwarder import Forwarder
from prefactor_http.outbox.lock import ForwarderLock
from prefactor_http.outbox.options import Codec, Durability, OnDead, OutboxOptions, WhenFull
from prefactor_http.outbox.receipt import Receipts
from prefactor_http.outbox.recorder import Recorder
from prefactor_http.outbox.rows import DeadLetter, OutboxStats
from prefactor_http.outbox.run import ClosingSpans, OutboxRun, RunCalls
from prefactor_http.outbox.writer import Writer

_CLOSED = "the outbox is not open: use it as `async with Outbox(...) as outbox`"
_FORKED = "the outbox was opened before this process was forked: open one in each process"
_OTHER_LOOP = "the outbox belongs to another event loop: open one for each event loop"
_MAX_PAGE = 1000


class Outbox:
    """Records writes in a local SQLite file, and delivers them in the background.

    Use it as ``async with Outbox("outbox.db", client) as outbox``. A call of
    `agent_instances` or `agent_spans` returns a `Receipt` as soon as the write is in the file. The
    file keeps it until the API has answered, across restarts of the process and outages of the API.
    Writes of one instance are delivered in order, and each takes effect once.

    Several processes may use one file. One of them delivers, and another one takes over when it
    ends. The file must be on a local file system, and belongs to one host and account. It contains
    the bodies of the writes, but not the token.

    Args:
        path: The file; created with mode 0600 if it does not exist. Two more files, ``-wal`` and
            ``-shm``, and one that ends in ``.lock`` are next to it.
        client: The client that delivers. It must be open as long as the outbox.
        durability: ``process``: a recorded write survives the end of the process. ``power``: it
            also survives a power failure, and each transaction waits for the disk.
        max_bytes: Maximum size of the pending bodies; None for no limit.
        max_items: Maximum number of pending writes; None for no limit.
        when_full: What a write does that exceeds a limit. ``raise``: it raises `OutboxFullError`.
            ``wait``: it waits until there is room. ``drop_oldest``: the oldest instance is dropped
            with all its writes, unless it is being delivered, and counted.
        max_age: Seconds after which a write without a definite answer becomes a dead letter, so
            that it does not block its instance. They count from the first delivery that ended
            without an answer, not during an outage. None for no limit.
        on_dead: Called with each new `DeadLetter` in the process that delivers.
        encode: Converts each body before it is stored, for example encrypts it.
        decode: The inverse of ``encode``.
        chunk_size: Maximum number of writes in a request.
        concurrency: Maximum number of requests in flight.
        poll_interval: Seconds between two looks at what other processes have recorded or delivered.

    Raises:
        TypeError: The client or an option has the wrong type.
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        client: PrefactorHttpClient,
        *,
        durability: Durability = "process",
        max_bytes: int | None = None,
        max_items: int | None = None,
        when_full: WhenFull = "raise",
        max_age: float | None = 7 * 24 * 3600.0,
        on_dead: OnDead | None = None,
        encode: Codec | None = None,
        decode: Codec | None = None,
        chunk_size: int = 100,
        concurrency: int = 8,
        poll_interval: float = 0.5,
    ) -> None:
        self._options = OutboxOptions(
            durability=durability,
            max_bytes=max_bytes,
            max_items=max_items,
            when_full=when_full,
            max_age=max_age,
            on_dead=on_dead,
            encode=encode,
            decode=decode,
            chunk_size=chunk_size,
            concurrency=concurrency,
            poll_interval=poll_interval,
        )
        self.path: Path = Path(path).resolve()
        if not isinstance(client, PrefactorHttpClient):  # pyright: ignore[reportUnnecessaryIsInstance] # not every caller uses a type checker
            raise TypeError(f"client must be a PrefactorHttpClient, not {type(client).__name__}")
        # The executor is the client's only internal name that other modules use.
        own = client._executor  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        # A plain one, because that of a client may batch calls.
        self._executor = Executor(own.config, own.state)
        self._is_open = False
        self._fork_count = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the file and start to deliver. A closed outbox can be opened again.

        Raises:
            OutboxError: The outbox is open.
            OutboxFileError: The file cannot be used, belongs to another host, or contains encoded
                writes that this outbox cannot decode.
        """
        if self._is_open:
            raise OutboxError("the outbox is open already")
        self._loop = asyncio.get_running_loop()
        self._fork_count = fork_count()
        self._receipts = Receipts()
        self._changed = asyncio.Event()
        self._writer = Writer(self.path, self._options, self._receipts, self._on_commit)
        await self._writer.open()
        try:
            await self._check_encoding(self._writer)
            host = self._executor.state.transport.base_url
            partition = await self._writer.run(Database.claim, host)
            lock = ForwarderLock(self.path)
        except BaseException:
            await self._writer.close()
            raise
        account = Account(
            partition,
            lambda partition: self._writer.run(Database.claim, host, partition),
            lambda: PfidClient(self._executor).generate(1),
        )
        recorder = Recorder(self._executor, self._writer, self._check, self._options.encode)
        self._instances = OutboxInstances(recorder, account)
        self._spans = OutboxSpans(recorder, account, self._receipts)
        self._forwarder = Forwarder(self._executor, self._writer, lock, self._options)
        self._background = BackgroundTasks()
        self._is_open = True
        metrics.add(self.path)
        self._forwarder.start()

    async def _check_encoding(self, writer: Writer) -> None:
        if self._options.decode is None and await writer.run(Database.has_encoded_bodies):
            raise OutboxFileError(f"{self.path} contains encoded writes: pass encode and decode")

    async def close(self, drain_timeout: float = 5.0) -> None:
        """Stop recording, deliver for a limited time, and close the file.

        Writes that are not delivered stay in the file for the next start. Safe to call more than
        once.

        Args:
            drain_timeout: Seconds that the delivery of pending writes may take.

        Raises:
            OutboxError: The outbox is open on another event loop.
        """
        if not self._is_open or self._fork_count != fork_count():
            self._is_open = False
            return
        self._check()
        drain_timeout = await self._background.close(drain_timeout)
        self._is_open = False
        metrics.remove(self.path)
        try:
            if self._forwarder.is_forwarding:
                await self._flush(drain_timeout)
        finally:
            await self._forwarder.close()
            await self._writer.close()
            self._receipts.close(
                OutboxError("the outbox was closed before the write was delivered: it is kept")
            )

    @property
    def agent_instances(self) -> OutboxInstances:
        """Record writes about agent instances."""
        if not self._is_open:
            raise OutboxError(_CLOSED)
        return self._instances

    @property
    def agent_spans(self) -> OutboxSpans:
        """Record writes about spans."""
        if not self._is_open:
            raise OutboxError(_CLOSED)
        return self._spans

    def run(  # noqa: D417 # the other arguments are those of register
        self,
        agent_id: str | None = None,
        agent_version: AgentVersionInput | None = None,
        agent_schema_version: AgentSchemaVersionInput | None = None,
        *,
        id: str | None = None,
        environment_id: str | None = None,
        purpose: InstancePurpose | None = None,
        external_identifier: str | None = None,
        update_current_version: bool = True,
        finish_timeout: float = 10.0,
        poll_interval: float | None = 30.0,
        required: bool = False,
        start_timeout: float = 5.0,
    ) -> OutboxRun:
        """Record a block as an instance: ``async with outbox.run(...) as run``.

        It is used like `AgentInstanceClient.run`, but entering and leaving the block only record
        writes, which takes less than a millisecond each. The other arguments are those of
        `AgentInstanceClient.register`.

        Args:
            finish_timeout: Seconds that recording the end may take, also after a cancellation.
            poll_interval: Seconds between polls for a termination; None for no polling. Responses
                to spans report it, too, if this process delivers them.
            required: Whether the block needs the record. With False, the block also runs if nothing
                can be recorded, because the disk or the outbox is full: that is logged as an error,
                ``run.recorded`` is False, and spans do nothing.
            start_timeout: With ``required=False``, seconds that recording the start may take.

        Returns:
            An async context manager. It yields the handle of the run.

        Raises:
            OutboxError: The outbox is not open.
            TypeError: A timeout or the interval is not a number.
            ValueError: A timeout or the interval is not a finite number greater than 0.
        """
        instances = self.agent_instances
        finish_timeout = seconds(finish_timeout, "finish_timeout")
        key = self._executor.key(None)
        register = partial(
            instances.register,
            agent_id,
            agent_version,
            agent_schema_version,
            id,
            key,
            update_current_version=update_current_version,
            environment_id=environment_id,
            purpose=purpose,
            external_identifier=external_identifier,
        )
        # A run uses only the ids of what its calls return, which receipts have, too.
        reads = AgentInstanceClient(self._executor)
        calls = cast("Any", RunCalls(instances, reads, finish_timeout))
        return OutboxRun(
            cast("Any", register),
            key,
            id,
            calls,
            cast("Any", self._spans),
            calls,
            cast("Any", ClosingSpans(self._spans, finish_timeout)),
            self._executor.clock,
            finish_timeout,
            optional_seconds(poll_interval, "poll_interval"),
            None if required else seconds(start_timeout, "start_timeout"),
            self._background,
        )

    @property
    def is_forwarding(self) -> bool:
        """Whether this outbox delivers. If not, another process does."""
        return self._is_open and self._forwarder.is_forwarding

    @property
    def pause_reason(self) -> Exception | None:
        """Why delivery is paused, such as a token that is not accepted; None if it is not."""
        return self._forwarder.pause_reason if self._is_open else None

    async def stats(self) -> OutboxStats:
        """Read the counters of the file."""
        self._check()
        return await self._writer.run(Database.stats, self._unix_time)

    async def flush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 # returns False
        """Wait until what was recorded before this call is delivered or a dead letter.

        Args:
            timeout: Seconds to wait; None for no limit.

        Returns:
            Whether it is. If not, it stays in the outbox.
        """
        self._check()
        return await self._flush(timeout)

    async def dead_letters(self, after: int = 0, limit: int = _MAX_PAGE) -> list[DeadLetter]:
        """Read dead letters, oldest first.

        Args:
            after: Sequence of the last one of the previous page; 0 for the first page.
            limit: Maximum number.

        Returns:
            The dead letters.
        """
        self._check()
        return await self._writer.run(Database.dead_letters, after, limit)

    async def retry(self, sequences: Collection[int] | None = None) -> int:
        """Deliver dead letters again, behind all that is pending.

        Args:
            sequences: The dead letters; None for all. Those that they block are included, in order.

        Returns:
            The number of writes.
        """
        self._check()
        retried = await self._writer.run(Database.retry, sequences)
        self._forwarder.notify()
        return retried

    async def drop(self, sequences: Collection[int] | None = None) -> int:
        """Delete dead letters.

        Args:
            sequences: The dead letters; None for all.

        Returns:
            The number of deleted ones.
        """
        self._check()
        return await self._writer.run(Database.drop, sequences)

    @property
    def _unix_time(self) -> float:
        return self._executor.clock.utcnow().timestamp()

    def _check(self) -> None:
        if not self._is_open:
            raise OutboxError(_CLOSED)
        if self._fork_count != fork_count():
            raise OutboxError(_FORKED)
        if asyncio.get_running_loop() is not self._loop:
            raise OutboxError(_OTHER_LOOP)

    def _on_commit(self, commit: Commit) -> None:
        self._changed.set()
        for sequence in commit.dropped:
            self._receipts.resolve(sequence, OutboxDroppedError(DROPPED))
        if commit.sequences:
            self._forwarder.notify()

    async def _flush(self, timeout: float | None) -> bool:  # noqa: ASYNC109 # returns False
        last = await self._writer.run(Database.last_sequence)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._changed.clear()
                    if not await self._writer.run(Database.has_pending, last):
                        return True
                    await self._wait_for_change()
        except TimeoutError:
            return False

    async def _wait_for_change(self) -> None:
        # Other processes change the file, too.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.poll_interval):
                await self._changed.wait()
