"""``make bench``: measures everything, prints it, and with ``--write`` keeps it in ``docs/``.

A whole run takes about half an hour a store. In pieces: ``python -m benchmarks --only cold cost --sizes 100 --write``
replaces the tables of these pieces in the document, and leaves the others. One run at a time: they share a folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
from collections.abc import Callable, Iterator
from datetime import date

from benchmarks import cold_start, cost, events, refresh, rim, scale, scale_check, warm
from benchmarks.packages import package_table
from benchmarks.setting import Packages, filled_store
from benchmarks.tables import Document, Table
from tests.support.data import PROJECT

DOCS = PROJECT / "docs"
MANY_FLAGS = 20_000
"""Beyond the sizes of the other tables; for the refresh."""


class Run:
    """What was asked for, and what all pieces share."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.packages = Packages()
        self.store: str = arguments.store
        self.runs: int = arguments.runs
        self.sizes: list[int] = arguments.sizes
        self.writes: bool = arguments.write

    @property
    def few_runs(self) -> int:
        """Of what takes long."""
        return max(1, self.runs // 2)

    @property
    def middle_size(self) -> int:
        return sorted(self.sizes)[len(self.sizes) // 2]


def _cold(run: Run) -> Iterator[Table]:
    yield package_table(run.packages.folder("serverless-flags"))
    measured = {}
    for count in run.sizes:
        with filled_store(run.store, count) as place:
            measured[count] = cold_start.measure(run.packages, place, run.runs)
    if run.writes:
        (DOCS / f"cold-start{_suffix(run.store)}.svg").write_text(cold_start.chart(measured))
    yield from cold_start.tables(measured, run.runs)


def _plain(run: Run) -> Iterator[Table]:
    measured = {}
    for count in run.sizes:
        with filled_store(run.store, count) as place:
            measured[count] = cold_start.measure(run.packages, place, run.runs, cold_start.PLAIN_CASES)
    yield cold_start.plain_table(measured, run.runs)


def _memory(run: Run) -> Iterator[Table]:
    with filled_store(run.store, run.middle_size) as place:
        yield cold_start.memory_table(run.packages, place, run.few_runs)


def _network(run: Run) -> Iterator[Table]:
    yield cold_start.network_table(run.packages, run.store, run.sizes[1:] or run.sizes, run.few_runs)


def _instructions(run: Run) -> Iterator[Table]:
    if shutil.which("valgrind") is None:
        print("instructions: valgrind is not installed")
        return
    with filled_store(run.store, run.middle_size) as place:
        yield cold_start.instructions_table(run.packages, place)


def _cost(run: Run) -> Iterator[Table]:
    yield cost.table(run.store, {count: cost.measure(run.store, count) for count in run.sizes})


def _warm(run: Run) -> Iterator[Table]:
    measured = {}
    for count in run.sizes:
        with filled_store(run.store, count) as place:
            measured[count] = warm.measure(run.packages, place)
    yield warm.table(measured)
    with filled_store(run.store, run.sizes[-1]) as place:
        yield warm.memory_table(run.packages, place)
    with filled_store(run.store, run.sizes[0]) as place:
        yield warm.freshness_table(run.packages, place, runs=3)
        yield rim.table(place)


def _refresh(run: Run) -> Iterator[Table]:
    rows = []
    for count in (*run.sizes, MANY_FLAGS):
        with filled_store(run.store, count) as place:
            rows += refresh.rows(place, run.runs if count < MANY_FLAGS else max(1, run.runs // 5))
    yield refresh.table(rows, run.runs)
    with filled_store(run.store, run.sizes[0]) as place:
        yield refresh.burst_table(place)


def _events(run: Run) -> Iterator[Table]:
    with filled_store(run.store, run.middle_size) as place:
        yield events.warm_table(run.packages, place)
        yield events.cold_table(run.packages, place, run.runs)
    yield events.cost_table(run.store)


def _scale(run: Run) -> Iterator[Table]:
    yield scale.table()


def _check(run: Run) -> Iterator[Table]:
    yield scale_check.table()


PARTS: dict[str, Callable[[Run], Iterator[Table]]] = {
    "cold": _cold,
    "plain": _plain,
    "memory": _memory,
    "network": _network,
    "instructions": _instructions,
    "cost": _cost,
    "warm": _warm,
    "refresh": _refresh,
    "events": _events,
    "scale": _scale,
    "check": _check,
}
OF_BOTH_STORES = ("scale", "check")
"""Written to ``docs/scale.md``."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=["redis", "dynamodb"], default="redis")
    parser.add_argument("--runs", type=int, default=15, help="runs of each cold start and refresh")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 5000], help="numbers of flags")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--write", action="store_true", help="into docs/")
    arguments = parser.parse_args()
    run = Run(arguments)
    for part in arguments.only:
        name = "scale" if part in OF_BOTH_STORES else f"benchmarks{_suffix(run.store)}"
        document = Document(DOCS / f"{name}.md")
        for measured in PARTS[part](run):
            stamped = measured.measured_by(_stamp(run, part))
            print(stamped.to_markdown(), flush=True)
            if run.writes:
                document.put(stamped)


def _stamp(run: Run, part: str) -> str:
    options = f"--store {run.store} --runs {run.runs} --sizes {shlex.join(map(str, run.sizes))} --only {part}"
    server = "a real Valkey server" if run.store == "redis" else "Dynalite"
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    command = f"python -m benchmarks {f'--only {part}' if part in OF_BOTH_STORES else options}"
    where = machine if part in OF_BOTH_STORES else f"{machine}, {server}"
    return f"{date.today().isoformat()}, {where}: `{command}`"


def _suffix(store: str) -> str:
    return "" if store == "redis" else "-dynamodb"


if __name__ == "__main__":
    main()
