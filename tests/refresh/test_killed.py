"""An instance that is killed, at whatever moment, leaves a store that LaunchDarkly's own SDK can rely on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from ldclient import Config, Context, LDClient
from ldclient.feature_store import CacheConfig
from ldclient.integrations import Redis

from tests.support.app import App, Environment
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.support.network import Proxy
from tests.support.records import RedisRecords
from tests.support.refreshing import RefreshingProcess
from tests.support.waiting import eventually

Json = dict[str, Any]

LOCK_SECONDS = 1.0


def generation(number: int) -> dict[str, dict[str, Json]]:
    """A data set whose parts fit together only when all of them are of one generation."""
    which = boolean_flag("generation", number, variations=[number, None])
    clause = {"op": "segmentMatch", "attribute": "", "values": ["members"]}
    member = boolean_flag("member", number, value=False, rules=[{"variation": 0, "clauses": [clause]}])
    others = [boolean_flag(f"flag-{each}", number) for each in range(50)]
    return {"flags": by_key(which, member, *others), "segments": by_key(segment("members", number, f"user-{number}"))}


def stored_generation(redis_url: str) -> int:
    """Which generation LaunchDarkly's SDK evaluates in daemon mode; fails when it sees a mix."""
    store = Redis.new_feature_store(url=redis_url, caching=CacheConfig.disabled())
    client = LDClient(Config("unused", feature_store=store, use_ldd=True, send_events=False))
    number = client.variation("generation", Context.create("anybody"), None)
    assert isinstance(number, int)
    assert client.variation("member", Context.create(f"user-{number}"), None) is True
    assert client.variation("member", Context.create(f"user-{number + 1}"), None) is False
    state = client.all_flags_state(Context.create("anybody")).to_json_dict()["$flagsState"]
    assert {flag["version"] for flag in state.values()} == {number}
    client.close()
    return number


def test_killed_while_fetching(
    app: App, environment: Environment, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, redis_url: str
) -> None:
    launchdarkly.replace(**generation(1))
    app.invoke("reconcile", {})
    launchdarkly.replace(**generation(2))
    launchdarkly.fault = Fault.SILENT
    with RefreshingProcess(environment, LOCK_SECONDS) as process:
        eventually(lambda: launchdarkly.stream_count == 2)
        assert valkey.get("launchdarkly:$lock") is not None
        process.kill()
    assert stored_generation(redis_url) == 1

    launchdarkly.fault = None
    assert app.invoke("reconcile", {})["changed"] is True
    assert stored_generation(redis_url) == 2


@pytest.mark.parametrize(
    ("share", "left"), [(0.0, 1), (0.5, 1), (1.0, 2)], ids=["before the write", "during the write", "after the write"]
)
def test_killed_at_the_write(
    app: App, environment: Environment, launchdarkly: FakeLaunchDarkly, redis_url: str, share: float, left: int
) -> None:
    launchdarkly.replace(**generation(1))
    app.invoke("reconcile", {})
    launchdarkly.replace(**generation(2))
    proxy = Proxy(int(redis_url.rpartition(":")[2]))
    through_proxy = {**environment, "REDIS_URL": proxy.url}
    with RefreshingProcess(through_proxy, LOCK_SECONDS) as process:

        def kill_at(write: bytes) -> bytes:
            process.kill()
            return write[: int(len(write) * share)]

        written = threading.Event()
        proxy.on_write, proxy.after_write = kill_at, written.set
        assert process.wait() == -9
        assert written.wait(60)
        assert stored_generation(redis_url) == left
    proxy.close()

    launchdarkly.replace(**generation(3))
    assert app.invoke("reconcile", {})["changed"] is True
    assert stored_generation(redis_url) == 3


def test_killed_twenty_times_at_random_moments(
    app: App, environment: Environment, launchdarkly: FakeLaunchDarkly, redis_url: str
) -> None:
    records, left = RedisRecords(redis_url), 0
    with generations(launchdarkly) as current:
        for _ in range(20):
            with RefreshingProcess(environment, LOCK_SECONDS) as process:
                process.wait_for_refresh()
                time.sleep(random.uniform(0, 0.1))
                process.kill()
            records.lose(["$lock"])  # as its end would
            before, left = left, stored_generation(redis_url)
            assert before < left <= current()
    assert app.invoke("reconcile", {})["status"] == "refreshed"
    assert stored_generation(redis_url) == current()


@contextmanager
def generations(launchdarkly: FakeLaunchDarkly) -> Iterator[Callable[[], int]]:
    """LaunchDarkly's data moves on with each fetch, one generation after the other; tells which is the latest."""
    latest = 0

    def move_on() -> None:
        nonlocal latest
        latest += 1
        launchdarkly.replace(**generation(latest))

    move_on()
    launchdarkly.after_put = move_on
    try:
        yield lambda: latest
    finally:
        launchdarkly.after_put = lambda: None
