"""The server: connections, random faults, and restarts on the same port."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fault_server import http1
from fault_server.api import (
    CREATE_SPAN,
    FINISH,
    FINISH_SPAN,
    GET_INSTANCE,
    GET_SPAN,
    LIST_SPANS,
    RECORD_QUALITY,
    REGISTER,
    START,
    TERMINATE,
    Api,
    Switches,
)
from fault_server.bulk import items_of
from fault_server.deck import Deck, Script
from fault_server.exchange import BULK, Exchange
from fault_server.faults import ELSEWHERE, FAULTS, HTML, MAYBE, NO, YES, pickiness
from fault_server.ledger import Ledger
from fault_server.tls import TLS_FAULTS, Handshakes

TOKEN = "canary-token-of-the-fault-server"
_BACKLOG = 4096
_ROUTES = [
    (method, re.compile("/api/v1/" + path.replace("{id}", "(?P<id>[^/]+)")), operation)
    for method, path, operation in (
        ("POST", "agent_instance/register", REGISTER),
        ("POST", "agent_instance/{id}/start", START),
        ("POST", "agent_instance/{id}/finish", FINISH),
        ("POST", "agent_instance/{id}/terminate", TERMINATE),
        ("POST", "agent_instance/{id}/record_quality", RECORD_QUALITY),
        ("POST", "agent_spans", CREATE_SPAN),
        ("POST", "agent_spans/{id}/finish", FINISH_SPAN),
        ("POST", "bulk", BULK),
        ("GET", "agent_instance/{id}", GET_INSTANCE),
        ("GET", "agent_spans", LIST_SPANS),
        ("GET", "agent_spans/{id}", GET_SPAN),
    )
]
AT_ACCEPT = ("close_at_accept", "reset_at_accept", "speak_first_408", "speak_first_banner")
WHILE_READING = ("close_before_reading", "close_while_reading", "reset_while_reading")
_SHARE_WHILE_READING = 0.05  # of the faults
RESTART, POISON = "restart", "poison"
NEVER_ACCEPT = "never_accept"
OUTAGES = (RESTART, NEVER_ACCEPT)


@dataclass
class Settings:
    """Settings of fault injection.

    Attributes:
        seed: Seed of all random choices.
        faults: Probability of a fault per request.
        at_accept: Probability of a fault per new connection, before any request.
        kinds: Only these faults; all by default.
        without: Faults to exclude.
        script: Faults for certain requests; see `deck.Script`.
        at_handshake: Probability of a fault per TLS handshake.
        outage_every: Requests between outages; 0 for none. Every other outage is a restart, during
            which connections are refused. During the others they are not accepted.
        restart_seconds: Duration of a restart.
        never_accept_seconds: Duration of the other outages.
    """

    seed: int = 0
    faults: float = 0.0
    at_accept: float = 0.0
    kinds: list[str] | None = None
    without: list[str] = field(default_factory=list)
    script: list[dict[str, Any]] = field(default_factory=list)
    at_handshake: float = 0.0
    outage_every: int = 0
    restart_seconds: float = 0.02
    never_accept_seconds: float = 0.4


class Server:
    """Serves the API, and fails as its settings say.

    Attributes:
        injected: Number of injected faults by kind.
        counts: Number of requests, connections and broken rules of the contract.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.injected: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.api = Api(ledger, random.Random(0))
        self._connections: set[asyncio.StreamWriter] = set()
        self._bodies: dict[tuple[str, str], int] = {}
        self._port = 0
        self._outage: asyncio.Task[None] | None = None
        self._outages = 0
        self._tls = Handshakes()
        self.configure(Settings(), Switches())

    def configure(self, settings: Settings, switches: Switches) -> None:
        """Change what goes wrong from now on."""
        self._settings = settings
        self._rng = random.Random(settings.seed)
        self.api.random, self.api.switches = self._rng, switches
        chosen = [k for k in settings.kinds or FAULTS if k in FAULTS and k not in settings.without]
        self._deck = Deck(chosen, self._rng, pickiness)
        allowed = set(settings.kinds or AT_ACCEPT + WHILE_READING) - set(settings.without)
        self._at_accept = Deck([k for k in AT_ACCEPT if k in allowed], self._rng)
        self._while_reading = Deck([k for k in WHILE_READING if k in allowed], self._rng)
        self._script = Script(settings.script)
        self._tls.deck = Deck(TLS_FAULTS, self._rng)

    async def open(self) -> int:
        """Listen and return the port."""
        if not self._port:
            self._reserved = http1.bound_socket(0)
            self._port = self._reserved.getsockname()[1]
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, backlog=_BACKLOG, reuse_address=True
        )
        return self._port

    def restart(self, seconds: float) -> None:
        """Reset all connections, refuse new ones for a while, then listen again."""
        self.injected[RESTART] += 1
        self._stop_listening()
        self._outage = asyncio.get_running_loop().create_task(self._open_after(seconds))

    def never_accept(self, seconds: float) -> None:
        """Reset all connections and accept no new ones for a while: connecting takes forever."""
        self.injected[NEVER_ACCEPT] += 1
        self._stop_listening()
        full = http1.FullBacklog(self._port)
        self._outage = asyncio.get_running_loop().create_task(self._open_after(seconds, full))

    def _stop_listening(self) -> None:
        self._server.close()
        for writer in list(self._connections):
            http1.reset(writer)

    async def _open_after(self, seconds: float, full: http1.FullBacklog | None = None) -> None:
        await asyncio.sleep(seconds)
        if full is not None:
            full.close()
        await self.open()

    async def open_tls(self) -> tuple[int, str]:
        """Listen for TLS, too, and return the port and the certificate of the authority."""
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, backlog=_BACKLOG, ssl=self._tls.context(self._hello)
        )
        return server.sockets[0].getsockname()[1], self._tls.authority

    def _hello(self) -> str | None:
        """Return the fault of a TLS handshake."""
        if not self._is_hit(self._settings.at_handshake):
            return None
        kind = self._tls.deck.deal(lambda _: True)
        self.injected[str(kind)] += 1
        return kind

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        number = self.counts["connections"]
        self._connections.add(writer)
        try:
            if self._is_hit(self._settings.at_accept) and not await self._fail_at_accept(writer):
                return
            duplicate: bytes | None = None
            is_open = True
            while is_open:
                head = await http1.read_head(reader)
                self.counts["requests"] += 1
                if not await self._passes(head, reader, writer, number):
                    return
                x = self._exchange(
                    head, await reader.readexactly(head.content_length), reader, writer
                )
                if x is None:
                    continue
                if duplicate is not None:
                    writer.write(duplicate)
                is_open = await self._answer(x, number)
                duplicate = x.duplicate
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed the connection
        except asyncio.CancelledError:
            pass  # the server stops
        finally:
            self._connections.discard(writer)
            writer.close()

    def _is_hit(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability

    async def _fail_at_accept(self, writer: asyncio.StreamWriter) -> bool:
        kind = self._at_accept.deal(lambda _: True)
        if kind is None:
            return True
        self.injected[kind] += 1
        if kind == "reset_at_accept":
            http1.reset(writer)
        elif kind == "speak_first_408":
            # As servers do on an idle connection. They read no further request.
            writer.write(http1.response(408, HTML, content_type="text/html", connection="close"))
        elif kind == "speak_first_banner":
            writer.write(b"220 mail.example.com ready\r\n")
            return True
        return False

    async def _passes(
        self,
        head: http1.Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> bool:
        every = self._settings.outage_every
        is_up = self._outage is None or self._outage.done()
        if every and self.counts["requests"] % every == 0 and is_up:
            self._outages += 1
            if self._outages % 2:
                self.restart(self._settings.restart_seconds)
            else:
                self.never_accept(self._settings.never_accept_seconds)
            return False
        if not self._is_hit(self._settings.faults * _SHARE_WHILE_READING):
            return True
        kind = self._while_reading.deal(lambda _: True)
        if kind is None:
            return True
        self.injected[kind] += 1
        operation, resource_id = _route(head)
        self._note(number, operation, None, resource_id, kind, "not read")
        if kind != "close_before_reading":
            await reader.readexactly(head.content_length // 2)
        if kind == "reset_while_reading":
            http1.reset(writer)
        return False

    def _exchange(
        self,
        head: http1.Head,
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Exchange | None:
        operation, resource_id = _route(head)
        fields = http1.decode(body) if head.method == "POST" else dict(head.query)
        items = items_of(fields) if operation == BULK else []
        if operation == "elsewhere":
            self.counts["redirects_followed"] += 1
        if head.headers.get("authorization") != f"Bearer {TOKEN}":
            self.counts["without_token"] += 1
            writer.write(http1.response(401, {"status": "error", "code": "bad_authtoken"}))
        elif not operation or items is None or not isinstance(fields, dict):
            self.counts["bad_requests"] += 1
            writer.write(http1.response(400, {"status": "error", "code": "bad_request"}))
        else:
            self._compare_bodies(operation, fields, body)
            return Exchange(
                self.api, self._rng, reader, writer, operation, resource_id, fields, items
            )
        return None

    def _compare_bodies(self, operation: str, fields: dict[str, Any], body: bytes) -> None:
        """Count writes whose attempts have different bytes."""
        key = fields.get("idempotency_key")
        if operation != BULK and isinstance(key, str):
            first = self._bodies.setdefault((operation, key), hash(body))
            self.counts["bodies_changed"] += first != hash(body)

    async def _answer(self, x: Exchange, connection: int) -> bool:
        if any(item.is_poison for item in x.items):
            return self._fail_at_poison(x, connection)
        kind = self._next_fault(x)
        if kind is None:
            x.send_answer()
            self._record(x, connection, None)
            return True
        fault = FAULTS[kind]
        if fault.applies == YES or (fault.applies == MAYBE and x.pick(True, False)):
            answer = x.execute()
            if fault.needs_success and not answer.ok:
                x.send_answer()
                self._record(x, connection, None)
                return True
        self.injected[kind] += 1
        # Recorded before the delivery, which may take long, unless the fault itself executes items.
        if fault.applies != NO or x.operation != BULK:
            self._record(x, connection, kind)
            return await fault.deliver(x)
        is_open = await fault.deliver(x)
        self._record(x, connection, kind)
        return is_open

    def _next_fault(self, x: Exchange) -> str | None:
        keys = {item.key for item in x.items} | {str(x.fields.get("idempotency_key"))}
        step = self._script.take(x.operation, keys)
        if step is not None:
            return step["fault"]
        if not self._is_hit(self._settings.faults * (1 - _SHARE_WHILE_READING)):
            return None
        return self._deck.deal(lambda kind: FAULTS[kind].suits(x))

    def _fail_at_poison(self, x: Exchange, connection: int) -> bool:
        """Fail the whole request. The items before the poison may have been executed."""
        self.injected[POISON] += 1
        first = next(place for place, item in enumerate(x.items) if item.is_poison)
        if self._rng.random() < 0.5:
            for item in x.items[:first]:
                item.answer = self.api.call(item.operation, item.resource_id, item.fields)
                if not item.answer.ok:
                    break
        self._record(x, connection, POISON)
        if x.items[first].key[-1] in "02468":
            x.send(500, HTML, content_type="text/html")
            return True
        return False

    def _record(self, x: Exchange, connection: int, fault: str | None) -> None:
        for item in x.items:
            other = "skipped" if item.key in x.instead else "not reached"
            result = item.answer.result if item.answer else other
            self._note(connection, item.operation, item.key, item.resource_id, fault, result)
        if x.operation != BULK:
            result = x.answer.result if x.answer else "not applied"
            key = x.fields.get("idempotency_key")
            self._note(connection, x.operation, key, x.resource_id, fault, result)

    def _note(self, connection: int, *values: object) -> None:
        number = self.counts["requests"]
        self._ledger.record_request(number, connection, round(time.time(), 4), *values)


def _route(head: http1.Head) -> tuple[str, str | None]:
    for method, path, operation in _ROUTES:
        found = path.fullmatch(head.path)
        if found and head.method == method:
            return operation, found["id"] if found.re.groups else None
    return "elsewhere" if head.path == ELSEWHERE else "", None
