"""Whatever a store loses of our records, or brings back from an old copy: the next webhook is a refresh."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from chalicelib.data_set import FEATURES, Announcement, DataSet
from chalicelib.errors import RefreshConflict
from chalicelib.refresh.refresher import Coalesced, Refreshed, Refresher
from chalicelib.timing import Timing
from tests.stores.conftest import OpenStore
from tests.support.app import Environment
from tests.support.data import boolean_flag, segment
from tests.support.records import DynamoDbRecords, Records, RedisRecords
from tests.support.stores import data_set, open_store
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

BRIEF = {
    "redis": Timing(lock_seconds=0.4, write_lock_seconds=0.4, quiet_seconds=0.05, lock_poll_seconds=(0.02, 0.04)),
    "dynamodb": Timing(
        lock_seconds=2.0,
        write_lock_seconds=2.0,
        dynamodb_request_seconds=0.5,
        quiet_seconds=0.05,
        lock_poll_seconds=(0.02, 0.04),
    ),
}
"""A lock that came back from an old copy holds nobody up for long; DynamoDB's says itself when it ends."""

NAMES = {
    "redis": ("$sync", "$snapshot", "$changes", "$queue", "$lock", "$inited", "features"),
    "dynamodb": ("$sync", "$refresh", "$snapshot", "$current", "$changes", "$inited", "features"),
}
ONES_AND_PAIRS = {
    kind: [*itertools.combinations(names, 1), *itertools.combinations(names, 2)] for kind, names in NAMES.items()
}


class LaunchDarkly:
    """One flag that every ``change`` moves on; a fetch sees it as it is, and lets a test interfere."""

    def __init__(self) -> None:
        self.version = 0
        self.fetches = 0
        self.during_fetch: Callable[[], None] = lambda: None

    def change(self) -> Announcement:
        self.version += 1
        return Announcement(FEATURES, "shiny", self.version)

    def fetch(self, _: Collection[Announcement | None]) -> DataSet:
        self.fetches += 1
        fetched = data_set([boolean_flag("shiny", self.version)], [segment("beta", self.version)])
        interfere, self.during_fetch = self.during_fetch, lambda: None
        interfere()
        return fetched


@pytest.fixture(params=["redis", "dynamodb"])
def store_environment(request: pytest.FixtureRequest) -> Environment:
    environment: Environment = request.getfixturevalue(f"{request.param}_environment")
    return environment


@pytest.fixture
def kind(store_environment: Environment) -> str:
    return "redis" if "REDIS_URL" in store_environment else "dynamodb"


@pytest.fixture
def open_refresher(open_another: OpenStore, kind: str) -> Callable[[LaunchDarkly], Refresher]:
    timing = BRIEF[kind]
    return lambda launchdarkly: Refresher(
        open_another(timing=timing).writer, launchdarkly.fetch, "launchdarkly", timing
    )


@pytest.fixture
def records(request: pytest.FixtureRequest, store_environment: Environment) -> Records:
    if "REDIS_URL" in store_environment:
        return RedisRecords(store_environment["REDIS_URL"])
    return DynamoDbRecords(request.getfixturevalue("dynamodb"), store_environment["DYNAMODB_TABLE"])


def losses(records: Records) -> list[tuple[str, ...]]:
    return ONES_AND_PAIRS["redis" if isinstance(records, RedisRecords) else "dynamodb"]


def mischief(records: Records, launchdarkly: LaunchDarkly, refresher: Refresher) -> Iterator[Callable[[], None]]:
    """Loses each record and each pair of them, and brings back how they were while an earlier refresh ran."""
    old: dict[str, object] = {}
    for _ in range(3):
        launchdarkly.during_fetch = lambda: old.update(records.copy())
        refreshed(refresher, launchdarkly.change())
    for names in losses(records):
        yield lambda names=names: records.lose(names)  # type: ignore[misc]
        yield lambda names=names: records.bring_back(old, names)  # type: ignore[misc]


def test_a_webhook_after_a_loss_is_a_refresh(
    open_refresher: Callable[[LaunchDarkly], Refresher], records: Records
) -> None:
    launchdarkly = LaunchDarkly()
    refresher = open_refresher(launchdarkly)
    for interfere in mischief(records, launchdarkly, refresher):
        interfere()
        outcome = refreshed(refresher, launchdarkly.change())
        assert isinstance(outcome, Refreshed)
        assert outcome.confirmed is True


def refreshed(refresher: Refresher, announcement: Announcement | None) -> Refreshed | Coalesced:
    """Not by a refresh that took longer than its lock, on a busy machine, but by the next one."""
    while True:
        begun = time.monotonic()
        try:
            return refresher.refresh(announcement)
        except RefreshConflict:
            if time.monotonic() - begun < refresher._timing.lock_seconds:
                raise


def test_a_webhook_that_arrives_after_a_loss_during_a_refresh_is_not_covered_by_it(
    open_refresher: Callable[[LaunchDarkly], Refresher], open_another: OpenStore, records: Records, kind: str
) -> None:
    """The refresh under way fetched before the webhook arrived, and its ticket may have come back from a copy."""
    launchdarkly = LaunchDarkly()
    first, second = open_refresher(launchdarkly), open_refresher(launchdarkly)
    watcher = open_another().writer
    slice_of = {"redis": (None,), "dynamodb": (24,)}  # those that come first concern what refreshes go by
    for interfere in itertools.islice(mischief(records, launchdarkly, first), *slice_of[kind]):
        with ThreadPoolExecutor(2) as threads:
            fetched, go_on = threading.Event(), threading.Event()
            launchdarkly.during_fetch = lambda fetched=fetched, go_on=go_on: fetched.set() or go_on.wait(60)  # type: ignore[misc]
            under_way = threads.submit(first.refresh, launchdarkly.change())
            assert fetched.wait(60)
            interfere()
            known = set(watcher.read_backlog().announcements)
            waiting = threads.submit(refreshed, second, None)
            # It may find the lock gone, and be done by itself.
            eventually(lambda: waiting.done() or set(watcher.read_backlog().announcements) > known)  # noqa: B023
            go_on.set()
            assert isinstance(waiting.result(), Refreshed)
            assert under_way.exception() is None or isinstance(under_way.exception(), RefreshConflict)


def test_a_store_that_evicts_never_covers_a_webhook_falsely(own_valkey: ValkeyServer, own_client: redis.Redis) -> None:
    launchdarkly = LaunchDarkly()
    refresher = Refresher(open_store({"REDIS_URL": own_valkey.url}).writer, launchdarkly.fetch, "launchdarkly")
    refresher.refresh(launchdarkly.change())
    used = own_client.info("memory")["used_memory"]
    own_client.config_set("maxmemory", str(used + 200_000))
    own_client.config_set("maxmemory-policy", "allkeys-lru")
    lost = 0
    for number in range(60):
        for junk in range(8):
            own_client.set(f"junk-{number}-{junk}", "x" * 10_000)
        lost += not own_client.exists("launchdarkly:$queue")
        try:
            outcome = refresher.refresh(launchdarkly.change())
        except RefreshConflict:
            continue  # the lock was evicted while it was held
        assert isinstance(outcome, Refreshed)
        assert outcome.confirmed is True
    assert lost > 0, "the store evicted other things only"
