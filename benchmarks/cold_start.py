"""Cold start: from the start of the process to the first answer."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from benchmarks.environments import Json
from benchmarks.setting import FLAG, Packages, Place, http_request, invocation
from benchmarks.tables import Table, bar_chart, milliseconds, ratio

ONE, ALL = invocation(flag=FLAG), invocation()
OVER_HTTP = http_request(f"/evaluate/{FLAG}", "/evaluate/{flag_key}", flag_key=FLAG)

BASELINE = "the article's handler"
"""Which of the packages that is, the store decides."""

CASES: dict[str, tuple[str, str, Json]] = {
    "ours, one flag": ("serverless-flags", "app.on_event", ONE),
    "ours, one flag over HTTP": ("serverless-flags", "app.app", OVER_HTTP),
    "(a) one flag": ("naive", "app.on_event", ONE),
    "(b) one flag": (BASELINE, "app.on_event", ONE),
    "ours, all flags": ("serverless-flags", "app.on_event", ALL),
    "(a) all flags": ("naive", "app.on_event", ALL),
    "(b) all flags": (BASELINE, "app.on_event", ALL),
    "(c) empty function": ("empty", "app.on_event", ONE),
}
"""(package, handler, event); taken in turn, so that a machine that slows down slows all of them."""

Seconds = dict[str, list[float]]


def measure(packages: Packages, place: Place, runs: int) -> Seconds:
    seconds: Seconds = defaultdict(list)
    for _ in range(runs):
        for case, (package, handler, event) in CASES.items():
            package = place.baseline if package is BASELINE else package
            with packages.function(package, place.variables, handler) as function:
                seconds[case].append(function.invoke(event).seconds)
    return seconds


def table(measured: dict[int, Seconds], runs: int) -> Table:
    ratios = {
        "one flag: ours / (a)": ("ours, one flag", "(a) one flag"),
        "one flag: ours / (b)": ("ours, one flag", "(b) one flag"),
        "all flags: ours / (a)": ("ours, all flags", "(a) all flags"),
        "all flags: ours / (b)": ("ours, all flags", "(b) all flags"),
    }
    rows = [(case, *(milliseconds(seconds[case]) for seconds in measured.values())) for case in CASES]
    rows += [
        (f"**{name}**", *(f"**{ratio(seconds[mine], seconds[other])}**" for seconds in measured.values()))
        for name, (mine, other) in ratios.items()
    ]
    return Table(
        "Cold start",
        "From the start of the process to the first answer: the deployment package under Lambda's own runtime "
        f"client on a read-only path, median of {runs} runs taken in turn. (a) the SDK connected to a LaunchDarkly "
        "20 ms away (three round trips: TCP, TLS and the request), (b) the SDK in daemon mode over its own store, both "
        "packaged by plain Chalice; (c) a Chalice function that does nothing. Ratios are medians of the ratios run by "
        "run.",
        ("", *(f"{count:,} flags" for count in measured)),
        tuple(rows),
    )


def chart(measured: dict[int, Seconds]) -> str:
    bars = {
        "serverless-flags": "ours, one flag",
        "SDK connecting, 20 ms away": "(a) one flag",
        "SDK in daemon mode, own store": "(b) one flag",
        "empty function": "(c) empty function",
    }
    groups = [
        (f"{count:,} flags", [(label, median(seconds[case]) * 1000) for label, case in bars.items()])
        for count, seconds in measured.items()
    ]
    return bar_chart("Cold start to the first flag", groups, "ms")
