"""The refresh: its time and its store commands, and a burst of webhooks, beside the SDK doing the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.integrations import Redis

from benchmarks.setting import FLAG, Setting
from benchmarks.tables import Table, milliseconds
from chalicelib.config import load_settings
from chalicelib.data_set import Announcement
from chalicelib.fetch import fetch_data_set
from chalicelib.refresh import Refresher
from chalicelib.stores.redis import RedisStore

WEBHOOKS = 200


def ours(place: Setting) -> Callable[[], object]:
    settings = load_settings(place.variables)
    fetch = partial(fetch_data_set, settings)
    refresher = Refresher(RedisStore(place.redis_url, "ours"), fetch, "launchdarkly")

    def refresh() -> None:
        version = place.launchdarkly.flags[FLAG]["version"]
        refresher.refresh(Announcement("features", FLAG, version))

    return refresh


def sdk(place: Setting) -> Callable[[], object]:
    """What LaunchDarkly's guide does: initialise an SDK whose feature store is Redis, and close it."""

    def refresh() -> None:
        config = Config("sdk-key", stream_uri=place.launchdarkly.uri, send_events=False, diagnostic_opt_out=True,
                        feature_store=Redis.new_feature_store(url=place.redis_url, prefix="sdk"))  # fmt: skip
        LDClient(config, start_wait=10).close()

    return refresh


def rows(place: Setting, runs: int) -> list[tuple[str, ...]]:
    """For each situation: our time, the SDK's, our store commands, the SDK's."""
    situations: dict[str, Callable[[], object]] = {
        "first fill": place.valkey.flushall,
        "one flag changed": partial(_change_one_flag, place),
        "nothing changed": lambda: None,
    }
    measured: list[tuple[str, ...]] = []
    for name, prepare in situations.items():
        times: dict[str, list[float]] = {"ours": [], "sdk": []}
        commands: dict[str, list[int]] = {"ours": [], "sdk": []}
        for _ in range(runs):
            for side, refresh in (("ours", ours(place)), ("sdk", sdk(place))):
                prepare()
                seconds, count = _counted(place, refresh)
                times[side].append(seconds)
                commands[side].append(count)
        measured.append(
            (f"{place.flag_count:,} flags, {name}", milliseconds(times["ours"]), milliseconds(times["sdk"]),
             f"{median(commands['ours']):.0f}", f"{median(commands['sdk']):.0f}")
        )  # fmt: skip
    return measured


def table(measured: list[tuple[str, ...]], runs: int) -> Table:
    return Table(
        "Refresh",
        "A refresh from a LaunchDarkly 20 ms away into Valkey, against initialising an SDK over its own Redis store "
        f"with the same stream; median of {runs}, in turn. Commands are counted by the server.",
        ("", "ours", "SDK", "commands, ours", "commands, SDK"),
        tuple(measured),
    )


def burst_table(place: Setting) -> Table:
    results = []
    for label, refresh in (("ours", ours(place)), ("one SDK initialisation each", sdk(place))):
        fetches = place.launchdarkly.stream_count
        start = time.perf_counter()
        with ThreadPoolExecutor(WEBHOOKS) as pool:
            for future in [pool.submit(refresh) for _ in range(WEBHOOKS)]:
                future.result()
        seconds = time.perf_counter() - start
        results.append((label, str(place.launchdarkly.stream_count - fetches), f"{seconds:.1f} s"))
    return Table(
        "Burst",
        f"{WEBHOOKS} webhooks at once, {place.flag_count:,} flags.",
        ("", "fetches from LaunchDarkly", "until all are answered"),
        tuple(results),
    )


def _change_one_flag(place: Setting) -> None:
    flag = place.launchdarkly.flags[FLAG]
    place.launchdarkly.put_flag({**flag, "version": flag["version"] + 1})


def _counted(place: Setting, refresh: Callable[[], object]) -> tuple[float, int]:
    place.valkey.config_resetstat()
    start = time.perf_counter()
    refresh()
    seconds = time.perf_counter() - start
    stats = place.valkey.info("commandstats")
    ignored = ("cmdstat_config|resetstat", "cmdstat_info", "cmdstat_client|setinfo", "cmdstat_hello")
    return seconds, sum(stat["calls"] for name, stat in stats.items() if name not in ignored)
