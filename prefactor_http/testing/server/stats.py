"""The counters of a server as JSON, so that another process can read them."""

from __future__ import annotations

from prefactor_http.testing.resources.response import JsonObject
from prefactor_http.testing.server.ledger import Ledger
from prefactor_http.testing.server.request_log import RequestLog


def build_stats(log: RequestLog, ledger: Ledger) -> JsonObject:
    return {
        "calls": ledger.writes + ledger.keyless + log.reads,
        "attempts": log.attempts,
        "faults": {kind.value: count for kind, count in log.faults.items()},
        "replays": ledger.replays,
        "replies_lost": log.responses_lost,
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
