"""Refreshes of one store: never backwards, idempotent, one at a time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from ldclient.feature_store import CacheConfig
from ldclient.integrations import Redis
from ldclient.versioned_data_kind import FEATURES, SEGMENTS

from chalicelib.data_set import Announcement, DataSet, fetched_item
from chalicelib.errors import RefreshBusy, RefreshConflict
from chalicelib.refresh.refresher import Coalesced, Refreshed, Refresher
from chalicelib.timing import Timing
from tests.refresh.conftest import content
from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.ports import free_port
from tests.support.stores import open_store
from tests.support.valkey import running_valkey
from tests.support.waiting import eventually
from tests.support.webhooks import flag_entry

Json = dict[str, Any]

USER = {"kind": "user", "key": "anna"}


def flags(**versions: int) -> DataSet:
    return {
        "features": {key: fetched_item(boolean_flag(key, version)) for key, version in versions.items()},
        "segments": {},
    }


class HeldFetch:
    """A fetch that lasts until it is let go."""

    def __init__(self, data_set: DataSet) -> None:
        self.began = threading.Event()
        self.let_go = threading.Event()
        self._data_set = data_set

    def __call__(self, announcements: Collection[Announcement | None]) -> DataSet:
        self.began.set()
        assert self.let_go.wait(60)
        return self._data_set


def stored(valkey: redis.Redis) -> dict[str, int]:
    return {str(key): json.loads(text)["version"] for key, text in valkey.hgetall("launchdarkly:features").items()}


# Never backwards, and healed.


def test_old_versions_are_held_back_and_delete_nothing(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 5), boolean_flag("calm", 1)), by_key(segment("beta", 1)))
    first = app.webhook(**flag_entry("shiny", 5))
    before = content(valkey)
    launchdarkly.put_override = {"flags": by_key(boolean_flag("shiny", 4)), "segments": {}}

    answer = app.webhook(**flag_entry("shiny", 4))

    assert answer == {
        "status": "refreshed",
        "revision": first["revision"],
        "flags": 2,
        "segments": 1,
        "changed": False,
        "confirmed": True,
        "held_back": 1,
    }
    after = content(valkey)
    assert {**after, "$sync": None} == {**before, "$sync": None}


def test_reconcile_heals_versions_that_restarted_and_deletes_what_is_gone(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 50), boolean_flag("gone", 1)))
    app.webhook(**flag_entry("shiny", 50))
    launchdarkly.replace(by_key(boolean_flag("shiny", 1, value=False)))
    assert app.webhook(**flag_entry("shiny", 1))["held_back"] == 1
    assert stored(valkey) == {"shiny": 50, "gone": 1}

    doubtful = app.invoke("reconcile", {})
    assert (doubtful["changed"], doubtful["held_back"]) == (False, 1)
    assert stored(valkey) == {"shiny": 50, "gone": 1}
    assert app.webhook()["held_back"] == 1  # a webhook in between settles nothing
    answer = app.invoke("reconcile", {})

    assert (answer["changed"], answer["flags"], answer["held_back"], answer["confirmed"]) == (True, 1, 0, None)
    assert stored(valkey) == {"shiny": 1}
    assert app.evaluate(USER) == {"shiny": {"value": False, "variation": 1, "version": 1}}


def test_a_reconcile_that_is_forced_takes_launchdarklys_word_at_once(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 50)))
    app.webhook()
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    assert app.invoke("reconcile", {"force": True})["held_back"] == 0
    assert stored(valkey) == {"shiny": 1}


def test_a_reconcile_from_a_cache_that_lags_does_not_undo_what_a_webhook_has_brought(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.replace(by_key(boolean_flag("kill-switch", 4)))
    app.webhook(**flag_entry("kill-switch", 4))
    launchdarkly.put_override = launchdarkly.data()
    launchdarkly.put_override["flags"]["calm"] = boolean_flag("calm", 1)
    launchdarkly.replace(by_key(boolean_flag("kill-switch", 5), boolean_flag("calm", 1)))
    lagging, launchdarkly.put_override = launchdarkly.put_override, None
    assert app.webhook(**flag_entry("kill-switch", 5))["confirmed"] is True

    launchdarkly.put_override = lagging
    assert app.invoke("reconcile", {})["held_back"] == 1
    assert stored(valkey) == {"kill-switch": 5, "calm": 1}
    assert json.loads(valkey.get("launchdarkly:$sync") or "")["doubted"] == [["features", "kill-switch", 4]]

    launchdarkly.put_override = None
    assert app.invoke("reconcile", {})["held_back"] == 0
    assert "doubted" not in json.loads(valkey.get("launchdarkly:$sync") or "")
    launchdarkly.put_override = lagging
    assert app.invoke("reconcile", {})["held_back"] == 1  # a doubt that was settled counts no more
    assert stored(valkey) == {"kill-switch": 5, "calm": 1}


# Idempotent.


def test_unchanged_content_keeps_its_revision_and_only_synced_at_moves(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)), by_key(segment("beta", 1, "anna")))
    first = app.webhook(**flag_entry("shiny", 1))
    before = content(valkey)
    assert app.webhook(**flag_entry("shiny", 1)) == {**first, "changed": False}
    assert app.invoke("reconcile", {}) == {**first, "changed": False, "confirmed": None}
    after = content(valkey)
    was, now = json.loads(before.pop("$sync")), json.loads(after.pop("$sync"))
    assert after == before
    assert now.pop("synced_at") > was.pop("synced_at")
    assert now == was


def test_properties_keep_the_order_in_which_launchdarkly_sends_them(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    """Whoever evaluates a JSON variation gets it as it was written."""
    orders = [["z", "a", "m"], ["a", "z", "m"]]
    for version, keys in enumerate(orders, start=1):
        flag = {**boolean_flag("shiny", version), "variations": [dict.fromkeys(keys, 1)]}
        launchdarkly.replace(by_key({**flag, "fallthrough": {"variation": 0}, "offVariation": 0}))
        assert app.webhook(**flag_entry("shiny", version))["changed"] is True
        assert list(app.evaluate({"kind": "user", "key": "anna"})["shiny"]["value"]) == keys


# Stores of others.


def test_a_store_that_another_sdk_filled_is_taken_over(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, redis_url: str
) -> None:
    store = Redis.new_feature_store(url=redis_url, caching=CacheConfig.disabled())
    store.init({FEATURES: by_key(boolean_flag("shiny", 3), boolean_flag("gone", 1)), SEGMENTS: {}})
    store.upsert(FEATURES, boolean_flag("calm", 4))
    store.delete(FEATURES, "calm", 5)  # leaves a tombstone
    launchdarkly.replace(by_key(boolean_flag("shiny", 3)))

    answer = app.webhook(**flag_entry("shiny", 3))

    assert (answer["changed"], answer["flags"], answer["held_back"]) == (True, 1, 0)
    assert stored(valkey) == {"shiny": 3}
    assert store.get(FEATURES, "shiny", lambda flag: flag)["version"] == 3


def test_a_newer_store_that_another_sdk_filled_is_not_rolled_back(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, redis_url: str
) -> None:
    store = Redis.new_feature_store(url=redis_url, caching=CacheConfig.disabled())
    store.init({FEATURES: by_key(boolean_flag("shiny", 9), boolean_flag("calm", 1)), SEGMENTS: {}})
    launchdarkly.replace(by_key(boolean_flag("shiny", 3)))
    answer = app.webhook(**flag_entry("shiny", 3))
    assert (answer["held_back"], answer["flags"]) == (1, 2)
    assert stored(valkey) == {"shiny": 9, "calm": 1}


# One at a time.


def test_a_refresh_that_lost_its_lock_cannot_write_over_a_newer_one(valkey: redis.Redis, redis_url: str) -> None:
    store = open_store({"REDIS_URL": redis_url})
    slow_fetch = HeldFetch(flags(shiny=1))
    slow = Refresher(store.writer, slow_fetch, "launchdarkly", Timing(lock_seconds=0.2))
    quick = Refresher(store.writer, lambda _: flags(shiny=2), "launchdarkly")
    with ThreadPoolExecutor(1) as threads:
        outcome = threads.submit(slow.reconcile, force=False)
        assert slow_fetch.began.wait(60)
        assert quick.reconcile(force=False).changed is True  # once the slow one's lock has expired
        before = content(valkey)
        slow_fetch.let_go.set()
        with pytest.raises(RefreshConflict, match="longer than its lock"):
            outcome.result()
    assert content(valkey) == before
    assert stored(valkey) == {"shiny": 2}


def test_a_lock_that_changes_hands_between_read_and_write_aborts_the_write(valkey: redis.Redis, redis_url: str) -> None:
    store = open_store({"REDIS_URL": redis_url})
    Refresher(store.writer, lambda _: flags(shiny=1), "launchdarkly").reconcile(force=False)
    record = store.reader.read_sync_record()
    assert record is not None
    before = content(valkey)
    assert store.writer.try_lock("first", 60)
    with store.writer.update("first", 60) as update:
        valkey.set("launchdarkly:$lock", "second")
        with pytest.raises(RefreshConflict, match="Another refresh wrote"):
            update.commit(flags(shiny=2), record, store.writer.read_backlog())
    assert content(valkey) == before


def test_somebody_elses_write_between_read_and_write_aborts_it(valkey: redis.Redis, redis_url: str) -> None:
    store = open_store({"REDIS_URL": redis_url})
    Refresher(store.writer, lambda _: flags(shiny=1), "launchdarkly").reconcile(force=False)
    record = store.reader.read_sync_record()
    assert record is not None
    assert store.writer.try_lock("first", 60)
    with store.writer.update("first", 60) as update:
        valkey.hset("launchdarkly:features", "calm", json.dumps(boolean_flag("calm", 7)))
        with pytest.raises(RefreshConflict, match="Another refresh wrote"):
            update.commit(flags(shiny=2), record, store.writer.read_backlog())
    assert stored(valkey) == {"shiny": 1, "calm": 7}


def test_a_webhook_during_a_reconcile_waits_and_gets_a_fetch_of_its_own(valkey: redis.Redis, redis_url: str) -> None:
    """The reconcile began before the webhook arrived, so what it fetched may be older."""
    store = open_store({"REDIS_URL": redis_url})
    fetch = HeldFetch(flags(shiny=1))
    reconciler = Refresher(store.writer, fetch, "launchdarkly")
    webhook = Refresher(store.writer, lambda _: flags(shiny=2), "launchdarkly")
    with ThreadPoolExecutor(2) as threads:
        reconciled = threads.submit(reconciler.reconcile, force=False)
        assert fetch.began.wait(60)
        refreshed = threads.submit(webhook.refresh, Announcement("features", "shiny", 2))
        eventually(lambda: store.writer.read_backlog().announcements)
        fetch.let_go.set()
        assert reconciled.result().changed is True
        outcome = refreshed.result()
    assert isinstance(outcome, Refreshed)
    assert outcome.confirmed is True
    assert stored(valkey) == {"shiny": 2}


@pytest.mark.parametrize("within_seconds", [0.5, 0.0])
def test_a_webhook_that_gets_no_turn_in_its_time_says_so(
    valkey: redis.Redis, redis_url: str, within_seconds: float
) -> None:
    store = open_store({"REDIS_URL": redis_url})
    assert store.writer.try_lock("somebody else", 60)
    refresher = Refresher(store.writer, lambda _: flags(shiny=1), "launchdarkly")
    with pytest.raises(RefreshBusy, match="Other refreshes were under way for 0 seconds"):
        refresher.refresh(None, within_seconds)
    assert valkey.get("launchdarkly:$lock") == "somebody else"
    assert stored(valkey) == {}


@pytest.mark.parametrize("announcement", [Announcement("features", "shiny", 2), None])
def test_a_reconcile_covers_the_webhooks_that_arrived_before_it(
    valkey: redis.Redis, redis_url: str, announcement: Announcement | None
) -> None:
    """This one is left no time for a refresh of its own, once it has had to wait, but enough to be covered."""
    store = open_store({"REDIS_URL": redis_url})
    seen: list[Announcement | None] = []

    def fetch(announcements: Collection[Announcement | None]) -> DataSet:
        seen.extend(announcements)
        return flags(shiny=2)

    refresher = Refresher(store.writer, fetch, "launchdarkly")
    assert store.writer.try_lock("somebody else", 60)
    with ThreadPoolExecutor(1) as threads:
        webhook = threads.submit(refresher.refresh, announcement, within_seconds=Timing().turn_seconds - 1)
        eventually(lambda: store.writer.read_backlog().announcements)
        time.sleep(0.1)  # the lock is asked for once, whatever time is left
        store.writer.unlock("somebody else")
        time.sleep(2 * Timing().lock_poll_seconds[1])
        assert seen == [], "it has begun a refresh all the same"
        reconciled = refresher.reconcile(force=False)
        assert webhook.result() == Coalesced(reconciled.revision)
    assert seen == [announcement]


# Redis Cluster.


def test_a_prefix_with_a_hash_tag_works_on_a_cluster(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)), by_key(segment("beta", 1)))
    # The cluster's own port is by default the server's plus 10000, which there may not be.
    cluster = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    with running_valkey(**cluster) as server, server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        eventually(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")))
        on_cluster = {**environment, "REDIS_URL": server.url}

        refused = load_app(on_cluster).post("/webhook", flag_entry("shiny", 1))
        assert refused.status_code == 503
        assert refused.json_body["Message"] == (
            "The flag store is a Redis Cluster: STORE_PREFIX must be a hash tag such as {launchdarkly}, "
            "and REDIS_URL must name the node that holds its slot."
        )
        assert [key for key in client.scan_iter() if key != "launchdarkly:$queue"] == []

        app = load_app({**on_cluster, "STORE_PREFIX": "{launchdarkly}"})
        assert app.webhook(**flag_entry("shiny", 1))["confirmed"] is True
        assert app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 1}}
        assert app.invoke("reconcile", {})["changed"] is False
        assert content(client, "{launchdarkly}")["$inited"] == "{launchdarkly}:$inited"
