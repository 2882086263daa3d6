"""Bulk requests and responses (contract §9)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from msgspec import Raw, Struct

from prefactor_http._values.plain import as_text
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key
from prefactor_http.models.bulk_output import BulkOutput, OutputReader, ReceivedOutput


class BulkItem:
    """One call of a bulk request.

    Its fields are available as attributes: ``item.agent_id``.

    Args:
        _type: Type of the call, such as ``agent_instances/register``; available as ``type``.
        idempotency_key: Idempotency key, 8 to 64 printable ASCII characters without spaces.
        **fields: The ids that a direct call has in its path, and the fields of its body.

    Raises:
        TypeError: The key is not a str.
        ValueError: The type is blank or not text, or the key is not allowed.
    """

    idempotency_key: str

    def __init__(self, *, _type: str, idempotency_key: str, **fields: Any) -> None:
        kind = as_text(_type)
        if not kind:
            raise ValueError(f"_type must be a call such as 'agents/list', not {_type!r:.60}")
        key = check_key(idempotency_key, min_length=MIN_LENGTH_IN_BULK)
        # The attributes are the item as it is sent, so encoding it copies nothing.
        self.__dict__ = {"_type": kind, "idempotency_key": key, **fields}

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def type(self) -> str:
        """Type of the call."""
        return cast("str", self._type)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, BulkItem) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # its attributes can change

    def __repr__(self) -> str:
        return f"BulkItem({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class BulkRequest(Struct, kw_only=True):
    """Calls that are sent in one request and run in order.

    Attributes:
        items: The calls, at least one, each with its own key. A dict with the arguments of a
            `BulkItem` becomes one.

    Raises:
        TypeError: An item is neither a `BulkItem` nor a dict, or lacks an argument.
        ValueError: There is no item, an item is invalid, or two items have the same key.
    """

    items: list[BulkItem]

    def __post_init__(self) -> None:
        self.items = [_as_item(item) for item in self.items]
        if not self.items:
            raise ValueError("a bulk request needs at least one item")
        keys: set[str] = set()
        for item in self.items:
            if item.idempotency_key in keys:
                raise ValueError(f"two items have the idempotency key {item.idempotency_key!r}")
            keys.add(item.idempotency_key)

    @property
    def body(self) -> dict[str, list[dict[str, Any]]]:
        """The request as it is sent."""
        return {"items": [vars(item) for item in self.items]}


class BulkResponse(Struct, frozen=True, kw_only=True):
    """Result of a bulk request.

    Attributes:
        status: ``success``. The request was processed, whatever the results of its calls.
        outputs: Outputs by idempotency key. The API stops after the first call that fails.
        not_attempted: Keys of the later calls, in order. They were not applied and can be sent
            again unchanged.
        unknown: Keys of the calls that have no output but may have been applied, because an earlier
            attempt of the request was lost or the response lacks their outputs. Send them again
            with the same keys to find out.
    """

    status: str = "success"
    outputs: dict[str, BulkOutput]
    not_attempted: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class BulkReply(Struct, frozen=True, kw_only=True):
    """Response of the bulk endpoint with outputs that are not decoded yet.

    Attributes:
        status: ``success``.
        outputs: Encoded outputs by idempotency key.
    """

    status: str = "success"
    outputs: dict[str, Raw]

    @property
    def result(self) -> "BulkReply":
        """The response itself."""
        return self

    def to_response(self, readers: Mapping[str, OutputReader | None]) -> BulkResponse:
        """Match the outputs with the items of the request.

        Args:
            readers: Function that reads the output of each item, by the keys of all items in order.

        Returns:
            The result of the request.
        """
        outputs: dict[str, BulkOutput] = {
            key: ReceivedOutput(raw, readers.get(key)) for key, raw in self.outputs.items()
        }
        return BulkResponse(
            status=self.status,
            outputs=outputs,
            not_attempted=tuple(key for key in readers if key not in outputs),
        )


def _as_item(item: BulkItem | dict[str, Any]) -> BulkItem:
    return item if isinstance(item, BulkItem) else BulkItem(**item)


__all__ = ["BulkItem", "BulkOutput", "BulkReply", "BulkRequest", "BulkResponse"]
