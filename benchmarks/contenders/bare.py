"""A minimal asyncio protocol with msgspec encoding and decoding: a lower bound for HTTP libraries.

It parses only the status and the length of a response.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from benchmarks import workload
from benchmarks.contenders import REGISTER_PATH, SPANS_PATH, Calls

_MAX_CONNECTIONS = 100


class _Register(Struct):
    agent_id: str
    environment_id: str
    agent_version: dict[str, Any]
    agent_schema_version: dict[str, Any]
    update_current_version: bool
    idempotency_key: str


class _Action(Struct, omit_defaults=True):
    idempotency_key: str
    status: str | None = None
    result_payload: dict[str, Any] | None = None


class _Span(Struct):
    details: dict[str, Any]
    idempotency_key: str


class _Instance(Struct):
    id: str
    account_id: str
    agent_id: str
    agent_version_id: str
    environment_id: str
    agent_deployment_id: str
    status: str
    inserted_at: str
    updated_at: str
    started_at: str | None = None
    finished_at: str | None = None
    purpose: str | None = None
    span_counts: dict[str, int] | None = None


class _SpanDetails(Struct):
    id: str
    agent_instance_id: str
    schema_name: str
    status: str
    payload: dict[str, Any]
    result_payload: dict[str, Any] | None = None
    started_at: str | None = None
    finished_at: str | None = None


class _InstanceResponse(Struct):
    details: _Instance


class _SpanResponse(Struct):
    details: _SpanDetails


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._data = b""
        self._response: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def send(self, data: bytes) -> asyncio.Future[bytes]:
        self._response = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self._response

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
        body_at = data.find(b"\r\n\r\n") + 4
        if body_at >= 4:
            at = data.index(b"Content-Length: ") + 16
            if len(data) >= body_at + int(data[at : data.index(b"\r", at)]):
                assert data.startswith(b"HTTP/1.1 200")
                assert self._response is not None
                self._response.set_result(data[body_at:])
                data = b""
        self._data = data


class _Pool:
    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._free: list[_Connection] = []
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._head = (
            f" HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {workload.TOKEN}\r\nAccept: application/json\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )

    async def post(self, path: str, body: bytes) -> bytes:
        async with self._slots:
            connection = self._free.pop() if self._free else await self._connect()
            head = f"POST {path}{self._head}{len(body)}\r\n\r\n"
            response = await connection.send(head.encode() + body)
            self._free.append(connection)
            return response

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, self._host, self._port))[1]

    def close(self) -> None:
        for connection in self._free:
            connection.transport.close()


@asynccontextmanager
async def open_calls(url: str) -> AsyncIterator[Calls]:
    pool = _Pool(url)
    encode = msgspec.json.Encoder().encode
    read_instance = msgspec.json.Decoder(_InstanceResponse).decode
    read_span = msgspec.json.Decoder(_SpanResponse).decode
    instance = f"/api/v1/agent_instance/{workload.INSTANCE_ID}"
    span_path = f"{SPANS_PATH}/{workload.SPAN_ID}/finish"

    async def register() -> object:
        key = str(uuid.uuid4())
        body = _Register(
            workload.AGENT_ID,
            workload.ENVIRONMENT_ID,
            workload.AGENT_VERSION,
            workload.SCHEMA_VERSION,
            update_current_version=True,
            idempotency_key=key,
        )
        return read_instance(await pool.post(REGISTER_PATH, encode(body))).details

    async def act(path: str, status: str | None) -> object:
        body = _Action(str(uuid.uuid4()), status)
        return read_instance(await pool.post(path, encode(body))).details

    async def span() -> object:
        body = _Span(workload.span_details(), str(uuid.uuid4()))
        return read_span(await pool.post(SPANS_PATH, encode(body))).details

    async def span_finish() -> object:
        body = _Action(str(uuid.uuid4()), "complete", workload.SPAN_RESULT)
        return read_span(await pool.post(span_path, encode(body))).details

    yield {
        "register": register,
        "start": lambda: act(f"{instance}/start", None),
        "finish": lambda: act(f"{instance}/finish", "complete"),
        "span": span,
        "span_finish": span_finish,
    }
    pool.close()
