"""The HTTP application: reads requests, dispatches them, and injects faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import cast

from aiohttp import web
from multidict import CIMultiDict

from prefactor_http.testing.faults.faults import (
    APPLIED_THEN_ERROR,
    ERRORS_BEFORE_WRITE,
    HARMLESS,
    Fault,
    FaultKind,
)
from prefactor_http.testing.faults.script import FaultScript
from prefactor_http.testing.server import response_writer
from prefactor_http.testing.server.api import ApiResponse
from prefactor_http.testing.server.delays import Delays
from prefactor_http.testing.server.dispatcher import Dispatcher, IncomingRequest
from prefactor_http.testing.server.key_store import KeyStore
from prefactor_http.testing.server.recorded_request import RecordedRequest
from prefactor_http.testing.server.request_log import RequestLog

_DELAY = 0.1
_OK = 200


class Application:
    """Handles the requests of a running server.

    Attributes:
        log: The requests received so far.
    """

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        keys: KeyStore,
        script: FaultScript,
        delays: Delays,
        stall: float,
        record: bool,
        on_request: Callable[[RecordedRequest], object] | None,
    ) -> None:
        self.log: RequestLog = RequestLog()
        self._dispatcher = dispatcher
        self._keys = keys
        self._script = script
        self._delays = delays
        self._stall = stall
        self._record = record
        self._on_request = on_request
        self._detached: set[asyncio.Task[ApiResponse]] = set()

    def open(self) -> None:
        """Accept requests, also after ``close``."""
        self._delays.allow()

    async def close(self) -> None:
        """End all stalls and delays."""
        self._delays.end()
        await asyncio.gather(*self._detached)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to one request.

        After a fault that closes the connection, the returned empty response is never sent.
        """
        incoming = IncomingRequest(request)
        fault = self._script.next_fault(request.method, incoming.path, incoming.operation)
        self.log.attempts += 1
        self.log.reads += request.method == "GET"
        record = self._log_request(incoming, fault)
        if record is None or self._on_request is None:
            return await self._respond(incoming, fault, record)
        started = time.monotonic()
        try:
            return await self._respond(incoming, fault, record)
        finally:
            record.seconds = time.monotonic() - started
            self._on_request(record)

    async def _respond(
        self, incoming: IncomingRequest, fault: Fault | None, record: RecordedRequest | None
    ) -> web.StreamResponse:
        request = incoming.request
        headers = {"X-Request-Id": f"local-{self.log.attempts}"}
        if fault is not None and fault.kind is FaultKind.RESET_BEFORE_READING:
            response_writer.reset(_transport_of(request))
            return web.Response()
        incoming.body = await request.content.read()
        if record is not None:
            record.body = incoming.body
        response: web.StreamResponse
        if fault is None:
            result = await self._dispatch(incoming)
            response = response_writer.complete(result, headers)
        elif fault.kind in ERRORS_BEFORE_WRITE:
            response = self._refuse(incoming, fault, headers)
        elif fault.kind is FaultKind.DELAYED:
            result = await self._detach(
                self._dispatcher.dispatch(incoming, lambda: self._delay(fault))
            )
            response = response_writer.complete(result, headers)
        else:
            result = await self._dispatch(incoming)
            response = await self._inject(incoming, result, fault, headers)
        if record is not None:
            record.status = response.status
        return response

    async def _dispatch(self, incoming: IncomingRequest) -> ApiResponse:
        dispatching = self._dispatcher.dispatch(incoming)
        return await (self._detach(dispatching) if self._dispatcher.takes_time else dispatching)

    def _log_request(
        self, incoming: IncomingRequest, fault: Fault | None
    ) -> RecordedRequest | None:
        kind = None if fault is None else fault.kind
        if kind is not None:
            self.log.faults[kind] += 1
        if not self._record and self._on_request is None:
            return None
        record = RecordedRequest(
            method=incoming.request.method,
            raw_path=incoming.request.raw_path,
            headers=CIMultiDict(incoming.request.headers),
            operation=incoming.operation,
            fault=kind,
            query=list(incoming.request.query.items()),
        )
        if self._record:
            self.log.requests.append(record)
        return record

    def _refuse(
        self, incoming: IncomingRequest, fault: Fault, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = fault.response()
        # A 413 is not final for the items of a bulk request: a smaller request may succeed.
        too_many_items = incoming.is_bulk and response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self._dispatcher.record_refused(incoming, final=response.is_final and not too_many_items)
        if fault.kind is FaultKind.TRUNCATED_ERROR:
            response_writer.send_truncated_error(_transport_of(incoming.request), response, headers)
        return response_writer.error(response, headers)

    async def _inject(
        self, incoming: IncomingRequest, result: ApiResponse, fault: Fault, headers: dict[str, str]
    ) -> web.StreamResponse:
        transport = _transport_of(incoming.request)
        if fault.kind not in HARMLESS:
            self._count_lost(result)
        match fault.kind:
            case FaultKind.APPLIED_THEN_RESET:
                response_writer.reset(transport)
            case FaultKind.CUT_IN_BODY:
                response_writer.send_first_half(transport, result, headers)
                response_writer.reset(transport)
            case FaultKind.GARBAGE_STATUS_LINE:
                response_writer.send_garbage(transport)
            case FaultKind.CLOSED_AFTER_REPLY:
                response_writer.send_and_close(transport, result, headers)
            case FaultKind.STALLED_BEFORE_REPLY:
                await self._hold(fault)
                self._count_delivered(result)
            case FaultKind.STALLED_IN_BODY:
                response_writer.send_first_half(transport, result, headers)
                await self._hold(fault)
                response_writer.send_second_half(transport, result)
                self._count_delivered(result)
            case _ if fault.kind in APPLIED_THEN_ERROR:
                return response_writer.error(fault.response(), headers)
            case _ if result.status == _OK:
                return response_writer.altered(result, fault, headers)
            case _:
                pass
        return response_writer.complete(result, headers)

    def _count_lost(self, result: ApiResponse) -> None:
        if result.writes:
            self.log.responses_lost += 1
            for write in result.writes:
                self._keys.response_lost(write)

    def _count_delivered(self, result: ApiResponse) -> None:
        """Undo ``_count_lost``: the client waited until the stall was over."""
        if result.writes:
            self.log.responses_lost -= 1

    async def _hold(self, fault: Fault) -> None:
        """Hold a response back until the time is over, the server stops or the client disconnects.

        When the client disconnects, aiohttp cancels the handler.
        """
        await self._delays.wait(self._stall if fault.seconds is None else fault.seconds)

    async def _delay(self, fault: Fault) -> None:
        await self._delays.wait(_DELAY if fault.seconds is None else fault.seconds)

    async def _detach(self, dispatching: Coroutine[None, None, ApiResponse]) -> ApiResponse:
        """Finish a slow request even if the client disconnects, as a real server does."""
        task = asyncio.create_task(dispatching)
        self._detached.add(task)
        task.add_done_callback(self._detached.discard)
        return await asyncio.shield(task)


def _transport_of(request: web.BaseRequest) -> asyncio.Transport:
    # Never None here: aiohttp cancels the handler when the connection closes.
    return cast("asyncio.Transport", request.transport)
