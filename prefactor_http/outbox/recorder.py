"""Records the calls of the endpoints instead of sending them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from msgspec import UNSET

from prefactor_http import _api
from prefactor_http._http.encoding import encode, encode_json
from prefactor_http._http.executor import Executor
from prefactor_http._http.operation import Operation
from prefactor_http._http.span_instances import SpanInstances
from prefactor_http._values.plain import as_text
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key
from prefactor_http.models.agent_span import AgentSpanReply
from prefactor_http.outbox.options import Codec
from prefactor_http.outbox.receipt import Receipt
from prefactor_http.outbox.rows import NewWrite
from prefactor_http.outbox.writer import Writer

T = TypeVar("T")

_NO_IDS = frozenset({"", ".", ".."})


class _Item:
    """How a call becomes the item of a bulk request (contract §9).

    Args:
        operation: The call.
    """

    def __init__(self, operation: Operation[Any]) -> None:
        self.type = str(operation.bulk)
        self.has_signal = operation.response_type is AgentSpanReply
        head = b'{"_type":%b,' % encode_json(self.type)
        if operation.path_field is not None:
            head += b"%b:" % encode_json(operation.path_field)
        self._head = head

    def with_id(self, resource_id: str, body: bytes) -> bytes:
        return b"".join((self._head, encode_json(resource_id), b",", body[1:]))

    def without_id(self, body: bytes) -> bytes:
        return self._head + body[1:]


_ITEMS: dict[Operation[Any], _Item] = {
    operation: _Item(operation)
    for operation in (
        _api.REGISTER,
        _api.START,
        _api.FINISH,
        _api.TERMINATE,
        _api.RECORD_QUALITY,
        _api.CREATE_SPAN,
        _api.FINISH_SPAN,
    )
}


class Recorder(Executor):
    """Executor of an outbox's endpoints: a write is recorded, and its result is a receipt.

    Args:
        executor: Executor of the client, for reads.
        writer: Records the writes.
        check: Raises if the outbox cannot be used here.
        encode: Converts a body before it is stored.
    """

    def __init__(
        self,
        executor: Executor,
        writer: Writer,
        check: Callable[[], None],
        encode: Codec | None,
    ) -> None:
        super().__init__(executor.config, executor.state)
        self._writer = writer
        self._check = check
        self._encode = encode
        self._open_spans = SpanInstances()

    @property
    def span_instances(self) -> SpanInstances:
        """Spans that this process has recorded, and their instances."""
        return self._open_spans

    def key(self, given: str | None) -> str:
        """Validate the caller's key as that of a bulk item, or generate one."""
        if given is not None:
            return check_key(given, min_length=MIN_LENGTH_IN_BULK)
        return super().key(None)

    def send(
        self,
        operation: Operation[T],
        request: Any = None,
        resource_id: str | None = None,
        *,
        items: int | None = None,  # noqa: ARG002 # of bulk requests
        needs_new_connection: bool = False,  # noqa: ARG002 # likewise
    ) -> Coroutine[Any, Any, T]:
        """Record a write. The result has a `Receipt` in the place of the resource."""
        self._check()
        item = _ITEMS[operation]
        body = encode(operation, request)
        parent: str | None = None
        opens_span = False
        instance_id: str | None
        if resource_id is not None:
            if type(resource_id) is not str or resource_id in _NO_IDS:
                resource_id = as_text(resource_id) or resource_id
                operation.path_for(resource_id)  # raises if it is not an id
            target = resource_id
            body = item.with_id(resource_id, body)
            instance_id = resource_id
            if operation is _api.FINISH_SPAN:
                instance_id = self._open_spans.get(resource_id)
        else:
            body = item.without_id(body)
            if operation is _api.REGISTER:
                target = instance_id = request.id
            else:
                details = request.details
                target, instance_id = details.id, details.agent_instance_id
                parent = None if details.parent_span_id is UNSET else details.parent_span_id
                opens_span = details.status in {"active", "pending"}
        if self._encode is not None:
            body = self._encode(body)
        write = NewWrite(
            instance_id,
            item.type,
            request.idempotency_key,
            target,
            parent,
            body,
            self.clock.utcnow().timestamp(),
            opens_span,
        )
        receipt: Receipt[Any] = Receipt(
            self._writer.receipts, target, request.idempotency_key, instance_id
        )
        result = AgentSpanReply(details=cast("Any", receipt)) if item.has_signal else receipt
        recorded = self._writer.record(write, receipt, result)
        # A future can be awaited like the coroutine of a call.
        return cast("Coroutine[Any, Any, T]", recorded)
