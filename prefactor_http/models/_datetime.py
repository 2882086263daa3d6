"""The classes of `datetime` themselves, for types that msgspec is told of.

While time is frozen, freezegun puts classes of its own in their place, which msgspec does not know;
a program may import this package then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime
else:
    import datetime as dt

    date, datetime = (
        next(base for base in kind.__mro__ if base.__module__ == "datetime")
        for kind in (dt.date, dt.datetime)
    )

__all__ = ["date", "datetime"]
