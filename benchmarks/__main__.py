"""The command line: `python -m benchmarks quick|full|report|call`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import call, environments, measures, results
from benchmarks.processes import ROOT
from benchmarks.tables import as_text, summary


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for scale, text in (("quick", "under two minutes"), ("full", "fifteen minutes or more")):
        command = commands.add_parser(scale, help=f"run all measures, {text}")
        command.add_argument(
            "--only", action="append", choices=measures.NAMES, metavar="MEASURE", default=[]
        )
    commands.add_parser("report", help="regenerate tables and plots from the results files")
    call.add_arguments(commands.add_parser("call", help="compare one call and print the result"))
    args = parser.parse_args()
    if args.command == "call":
        call.run(args)
    elif args.command == "report":
        from benchmarks import report

        report.write()
    else:
        run(args.command, args.only)


def run(scale: str, only: Sequence[str]) -> None:
    """Run measures, save the results and print them."""
    folder = results.QUICK if scale == "quick" else results.FOLDER
    contenders = environments.all_contenders()
    run_started = time.monotonic()
    for name in only or measures.NAMES:
        started = time.monotonic()
        print(f"{name} …", end=" ", flush=True, file=sys.stderr)
        measure = measures.named(name)
        settings = measure.SCALES[scale]
        rows = measure.measure(settings, contenders)
        results.save(results.result(name, scale, settings, rows, contenders), folder)
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    show(folder, only or measures.NAMES)
    print(f"\n{time.monotonic() - run_started:.0f} s; results in {folder.relative_to(ROOT)}")


def show(folder: Path, names: Sequence[str]) -> None:
    """Print the tables, then the summary."""
    found = results.load(folder)
    findings = []
    for name in names:
        measure = measures.named(name)
        for table in measure.tables(found[name].rows):
            print(f"\n{as_text(table)}")
        findings += measure.findings(found[name].rows)
    if findings:
        print(f"\n{as_text(summary(findings))}")


if __name__ == "__main__":
    main()
