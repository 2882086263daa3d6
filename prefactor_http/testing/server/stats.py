"""The counts of a server, as another process can ask for them."""

from __future__ import annotations

from prefactor_http.testing.resources.response import JsonObject
from prefactor_http.testing.server.ledger import Ledger
from prefactor_http.testing.server.traffic import Traffic


def stats_of(traffic: Traffic, ledger: Ledger) -> JsonObject:
    """Return the counts as JSON values."""
    return {
        "calls": ledger.writes + ledger.keyless + traffic.reads,
        "attempts": traffic.attempts,
        "faults": {kind.value: count for kind, count in traffic.faults.items()},
        "replays": ledger.replays,
        "replies_lost": traffic.replies_lost,
        "effects": dict(ledger.effects_by_action),
        "doubled": len(ledger.doubled),
        "lost": len(ledger.lost),
        "keyless_writes": ledger.keyless,
        "bytes_changed": len(ledger.bytes_changed),
        "keys_reused": len(ledger.content_changed),
        "largest_bulk": ledger.largest_bulk,
        "flat_bulk_items": ledger.flat_items,
        "violations": list(ledger.violations),
    }
