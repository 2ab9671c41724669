"""The snapshot in a store: one revision, always, for every reader of ours, on every store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.data_set import SyncRecord, revision_of
from chalicelib.read.snapshots import Snapshots
from tests.stores.conftest import OpenStore, over_store
from tests.support.app import App, Environment, LoadApp
from tests.support.clock import Clock
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.stores import CountedReads, Store

USER = {"kind": "user", "key": "anna"}


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    return over_store(environment, store_environment)


def flags(version: int) -> dict[str, Any]:
    return by_key(*(boolean_flag(f"flag-{number}", version) for number in range(30)))


def versions(app: App) -> set[int]:
    return {flag["version"] for flag in app.evaluate(USER).values()}


def record_in(store: Store) -> SyncRecord:
    record = store.reader.read_sync_record()
    assert record is not None
    return record


def test_a_refresh_writes_a_snapshot_that_its_record_names(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store
) -> None:
    launchdarkly.replace(flags(1), by_key(segment("testers", 1, "anna")))
    app.webhook()
    found = store.reader.read_snapshot(None, None)
    items = store.reader.read_items()
    assert found is not None
    assert found.record == record_in(store) == items.record
    assert found.texts == items.texts
    assert found.is_snapshot


def test_one_change_is_read_without_the_rest(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store, open_another: OpenStore
) -> None:
    launchdarkly.replace(flags(1), by_key(segment("testers", 1, "anna")))
    app.webhook()
    held = store.reader.read_snapshot(None, None)
    assert held is not None
    assert held.record is not None
    launchdarkly.replace({**flags(1), "flag-3": boolean_flag("flag-3", 2)})
    app.webhook()

    record = record_in(store)
    assert record.snapshot is not None
    assert record.snapshot.changes_from == held.record.revision
    forget_snapshot(store, record)
    changed = store.reader.read_snapshot(record, held)
    assert changed is not None
    assert changed.texts == store.reader.read_items().texts
    assert open_another().reader.read_snapshot(record, None) is None, "there is only what changed"


def forget_snapshot(store: Store, record: SyncRecord) -> None:
    """Take the snapshot away, as a store that evicts it does."""
    writer: Any = store.writer
    if store.reader.kind == "redis":
        writer._redis.delete("launchdarkly:$snapshot")
    else:
        keys = {"$snapshot": f"{record.revision}/0", "$current": "launchdarkly:$current"}
        writer._table.batch_write([writer._table.delete_request(name, key) for name, key in keys.items()])


def damage_snapshot(store: Store, record: SyncRecord) -> None:
    replace_snapshot(store, record, b"damaged")


def damage_a_byte(store: Store, record: SyncRecord) -> None:
    writer: Any = store.writer
    if store.reader.kind == "redis":
        data = bytearray(writer._redis.get("launchdarkly:$snapshot"))
    else:
        assert record.snapshot is not None
        data = bytearray(writer._table.read_snapshot(record.revision, record.snapshot.size, {}))
    data[-20] ^= 1
    replace_snapshot(store, record, bytes(data))


def replace_snapshot(store: Store, record: SyncRecord, data: bytes) -> None:
    writer: Any = store.writer
    if store.reader.kind == "redis":
        writer._redis.set("launchdarkly:$snapshot", data)
    else:
        table = writer._table
        revision = {"revision": {"S": record.revision}}
        table.batch_write(
            [
                table.put_data_request("$snapshot", f"{record.revision}/0", data),
                table.put_data_request("$current", "launchdarkly:$current", data, **revision),
            ]
        )


@pytest.mark.parametrize("harm", [forget_snapshot, damage_snapshot, damage_a_byte])
def test_without_its_snapshot_a_store_is_read_item_by_item_until_the_next_refresh_heals_it(
    app: App, load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, store: Store, harm: Any
) -> None:
    launchdarkly.replace(flags(1), by_key(segment("testers", 1, "anna")))
    app.webhook()
    revision = app.post("/evaluate", USER).headers["X-Flags-Revision"]
    harm(store, record_in(store))

    cold = load_app(environment)
    answer = cold.post("/evaluate", USER)
    assert (answer.status_code, answer.headers["X-Flags-Revision"]) == (200, revision)
    assert versions(cold) == versions(app) == {1}

    assert cold.invoke("reconcile", {})["changed"] is False
    assert store.reader.read_snapshot(None, None) is not None


def test_another_writers_change_beside_us_is_seen_by_nobody_until_the_next_refresh(
    app: App, load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, store: Store
) -> None:
    """And then it is one content under one revision, whatever LaunchDarkly says."""
    launchdarkly.replace(flags(1), by_key(segment("testers", 1, "anna")))
    app.webhook()
    before = app.post("/evaluate", USER)
    put_item(store, boolean_flag("another", 9))
    warm, cold = app.post("/evaluate", USER), load_app(environment).post("/evaluate", USER)
    assert warm.json_body == cold.json_body == before.json_body
    assert warm.headers["ETag"] == cold.headers["ETag"] == before.headers["ETag"]

    app.webhook()
    warm, cold = app.post("/evaluate", USER), load_app(environment).post("/evaluate", USER)
    assert warm.json_body == cold.json_body == before.json_body
    assert store.reader.read_items().texts.keys() == {"features", "segments"}
    assert "another" not in store.reader.read_items().texts["features"]


def put_item(store: Store, *items: dict[str, Any], kind: str = "features") -> None:
    """As another SDK writes it: the same keys, another text."""
    writer: Any = store.writer
    for item in items:
        text = json.dumps(item)
        if store.reader.kind == "redis":
            writer._redis.hset(f"launchdarkly:{kind}", item["key"], text)
        else:
            attributes = {"version": {"N": str(item["version"])}, "item": {"S": text}}
            put = {"PutRequest": {"Item": {**writer._table.key(kind, item["key"]), **attributes}}}
            writer._table.batch_write([put])


def snapshots_of(store: Store, clock: Clock) -> tuple[Snapshots, CountedReads]:
    reads = CountedReads(store.reader)
    return Snapshots(reads, 15.0, clock=clock), reads


def test_another_writer_that_takes_the_store_over_is_noticed_within_the_time_for_its_data(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)), by_key(segment("testers", 1, "anna")))
    app.webhook()
    clock = Clock()
    snapshots, _ = snapshots_of(store, clock)
    ours = snapshots.current()
    put_item(store, boolean_flag("shiny", 2))
    delete_segments(store)

    clock.advance(14.9)
    assert snapshots.current().revision == ours.revision
    clock.advance(0.2)
    theirs = snapshots.current()
    assert theirs.revision != ours.revision
    assert (theirs.record, theirs.stale) == (None, False)
    put_item(store, boolean_flag("shiny", 3))
    assert snapshots.current().revision == theirs.revision, "it is reused, too"
    clock.advance(15.1)
    assert snapshots.current().revision not in (ours.revision, theirs.revision)

    assert app.invoke("reconcile", {})["held_back"] == 1  # their version is higher, and may be LaunchDarkly's
    app.invoke("reconcile", {"force": True})
    back = snapshots.current()
    assert (back.revision, back.record) == (ours.revision, record_in(store))


def delete_segments(store: Store) -> None:
    writer: Any = store.writer
    if store.reader.kind == "redis":
        writer._redis.delete("launchdarkly:segments")
    else:
        writer._table.batch_write([writer._table.delete_request("segments", "testers")])


def test_a_refresh_that_was_stopped_and_writes_late_is_no_other_writer(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store
) -> None:
    """Its old items are what other SDKs read until the next refresh; ours read the snapshot."""
    launchdarkly.replace(flags(2))
    app.webhook()
    clock = Clock()
    snapshots, _ = snapshots_of(store, clock)
    revision = snapshots.current().revision
    put_item(store, *(boolean_flag(f"flag-{number}", 1) for number in range(30)))
    for _ in range(5):
        clock.advance(15.1)
        assert snapshots.current().revision == revision
    app.invoke("reconcile", {})
    assert {json.loads(text)["version"] for text in store.reader.read_items().texts["features"].values()} == {2}


def test_a_warm_request_reads_once_and_once_more_after_a_change(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store
) -> None:
    launchdarkly.replace(flags(1))
    app.webhook()
    snapshots, reads = snapshots_of(store, Clock())
    snapshots.current()
    assert reads.count == 1
    snapshots.current()
    assert reads.count == 2
    launchdarkly.put_flag(boolean_flag("flag-3", 2))
    app.webhook()
    snapshots.current()
    assert reads.count == 4


def test_a_record_of_version_1_0_which_names_no_snapshot_is_followed(
    app: App, load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, store: Store
) -> None:
    launchdarkly.replace(flags(1))
    app.webhook()
    assert versions(app) == {1}
    put_item(store, *flags(2).values())
    revision = revision_of(store.reader.read_items().texts)
    replace_record(store, record_in(store)._replace(revision=revision, snapshot=None))
    assert versions(app) == versions(load_app(environment)) == {2}


def replace_record(store: Store, record: SyncRecord) -> None:
    writer: Any = store.writer
    if store.reader.kind == "redis":
        writer._redis.set("launchdarkly:$sync", record.to_json())
    else:
        writer._table.update("$sync", "SET #item = :record", record=record.to_json())
