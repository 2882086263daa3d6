"""Options of an outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from prefactor_http._values.functions import check_function
from prefactor_http._values.numbers import integer, optional_integer, optional_seconds, seconds
from prefactor_http.outbox.rows import DeadLetter

Durability: TypeAlias = Literal["process", "power"]
WhenFull: TypeAlias = Literal["raise", "wait", "drop_oldest"]
Codec: TypeAlias = Callable[[bytes], bytes]
"""Converts a body before it is stored, or after it was read."""
OnDead: TypeAlias = Callable[[DeadLetter], object]


class OutboxOptions(Struct, frozen=True, kw_only=True):
    """Options of an outbox; see `Outbox`.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of range.
    """

    durability: Durability = "process"
    max_bytes: int | None = None
    max_items: int | None = None
    when_full: WhenFull = "raise"
    max_age: float | None = 7 * 24 * 3600.0
    on_dead: OnDead | None = None
    encode: Codec | None = None
    decode: Codec | None = None
    chunk_size: int = 100
    concurrency: int = 8
    poll_interval: float = 0.5

    def __post_init__(self) -> None:
        for name, kind in (("durability", Durability), ("when_full", WhenFull)):
            allowed = get_args(kind)
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}"
                )
        for name in ("max_bytes", "max_items"):
            optional_integer(getattr(self, name), name, 1)
        for name in ("chunk_size", "concurrency"):
            integer(getattr(self, name), name, 1)
        optional_seconds(self.max_age, "max_age", may_be_infinite=True)
        seconds(self.poll_interval, "poll_interval")
        for name in ("on_dead", "encode", "decode"):
            check_function(getattr(self, name), name)
        if (self.encode is None) != (self.decode is None):
            raise ValueError("encode and decode belong together: pass both or neither")

    @property
    def is_limited(self) -> bool:
        """Whether the size of the outbox is limited."""
        return self.max_bytes is not None or self.max_items is not None
