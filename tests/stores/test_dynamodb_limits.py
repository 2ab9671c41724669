"""Data sets and items as large as DynamoDB allows, and larger; and how few requests the usual takes."""

from __future__ import annotations

import collections
import logging
from typing import Any

import pytest

from chalicelib.data_set import FEATURES, SEGMENTS, SyncRecord, fetched_item
from chalicelib.stores.dynamodb.writer import DynamoDbWriter
from tests.stores.conftest import OpenSdk, OpenStore, evaluated_by, over_store
from tests.stores.test_store_contract import data_set, record_of, whole, write
from tests.support.app import App, Environment
from tests.support.data import boolean_flag, by_key
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.stores import Store, without_snapshot
from tests.support.timings import PATIENT

USER = {"kind": "user", "key": "anna"}


@pytest.fixture
def store_environment(dynamodb_environment: Environment) -> Environment:
    return dynamodb_environment


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    return over_store(environment, store_environment)


FOR_LARGE_PAGES = PATIENT._replace(dynamodb_request_seconds=20)
"""An emulator takes its time over a page of one megabyte, for which DynamoDB needs some milliseconds."""


def test_1200_flags_are_written_in_batches_and_read_in_pages(
    open_another: OpenStore, open_sdk: OpenSdk, dynamodb: DynamoDb
) -> None:
    store = open_another(timing=FOR_LARGE_PAGES)
    flags = [boolean_flag(f"flag-{number}", description="x" * 2000) for number in range(1200)]
    dynamodb.operations.clear()
    assert write(store, data_set(*flags)) == whole(data_set(*flags))
    counted = collections.Counter(dynamodb.operations)
    assert counted["BatchWriteItem"] == 50  # 25 flags each, the marker, and the snapshot
    dynamodb.operations.clear()
    assert without_snapshot(store.reader.read_items()) == whole(data_set(*flags))
    assert dynamodb.operations.count("Query") > 3  # segments, and the flags in pages

    dynamodb.operations.clear()
    flags[321]["version"] = 2
    assert write(open_another(timing=FOR_LARGE_PAGES), data_set(*flags[:1199])) == whole(data_set(*flags[:1199]))
    assert dynamodb.operations.count("BatchWriteItem") == 3  # the changed flags, the snapshot, and the changes
    with open_sdk(use_ldd=True) as client:
        evaluated = evaluated_by(client, USER)
    assert len(evaluated) == 1199
    assert evaluated["flag-321"]["version"] == 2


def test_what_has_not_changed_is_not_written(app: App, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb) -> None:
    launchdarkly.replace(by_key(*(boolean_flag(f"flag-{number}") for number in range(30))))
    app.invoke("reconcile", {})
    dynamodb.operations.clear()
    assert app.invoke("reconcile", {})["changed"] is False
    assert collections.Counter(dynamodb.operations) == {
        "GetItem": 8,  # lock, backlog, sync record, marker, snapshot, its two copies, and the age of it as a metric
        "Query": 2,
        "UpdateItem": 4,  # lock, its renewal, sync record, unlock
    }


def test_a_warm_evaluation_is_one_small_read(app: App, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    app.webhook()
    app.evaluate(USER)
    dynamodb.operations.clear()
    app.evaluate(USER)
    assert dynamodb.operations == ["GetItem"]


def large_flag(key: str, version: int, kilobytes: int) -> dict[str, Any]:
    return boolean_flag(key, version, description="ü" * (kilobytes * 1024 // 6))  # six bytes each, as \u00fc


def test_an_item_over_400_kb_is_left_out_and_the_rest_is_stored(
    app: App,
    launchdarkly: FakeLaunchDarkly,
    open_sdk: OpenSdk,
    store: Store,
    caplog: pytest.LogCaptureFixture,
) -> None:
    launchdarkly.replace(by_key(boolean_flag("small"), large_flag("large", 1, 390), large_flag("growing", 1, 10)))
    first = app.webhook()
    assert (first["flags"], "left_out" in first) == (3, False)

    launchdarkly.put_flag(large_flag("growing", 2, 410))
    with caplog.at_level(logging.ERROR):
        second = app.webhook()
    assert second == {**first, "revision": second["revision"], "flags": 2, "left_out": 1}
    assert [record.getMessage() for record in caplog.records if record.name == "chalicelib.refresh.refresher"] == [
        "left out, because the store cannot hold it: features/growing"
    ]
    record = store.reader.read_sync_record()
    assert record is not None
    assert record._replace(snapshot=None) == SyncRecord(
        second["revision"], record.synced_at_ms, 2, 0, "launchdarkly", left_out=1, unreadable=0
    )
    assert set(app.evaluate(USER)) == {"small", "large"}
    assert app.post("/evaluate/growing", USER).status_code == 404
    with open_sdk(use_ldd=True) as client:
        assert set(evaluated_by(client, USER)) == {"small", "large"}

    launchdarkly.put_flag(large_flag("growing", 3, 390))
    third = app.webhook()
    assert third == {**first, "revision": third["revision"]}
    assert app.evaluate(USER)["growing"]["version"] == 3


def test_the_largest_item_that_counts_as_fitting_fits(store: Store, dynamodb: DynamoDb) -> None:
    sizes = (404_350, 404_480)  # around DynamoDB's limit, less what else is in an item
    fits = [size for size in range(*sizes) if store.writer.can_hold(FEATURES, "flag", fetched_item(sized_flag(size)))]
    assert fits == list(range(sizes[0], fits[-1] + 1)), "nothing larger fits than something that does not"
    assert fits[-1] + 1 < sizes[1]
    largest = data_set(sized_flag(fits[-1]))
    assert write(store, largest) == whole(largest)


def sized_flag(size: int) -> dict[str, Any]:
    return {"key": "flag", "version": 1, "pad": "x" * (size - 36)}


@pytest.mark.parametrize(
    ("key", "fits"), [("x" * 1024, True), ("x" * 1025, False), ("ü" * 512, True), ("ü" * 513, False), ("", False)]
)
def test_a_key_that_dynamodb_refuses_is_left_out(key: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    writer = DynamoDbWriter("table", "launchdarkly", {}, PATIENT)
    assert writer.can_hold(SEGMENTS, key, fetched_item(boolean_flag(key))) is fits


def test_the_sync_record_of_redis_has_no_new_fields() -> None:
    assert "left_out" not in record_of(data_set()).to_json()
    assert "writing" not in record_of(data_set(), writing=True).to_json()
