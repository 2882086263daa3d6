"""Soak test: runs lifecycles under faults and checks the outcomes that callers got.

``python tests/resilience/soak.py --lifecycles 2000 --seeds 2``

Each seed has its own server, in turn on asyncio and uvloop, with an own and a borrowed session. The
report is Markdown, as in ``docs/resilience.md``.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil
from fault_server.process import FaultServer
from truth_oracle import Oracle, Reported
from truth_ways import WAYS, Campaign, run_way

import prefactor_http

# Share of the lifecycles by way; what a lifecycle is, is the same for all.
SHARES = {
    "direct": 0.17,
    "direct, trusting": 0.13,
    "batched": 0.10,
    "batched, trusting": 0.07,
    "tls": 0.05,
    "execute": 0.10,
    "stream": 0.14,
    "stream, faults of bulk only": 0.04,
    "rows": 0.12,
    "outbox": 0.04,
    "outbox, opened again": 0.04,
}
_MAX_GROWTH = 0.15  # of the memory, from the second quarter of the samples to the last
_RULE_OF_THREE = 3  # 0 of N: with 95 % confidence, the probability is below 3/N


@dataclass
class Resources:
    """Memory and file descriptors of this process. Samples are taken while no client is open."""

    samples: list[tuple[float, int]] = field(default_factory=list)
    _process: psutil.Process = field(default_factory=psutil.Process)

    def sample(self) -> None:
        self.samples.append((self._process.memory_info().rss / 1e6, self._process.num_fds()))

    def __str__(self) -> str:
        megabytes = self._process.memory_info().rss / 1e6
        return f"{self._process.num_fds()} files, {megabytes:.0f} MB"

    def quarter(self, number: int) -> tuple[float, float]:
        """Return the median memory (MB) and number of files in a quarter of the samples."""
        size = max(1, len(self.samples) // 4)
        chosen = self.samples[number * size :][:size] or self.samples[-1:]
        return median(m for m, _ in chosen), median(f for _, f in chosen)

    @property
    def is_flat(self) -> bool:
        """Whether nothing grew. The first quarter is left out: it fills caches and pools."""
        (memory, files), (last_memory, last_files) = self.quarter(1), self.quarter(3)
        return last_memory <= memory * (1 + _MAX_GROWTH) and last_files <= files


@dataclass
class Totals:
    """Results of all seeds."""

    lifecycles: int = 0
    reported: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    server: Counter[str] = field(default_factory=Counter)
    by_way: dict[str, Counter[str]] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def outcomes(self, reported: Reported) -> int:
        return sum(n for name, n in self.reported.items() if name.endswith(f" {reported}"))

    @property
    def writes(self) -> int:
        return self.reported.total()

    def in_outboxes(self, kind: str) -> int:
        return sum(counts[kind] for way, counts in self.by_way.items() if way.startswith("outbox"))


def _soak(
    arguments: argparse.Namespace, totals: Totals, seed: int, loop: str, session: str
) -> None:
    started = time.monotonic()
    count = arguments.lifecycles // arguments.seeds
    with (
        tempfile.TemporaryDirectory() as folder,
        FaultServer(Path(folder) / "ledger.sqlite") as server,
    ):
        oracle = Oracle(server)

        def progress(text: str) -> None:
            print(
                f"  {time.monotonic() - started:6.1f} s  {text}; {totals.resources}; "
                f"violations: {json.dumps(oracle.violations) if oracle.violations else 'none'}",
                flush=True,
            )

        print(f"seed {seed}, {loop}, {session} session:")
        campaign = Campaign(
            server,
            oracle,
            seed,
            borrowed=session == "borrowed",
            at_a_time=arguments.at_a_time,
            wave=1000,
            request_timeout=0.5,
            progress=progress,
        )
        for way, share in SHARES.items():
            if arguments.ways and way not in arguments.ways:
                continue
            run_way(
                campaign,
                way,
                max(10, round(count * share)),
                loop,
                seed=seed,
                faults=arguments.faults,
                at_accept=arguments.faults / 3,
                forget=arguments.forget,
                outage_every=2000,
                kinds=arguments.kinds.split(",") if arguments.kinds else None,
                without=arguments.without.split(",") if arguments.without else [],
                deduplicate=not arguments.no_deduplication,
            )
            totals.resources.sample()
            totals.lifecycles += max(10, round(count * share))
            totals.by_way.setdefault(way, Counter()).update(campaign.counts[way])
        totals.reported += oracle.reported
        totals.violations += oracle.violations
        totals.injected += server.injected()
        totals.server += server.counts()
        if arguments.violations:
            with Path(arguments.violations).open("a", encoding="utf-8") as lines:
                lines.writelines(f"{line}\n" for line in oracle.dump())


def report(totals: Totals, arguments: argparse.Namespace) -> str:
    """Describe the results in Markdown."""
    writes, wrong = totals.writes, totals.violations.total()
    rarest, least = totals.injected.most_common()[-1]
    (memory, files), (last_memory, last_files) = (totals.resources.quarter(n) for n in (1, 3))
    if wrong:
        verdict = f"**{wrong} violations**: {dict(totals.violations)}"
    else:
        verdict = (
            f"**0 wrong outcomes in {writes:,} writes.** With 95 % confidence, fewer than "
            f"{_RULE_OF_THREE / writes:.1e} of all writes have one (3/N), and fewer than "
            f"{_RULE_OF_THREE / totals.lifecycles:.1e} of all lifecycles."
        )
    rows = {
        "Lifecycles": f"{totals.lifecycles:,}",
        "Seeds": f"{arguments.seeds}, from {arguments.first_seed}",
        "Writes": f"{writes:,}",
        "reported as successful": f"{totals.outcomes(Reported.OK):,}",
        "reported as not applied": f"{totals.outcomes(Reported.NOT_APPLIED):,}",
        "reported as unknown": f"{totals.outcomes(Reported.UNKNOWN):,}",
        "recorded in an outbox": f"{totals.in_outboxes('recorded'):,}",
        "of them dead letters": f"{totals.in_outboxes('dead'):,}",
        "Requests that the server got": f"{totals.server['requests']:,}",
        "Faults": f"{totals.injected.total():,} of {len(totals.injected)} kinds",
        "Rarest fault": f"{least:,} times ({rarest})",
        "Forgotten keys that were sent again": f"{totals.server['forgotten_keys_seen']:,}",
        "Memory, second and last quarter": f"{memory:.0f} and {last_memory:.0f} MB",
        "File descriptors, second and last quarter": f"{files:.0f} and {last_files:.0f}",
        "Duration": f"{totals.seconds / 60:.1f} min ({totals.cpu_seconds / 60:.1f} min of CPU)",
    }
    versions = (
        f"{datetime.now(UTC):%Y-%m-%d}, version {prefactor_http.__version__}, "
        f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}, "
        f"{arguments.faults:.0%} faults, {arguments.at_a_time} calls at a time:"
    )
    lines = [
        versions,
        "",
        verdict,
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lifecycles", type=int, default=100_000, help="for all seeds together")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--ways", nargs="*", choices=tuple(WAYS), help="only these; default: all")
    parser.add_argument("--session", choices=("own", "borrowed", "both"), default="both")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "both"), default="both")
    parser.add_argument("--faults", type=float, default=0.3, help="probability per request")
    parser.add_argument("--forget", type=float, default=0.1, help="probability per key")
    parser.add_argument("--at-a-time", type=int, default=200)
    parser.add_argument("--kinds", help="only these faults, separated by commas")
    parser.add_argument("--without", help="all but these faults")
    parser.add_argument("--no-deduplication", action="store_true", help="must lead to violations")
    parser.add_argument("--violations", help="file for violations, as JSON lines with history")
    parser.add_argument("--report", help="file for the report; it is also printed")
    return parser.parse_args()


def main() -> int:
    arguments = _parse()
    logging.disable(logging.WARNING)
    sessions = ("own", "borrowed") if arguments.session == "both" else (arguments.session,)
    loops = ("asyncio", "uvloop") if arguments.loop == "both" else (arguments.loop,)
    uses = list(product(sessions, loops))
    totals: Totals = Totals()
    started, cpu = time.monotonic(), time.process_time()
    for number in range(arguments.seeds):
        session, loop = uses[number % len(uses)]
        _soak(arguments, totals, arguments.first_seed + number, loop, session)
    totals.seconds = time.monotonic() - started
    totals.cpu_seconds = time.process_time() - cpu
    text = report(totals, arguments)
    print(f"\n{text}\n\nby way: {_as_json(totals.by_way)}\nfaults: {_as_json(totals.injected)}")
    if arguments.report:
        Path(arguments.report).write_text(f"{text}\n", encoding="utf-8")
    if not totals.resources.is_flat:
        print("memory or file descriptors grew")
    return 1 if totals.violations or not totals.resources.is_flat else 0


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


if __name__ == "__main__":
    sys.exit(main())
