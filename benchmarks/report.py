"""Regenerates the tables of both READMEs and the plots from the results files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import measures
from benchmarks.environments import NAMES
from benchmarks.results import FOLDER, Result, load
from benchmarks.tables import Table, as_markdown, summary

README = Path(__file__).parent / "README.md"
FRONT_PAGE = Path(__file__).parent.parent / "README.md"
PLOTS = Path(__file__).parent / "plots"


def write() -> None:
    from benchmarks import plots  # matplotlib is an optional dependency

    found = load(FOLDER)
    for file in (README, FRONT_PAGE):
        page = file.read_text(encoding="utf-8")
        file.write_text(with_results(page, found), encoding="utf-8")
    for file in plots.draw(found, PLOTS):
        print(f"drawn: {file.name}")


def with_results(page: str, found: Mapping[str, Result]) -> str:
    """Replace what is between markers such as `<!-- summary -->` and `<!-- end of summary -->`."""
    tables: dict[str, Callable[[], str]] = {
        "summary": lambda: as_markdown(all_findings(found)),
        "results": lambda: all_tables(found),
        "benchmarks": lambda: as_markdown(front_page(found)),
    }
    for name, draw in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, begun, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if begun and ended:
            page = f"{before}{begin}\n{draw()}\n\n{end}{after}"
    return page


def all_findings(found: Mapping[str, Result]) -> Table:
    """Return the most important figures of all measures."""
    table = summary(
        [
            finding
            for name in measures.NAMES
            if name in found
            for finding in measures.named(name).findings(found[name].rows)
        ]
    )
    return Table("", table.columns, table.rows)


def all_tables(found: Mapping[str, Result]) -> str:
    """Return the tables of each measure with their provenance, as Markdown."""
    parts: list[str] = []
    for name in measures.NAMES:
        if name not in found:
            continue
        measure, result = measures.named(name), found[name]
        parts.append(f"### {measure.TITLE}\n\n{provenance(result)}")
        parts += [as_markdown(table) for table in measure.tables(result.rows)]
    return "\n\n".join(parts)


def provenance(result: Result) -> str:
    """Return when and where a result was measured, as one line."""
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
    """Return the table of the front page, which has six rows."""
    lines: list[tuple[str, str, str]] = []
    if "calls" in found:
        case = {"call": "register", "concurrency": 16, "allocator": "settled"}
        register = _by_contender(found["calls"], case)
        lines.append(("CPU time of a register", *_pair(register, "cpu_us", "{:.0f} µs")))
    if "batching" in found:
        batched = _by_contender(found["batching"], {"case": "loops", "callers": 64})
        both = {"reference": batched["reference"], "ours": batched["batched"]}
        name = "CPU time of a register through `client.batched()`, 64 callers"
        lines.append((name, *_pair(both, "cpu_us", "{:.0f} µs")))
    if "register_many" in found:
        rows = found["register_many"].rows
        small = [row for row in rows if row["keys"] == "random" and row["kilobytes"] < 1]
        last = small[-1]
        both = {"ours": last, "reference": rows[0]}
        name = f"Rows registered per CPU second, {last['rows']:,} rows"
        lines.append((name, *_pair(both, "rows_per_cpu_second", "{:,.0f}")))
    if "faults" in found:
        faults = _by_contender(found["faults"], {"rate": 0.3, "setting": "3 retries"})
        count = faults["ours"]["lifecycles"]
        for what, key in (
            ("Registered twice", "doubled"),
            ("Reported as failed, but applied", "wrongly_raised"),
        ):
            name = f"{what}, of {count:,} lifecycles at 30 % faulty attempts"
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
