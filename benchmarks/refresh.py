"""The refresh: its time and its store commands, and a burst of webhooks, beside the SDK doing the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ldclient.client import LDClient
from ldclient.config import Config

from benchmarks.setting import FLAG, PATIENT, Place
from benchmarks.tables import Table, milliseconds, ratio
from chalicelib.config import load_settings
from chalicelib.data_set import Announcement
from chalicelib.errors import StoreUnavailable
from chalicelib.refresh.fetch import fetch_data_set
from chalicelib.refresh.refresher import Refresher

WEBHOOKS = 200


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
    """For each situation: our time, the SDK's, our store commands, the SDK's."""
    situations: dict[str, Callable[[], object]] = {
        "first fill": place.empty,
        "one flag changed": partial(_change_one_flag, place),
        "nothing changed": lambda: None,
    }
    measured: list[tuple[str, ...]] = []
    for name, prepare in situations.items():
        times: dict[str, list[float]] = {"ours": [], "sdk": []}
        requests: dict[str, Counter[str]] = {}
        for _ in range(runs):
            for side, build in (("ours", ours), ("sdk", sdk)):
                prepare()
                seconds, requests[side] = _counted(place, build(place))
                times[side].append(seconds)
        row = (f"{place.flag_count:,} flags, {name}", milliseconds(times["ours"]), milliseconds(times["sdk"]))
        measured.append((*row, ratio(times["ours"], times["sdk"]), *(_shown(requests[side]) for side in times)))
    return measured


def table(measured: list[tuple[str, ...]], runs: int) -> Table:
    return Table(
        "Refresh",
        "A refresh from a LaunchDarkly 20 ms away, against initialising an SDK over its own store with the same "
        f"stream; median of {runs}, in turn. Requests to the store are counted by the server, greetings left out.",
        ("", "ours", "SDK", "ours / SDK", "requests, ours", "requests, SDK"),
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


def _counted(place: Place, refresh: Callable[[], object]) -> tuple[float, Counter[str]]:
    place.start_counting()
    start = time.perf_counter()
    refresh()
    return time.perf_counter() - start, place.requests()


def _shown(requests: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {name}" for name, count in requests.most_common()) if len(requests) <= 6 else ""
    return f"{requests.total():,}" + (f" ({kinds})" if kinds else "")
