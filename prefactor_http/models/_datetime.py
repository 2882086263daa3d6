"""The real classes of `datetime`, for the annotations that msgspec reads.

While freezegun freezes time, `datetime.datetime` is a class of its own that msgspec does not know.
A program may import this package in that state.
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
