"""What many function instances do to one store when a flag changes: a simulation, with costs that were measured.

Every instance is asked at random times. A request reads the sync record; the first one after a change also reads what
the change needs. A store serves so much in a second, and reads that come at the same time share it. Whoever gets no
answer in time gives up, throws away what has come, answers from memory, and leaves the store alone for a while: all
waits are those of ``chalicelib/timing.py``. ``scale_check.py`` compares this with processes over a real link.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks import cost
from benchmarks.tables import Table
from chalicelib.timing import Timing

INSTANCES = (10, 1_000, 10_000)
FLAGS = 1_000
REQUESTS_PER_SECOND = 2.0
"""Of each instance."""
CHANGE_AT = 5.0
END = 65.0
_STEP_SECONDS = 0.01


class Load(NamedTuple):
    """What is read and written, in the units of the store: bytes, or DynamoDB's read units.

    ``write_seconds`` is how long DynamoDB takes for the write of a refresh by its limit on write units.
    """

    check: float
    reload: float
    write: float
    write_seconds: float = 0.0


class Store(NamedTuple):
    """It serves ``units`` a second, of which a request takes ``least``.

    Where it ``throttles``, it refuses what is more; otherwise reads take longer.
    """

    name: str
    units: float
    least: float = 0.0
    throttles: bool = False


DYNAMODB = Store("DynamoDB, one partition: 3,000 read units/s", 3_000, throttles=True)
DYNAMODB_WRITE_UNITS = 1_000
"""A second, of one partition."""
BY_BYTES = (
    Store("ElastiCache Serverless at 30,000 ECPU/s", 30_000 * 1024, least=1024),
    Store("Valkey node at 1 GB/s or 100,000 reads/s", 1e9, least=10_000),
)


@dataclass
class Outcome:
    """``before`` the change: answers and stale ones among them; after it: when each instance had reloaded."""

    answers_before: int = 0
    stale_before: int = 0
    cut_off: int = 0
    reloaded_seconds: list[float] = field(default_factory=list)

    def seconds_until(self, share: float, instances: int) -> float | None:
        """After the beginning of the write; None if it did not come to that."""
        needed = round(instances * share)
        return sorted(self.reloaded_seconds)[needed - 1] if len(self.reloaded_seconds) >= needed else None


class _Read:
    """One exchange under way: what is still to come, and how long it may still be waited for."""

    def __init__(self, instance: int, units: float, is_reload: bool, timing: Timing) -> None:
        self.instance = instance
        self.left = units
        self.is_reload = is_reload
        self.patience = timing.redis_held_seconds + timing.redis_reconnect_seconds
        self.ends_after = timing.exchange_seconds


class _Simulation:
    def __init__(self, store: Store, load: Load, instances: int, timing: Timing) -> None:
        self._store = store
        self._load = load
        self._timing = timing
        self._choose = random.Random(1)
        self._requests = [(self._pause(), instance) for instance in range(instances)]
        heapq.heapify(self._requests)
        self._changed = [False] * instances
        self._leave_alone_until = [0.0] * instances
        self._slow_reads = [0] * instances
        self._busy: set[int] = set()
        self.outcome = Outcome()

    def _pause(self) -> float:
        return self._choose.expovariate(REQUESTS_PER_SECOND)

    def run(self) -> Outcome:
        serve = self._serve_refusing if self._store.throttles else self._serve_sharing
        for now in serve():
            if len(self.outcome.reloaded_seconds) == len(self._changed) or now >= END:
                break
        return self.outcome

    def _asked(self, now: float) -> Iterator[int]:
        """The instances that ask the store in this step."""
        while self._requests[0][0] < now:
            asked_at, instance = self._requests[0]
            heapq.heapreplace(self._requests, (asked_at + self._pause(), instance))
            if instance in self._busy:
                continue  # an instance does one thing at a time
            self.outcome.answers_before += now < CHANGE_AT
            if now < self._leave_alone_until[instance]:
                self.outcome.stale_before += now < CHANGE_AT
            else:
                yield instance

    def _must_reload(self, instance: int, now: float) -> bool:
        return now >= CHANGE_AT + self._load.write_seconds and not self._changed[instance]

    def _has_reloaded(self, instance: int, now: float) -> None:
        self._changed[instance] = True
        self.outcome.reloaded_seconds.append(now - CHANGE_AT)

    def _has_failed(self, instance: int, now: float, *, too_slow: bool) -> None:
        """As ``Snapshots`` in ``chalicelib/read/snapshots.py``."""
        pause = self._timing.store_retry_seconds
        if too_slow:
            self._slow_reads[instance] += 1
            longest = min(pause * 2 ** self._slow_reads[instance], self._timing.store_longest_retry_seconds)
            pause = self._choose.uniform(longest / 2, longest)
        self._leave_alone_until[instance] = now + pause
        self.outcome.stale_before += now < CHANGE_AT
        self.outcome.cut_off += 1

    def _serve_refusing(self) -> Iterator[float]:
        """DynamoDB: a second's units at once; a read that finds none is refused, and tried once more."""
        units, now, is_written = self._store.units, 0.0, False
        again: list[tuple[float, int]] = []
        while True:
            now += _STEP_SECONDS
            units = min(self._store.units, units + self._store.units * _STEP_SECONDS)
            if now >= CHANGE_AT and not is_written:
                units, is_written = units - self._load.write, True
            attempts = [(instance, False) for instance in self._asked(now)]
            while again and again[0][0] < now:
                attempts.append((heapq.heappop(again)[1], True))
            for instance, is_last in attempts:
                self._busy.discard(instance)
                if units > 0:
                    units -= self._load.check
                    if self._must_reload(instance, now):
                        units -= self._load.reload
                        self._has_reloaded(instance, now)
                elif is_last:
                    self._has_failed(instance, now, too_slow=False)
                else:
                    self._busy.add(instance)
                    heapq.heappush(again, (now + self._timing.dynamodb_read_pause_seconds, instance))
            yield now

    def _serve_sharing(self) -> Iterator[float]:
        """Redis: all reads share what a second carries, and bytes that come are worth some more patience."""
        now, reads, is_written = 0.0, [], False
        while True:
            now += _STEP_SECONDS
            for instance in self._asked(now):
                self._busy.add(instance)
                reads.append(_Read(instance, self._load.check, False, self._timing))
            if now >= CHANGE_AT and not is_written:
                reads.append(_Read(-1, self._load.write, False, self._timing._replace(exchange_seconds=END)))
                reads[-1].patience, is_written = END, True
            reads = self._share(reads, now)
            yield now

    def _share(self, reads: list[_Read], now: float) -> list[_Read]:
        """The reads that go on after this step."""
        capacity = self._store.units * _STEP_SECONDS
        going_on = []
        for place, read in enumerate(sorted(reads, key=lambda each: each.left)):
            passed = min(read.left, capacity / (len(reads) - place))
            capacity -= passed
            read.left -= passed
            if read.left > 0:
                if self._is_patient(read, passed):
                    going_on.append(read)
                else:
                    self._busy.discard(read.instance)
                    self._has_failed(read.instance, now, too_slow=True)
            elif read.instance >= 0:
                going_on += self._answered(read, now)
        return going_on

    def _answered(self, read: _Read, now: float) -> list[_Read]:
        """What the instance reads next, if it does."""
        if read.is_reload:
            self._has_reloaded(read.instance, now)
        elif self._must_reload(read.instance, now):
            return [_Read(read.instance, self._load.reload, True, self._timing)]
        self._busy.discard(read.instance)
        self._slow_reads[read.instance] = 0
        return []

    def _is_patient(self, read: _Read, passed: float) -> bool:
        """As ``ExchangePatience`` in ``chalicelib/stores/wire.py``."""
        timing = self._timing
        most = max(timing.silence_seconds, timing.redis_held_seconds + timing.redis_reconnect_seconds)
        read.patience = min(most, read.patience - _STEP_SECONDS + passed / timing.slowest_bytes_per_second)
        read.ends_after -= _STEP_SECONDS
        return read.patience > 0 and read.ends_after > 0


def simulate(store: Store, load: Load, instances: int, timing: Timing = Timing()) -> Outcome:
    return _Simulation(store, load, instances, timing).run()


def table() -> Table:
    """Of every store, number of instances and size of a change."""
    rows = [
        _row(store, what, load, instances)
        for store, loads in _stores_and_loads()
        for what, load in loads.items()
        for instances in INSTANCES
    ]
    return Table(
        "A change under load",
        f"{FLAGS:,} flags of 1 KB, {REQUESTS_PER_SECOND:g} requests a second to each instance, one change, of one flag "
        "or of so many that every instance reads the snapshot. *Stale* is the share of answers without a change that "
        "could not ask the store. *Fresh* is when so many instances answer from the new data set, counted from the "
        "moment at which the refresh begins to write; what the refresh reads and writes is taken from what the store "
        "can do. An instance that nobody asks does not reload, so half a second of it is waiting for a request. "
        "*Given up* are reads that were refused or cut off, and tried again later.",
        ("store", "change", "instances", "stale", "half fresh", "99 % fresh", "all fresh", "given up"),
        tuple(rows),
    )


def _row(store: Store, what: str, load: Load, instances: int) -> tuple[str, ...]:
    outcome = simulate(store, load, instances)
    fresh = [outcome.seconds_until(share, instances) for share in (0.5, 0.99, 1.0)]
    return (
        store.name,
        what,
        f"{instances:,}",
        f"{outcome.stale_before / outcome.answers_before:.0%}",
        *(f"> {END - CHANGE_AT:.0f} s" if each is None else f"{each:.1f} s" for each in fresh),
        f"{outcome.cut_off:,}",
    )


def _stores_and_loads() -> Iterator[tuple[Store, dict[str, Load]]]:
    measured = cost.measure("dynamodb", FLAGS)
    write = measured["refresh, one flag changed"]
    check = measured["warm request"].read_units
    written = write.read_units, write.write_units / DYNAMODB_WRITE_UNITS
    one = measured["reload, one flag changed"].read_units - check
    yield DYNAMODB, _loads(check, one, measured["cold start"].read_units - check, *written)
    measured = cost.measure("redis", FLAGS)
    write = measured["refresh, one flag changed"]
    for store in BY_BYTES:
        check = max(store.least, measured["warm request"].from_store)
        one = max(store.least, measured["reload, one flag changed"].from_store - measured["warm request"].from_store)
        whole = max(store.least, measured["cold start"].from_store)
        yield store, _loads(check, one, whole, write.to_store + write.from_store)


def _loads(check: float, one: float, whole: float, write: float, write_seconds: float = 0.0) -> dict[str, Load]:
    return {
        "one flag": Load(check, one, write, write_seconds),
        "the snapshot": Load(check, whole, write, write_seconds),
    }
