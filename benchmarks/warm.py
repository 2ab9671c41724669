"""A warm function: time for each kind of request, memory, and how late a change is seen."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import psutil

from benchmarks.environments import Json, environment
from benchmarks.setting import FLAG, TEN_FLAGS, Packages, Place, http_request, invocation
from benchmarks.tables import Table, milliseconds
from tests.support.lambda_runtime import Function

BLOCKS, ONE_FLAG_PER_BLOCK, ALL_FLAGS_PER_BLOCK = 5, 40, 10


def measure(packages: Packages, place: Place) -> dict[str, list[float]]:
    """Seconds for each kind of request, in blocks taken in turn."""
    uncached = {**place.variables, "CACHE": "off"}
    with (
        packages.function("serverless-flags", place.variables) as ours,
        packages.function("serverless-flags", place.variables, "app.app") as ours_http,
        packages.function(place.baseline, place.variables) as cached,
        packages.function(place.baseline, uncached) as uncached_article,
    ):
        request = http_request("/evaluate", "/evaluate")
        tag = ours_http.invoke(request).payload["headers"]["ETag"]
        known = http_request("/evaluate", "/evaluate", {"If-None-Match": tag})
        cases: dict[str, tuple[Function, Json]] = {
            "ours, one flag": (ours, invocation(flag=FLAG)),
            "(b) one flag, 15 s cache": (cached, invocation(flag=FLAG)),
            "(b) one flag, no cache": (uncached_article, invocation(flag=FLAG)),
            "ours, ten flags": (ours, invocation(flags=TEN_FLAGS)),
            "ours, all flags": (ours, invocation()),
            "(b) all flags, 15 s cache": (cached, invocation()),
            "(b) all flags, no cache": (uncached_article, invocation()),
            "ours, all flags over HTTP": (ours_http, request),
            "ours, 304 over HTTP": (ours_http, known),
        }
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        for function, event in cases.values():
            function.invoke(event)
        for _ in range(BLOCKS):
            for case, (function, event) in cases.items():
                count = ALL_FLAGS_PER_BLOCK if "all flags" in case else ONE_FLAG_PER_BLOCK
                seconds[case] += [function.invoke(event).seconds for _ in range(count)]
        return seconds


def table(measured: dict[int, dict[str, list[float]]]) -> Table:
    cases = list(next(iter(measured.values())))
    return Table(
        "Warm",
        "One invocation of a warm function through Lambda's runtime client (about a millisecond of which is the "
        f"runtime client), median of {BLOCKS * ONE_FLAG_PER_BLOCK}, or {BLOCKS * ALL_FLAGS_PER_BLOCK} for all flags. "
        "Ours asks the store on every request; (b) answers from data that is up to 15 s old, or with its cache off "
        "reads every item anew.",
        ("", *(f"{count:,} flags" for count in measured)),
        tuple((case, *(milliseconds(seconds[case]) for seconds in measured.values())) for case in cases),
    )


def memory_table(packages: Packages, place: Place) -> Table:
    rows = []
    for label, name in (("ours", "serverless-flags"), ("(b)", place.baseline)):
        with packages.function(name, place.variables) as function:
            for _ in range(20):
                function.invoke(invocation())
            assert function.process is not None
            rows.append((label, f"{psutil.Process(function.process.pid).memory_info().rss / 2**20:.0f} MB"))
    return Table(
        "Memory",
        f"Resident memory of a warm function that has evaluated all of {place.flag_count:,} flags twenty times.",
        ("", "resident"),
        tuple(rows),
    )


def freshness_table(packages: Packages, place: Place, runs: int) -> Table:
    """A flag is switched; the refresh has returned; when does another warm process answer with the new value?"""
    rows = []
    for label, name in (("ours", "serverless-flags"), ("(b), 15 s cache", place.baseline)):
        with packages.function(name, place.variables) as function:
            late = [_switch_and_wait(function, place, version) for version in range(1000, 1000 + runs)]
        requests, seconds = zip(*late, strict=True)
        rows.append((label, f"{max(requests)}", f"{median(seconds):.2f} s", f"{max(seconds):.2f} s"))
    return Table(
        "Freshness",
        f"After a refresh has returned: late answers of another warm process, and the time until the change is seen, "
        f"asked every 20 ms, {runs} changes.",
        ("", "late answers, worst", "median", "worst"),
        tuple(rows),
    )


def _switch_and_wait(function: Function, place: Place, version: int) -> tuple[int, float]:
    before = _value(function.invoke(invocation(flag=FLAG)).payload)
    data = environment(place.flag_count)
    data["flags"][FLAG].update(on=False, variations=["old", f"new {version}"], offVariation=1, version=version)
    place.fill(data)
    start, late = time.perf_counter(), 0
    while _value(function.invoke(invocation(flag=FLAG)).payload) == before:
        late += 1
        time.sleep(0.02)
    return late, time.perf_counter() - start


def _value(payload: Any) -> object:
    return payload["flag"]["value"] if "flag" in payload else payload["value"]
