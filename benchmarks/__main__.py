"""``make bench``: measures everything in one run, prints it, and writes ``docs/benchmarks.md`` and the chart.

Quick looks: ``python -m benchmarks --runs 3 --sizes 100 --only cold warm`` (prints only).
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator

from benchmarks import cold_start, refresh, warm
from benchmarks.packages import PROJECT
from benchmarks.setting import Packages, setting
from benchmarks.tables import Table

PARTS = ("cold", "warm", "refresh")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="runs of each cold start and refresh")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 5000], help="numbers of flags")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    tables = []
    for measured in measure(arguments):
        print(measured.to_markdown(), flush=True)
        tables.append(measured)
    if arguments.only == list(PARTS):
        (PROJECT / "docs" / "benchmarks.md").write_text(document(tables))


def measure(arguments: argparse.Namespace) -> Iterator[Table]:
    packages = Packages()
    if "cold" in arguments.only:
        measured = {}
        for count in arguments.sizes:
            with setting(count) as place:
                measured[count] = cold_start.measure(packages, place, arguments.runs)
        (PROJECT / "docs" / "cold-start.svg").write_text(cold_start.chart(measured))
        yield cold_start.table(measured, arguments.runs)
    if "warm" in arguments.only:
        yield from _warm(packages, arguments.sizes)
    if "refresh" in arguments.only:
        rows = []
        for count in arguments.sizes:
            with setting(count) as place:
                rows += refresh.rows(place, min(arguments.runs, 7))
        yield refresh.table(rows, min(arguments.runs, 7))
        with setting(arguments.sizes[0]) as place:
            yield refresh.burst_table(place)


def _warm(packages: Packages, sizes: list[int]) -> Iterator[Table]:
    measured = {}
    for count in sizes:
        with setting(count) as place:
            measured[count] = warm.measure(packages, place)
    yield warm.table(measured)
    with setting(sizes[-1]) as place:
        yield warm.memory_table(packages, place)
        yield warm.freshness_table(packages, place, runs=3)


def document(tables: list[Table]) -> str:
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    introduction = (
        f"# Benchmarks\n\nWritten by `make bench` in one run ({machine}). Absolute times are this machine's; the "
        "ratios are what carries over. All sides of a table were measured in turn in the same run.\n"
    )
    return "\n".join([introduction, *(each.to_markdown() for each in tables)])


if __name__ == "__main__":
    main()
