"""The refresh: its time, CPU, memory and store requests, and a burst of webhooks, beside the SDK doing the same."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import NamedTuple

from ldclient.client import LDClient
from ldclient.config import Config

from benchmarks.setting import FLAG, PATIENT, Place
from benchmarks.tables import Table, milliseconds, ratio
from chalicelib.config import load_settings
from chalicelib.data_set import Announcement
from chalicelib.errors import StoreUnavailable
from chalicelib.refresh.fetch import fetch_data_set
from chalicelib.refresh.refresher import Refresher
from tests.support.data import PROJECT
from tests.support.processes import PYTHON

WEBHOOKS = 200
SIDES = ("ours", "sdk")
_PATIENTLY = ("answer_seconds", "lock_seconds", "write_lock_seconds", "data_set_seconds", "fetch_limit_seconds")


class Refresh(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak_mb: float


def ours(place: Place) -> Callable[[], object]:
    settings = load_settings(place.variables)
    fetch = partial(fetch_data_set, settings)
    refresher = Refresher(place.our_store("ours").writer, fetch, "launchdarkly", PATIENT)

    def refresh() -> None:
        version = place.launchdarkly.flags[FLAG]["version"]
        refresher.refresh(Announcement("features", FLAG, version), within_seconds=600)

    return refresh


def sdk(place: Place) -> Callable[[], object]:
    """What LaunchDarkly's guide does: initialise an SDK over its own store, and close it."""

    def refresh() -> None:
        feature_store = place.sdk_feature_store("sdk")
        uri = place.launchdarkly.uri
        config = Config(
            "sdk-key", stream_uri=uri, feature_store=feature_store, send_events=False, diagnostic_opt_out=True
        )
        LDClient(config, start_wait=60).close()

    return refresh


def rows(place: Place, runs: int) -> list[tuple[str, ...]]:
    """For each situation: time, CPU, memory and store requests, ours and the SDK's."""
    situations: dict[str, Callable[[], object]] = {
        "first fill": place.empty,
        "one flag changed": partial(_change_one_flag, place),
        "nothing changed": lambda: None,
    }
    measured = []
    for name, prepare in situations.items():
        measured.append(_row(place, runs, name, prepare))
        for side in SIDES:  # what was emptied for the one is missing for the other
            _in_a_process(place, side)
    return measured


def _row(place: Place, runs: int, name: str, prepare: Callable[[], object]) -> tuple[str, ...]:
    refreshes: dict[str, list[Refresh]] = {side: [] for side in SIDES}
    requests: dict[str, Counter[str]] = {}
    for _ in range(runs):
        for side in SIDES:
            prepare()
            place.start_counting()
            refreshes[side].append(_in_a_process(place, side))
            requests[side] = place.requests()
    our_seconds, our_cpu, our_mb = zip(*refreshes["ours"], strict=True)
    sdk_seconds, sdk_cpu, sdk_mb = zip(*refreshes["sdk"], strict=True)
    return (
        f"{place.flag_count:,} flags, {name}",
        f"{milliseconds(our_seconds)} / {milliseconds(sdk_seconds)}",
        f"**{ratio(our_seconds, sdk_seconds)}**",
        f"{milliseconds(our_cpu)} / {milliseconds(sdk_cpu)}",
        f"**{ratio(our_cpu, sdk_cpu)}**",
        f"{median(our_mb):.0f} / {median(sdk_mb):.0f} MB",
        f"{requests['ours'].total():,} / {requests['sdk'].total():,}",
    )


def _in_a_process(place: Place, side: str) -> Refresh:
    options = {
        "variables": place.local_variables,
        "timing": {name: getattr(PATIENT, name) for name in _PATIENTLY},
        "flag": FLAG,
        "version": place.launchdarkly.flags[FLAG]["version"],
    }
    command = [PYTHON, "-m", "benchmarks.refresh_once", side, json.dumps(options)]
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=PROJECT, env=environment, check=True, capture_output=True, text=True)
    return Refresh(**json.loads(done.stdout))


def table(measured: list[tuple[str, ...]], runs: int) -> Table:
    return Table(
        "Refresh",
        "A refresh from a LaunchDarkly 20 ms away, against initialising an SDK over its own store with the same "
        f"stream, each in a new process that has imported what it needs; ours / the SDK's, medians of {runs} in turn, "
        "fewer above 5,000 flags. Memory is the most that the process had. Requests are counted by the server, "
        "greetings left out.",
        ("", "time", "ratio", "CPU", "ratio", "memory", "store requests"),
        tuple(measured),
    )


def burst_table(place: Place) -> Table:
    results = []
    for label, refresh in (("ours", ours(place)), ("one SDK initialisation each", sdk(place))):
        fetches = place.launchdarkly.stream_count
        start = time.perf_counter()
        with ThreadPoolExecutor(WEBHOOKS) as pool:
            for future in [pool.submit(_delivered, refresh) for _ in range(WEBHOOKS)]:
                future.result()
        seconds = time.perf_counter() - start
        results.append((label, str(place.launchdarkly.stream_count - fetches), f"{seconds:.1f} s"))
    return Table(
        "Burst",
        f"{WEBHOOKS} webhooks at once, {place.flag_count:,} flags.",
        ("", "fetches from LaunchDarkly", "until all are answered"),
        tuple(results),
    )


def _delivered(refresh: Callable[[], object]) -> None:
    """LaunchDarkly sends a webhook once more that was answered with an error."""
    try:
        refresh()
    except StoreUnavailable:
        refresh()


def _change_one_flag(place: Place) -> None:
    flag = place.launchdarkly.flags[FLAG]
    place.launchdarkly.put_flag({**flag, "version": flag["version"] + 1})
