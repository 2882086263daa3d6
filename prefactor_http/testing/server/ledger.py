"""Records every write that took effect, so that tests can check for doubled and lost writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple


class Effect(NamedTuple):
    """A write that took effect.

    Attributes:
        action: The action, such as ``agent_instances.register``.
        idempotency_key: The key of the write, or None.
        resource_id: The resource that was created or changed.
    """

    action: str
    idempotency_key: str | None
    resource_id: str | None


class Write(NamedTuple):
    """A logical write; all its attempts share the action and the key.

    Attributes:
        action: The action, such as ``agent_instances.register``.
        idempotency_key: The key of the write.
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
    return blake2b(data, digest_size=16).digest()


class Ledger:
    """The history of each keyed write, and all effects in order."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.replays = 0
        self.keyless: int = 0
        self.largest_bulk = 0
        self.flat_items = 0
        self.violations: list[str] = []
        self._histories: dict[tuple[str, str], _History] = {}

    def record_received(self, action: str, key: str | None, raw: bytes) -> None:
        """Record that a write was received, whether or not it succeeds."""
        if key is None:
            self.keyless += 1
            return
        digest = digest_of(raw)
        history = self._histories.setdefault((action, key), _History(digest))
        if history.digest != digest:
            history.bytes_changed = True

    def record_effect(self, action: str, key: str | None, resource_id: str | None) -> None:
        """Record that a write changed the state."""
        self.effects.append(Effect(action, key, resource_id))
        if key is not None:
            self._histories[action, key].effects += 1

    def record_refusal(self, action: str, key: str | None) -> None:
        """Record that a write was refused with a final error."""
        if key is not None:
            self._histories[action, key].refused = True

    def record_key_reuse(self, action: str, key: str) -> None:
        """Record that a key was reused with other content."""
        self._histories[action, key].content_changed = True

    @property
    def writes(self) -> int:
        """The number of different keyed writes received."""
        return len(self._histories)

    @property
    def doubled(self) -> list[Write]:
        return [Write(*write) for write, history in self._histories.items() if history.effects > 1]

    @property
    def lost(self) -> list[Write]:
        """The writes that were received, had no final error, and never took effect."""
        return [
            Write(*write)
            for write, history in self._histories.items()
            if not history.effects and not history.refused
        ]

    @property
    def bytes_changed(self) -> list[Write]:
        """The writes whose attempts sent different bytes."""
        return [
            Write(*write) for write, history in self._histories.items() if history.bytes_changed
        ]

    @property
    def content_changed(self) -> list[Write]:
        """The writes whose key was reused with other content."""
        return [
            Write(*write) for write, history in self._histories.items() if history.content_changed
        ]

    @property
    def effects_by_action(self) -> Counter[str]:
        return Counter(effect.action for effect in self.effects)
