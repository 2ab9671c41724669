"""What many function instances do to one store: `python -m benchmarks.scale`, which writes the table of docs/scale.md.

A simulation, not a measurement. Every instance is asked at random times. A request costs one small read; the first one
after a flag change also reads the whole data set. The store serves so many units a second, in the order of arrival. A
read for which there is no room fails: the instance answers from memory, marked
stale, and leaves the store alone for a second.
"""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.tables import Table
from tests.support.data import PROJECT

INSTANCES = (10, 1_000, 10_000)
REQUESTS_PER_SECOND = 2.0
"""Of each instance."""
DATA_SET_KB = 1_000
RETRY_SECONDS = 1.0
CHANGE_AT = 5.0
END = 120.0
DOCUMENT = PROJECT / "docs" / "scale.md"
BETWEEN = re.compile(r"(?<=<!-- begin simulation -->\n).*(?=<!-- end simulation -->)", re.DOTALL)


@dataclass(frozen=True)
class Store:
    """It serves ``units`` a second, and has at most ``backlog_seconds`` of work outstanding.

    A limit lets a second's units through at once; where reads queue instead, the app waits 0.8 seconds for one.
    """

    name: str
    units: float
    units_per_check: float
    units_per_kb: float
    backlog_seconds: float


STORES = (
    Store("DynamoDB, one partition: 3,000 read units/s", 3_000, 1, 0.25, 1.0),
    Store("ElastiCache Serverless at 30,000 ECPU/s", 30_000, 1, 1.0, 1.0),
    Store("Valkey node at 1 GB/s or 100,000 reads/s", 1_000_000, 10, 1.0, 0.8),
)


@dataclass
class Outcome:
    """``before`` the change: answers and stale ones among them; after it: when each instance had reloaded."""

    answers_before: int
    stale_before: int
    reloaded_seconds: list[float]


def main() -> None:
    table = Table("A change under load", _note(), ("store", "instances", *_COLUMNS), tuple(_rows()))
    print(table.to_markdown())
    DOCUMENT.write_text(BETWEEN.sub(lambda _: "\n" + table.to_markdown() + "\n", DOCUMENT.read_text()))


_COLUMNS = (
    "connections",
    "requests/s",
    "store load without a change",
    "stale",
    "half fresh",
    "99 % fresh",
    "all fresh",
)


def _note() -> str:
    return (
        f"{DATA_SET_KB:,} KB of flags, {REQUESTS_PER_SECOND:g} requests a second to each instance, one flag change. "
        "*Stale* is the share of answers without a change that could not ask the store. *Fresh* is when so many "
        "instances answer from the new data set, counted from the end of the refresh; an instance that nobody asks "
        "does not reload, so half a second of it is waiting for a request."
    )


def _rows() -> Iterator[tuple[str, ...]]:
    for store in STORES:
        for instances in INSTANCES:
            outcome = simulate(store, instances)
            asked = instances * REQUESTS_PER_SECOND
            yield (
                store.name,
                f"{instances:,}",
                "-" if "DynamoDB" in store.name else f"{instances:,}",
                f"{asked:,.0f}",
                f"{asked * store.units_per_check / store.units:.1%}",
                f"{outcome.stale_before / outcome.answers_before:.0%}",
                *(_seconds(outcome, instances, share) for share in (0.5, 0.99, 1.0)),
            )


def _seconds(outcome: Outcome, instances: int, share: float) -> str:
    needed = round(instances * share)
    if len(outcome.reloaded_seconds) < needed:
        return f"> {END - CHANGE_AT:.0f} s"
    return f"{outcome.reloaded_seconds[needed - 1]:.1f} s"


def simulate(store: Store, instances: int) -> Outcome:
    choose = random.Random(1)
    requests = [(choose.expovariate(REQUESTS_PER_SECOND), instance) for instance in range(instances)]
    heapq.heapify(requests)
    outcome = Outcome(0, 0, [])
    waiting = set(range(instances))
    leave_alone_until = [0.0] * instances
    free_at = 0.0
    while waiting and requests[0][0] < END:
        now, instance = requests[0]
        heapq.heapreplace(requests, (now + choose.expovariate(REQUESTS_PER_SECOND), instance))
        is_before = now < CHANGE_AT
        outcome.answers_before += is_before
        if now < leave_alone_until[instance]:
            outcome.stale_before += is_before
            continue
        if free_at > now + store.backlog_seconds:
            outcome.stale_before += is_before
            leave_alone_until[instance] = now + RETRY_SECONDS
            continue
        reloads = not is_before and instance in waiting
        units = store.units_per_check + (store.units_per_kb * DATA_SET_KB if reloads else 0.0)
        free_at = max(free_at, now) + units / store.units
        if reloads:
            waiting.remove(instance)
            outcome.reloaded_seconds.append(free_at - CHANGE_AT)
    return outcome


if __name__ == "__main__":
    main()
