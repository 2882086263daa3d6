"""Bulk: many calls in one request, and what became of them (contract §9)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from msgspec import Raw, Struct

from prefactor_http._values import as_text
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key
from prefactor_http.models.bulk_output import BulkOutput, OutputReader, ReceivedOutput


class BulkItem:
    """One call of a bulk request.

    Its fields can be read as attributes: ``item.agent_id``.

    Args:
        _type: The call, such as ``agent_instances/register``; read it as ``type``.
        idempotency_key: The call's key, 8 to 64 printable ASCII characters without spaces.
        **fields: The ids in the call's path, and what its body holds.

    Raises:
        TypeError: The key is not a str.
        ValueError: The type is no text, or the key's length or a character of it is not allowed.
    """

    idempotency_key: str

    def __init__(self, *, _type: str, idempotency_key: str, **fields: Any) -> None:
        kind = as_text(_type)
        if not kind:
            raise ValueError(f"_type must be a call such as 'agents/list', not {_type!r:.60}")
        key = check_key(idempotency_key, min_length=MIN_LENGTH_IN_BULK)
        # The attributes are the item as it goes out, so that none is copied to encode it.
        self.__dict__ = {"_type": kind, "idempotency_key": key, **fields}

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def type(self) -> str:
        """The call."""
        return cast("str", self._type)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, BulkItem) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # equal today is not equal for ever

    def __repr__(self) -> str:
        return f"BulkItem({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class BulkRequest(Struct, kw_only=True):
    """Calls that go out in one request and are carried out in order.

    Attributes:
        items: The calls, at least one, each with a key of its own; a dict of an item's arguments
            is made one.

    Raises:
        TypeError: An item is not one, or lacks an argument.
        ValueError: There is no item, one is not valid, or two have the same key.
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
        """The request as it goes out."""
        return {"items": [vars(item) for item in self.items]}


class BulkResponse(Struct, frozen=True, kw_only=True):
    """What became of a bulk request.

    Attributes:
        status: ``success``: the request was worked on, whatever its calls met with.
        outputs: Outputs by idempotency key; the API stops after the first that failed.
        not_attempted: Keys of the calls after that, in order. They were not applied, and can be
            sent again as they are.
        unknown: Keys of the calls that have no output but may have been applied: an earlier attempt
            of the request was lost, or the response lacks their outputs. Send them again with the
            same keys to find out.
    """

    status: str = "success"
    outputs: dict[str, BulkOutput]
    not_attempted: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class BulkReply(Struct, frozen=True, kw_only=True):
    """A reply of the bulk endpoint as it comes, its outputs still encoded.

    Attributes:
        status: ``success``.
        outputs: Encoded outputs by idempotency key.
    """

    status: str = "success"
    outputs: dict[str, Raw]

    @property
    def result(self) -> "BulkReply":
        """The reply itself."""
        return self

    def to_response(self, readers: Mapping[str, OutputReader | None]) -> BulkResponse:
        """Match the outputs with what was asked.

        Args:
            readers: How each item's output is read, by the keys of all items, in order.

        Returns:
            The response.
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
