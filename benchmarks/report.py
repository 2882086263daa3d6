"""Redraws the tables of both READMEs and the plots, from the results files alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import measures
from benchmarks.environments import NAMES
from benchmarks.results import FOLDER, Result, load
from benchmarks.tables import Table, as_markdown, targets

README = Path(__file__).parent / "README.md"
FRONT_PAGE = Path(__file__).parent.parent / "README.md"
PLOTS = Path(__file__).parent / "plots"


def write() -> None:
    """Renew everything."""
    from benchmarks import plots  # matplotlib: an extra, and nothing else needs it

    found = load(FOLDER)
    between_markers(README, "targets", as_markdown(all_targets(found), 0))
    between_markers(README, "results", all_tables(found))
    between_markers(FRONT_PAGE, "benchmarks", as_markdown(front_page(found), 0))
    for file in plots.draw(found, PLOTS):
        print(f"drawn: {file.name}")


def between_markers(file: Path, name: str, text: str) -> None:
    """Put text where the file says `<!-- name -->` … `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = file.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{file.name} has no place for {name}: {begin.strip()} … {end}")
    file.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


def all_targets(found: Mapping[str, Result]) -> Table:
    """Hold the results against the targets."""
    return targets(
        [
            finding
            for name in measures.NAMES
            if name in found
            for finding in measures.named(name).findings(found[name].rows)
        ]
    )


def all_tables(found: Mapping[str, Result]) -> str:
    """Draw each measure's tables, and on what they were measured."""
    parts: list[str] = []
    for name in measures.NAMES:
        if name not in found:
            continue
        measure, result = measures.named(name), found[name]
        parts.append(f"### {measure.TITLE}\n\n{provenance(result)}")
        for table in measure.tables(result.rows):
            parts.append(f"**{table.title}**")
            table.title = ""
            parts.append(as_markdown(table))
    return "\n\n".join(parts)


def provenance(result: Result) -> str:
    """Tell when and where a result was measured."""
    ours = result.versions["ours and the others"]
    packages = ", ".join(
        f"{name} {ours[name]}"
        for name in ("Python", "aiohttp", "msgspec", "uvloop")
        if name in ours
    )
    machine = result.machine
    return (
        f"{result.date}, {result.scale}; {machine['cpu']}, {machine['cores']} cores,"
        f" {machine['kernel']}, {machine['libc']}; {packages}."
    )


def front_page(found: Mapping[str, Result]) -> Table:
    """Pick five lines for the front page."""
    lines: list[tuple[str, str, str]] = []
    if "calls" in found:
        case = {"call": "register", "concurrency": 16, "allocator": "settled"}
        register = _by_contender(found["calls"], case)
        lines.append(("CPU of a register", *_pair(register, "cpu_us", "{:.0f} µs")))
    if "register_many" in found:
        rows = found["register_many"].rows
        last = [row for row in rows if row.get("keys") == "random"][-1]
        both = {"ours": last, "reference": rows[0]}
        name = f"Rows registered per CPU second, {last['rows']:,} rows"
        lines.append((name, *_pair(both, "rows_per_cpu_second", "{:,.0f}")))
    if "faults" in found:
        faults = _by_contender(found["faults"], {"rate": 0.3, "setting": "as it comes"})
        count = faults["ours"]["lifecycles"]
        for what, key in (("registered twice", "doubled"), ("wrongly failed", "wrongly_raised")):
            name = f"{what.capitalize()} of {count:,}, 30 % of attempts faulty"
            lines.append((name, *_pair(faults, key, "{:.0f}")))
    if "imports" in found:
        imports = {row["import"]: row for row in found["imports"].rows}
        both = {key: imports[NAMES[key]] for key in ("ours", "reference")}
        lines.append(("Import", *_pair(both, "cpu_ms", "{:.0f} ms")))
    return Table("", ("", NAMES["reference"], "this"), lines)


def _by_contender(result: Result, case: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["contender"]: row for row in result.rows if case.items() <= row.items()}


def _pair(rows: Mapping[str, Mapping[str, Any]], key: str, form: str) -> tuple[str, str]:
    figures = [rows[contender][key] for contender in ("reference", "ours")]
    first, second = [each["median"] if isinstance(each, dict) else each for each in figures]
    return form.format(first), form.format(second)
