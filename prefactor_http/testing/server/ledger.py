"""Counts what took effect, so that a test can ask for doubled and lost writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple


class Effect(NamedTuple):
    """A write that took effect.

    Attributes:
        action: Such as ``agent_instances.register``.
        idempotency_key: The key it came with.
        resource_id: What it made or changed.
    """

    action: str
    idempotency_key: str | None
    resource_id: str | None


class Write(NamedTuple):
    """A logical write: all attempts of it have this in common.

    Attributes:
        action: Such as ``agent_instances.register``.
        idempotency_key: Its key.
    """

    action: str
    idempotency_key: str


@dataclass(slots=True)
class _History:
    digest: bytes
    effects: int = 0
    refused: bool = False
    bytes_changed: bool = False
    content_changed: bool = False


def digest_of(data: bytes) -> bytes:
    """Return a short fingerprint of a body."""
    return blake2b(data, digest_size=16).digest()


class Ledger:
    """The history of each keyed write, and every effect in order."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.replays = 0
        self.keyless: int = 0
        self.largest_bulk = 0
        self.flat_items = 0
        self.violations: list[str] = []
        self._histories: dict[tuple[str, str], _History] = {}

    def reached(self, action: str, key: str | None, raw: bytes) -> None:
        """Note that a write was read, whatever becomes of it."""
        if key is None:
            self.keyless += 1
            return
        digest = digest_of(raw)
        history = self._histories.setdefault((action, key), _History(digest))
        if history.digest != digest:
            history.bytes_changed = True

    def took_effect(self, action: str, key: str | None, resource_id: str | None) -> None:
        """Note that a write changed the state."""
        self.effects.append(Effect(action, key, resource_id))
        if key is not None:
            self._histories[action, key].effects += 1

    def refused(self, action: str, key: str | None) -> None:
        """Note that a write was refused for good."""
        if key is not None:
            self._histories[action, key].refused = True

    def reused(self, action: str, key: str) -> None:
        """Note that a key came back with other content."""
        self._histories[action, key].content_changed = True

    @property
    def writes(self) -> int:
        """How many different keyed writes were read."""
        return len(self._histories)

    @property
    def doubled(self) -> list[Write]:
        """The writes that took effect more than once."""
        return [Write(*write) for write, history in self._histories.items() if history.effects > 1]

    @property
    def lost(self) -> list[Write]:
        """The writes that were read, never refused for good, and never took effect."""
        return [
            Write(*write)
            for write, history in self._histories.items()
            if not history.effects and not history.refused
        ]

    @property
    def bytes_changed(self) -> list[Write]:
        """The writes whose attempts were not the same bytes."""
        return [
            Write(*write) for write, history in self._histories.items() if history.bytes_changed
        ]

    @property
    def content_changed(self) -> list[Write]:
        """The writes whose key came back with other content."""
        return [
            Write(*write) for write, history in self._histories.items() if history.content_changed
        ]

    @property
    def effects_by_action(self) -> Counter[str]:
        """How many effects each action had."""
        return Counter(effect.action for effect in self.effects)
