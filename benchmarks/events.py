"""What events cost: an evaluation that is recorded, a cold start, and the store, for each million evaluations."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import median

from benchmarks.cold_start import OURS, instructions_of
from benchmarks.cost import DOLLARS_PER_MILLION_READ_UNITS, Cost, meter
from benchmarks.environments import environment
from benchmarks.setting import CONTEXT, FLAG, PATIENT, Packages, Place, invocation
from benchmarks.tables import Table, milliseconds, ratio
from chalicelib.events.batches import Batch
from chalicelib.events.delivery import Delivery
from chalicelib.events.recorder import EventRules, Recorder
from chalicelib.launchdarkly.bulk import Reply, Verdict
from chalicelib.launchdarkly.evaluators import evaluator_over
from chalicelib.launchdarkly.sdk import Context
from chalicelib.read.feature_stores import SnapshotFeatureStore
from tests.support.lambda_runtime import Function
from tests.support.stores import wiring_of

SETTINGS: dict[str, dict[str, str]] = {
    "without": {},
    "EVENTS=summary": {"EVENTS": "summary"},
    "EVENTS=full": {"EVENTS": "full"},
    "EVENTS=full, left at each invocation": {"EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0"},
}
WITHOUT = "without"
WARM_RUNS = 400
LATER_SECONDS = 11
"""After which what was gathered at first has been left, and everything that this imports is there."""

DOLLARS_PER_MILLION_WRITE_UNITS = 0.625
"""On demand, standard tables, us-east-1, as listed in November 2026: https://aws.amazon.com/dynamodb/pricing/on-demand/"""
DOLLARS_PER_MILLION_ECPUS = 0.0023
"""ElastiCache Serverless for Valkey, us-east-1, as listed in November 2026: https://aws.amazon.com/elasticache/pricing/"""

PER_FLUSH = (1, 30, 300)
FLUSHES = 60
"""In one run of the delivery: ten instances that leave events every ten seconds, in a minute."""


def warm_table(packages: Packages, place: Place) -> Table:
    """One invocation of each in turn, so that a machine that slows down slows all of them."""
    event = invocation(flag=FLAG)
    with _Functions(packages, place) as functions:
        for function in functions.values():
            function.invoke(event)
        time.sleep(LATER_SECONDS)
        for function in functions.values():
            function.invoke(event)
        seconds: dict[str, list[float]] = {name: [] for name in functions}
        for _ in range(WARM_RUNS):
            for name, function in functions.items():
                seconds[name].append(function.invoke(event).seconds)
        requests = {name: _requests(place, function) for name, function in functions.items()}
    rows = [
        (name, milliseconds(each), f"{_median_difference(each, seconds[WITHOUT]) * 1000:+.3f} ms", requests[name])
        for name, each in seconds.items()
    ]
    return Table(
        "Events: a warm evaluation",
        f"One flag of {place.flag_count:,}, for one context, by an invocation of a warm function, median of "
        f"{WARM_RUNS} runs taken in turn; the difference is the median of the differences run by run. Requests to the "
        "store are those of 20 more evaluations.",
        ("", "median", "more than without", "requests to the store"),
        tuple(rows),
    )


class _Functions(AbstractContextManager[dict[str, Function]]):
    """A warm function for each of the settings."""

    def __init__(self, packages: Packages, place: Place) -> None:
        self._functions = {
            name: packages.function("serverless-flags", {**place.variables, **settings})
            for name, settings in SETTINGS.items()
        }

    def __enter__(self) -> dict[str, Function]:
        for function in self._functions.values():
            function.__enter__()
        return self._functions

    def __exit__(self, *error: object) -> None:
        for function in self._functions.values():
            function.__exit__(*error)


def _median_difference(ours: list[float], theirs: list[float]) -> float:
    return median(mine - other for mine, other in zip(ours, theirs, strict=True))


def _requests(place: Place, function: Function) -> str:
    place.start_counting()
    for _ in range(20):
        function.invoke(invocation(flag=FLAG))
    return ", ".join(f"{count} {name}" for name, count in sorted(place.requests().items()))


def cold_table(packages: Packages, place: Place, runs: int) -> Table:
    seconds: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(runs):
        for name, settings in SETTINGS.items():
            with packages.function("serverless-flags", {**place.variables, **settings}) as function:
                seconds[name].append(function.invoke(invocation(flag=FLAG)).seconds)
    instructions = {
        name: instructions_of(packages, place, OURS, settings) if shutil.which("valgrind") else 0
        for name, settings in SETTINGS.items()
    }
    rows = [
        (
            name,
            milliseconds(each),
            ratio(each, seconds[WITHOUT]),
            f"{instructions[name] / 1e6:,.0f}",
            f"{instructions[name] / max(1, instructions[WITHOUT]):.3f}",
        )
        for name, each in seconds.items()
    ]
    return Table(
        "Events: a cold start",
        f"From the start of the process to the first answer, one flag of {place.flag_count:,}, median of {runs} runs "
        "taken in turn, and the instructions of one, in millions, counted by valgrind (cachegrind).",
        ("", "median", "of without", "instructions", "of without"),
        tuple(rows),
    )


def cost_table(kind: str) -> Table:
    rows = [_cost_row(kind, per_flush, mode) for mode in ("summary", "full") for per_flush in PER_FLUSH]
    price = (
        f"{DOLLARS_PER_MILLION_ECPUS} $ a million ECPUs (ElastiCache Serverless for Valkey"
        if kind == "redis"
        else f"{DOLLARS_PER_MILLION_WRITE_UNITS} $ a million units written and {DOLLARS_PER_MILLION_READ_UNITS} $ read "
        "(DynamoDB on demand"
    )
    return Table(
        "Events: the store",
        "To leave events in the store, and to take them from there once a minute, for a million evaluations of which "
        f"so many are left at a time, each of another flag and for another context; {FLUSHES} times in a minute. At "
        f"{price}, us-east-1, listed in November 2026). `full` is with an index event for each context, and no flag "
        "that is tracked.",
        ("", "bytes left at a time", "to leave", "to deliver"),
        tuple(rows),
    )


def _cost_row(kind: str, per_flush: int, mode: str) -> tuple[str, ...]:
    batches = [_batch(per_flush, mode, number) for number in range(FLUSHES)]
    with meter(kind) as store:
        wiring = wiring_of({**store.variables, "EVENTS": mode}, PATIENT)
        reader = wiring.reader
        reader.read_sync_record()
        to_leave = store.cost_of(lambda: [reader.leave_events([batch]) for batch in batches])
        delivery = Delivery(wiring._event_queue, lambda: nullcontext(_Accepting()), PATIENT)
        to_deliver = store.cost_of(lambda: delivery.deliver(60))
    evaluations = per_flush * FLUSHES
    return (
        f"{mode}, {per_flush} at a time",
        f"{median(len(batch.data) for batch in batches):,.0f}",
        *(f"{_dollars(kind, cost) / evaluations * 1e6:.3f} $" for cost in (to_leave, to_deliver)),
    )


class _Accepting:
    def send(self, payload_id: str, body: bytes) -> Reply:
        return Reply(Verdict.ACCEPTED, "accepted")


def _dollars(kind: str, cost: Cost) -> float:
    if kind == "redis":
        return cost.read_units * DOLLARS_PER_MILLION_ECPUS / 1e6
    return (cost.read_units * DOLLARS_PER_MILLION_READ_UNITS + cost.write_units * DOLLARS_PER_MILLION_WRITE_UNITS) / 1e6


def _batch(count: int, mode: str, number: int) -> Batch:
    """What is left after so many evaluations."""
    flags = environment(count)["flags"]
    texts: Mapping[str, Mapping[str, bytes]] = {
        "features": {key: json.dumps(flag).encode() for key, flag in flags.items()},
        "segments": {},
    }
    left: list[Batch] = []

    def leave(batches: Sequence[Batch]) -> bool:
        left.extend(batches)
        return True

    rules = EventRules(summaries_only=mode == "summary", flush_seconds=0)
    recorder = Recorder(leave, rules)
    evaluator = evaluator_over(SnapshotFeatureStore(texts), record=recorder.record)
    for index, key in enumerate(flags):
        evaluator.evaluate_flag(key, Context.from_dict({**CONTEXT, "key": f"user-{number}-{index}"}))
    recorder.end_invocation()
    (batch,) = left
    return batch
