"""Durations as text."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def duration(seconds: float) -> str:
    """Return a duration as text, such as ``12.3 s`` or ``2 h 05 m``. Rounds down."""
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{int(seconds * 1000)} ms"
    if seconds < _MINUTE:
        return f"{int(seconds * 10) / 10:.1f} s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} m {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} m"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02} h"


def time_taken(started: datetime | None, finished: datetime | None, now: datetime) -> str:
    """Return how long something took, or has been running; blank if it has not started.

    Args:
        started: When it started.
        finished: When it finished; None while it runs.
        now: The current time.
    """
    if started is None:
        return ""
    if finished is None:
        return f"{duration((now - started).total_seconds())} so far"
    return duration((finished - started).total_seconds())


def utc(moment: datetime | None) -> str:
    """Return a time to the second, in UTC; blank for None."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
