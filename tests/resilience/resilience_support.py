"""Shared helpers of these tests: schemas, a certificate and clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

VERSION = {"name": "resilience", "external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}

# A self-signed certificate and its key, used only in these tests.
UNTRUSTED_PEM = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgswqhTIQhMP5pYygN
F3LvLHqBbHRF5yVDNAJu4YVyQ+6hRANCAAT/vpunDYgjifqGdvQaltBGInqiQCVB
4R3fkbaO1OHE1SPlsITUE1AJqYJcrVzx/IvD06KUhnZ6lJv+D+NeqKmn
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBjjCCATWgAwIBAgIUDtA1aQVGBYmzdV2K0f5Q0LW+rq8wCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRdW50cnVzdGVkLmludmFsaWQwIBcNMjYxMTI0MTgyNTE1WhgP
MjEyNjEwMzExODI1MTVaMBwxGjAYBgNVBAMMEXVudHJ1c3RlZC5pbnZhbGlkMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/76bpw2II4n6hnb0GpbQRiJ6okAlQeEd
35G2jtThxNUj5bCE1BNQCamCXK1c8fyLw9OilIZ2epSb/g/jXqipp6NTMFEwHQYD
VR0OBBYEFO8Rp/99UtU256bC2rdY4x6H2nSVMB8GA1UdIwQYMBaAFO8Rp/99UtU2
56bC2rdY4x6H2nSVMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIg
Hsvd3WOfHE7M1SVXDdHc7xnStikUo49uywQDp0/qha0CIClKqIL8b6r/zXLhVlKQ
jzKr3s7OQl7BfJ6NwsELEXgp
-----END CERTIFICATE-----
"""


async def until(condition: Callable[[], object]) -> None:
    """Poll until a condition is true, for conditions without an event."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 # the condition has no event
            await asyncio.sleep(0.005)


class ManualClock:
    """A clock that `sleep` advances immediately and that records the delays."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, 678901, UTC) + timedelta(seconds=self.now - 1000.0)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class HeldClock(ManualClock):
    """A clock whose `sleep` blocks until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self._released = asyncio.Event()

    def release(self) -> None:
        self.now += max(self.sleeps)
        self._released.set()

    async def sleep(self, seconds: float) -> None:
        if self._released.is_set():
            await super().sleep(seconds)
            return
        self.sleeps.append(seconds)
        await self._released.wait()
