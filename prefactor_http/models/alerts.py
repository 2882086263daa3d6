"""The number of alerts (contract §12)."""

from msgspec import Struct


class AlertCount(Struct, frozen=True, kw_only=True, gc=False):
    """Response of the alert count.

    Attributes:
        count: Number of alerts.
    """

    count: int

    @property
    def result(self) -> int:
        """The number of alerts."""
        return self.count


__all__ = ["AlertCount"]
