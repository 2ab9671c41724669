"""A writer that is stopped while another takes its lock, and goes on; or that is killed, at whatever moment.

Evaluations see one content for each revision, always. What other SDKs read, the next reconcile mends.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import pytest

from chalicelib.data_set import FEATURES, SEGMENTS, DataSet
from chalicelib.errors import FlagsError, RefreshConflict
from chalicelib.launchdarkly.sdk import FEATURES as FEATURES_KIND
from chalicelib.launchdarkly.sdk import SEGMENTS as SEGMENTS_KIND
from chalicelib.read.snapshots import Snapshots
from chalicelib.refresh.refresher import Refresher
from tests.refresh.test_killed import generation, generations
from tests.stores.conftest import OpenStore, over_store
from tests.stores.test_dynamodb_faults import free_the_lock
from tests.support.app import App, Environment
from tests.support.dynamodb import Answer, DynamoDb, Json
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.network import Proxy
from tests.support.records import RedisRecords
from tests.support.refreshing import RefreshingProcess
from tests.support.stores import Store, data_set, open_store
from tests.support.timings import PATIENT
from tests.support.waiting import eventually

MOMENTS = 12
LOCK_SECONDS = 30.0
"""Longer than the tests: they free the lock as its end would."""

HELD_UP = PATIENT._replace(
    lock_seconds=120, write_lock_seconds=120, dynamodb_request_seconds=50, redis_command_seconds=50
)
"""Whoever is held up here would not notice, as a process that is stopped does not."""


@pytest.fixture(params=["redis", "dynamodb"])
def store_environment(request: pytest.FixtureRequest) -> Environment:
    environment: Environment = request.getfixturevalue(f"{request.param}_environment")
    return environment


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    return over_store(environment, store_environment)


@pytest.fixture
def free_lock(request: pytest.FixtureRequest, store_environment: Environment) -> Callable[[], None]:
    if "REDIS_URL" in store_environment:
        return lambda: RedisRecords(store_environment["REDIS_URL"]).lose(["$lock"])
    dynamodb = request.getfixturevalue("dynamodb")
    return lambda: free_the_lock(dynamodb, store_environment)


class Readers:
    """A warm one, and a cold one at each look. They have seen one content for each revision, or fail."""

    def __init__(self, open_another: OpenStore) -> None:
        self._open = open_another
        self._warm = Snapshots(open_another().reader, 0.0)
        self._seen: dict[str, Json] = {}

    def look(self) -> int:
        """The generation that both see."""
        warm, cold = self._contents()
        if warm != cold:  # what a stopped writer had sent before arrived between the two
            warm, cold = self._contents()
        assert warm == cold
        (version,) = set(warm.values())
        return int(version)

    def _contents(self) -> tuple[Json, Json]:
        return self._content(self._warm), self._content(Snapshots(self._open().reader, 0.0))

    def _content(self, snapshots: Snapshots) -> Json:
        snapshot = snapshots.current()
        assert not snapshot.stale
        content = {
            f"{kind.namespace}/{key}": item.version
            for kind in (FEATURES_KIND, SEGMENTS_KIND)
            for key, item in snapshot.feature_store.all(kind).items()
        }
        assert self._seen.setdefault(snapshot.revision, content) == content
        return content


def items_of(store: Store) -> dict[str, dict[str, int]]:
    """What other SDKs read."""
    stored = store.reader.read_items().items()
    return {kind: {key: item.version for key, item in stored[kind].items()} for kind in (FEATURES, SEGMENTS)}


def assert_mended(store: Store, number: int) -> None:
    snapshot = store.reader.read_snapshot(None, None)
    assert snapshot is not None
    assert store.reader.read_items().texts == snapshot.texts
    assert {version for items in items_of(store).values() for version in items.values()} == {number}


def reconcile(app: App, free_lock: Callable[[], None]) -> None:
    """In the end: DynamoDB's lock is freed, and taken, by other writers meanwhile."""
    with ThreadPoolExecutor(1) as threads:

        def succeeds() -> bool:
            refresh = threads.submit(app.invoke, "reconcile", {})
            while not wait([refresh], timeout=2).done:
                free_lock()  # a writer that is stopped had asked for it before
            if isinstance(refresh.exception(), FlagsError):
                return False
            return bool(refresh.result())

        eventually(succeeds)


@contextmanager
def refreshing_process(environment: Environment) -> Iterator[RefreshingProcess]:
    with RefreshingProcess(environment, LOCK_SECONDS) as process:
        process.wait_for_refresh()
        yield process


def test_a_writer_that_is_stopped_at_random_moments(
    app: App,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    open_another: OpenStore,
    store: Store,
    free_lock: Callable[[], None],
) -> None:
    launchdarkly.replace(**generation(1))
    with refreshing_process(environment) as process:
        readers = Readers(open_another)
        with generations(launchdarkly) as current:
            for _ in range(MOMENTS):
                time.sleep(random.uniform(0, 0.1))
                process.freeze()
                free_lock()
                reconcile(app, free_lock)
                left = readers.look()
                process.thaw()
                time.sleep(random.uniform(0, 0.05))
                process.freeze()
                assert left <= readers.look()
                process.thaw()
        process.kill()
    free_lock()
    reconcile(app, free_lock)
    assert readers.look() == current()
    assert_mended(store, current())


def test_a_writer_that_is_killed_at_random_moments(
    app: App,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    open_another: OpenStore,
    store: Store,
    free_lock: Callable[[], None],
) -> None:
    with generations(launchdarkly) as current:
        reconcile(app, free_lock)
        readers, left = Readers(open_another), 1
        for _ in range(3):
            with refreshing_process(environment) as process:
                time.sleep(random.uniform(0, 0.1))
                process.kill()
            before, left = left, readers.look()
            assert before < left
            free_lock()
    reconcile(app, free_lock)
    assert readers.look() == current()
    assert_mended(store, current())


# At each stage of a write to DynamoDB, and before that of Redis.


class Held:
    """Holds a writer's ``number``-th request of an operation until it is released, and then lets it through."""

    def __init__(self, operation: str, number: int) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()
        self._operation, self._number, self._count = operation, number, 0

    def __call__(self, asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        self._count += asked == self._operation
        if asked == self._operation and self._count == self._number:
            self.reached.set()
            assert self.released.wait(60)
        return forward(request)


def fetched(number: int) -> DataSet:
    data = generation(number)
    return data_set(data["flags"].values(), data["segments"].values())


def assert_a_stopped_write_harms_nobody(
    stopped: Store, other: Store, readers: Readers, held: Any, free_lock: Callable[[], None]
) -> None:
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(
            Refresher(stopped.writer, lambda _: fetched(2), "launchdarkly", HELD_UP).reconcile, force=False
        )
        assert held.reached.wait(60)
        free_lock()
        Refresher(other.writer, lambda _: fetched(3), "launchdarkly").reconcile(force=False)
        assert readers.look() == 3
        held.released.set()
        with pytest.raises(RefreshConflict):
            late.result()
    assert readers.look() == 3
    Refresher(other.writer, lambda _: fetched(3), "launchdarkly").reconcile(force=False)
    assert readers.look() == 3
    assert_mended(other, 3)


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        ("UpdateItem", 2),  # renews the lock
        ("UpdateItem", 3),  # marks the write
        ("BatchWriteItem", 1),
        ("BatchWriteItem", 2),
        ("BatchWriteItem", 3),
        ("BatchWriteItem", 4),  # the snapshot
        ("UpdateItem", 4),  # the new record
    ],
)
def test_a_writer_that_is_stopped_at_a_request_to_dynamodb(
    dynamodb: DynamoDb, dynamodb_environment: Environment, operation: str, number: int
) -> None:
    host, port = dynamodb.emulator_address
    direct = {**dynamodb_environment, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    other = open_store(direct)
    Refresher(other.writer, lambda _: fetched(1), "launchdarkly").reconcile(force=False)
    readers = Readers(lambda: open_store(direct))
    assert readers.look() == 1
    held = dynamodb.fault = Held(operation, number)
    stopped = open_store(dynamodb_environment, HELD_UP)
    assert_a_stopped_write_harms_nobody(
        stopped, other, readers, held, lambda: free_the_lock(dynamodb, dynamodb_environment)
    )


class HeldWrite:
    """The same for the one transaction of a write to Redis."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self, write: bytes) -> bytes:
        self.reached.set()
        assert self.released.wait(60)
        return write


def test_a_writer_that_is_stopped_at_its_transaction_with_redis(redis_url: str) -> None:
    other = open_store({"REDIS_URL": redis_url})
    Refresher(other.writer, lambda _: fetched(1), "launchdarkly").reconcile(force=False)
    readers = Readers(lambda: open_store({"REDIS_URL": redis_url}))
    assert readers.look() == 1
    proxy = Proxy(int(redis_url.rpartition(":")[2]))
    held = proxy.on_write = HeldWrite()
    stopped = open_store({"REDIS_URL": proxy.url}, HELD_UP)
    records = RedisRecords(redis_url)
    with pytest.raises(FlagsError):  # the proxy closes the connection then, so that it hears no answer
        assert_a_stopped_write_harms_nobody(stopped, other, readers, held, lambda: records.lose(["$lock"]))
    assert readers.look() == 3
    assert_mended(other, 3)
    proxy.close()
