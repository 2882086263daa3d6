"""Options of a batch."""

from collections.abc import Callable, Hashable
from typing import Any, TypedDict

from msgspec import Struct

# The group of an item: a callable that gets the item, or the name of a field; None for no groups.
Group = Callable[[Any], Hashable] | str | None


class BatchOptions(Struct, frozen=True, kw_only=True):
    """Bounds of a batch.

    Attributes:
        chunk_size: Most items in a request.
        max_chunk_bytes: Largest request, in bytes; one item alone may be larger.
        concurrency: Most requests in flight.
        patience: Seconds that the API may be down, or refuse an item for the moment.
        ordered: Whether outcomes come in the order of the source.
        max_failures: Failed items after which the run stops; None for no limit.
        max_same_refusals: Items refused in a row for the same reason after which the run stops if
            none has succeeded; None for no limit.

    Raises:
        ValueError: A bound is out of range.
    """

    chunk_size: int = 100
    max_chunk_bytes: int = 1_000_000
    concurrency: int = 8
    patience: float = 300.0
    ordered: bool = False
    max_failures: int | None = None
    max_same_refusals: int | None = 100

    def __post_init__(self) -> None:
        for name in ("chunk_size", "max_chunk_bytes", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.patience >= 0:  # so that NaN is not
            raise ValueError(f"patience must be 0 or more, got {self.patience}")
        for name in ("max_failures", "max_same_refusals"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}")


class StreamOptions(TypedDict, total=False):
    """The same, as keywords of ``register_many``."""

    chunk_size: int
    max_chunk_bytes: int
    concurrency: int
    patience: float
    ordered: bool
    max_failures: int | None
    max_same_refusals: int | None
