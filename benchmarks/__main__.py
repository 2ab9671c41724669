"""``make bench``: measures everything in one run, prints it, and writes ``docs/benchmarks.md`` and the chart.

Quick looks: ``python -m benchmarks --runs 3 --sizes 100 --only cold warm`` (prints only).
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from benchmarks import cold_start, cost, refresh, rim, warm
from benchmarks.packages import package_table
from benchmarks.setting import Packages, filled_store
from benchmarks.tables import Table
from tests.support.data import PROJECT

PARTS = ("cold", "warm", "refresh")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=["redis", "dynamodb"], default="redis")
    parser.add_argument("--runs", type=int, default=15, help="runs of each cold start and refresh")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 5000], help="numbers of flags")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    tables = []
    for measured in measure(arguments):
        print(measured.to_markdown(), flush=True)
        tables.append(measured)
    if arguments.only == list(PARTS):
        _document(arguments.store, "md").write_text(document(arguments.store, tables))


def measure(arguments: argparse.Namespace) -> Iterator[Table]:
    packages, store = Packages(), arguments.store
    if "cold" in arguments.only:
        yield package_table(packages.folder("serverless-flags"))
        measured = {}
        for count in arguments.sizes:
            with filled_store(store, count) as place:
                measured[count] = cold_start.measure(packages, place, arguments.runs)
        if arguments.only == list(PARTS):
            _document(store, "svg").write_text(cold_start.chart(measured))
        yield cold_start.table(measured, arguments.runs)
    if "warm" in arguments.only:
        yield from _warm(packages, store, arguments.sizes)
    if "refresh" in arguments.only:
        runs = min(arguments.runs, 7)
        rows = []
        for count in arguments.sizes:
            with filled_store(store, count) as place:
                rows += refresh.rows(place, runs)
        yield refresh.table(rows, runs)
        if store == "redis":  # moto, which answers one request at a time, would measure itself
            with filled_store(store, arguments.sizes[0]) as place:
                yield refresh.burst_table(place)


def _warm(packages: Packages, store: str, sizes: list[int]) -> Iterator[Table]:
    measured = {}
    for count in sizes:
        with filled_store(store, count) as place:
            measured[count] = warm.measure(packages, place)
    yield warm.table(measured)
    with filled_store(store, sizes[-1]) as place:
        yield warm.memory_table(packages, place)
    with filled_store(store, sizes[0]) as place:
        yield warm.freshness_table(packages, place, runs=3)
        yield rim.table(place)
        if store == "dynamodb":
            yield cost.table(packages, place)


def _document(store: str, kind: str) -> Path:
    name = "benchmarks" if kind == "md" else "cold-start"
    return PROJECT / "docs" / f"{name}{'' if store == 'redis' else '-dynamodb'}.{kind}"


def document(store: str, tables: list[Table]) -> str:
    server = "a real Valkey server" if store == "redis" else "moto's DynamoDB, which is slow, for all sides"
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    command = "make bench" if store == "redis" else "make bench STORE=dynamodb"
    introduction = (
        f"# Benchmarks\n\nWritten by `{command}` in one run ({machine}; {server}). Absolute times are this machine's; "
        "the ratios are what carries over. All sides of a table were measured in turn in the same run.\n"
    )
    return "\n".join([introduction, *(each.to_markdown() for each in tables)])


if __name__ == "__main__":
    main()
