"""Results files: one per measure, with the date, the machine and package versions."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks import environments
from benchmarks.environments import Contender

FOLDER = Path(__file__).parent / "results"
QUICK = FOLDER / "quick"  # not committed

Rows = list[dict[str, Any]]


class Result(Struct):
    """The result of a measure.

    Attributes:
        measure: Name of the measure.
        scale: `quick` or `full`.
        date: Date and time in UTC.
        machine: CPU, number of cores, kernel and C library.
        versions: Package versions by environment.
        settings: The scale's settings.
        rows: The figures.
    """

    measure: str
    scale: str
    date: str
    machine: dict[str, str]
    versions: dict[str, dict[str, str]]
    settings: dict[str, Any]
    rows: Rows


def result(
    measure: str, scale: str, settings: Struct, rows: Rows, contenders: Sequence[Contender]
) -> Result:
    """Return a result; spreads become dicts, as in the file."""
    pythons = {
        "reference" if each.key == "reference" else "ours and the others": each.python
        for each in contenders
    }
    return Result(
        measure,
        scale,
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine(),
        {name: environments.versions(python) for name, python in pythons.items()},
        *(msgspec.json.decode(msgspec.json.encode(each)) for each in (settings, rows)),
    )


def save(found: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode(found), indent=1)
    (folder / f"{found.measure}.json").write_bytes(data + b"\n")


def load(folder: Path) -> dict[str, Result]:
    """Read all results files of a folder, by measure."""
    read = msgspec.json.Decoder(Result).decode
    return {file.stem: read(file.read_bytes()) for file in sorted(folder.glob("*.json"))}


def machine() -> dict[str, str]:
    """Describe this machine without anything that identifies it."""
    release = re.match(r"[\d.]*\d", platform.release())
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {release.group() if release else ''}".strip(),
        "libc": " ".join(platform.libc_ver()).strip(),
    }


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found.group(1)
    return platform.processor() or platform.machine()
