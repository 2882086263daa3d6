"""One HTTP exchange: read the request, answer it, and break what the fault says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from http import HTTPStatus
from typing import cast

from aiohttp import web
from multidict import CIMultiDict

from prefactor_http.testing.faults.faults import (
    APPLIED_THEN_ERROR,
    HARMLESS,
    REFUSALS,
    Fault,
    FaultKind,
)
from prefactor_http.testing.faults.script import FaultScript
from prefactor_http.testing.server import delivery
from prefactor_http.testing.server.api import Answer
from prefactor_http.testing.server.front import Front, IncomingRequest
from prefactor_http.testing.server.key_store import KeyStore
from prefactor_http.testing.server.record import RecordedRequest
from prefactor_http.testing.server.traffic import Traffic

_DELAY = 0.1
_OK = 200


class Exchange:
    """Handles the requests of a running server.

    Attributes:
        traffic: What came in so far.
    """

    def __init__(
        self, *, front: Front, keys: KeyStore, script: FaultScript, stall: float, record: bool
    ) -> None:
        self.traffic: Traffic = Traffic()
        self._front = front
        self._keys = keys
        self._script = script
        self._stall = stall
        self._record = record
        self._stopping = asyncio.Event()
        self._outliving: set[asyncio.Task[Answer]] = set()

    def open(self) -> None:
        """Be ready for requests, also after ``close``."""
        self._stopping.clear()

    async def close(self) -> None:
        """End all stalls and delays."""
        self._stopping.set()
        await asyncio.gather(*self._outliving)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request.

        A fault that ends the connection leaves nothing to send: the empty response that is
        returned then goes nowhere.
        """
        call = IncomingRequest(request)
        fault = self._script.draw(request.method, call.path, call.operation)
        self.traffic.attempts += 1
        self.traffic.reads += request.method == "GET"
        record = self._noted(call, fault)
        headers = {"X-Request-Id": f"local-{self.traffic.attempts}"}
        if fault is not None and fault.kind is FaultKind.RESET_BEFORE_READING:
            delivery.reset(_transport_of(request))
            return web.Response()
        call.body = await request.content.read()
        if record is not None:
            record.body = call.body
        if fault is None:
            response: web.StreamResponse = delivery.whole(await self._front.answer(call), headers)
        elif fault.kind in REFUSALS:
            response = self._refuse(call, fault, headers)
        elif fault.kind is FaultKind.DELAYED:
            answer = await self._outlive(self._front.answer(call, lambda: self._delay(fault)))
            response = delivery.whole(answer, headers)
        else:
            response = await self._break(call, await self._front.answer(call), fault, headers)
        if record is not None:
            record.status = response.status
        return response

    def _noted(self, call: IncomingRequest, fault: Fault | None) -> RecordedRequest | None:
        kind = None if fault is None else fault.kind
        if kind is not None:
            self.traffic.faults[kind] += 1
        if not self._record:
            return None
        record = RecordedRequest(
            method=call.request.method,
            raw_path=call.request.raw_path,
            headers=CIMultiDict(call.request.headers),
            operation=call.operation,
            fault=kind,
            query=list(call.request.query.items()),
        )
        self.traffic.requests.append(record)
        return record

    def _refuse(
        self, call: IncomingRequest, fault: Fault, headers: dict[str, str]
    ) -> web.StreamResponse:
        reply = fault.reply()
        # Too large for a bulk call says: send less at once.
        again = call.is_bulk and reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self._front.turn_away(call, for_good=reply.is_final and not again)
        if fault.kind is FaultKind.TRUNCATED_ERROR:
            delivery.truncate(_transport_of(call.request), reply, headers)
        return delivery.error(reply, headers)

    async def _break(
        self, call: IncomingRequest, answer: Answer, fault: Fault, headers: dict[str, str]
    ) -> web.StreamResponse:
        transport = _transport_of(call.request)
        if fault.kind not in HARMLESS:
            self._lose(answer)
        match fault.kind:
            case FaultKind.APPLIED_THEN_RESET:
                delivery.reset(transport)
            case FaultKind.CUT_IN_BODY:
                delivery.half(transport, answer, headers)
                delivery.reset(transport)
            case FaultKind.GARBAGE_STATUS_LINE:
                delivery.garble(transport)
            case FaultKind.CLOSED_AFTER_REPLY:
                delivery.close_after(transport, answer, headers)
            case FaultKind.STALLED_BEFORE_REPLY:
                await self._hold(fault)
                self._find_again(answer)
            case FaultKind.STALLED_IN_BODY:
                delivery.half(transport, answer, headers)
                await self._hold(fault)
                delivery.other_half(transport, answer)
                self._find_again(answer)
            case _ if fault.kind in APPLIED_THEN_ERROR:
                return delivery.error(fault.reply(), headers)
            case _ if answer.status == _OK:
                return delivery.altered(answer, fault, headers)
            case _:
                pass
        return delivery.whole(answer, headers)

    def _lose(self, answer: Answer) -> None:
        if answer.carried:
            self.traffic.replies_lost += 1
            for action, key in answer.carried:
                self._keys.reply_lost(action, key)

    def _find_again(self, answer: Answer) -> None:
        """Take back a loss: the client waited the stall out."""
        if answer.carried:
            self.traffic.replies_lost -= 1

    async def _hold(self, fault: Fault) -> None:
        """Hold a reply back until the time is over, the server stops or the client goes.

        When the client goes, aiohttp cancels the handler and so this.
        """
        await self._wait(self._stall if fault.seconds is None else fault.seconds)

    async def _delay(self, fault: Fault) -> None:
        await self._wait(_DELAY if fault.seconds is None else fault.seconds)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _outlive(self, answering: Coroutine[None, None, Answer]) -> Answer:
        """Go on with a slow answer though the client may go, as a server does."""
        task = asyncio.create_task(answering)
        self._outliving.add(task)
        task.add_done_callback(self._outliving.discard)
        return await asyncio.shield(task)


def _transport_of(request: web.BaseRequest) -> asyncio.Transport:
    # Never None here: with the connection, aiohttp cancels the handler.
    return cast("asyncio.Transport", request.transport)
