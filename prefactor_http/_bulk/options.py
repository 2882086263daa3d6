"""Options of a batch."""

import warnings
from collections.abc import Callable, Hashable
from typing import Any, TypedDict, cast

from msgspec import Struct

from prefactor_http._values.numbers import integer, optional_integer, seconds

# The group of an item: a callable that takes the item, or the name of a field; None for no group.
Group = Callable[[Any], Hashable] | str | None


class BatchOptions(Struct, frozen=True, kw_only=True):
    """Bounds of a batch.

    Attributes:
        chunk_size: Maximum number of items in a request.
        max_chunk_bytes: Maximum size of a request in bytes; one item alone may be larger.
        concurrency: Maximum number of requests in flight.
        max_outage: Seconds for which the API may be down, or reject an item with a transient
            error.
        ordered: Whether outcomes come in the order of the source.
        max_failures: Failed items after which the run stops; None for no limit.
        max_same_refusals: Items refused in a row for the same reason after which the run stops if
            none has succeeded; None for no limit.

    Raises:
        TypeError: A bound is not a number.
        ValueError: A bound is out of range.
    """

    chunk_size: int = 100
    max_chunk_bytes: int = 1_000_000
    concurrency: int = 8
    max_outage: float = 300.0
    ordered: bool = False
    max_failures: int | None = None
    max_same_refusals: int | None = 100

    def __post_init__(self) -> None:
        for name in ("chunk_size", "max_chunk_bytes", "concurrency"):
            integer(getattr(self, name), name, 1)
        seconds(self.max_outage, "max_outage", may_be_zero=True, may_be_infinite=True)
        for name in ("max_failures", "max_same_refusals"):
            optional_integer(getattr(self, name), name, 1)


class StreamOptions(TypedDict, total=False):
    """`BatchOptions` as keyword arguments; `patience` is the deprecated name of `max_outage`."""

    chunk_size: int
    max_chunk_bytes: int
    concurrency: int
    max_outage: float
    patience: float
    ordered: bool
    max_failures: int | None
    max_same_refusals: int | None


def batch_options(given: StreamOptions) -> BatchOptions:
    """Build the options of a batch from keyword arguments.

    Raises:
        TypeError: An option is unknown, is not a number, or has both its old and its new name.
        ValueError: A bound is out of range.
    """
    options = {**given}
    if "patience" in options:
        if "max_outage" in options:
            raise TypeError("patience is the old name of max_outage: pass only max_outage")
        # The caller of the endpoint method that called this function.
        warnings.warn("patience is now called max_outage", DeprecationWarning, stacklevel=3)
        options["max_outage"] = options.pop("patience")
    unknown = options.keys() - BatchOptions.__struct_fields__
    if unknown:
        raise TypeError(
            f"unknown option {', '.join(sorted(unknown))}; the options are "
            f"{', '.join(BatchOptions.__struct_fields__)}"
        )
    return BatchOptions(**cast("dict[str, Any]", options))
