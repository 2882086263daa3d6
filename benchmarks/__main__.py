"""`python -m benchmarks quick|full|report|call`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import call, environments, measures, results
from benchmarks.processes import ROOT
from benchmarks.tables import as_text, targets


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for scale, text in (("quick", "under two minutes"), ("full", "fifteen minutes or more")):
        command = commands.add_parser(scale, help=f"measure everything: {text}")
        command.add_argument(
            "--only", action="append", choices=measures.NAMES, metavar="MEASURE", default=[]
        )
    commands.add_parser("report", help="redraw tables and plots from the results files")
    call.add_arguments(commands.add_parser("call", help="compare one call in the terminal"))
    args = parser.parse_args()
    if args.command == "call":
        call.run(args)
    elif args.command == "report":
        from benchmarks import report

        report.write()
    else:
        run(args.command, args.only)


def run(scale: str, only: Sequence[str]) -> None:
    """Measure, keep what was found, and show it with what was kept before."""
    folder = results.QUICK if scale == "quick" else results.FOLDER
    contenders = environments.everyone()
    began = time.monotonic()
    for name in only or measures.NAMES:
        started = time.monotonic()
        print(f"{name} …", end=" ", flush=True, file=sys.stderr)
        measure = measures.named(name)
        settings = measure.SCALES[scale]
        rows = measure.measure(settings, contenders)
        results.save(results.result(name, scale, settings, rows, contenders), folder)
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    show(folder, only or measures.NAMES)
    print(f"\n{time.monotonic() - began:.0f} s; files in {folder.relative_to(ROOT)}")


def show(folder: Path, names: Sequence[str]) -> None:
    """Print tables, and at the end what was set a target."""
    found = results.load(folder)
    findings = []
    for name in names:
        measure = measures.named(name)
        for table in measure.tables(found[name].rows):
            print(f"\n{as_text(table)}")
        findings += measure.findings(found[name].rows)
    if findings:
        print(f"\n{as_text(targets(findings))}")


if __name__ == "__main__":
    main()
