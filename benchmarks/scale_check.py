"""The simulation of ``scale.py`` beside forty processes that share one link: a change, and when each has it."""

from __future__ import annotations

import base64
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.cost import cost_of_reload
from benchmarks.environments import Json, environment
from benchmarks.link import Link
from benchmarks.scale import REQUESTS_PER_SECOND, Load, Store, simulate
from benchmarks.setting import CONTEXT, FLAG, PATIENT, as_data_set
from benchmarks.tables import Table
from chalicelib.refresh.refresher import Refresher
from tests.support.app_process import AppProcess
from tests.support.stores import open_store
from tests.support.valkey import running_valkey

PROCESSES = 40
MEGABYTES_PER_SECOND = (10.0, 2.0)
LONGEST_SECONDS = 60.0


class Change(NamedTuple):
    name: str
    before: Json
    after: Json


class Seen(NamedTuple):
    """Seconds from the end of the refresh until an instance has answered from it, in order; and what was sent."""

    seconds: list[float]
    sent: int


def changes() -> Iterator[Change]:
    """Each of about 1 MB of flags."""
    before, after = environment(1000), environment(1000)
    flag = after["flags"][FLAG]
    flag.update(version=flag["version"] + 1, on=not flag["on"])
    yield Change("one flag", before, after)
    yield Change("all flags, 1 MB compressed", _incompressible(1), _incompressible(2))


def _incompressible(seed: int) -> Json:
    data, choose = environment(1000), random.Random(seed)
    for flag in data["flags"].values():
        flag.update(version=1000 + seed, salt=base64.b85encode(choose.randbytes(900)).decode())
    return data


def table() -> Table:
    rows = [row for change in changes() for speed in MEGABYTES_PER_SECOND for row in _rows(change, speed)]
    return Table(
        "The simulation beside a run",
        f"{PROCESSES} processes of the app over a real Valkey and a link that they share, each asked "
        f"{REQUESTS_PER_SECOND:g} times a second; one change. Seconds from the end of the refresh until so many answer "
        "from the new data set, and what went over the link meanwhile.",
        ("change", "link", "", "half fresh", "99 % fresh", "all fresh", "sent"),
        tuple(rows),
    )


def _rows(change: Change, megabytes_per_second: float) -> Iterator[tuple[str, ...]]:
    seen, load = run(change, megabytes_per_second * 1e6)
    simulated = simulate(Store("link", megabytes_per_second * 1e6), load, PROCESSES)
    label = (change.name, f"{megabytes_per_second:g} MB/s")
    yield (*label, "run", *_cells(seen.seconds), f"{seen.sent / 1e6:,.2f} MB")
    yield (*label, "simulation", *_cells(sorted(simulated.reloaded_seconds)), "")


def _cells(seconds: list[float]) -> Iterator[str]:
    for share in (0.5, 0.99, 1.0):
        needed = round(PROCESSES * share)
        yield f"{seconds[needed - 1]:.1f} s" if len(seconds) >= needed else f"> {LONGEST_SECONDS:.0f} s"


def run(change: Change, bytes_per_second: float) -> tuple[Seen, Load]:
    """What was seen, and what the simulation has to know of it."""
    data = {"now": change.before}
    with running_valkey() as server, Link(server.port, bytes_per_second=bytes_per_second) as link, ExitStack() as stack:
        writer = open_store({"REDIS_URL": server.url}, PATIENT).writer
        refresher = Refresher(writer, lambda _: as_data_set(data["now"]), "launchdarkly", PATIENT)
        old = refresher.reconcile(force=True).revision
        url = f"redis://127.0.0.1:{link.port}"
        processes = [stack.enter_context(AppProcess({"REDIS_URL": url})) for _ in range(PROCESSES)]
        for process in processes:
            _wait_for(process, old)
        link.passed()
        _revision(processes[0])
        check = link.passed().from_store
        data["now"] = change.after
        crowd = _Crowd(processes)
        new = refresher.reconcile(force=True).revision
        seen = Seen(crowd.seconds_until(new), link.passed().from_store)
    return seen, Load(check, cost_of_reload(change.before, change.after).from_store, 0.0)


def _wait_for(process: AppProcess, revision: str) -> None:
    deadline = time.monotonic() + 120
    while _revision(process) != revision:
        assert time.monotonic() < deadline, "a process did not start"
        time.sleep(0.2)


def _revision(process: AppProcess) -> str | None:
    """Of an answer; None for one without."""
    answer = process.post(f"/evaluate/{FLAG}", CONTEXT)
    found: str | None = {name.lower(): value for name, value in answer["headers"].items()}.get("x-flags-revision")
    return found


class _Crowd:
    """Asks each process at random times, in a thread each, until it answers from the new revision."""

    def __init__(self, processes: list[AppProcess]) -> None:
        self._wanted: str | None = None
        self._seconds: list[float] = []
        self._threads = [threading.Thread(target=self._ask, args=(process,)) for process in processes]
        for thread in self._threads:
            thread.start()

    def seconds_until(self, revision: str) -> list[float]:
        """From now on, in order, until all have it or the longest time is over."""
        self._changed_at = time.monotonic()
        self._wanted = revision
        for thread in self._threads:
            thread.join()
        return sorted(self._seconds)

    def _ask(self, process: AppProcess) -> None:
        while True:
            time.sleep(random.expovariate(REQUESTS_PER_SECOND))
            revision = _revision(process)
            if self._wanted is None:
                continue
            seconds = time.monotonic() - self._changed_at
            if revision == self._wanted:
                self._seconds.append(max(0.0, seconds))
            if revision == self._wanted or seconds > LONGEST_SECONDS:
                return
