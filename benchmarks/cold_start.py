"""Cold start: from the start of the process to the first answer, in time and in instructions."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.environments import Json
from benchmarks.lambda_cpu import CpuLimit, cpu_seconds
from benchmarks.setting import FLAG, Network, Packages, Place, arriving_now, filled_store, http_request, invocation
from benchmarks.tables import Table, bar_chart, milliseconds, ratio
from tests.support.lambda_runtime import Function

ONE, ALL = invocation(flag=FLAG), invocation()
OVER_HTTP = http_request(f"/evaluate/{FLAG}", "/evaluate/{flag_key}", flag_key=FLAG)

BASELINE = "the article's handler"
"""Which of the packages that is, the store decides."""

Case = tuple[str, str, Json]
"""Package, handler, event."""

OURS: Case = ("serverless-flags", "app.on_event", ONE)
DAEMON: Case = (BASELINE, "app.on_event", ONE)
EMPTY: Case = ("empty", "app.on_event", ONE)
COMPILED: Case = ("empty, compiled", "app.on_event", ONE)

CASES: dict[str, Case] = {
    "ours, one flag": OURS,
    "ours, one flag over HTTP": ("serverless-flags", "app.app", OVER_HTTP),
    "(a) one flag": ("naive", "app.on_event", ONE),
    "(b) one flag": DAEMON,
    "ours, all flags": ("serverless-flags", "app.on_event", ALL),
    "(a) all flags": ("naive", "app.on_event", ALL),
    "(b) all flags": (BASELINE, "app.on_event", ALL),
    "(c) empty function": EMPTY,
    "(d) empty function, compiled": COMPILED,
}
"""Taken in turn, so that a machine that slows down slows all of them."""

RATIOS = {
    "one flag: ours / (a)": ("ours, one flag", "(a) one flag"),
    "one flag: ours / (b)": ("ours, one flag", "(b) one flag"),
    "one flag: ours / (c)": ("ours, one flag", "(c) empty function"),
    "one flag: ours / (d)": ("ours, one flag", "(d) empty function, compiled"),
    "all flags: ours / (a)": ("ours, all flags", "(a) all flags"),
    "all flags: ours / (b)": ("ours, all flags", "(b) all flags"),
}

SIDES = (
    "(a) the SDK connected to a LaunchDarkly 20 ms away (three round trips: TCP, TLS and the request), (b) the SDK in "
    "daemon mode over its own store, both packaged by plain Chalice; (c) a Chalice function that does nothing, and (d) "
    "the same with bytecode, as ours has it."
)

PLAIN_CASES: dict[str, Case] = {
    "with our layer": ("plain/ours", "handler.handle", ONE),
    "(a) with the SDK": ("plain/sdk", "handler.handle", ONE),
    "(b) with the SDK, compiled": ("plain/sdk, compiled", "handler.handle", ONE),
    "(c) empty handler": ("plain/empty", "handler.handle", ONE),
}
PLAIN_RATIOS = {f"ours / {name[:3]}": ("with our layer", name) for name in PLAIN_CASES if name.startswith("(")}

MEMORY_MB = (128, 256, 512, 1024)
DOLLARS_PER_GB_SECOND = 0.0000166667
"""x86, us-east-1, first tier, as listed in November 2026: https://aws.amazon.com/lambda/pricing/"""

MEGABITS = (25, 100)
LINK_ROUND_TRIP_SECONDS = 0.002

Seconds = dict[str, list[float]]


class Measured(NamedTuple):
    """Of each case, run by run: the time, and the CPU time, which other work on the machine changes less."""

    seconds: Seconds
    cpu_seconds: Seconds


def measure(
    packages: Packages, place: Place, runs: int, cases: Mapping[str, Case] = CASES, memory_mb: int | None = None
) -> Measured:
    """With ``memory_mb``, with the CPU that Lambda gives to so much memory."""
    measured = Measured(defaultdict(list), defaultdict(list))
    variables = {} if memory_mb is None else {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb)}
    for _ in range(runs):
        for name, (package, handler, event) in cases.items():
            package = place.baseline if package is BASELINE else package
            with packages.function(package, {**place.variables, **variables}, handler) as function:
                if memory_mb is not None:
                    _limit_cpu(function, memory_mb)
                measured.seconds[name].append(function.invoke(arriving_now(event)).seconds)
                assert function.process is not None
                measured.cpu_seconds[name].append(cpu_seconds(function.process.pid))
    return measured


def _limit_cpu(function: Function, memory_mb: int) -> None:
    """From the moment on at which it is handed its first event."""

    def limit() -> None:
        function.before_event = lambda: None
        assert function.process is not None
        CpuLimit(function.process.pid, memory_mb).start()

    function.before_event = limit


def tables(measured: dict[int, Measured], runs: int) -> Iterator[Table]:
    columns = {f"{count:,} flags": each.seconds for count, each in measured.items()}
    yield Table(
        "Cold start",
        "From the start of the process to the first answer: the deployment package under Lambda's own runtime client "
        f"on a read-only path, median of {runs} runs taken in turn. {SIDES} Ratios are medians of the ratios run by "
        "run.",
        ("", *columns),
        (*_times(columns.values()), *_ratios(columns.values(), RATIOS)),
    )
    columns = {f"{count:,} flags": each.cpu_seconds for count, each in measured.items()}
    yield Table(
        "CPU of a cold start",
        "CPU time of the function's process in the same runs: other work on the machine changes it less, and it says "
        "nothing about waiting.",
        ("", *columns),
        (*_times(columns.values()), *_ratios(columns.values(), RATIOS)),
    )


def plain_table(measured: dict[int, Measured], runs: int) -> Table:
    seconds = [each.seconds for each in measured.values()]
    cpu_seconds = [each.cpu_seconds for each in measured.values()]
    of_cpu = [(f"{name[:-2]}, CPU**", *ratios) for name, *ratios in _ratios(cpu_seconds, PLAIN_RATIOS)]
    return Table(
        "Cold start of a plain handler",
        "From the start of the process to the first answer, one flag: a handler of ten lines without Chalice, and a "
        f"layer, under Lambda's own runtime client on read-only paths, median of {runs} runs taken in turn. The "
        "layers: ours; (a) LaunchDarkly's SDK in daemon mode over its own store, installed by pip, without bytecode; "
        "(b) the same with bytecode, as ours has it; (c) none. Ratios are medians of the ratios run by run, of the "
        "time and of the CPU time of the function's process.",
        ("", *(f"{count:,} flags" for count in measured)),
        (*_times(seconds), *_ratios(seconds, PLAIN_RATIOS), *of_cpu),
    )


def _times(measured: Iterable[Seconds]) -> list[tuple[str, ...]]:
    each = list(measured)
    return [(case, *(milliseconds(seconds[case]) for seconds in each)) for case in each[0]]


def _ratios(measured: Iterable[Seconds], ratios: Mapping[str, tuple[str, str]]) -> list[tuple[str, ...]]:
    each = list(measured)
    return [
        (f"**{name}**", *(f"**{ratio(seconds[mine], seconds[other])}**" for seconds in each))
        for name, (mine, other) in ratios.items()
        if mine in each[0] and other in each[0]
    ]


def memory_table(packages: Packages, place: Place, runs: int) -> Table:
    names = ("ours, one flag", "(b) one flag", "(c) empty function", "(d) empty function, compiled")
    cases = {name: CASES[name] for name in names}
    measured = {memory: measure(packages, place, runs, cases, memory).seconds for memory in MEMORY_MB}
    prices = [
        (f"{name}, price of a million", *(_dollars(seconds[name], memory) for memory, seconds in measured.items()))
        for name in names[:2]
    ]
    return Table(
        "Cold start by memory",
        f"{place.flag_count:,} flags, one of them asked for, median of {runs} runs taken in turn, with Lambda's CPU: a "
        "whole one until the first event, then memory / 1,769 MB of one. Sides as above. The price is for the whole "
        f"time, which Lambda bills since August 2025, at {DOLLARS_PER_GB_SECOND:.10f} $ a GB-second (x86, us-east-1, "
        "listed in November 2026).",
        ("", *(f"{memory:,} MB" for memory in measured)),
        (*_times(measured.values()), *_ratios(measured.values(), RATIOS), *prices),
    )


def _dollars(seconds: list[float], memory_mb: int) -> str:
    return f"{median(seconds) * memory_mb / 1024 * DOLLARS_PER_GB_SECOND * 1e6:.2f} $"


def network_table(packages: Packages, kind: str, sizes: list[int], runs: int) -> Table:
    names = ("ours, one flag", "(b) one flag", "ours, all flags", "(b) all flags")
    cases = {name: CASES[name] for name in names}
    columns = {}
    for count in sizes:
        for megabits in MEGABITS:
            with filled_store(kind, count, Network.of_megabits(megabits, LINK_ROUND_TRIP_SECONDS)) as place:
                columns[f"{count:,} flags, {megabits} Mbit/s"] = measure(packages, place, runs, cases).seconds
    return Table(
        "Cold start over a slow link",
        f"The same with so much bandwidth between function and store, and {LINK_ROUND_TRIP_SECONDS * 1000:.0f} ms of "
        f"round trip, median of {runs} runs taken in turn.",
        ("", *columns),
        (*_times(columns.values()), *_ratios(columns.values(), RATIOS)),
    )


def instructions_table(packages: Packages, place: Place) -> Table:
    """Needs valgrind."""
    names = ("ours, one flag", "ours, all flags", "(b) one flag", "(c) empty function", "(d) empty function, compiled")
    counted = {name: instructions_of(packages, place, CASES[name]) for name in names}
    empty = counted["(c) empty function"]
    return Table(
        "Instructions of a cold start",
        f"Of the processor, from the start of the process to the first answer, {place.flag_count:,} flags, counted by "
        "valgrind (cachegrind): unlike times, they are the same again to about 0.1 %, and say nothing about waiting.",
        ("", "millions", "of (c)"),
        tuple((name, f"{count / 1e6:,.0f}", f"{count / empty:.2f}") for name, count in counted.items()),
    )


def instructions_of(packages: Packages, place: Place, case: Case, settings: Mapping[str, str] | None = None) -> int:
    """Of one cold start, by valgrind."""
    package, handler, event = case
    package = place.baseline if package is BASELINE else package
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        valgrind = str(shutil.which("valgrind"))
        tool = [valgrind, "--tool=cachegrind", f"--cachegrind-out-file={folder}/out", f"--log-file={log}"]
        variables = {**place.variables, **(settings or {})}
        with packages.function(package, variables, handler, prefix=tool) as function:
            function.invoke(event, timeout_seconds=600)
            assert function.process is not None
            function.process.send_signal(signal.SIGTERM)  # upon which valgrind writes what it has counted
            function.process.wait(60)
        found = re.search(r"I\s+refs:\s+([\d,]+)", log.read_text())
    assert found is not None, "valgrind has counted nothing"
    return int(found[1].replace(",", ""))


def chart(measured: dict[int, Measured]) -> str:
    bars = {
        "serverless-flags": "ours, one flag",
        "SDK connecting, 20 ms away": "(a) one flag",
        "SDK in daemon mode, own store": "(b) one flag",
        "empty function": "(c) empty function",
    }
    groups = [
        (f"{count:,} flags", [(label, median(each.seconds[case]) * 1000) for label, case in bars.items()])
        for count, each in measured.items()
    ]
    return bar_chart("Cold start to the first flag", groups, "ms")
