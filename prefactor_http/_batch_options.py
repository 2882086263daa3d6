"""How a batch runs."""

from collections.abc import Callable, Hashable
from typing import Any, TypedDict

from msgspec import Struct

# What an item's group is: asked of the item, or the name of a field; None for no groups.
Group = Callable[[Any], Hashable] | str | None


class BatchOptions(Struct, frozen=True, kw_only=True):
    """Bounds of a batch.

    Attributes:
        chunk_size: Most items in a request.
        max_chunk_bytes: Largest request, in bytes; one item alone may be larger.
        concurrency: Most requests in flight.
        patience: Seconds that the API may be away, or an item refused for the moment.
        ordered: Whether outcomes come in the order of the source.
        max_failures: Failed items after which the run stops; None for no end.

    Raises:
        ValueError: A bound is out of range.
    """

    chunk_size: int = 100
    max_chunk_bytes: int = 1_000_000
    concurrency: int = 8
    patience: float = 300.0
    ordered: bool = False
    max_failures: int | None = None

    def __post_init__(self) -> None:
        for name in ("chunk_size", "max_chunk_bytes", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.patience >= 0:  # so that NaN is not
            raise ValueError(f"patience must be 0 or more, got {self.patience}")
        if self.max_failures is not None and self.max_failures < 1:
            raise ValueError(f"max_failures must be at least 1 or None, got {self.max_failures}")


class StreamOptions(TypedDict, total=False):
    """The same, as keywords of ``register_many``."""

    chunk_size: int
    max_chunk_bytes: int
    concurrency: int
    patience: float
    ordered: bool
    max_failures: int | None
