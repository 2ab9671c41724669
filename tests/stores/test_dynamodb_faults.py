"""DynamoDB that throttles, hands work back, refuses, is slow or away; and writers that die."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ldclient.versioned_data_kind import FEATURES, SEGMENTS

from chalicelib.data_set import KINDS
from chalicelib.errors import StoreUnavailable
from chalicelib.read.snapshots import Snapshot, Snapshots
from chalicelib.stores.dynamodb.sdk import sdk_read_call
from chalicelib.stores.dynamodb.table import Table
from chalicelib.stores.dynamodb.writable import WritableTable
from chalicelib.timing import Timing
from tests.stores.conftest import OpenSdk, OpenStore, evaluated_by, over_store
from tests.stores.test_store_contract import LOCK_SECONDS, NOTHING, data_set, record_of, whole, write
from tests.support.app import App, Environment, LoadApp
from tests.support.data import PROJECT, boolean_flag, by_key, segment
from tests.support.dynamodb import Answer, DynamoDb, Fault, Json, error
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.forks import ForkedProcess
from tests.support.network import Proxy
from tests.support.refreshing import reconcile_once
from tests.support.stores import Store
from tests.support.waiting import eventually

USER = {"kind": "user", "key": "anna"}
KEYS = [f"flag-{number}" for number in range(60)]
"""Three batches."""


@pytest.fixture
def store_environment(dynamodb_environment: Environment) -> Environment:
    return dynamodb_environment


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    return over_store(environment, store_environment)


def flags(version: int) -> list[Json]:
    return [boolean_flag(key, version) for key in KEYS]


def versions(app: App) -> dict[str, int]:
    return {key: flag["version"] for key, flag in app.evaluate(USER).items()}


def all_at(version: int) -> dict[str, int]:
    return dict.fromkeys(KEYS, version)


def fails(operation: str, code: str, times: float = float("inf")) -> Fault:
    """The next ``times`` requests of this operation are answered with this error."""
    attempts = itertools.count(1)

    def fault(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        return error(code) if asked == operation and next(attempts) <= times else forward(request)

    return fault


# Writes.


def hands_back_all_but(processed: int) -> Fault:
    """Of each batch, DynamoDB processes so many requests."""

    def fault(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        if asked != "BatchWriteItem":
            return forward(request)
        ((table, batch),) = request["RequestItems"].items()
        forward({"RequestItems": {table: batch[:processed]}})
        return 200, {"UnprocessedItems": {table: batch[processed:]} if batch[processed:] else {}}

    return fault


def test_what_dynamodb_hands_back_is_written_until_it_takes_it(store: Store, dynamodb: DynamoDb) -> None:
    dynamodb.fault = hands_back_all_but(10)
    assert write(store, data_set(*flags(1))) == whole(data_set(*flags(1)))
    assert dynamodb.operations.count("BatchWriteItem") == 8  # 60 flags, the marker and the snapshot


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "ThrottlingException"])
def test_a_throttled_write_goes_on_until_it_is_done(store: Store, dynamodb: DynamoDb, code: str) -> None:
    dynamodb.fault = fails("BatchWriteItem", code, times=6)
    assert write(store, data_set(*flags(1))) == whole(data_set(*flags(1)))


def fails_after_the_first_batch(code: str) -> Fault:
    batches = itertools.count()

    def fault(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        return error(code) if asked == "BatchWriteItem" and next(batches) > 0 else forward(request)

    return fault


def incomplete_write(store: Store, dynamodb: DynamoDb, *new: Json) -> None:
    """A refresh that stores its first batch, of 25 flags, and no other."""
    assert store.writer.try_lock("unlucky", LOCK_SECONDS)
    dynamodb.fault = fails_after_the_first_batch("AccessDeniedException")
    with pytest.raises(StoreUnavailable), store.writer.update("unlucky", LOCK_SECONDS) as update:
        update.commit(data_set(*new), record_of(data_set(*new)), NOTHING)
    dynamodb.fault = None
    store.writer.unlock("unlucky")


def test_a_write_that_stays_throttled_ends_before_its_lock_does(
    store: Store, open_another: OpenStore, dynamodb: DynamoDb
) -> None:
    assert store.writer.try_lock("throttled", 8.0)
    dynamodb.fault = fails_after_the_first_batch("ProvisionedThroughputExceededException")
    with (
        pytest.raises(StoreUnavailable, match="did not take all items in time"),
        store.writer.update("throttled", 8.0) as update,
    ):
        update.commit(data_set(*flags(1)), record_of(data_set(*flags(1))), NOTHING)
    assert not open_another().writer.try_lock("next", LOCK_SECONDS)


def test_an_incomplete_write_is_known_to_be_one_and_the_next_completes_it(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store, open_another: OpenStore, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(*flags(1)))
    first = app.webhook()
    assert versions(app) == all_at(1)
    incomplete_write(store, dynamodb, *flags(2))

    record = open_another().reader.read_sync_record()
    assert record is not None
    assert (record.revision, record.writing) == (first["revision"], True)
    warm = app.post("/evaluate", USER)
    assert (warm.headers["X-Flags-Revision"], warm.headers.get("X-Flags-Stale")) == (first["revision"], None)
    assert versions(app) == all_at(1)

    launchdarkly.replace(by_key(*flags(2)))
    second = app.webhook()
    assert second["changed"] is True
    assert versions(app) == all_at(2)
    assert items_in(open_another()) == {each["key"]: each for each in flags(2)}


def items_in(store: Store) -> dict[str, Json]:
    """The flags as other SDKs read them."""
    return {key: json.loads(text) for key, text in store.reader.read_items().texts["features"].items()}


def test_an_incomplete_write_is_completed_by_going_back_as_well(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store, open_another: OpenStore, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(*flags(1)))
    first = app.webhook()
    incomplete_write(store, dynamodb, *flags(2))
    assert app.invoke("reconcile", {}) == {**first, "changed": False}
    assert items_in(open_another()) == {each["key"]: each for each in flags(1)}


def test_a_cold_reader_of_an_incomplete_write_has_the_revision_before_it(
    load_app: LoadApp,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    store: Store,
    open_sdk: OpenSdk,
    dynamodb: DynamoDb,
) -> None:
    write(store, data_set(*flags(1)))
    incomplete_write(store, dynamodb, *flags(2))
    cold = load_app(environment)
    assert versions(cold) == all_at(1)
    with open_sdk(use_ldd=True) as client:  # which reads the items
        mixed = {key: flag["version"] for key, flag in evaluated_by(client, USER).items()}
    assert sorted(mixed.values()) == [1] * 35 + [2] * 25
    dynamodb.operations.clear()
    assert versions(cold) == all_at(1)
    assert dynamodb.operations == ["GetItem"]

    launchdarkly.replace(by_key(*flags(2)))
    load_app(environment).webhook()
    assert versions(cold) == all_at(2)


def test_a_cold_reader_of_a_write_that_lacks_only_its_record_has_the_revision_before_it(
    load_app: LoadApp, environment: Environment, store: Store, dynamodb: DynamoDb
) -> None:
    write(store, data_set(*flags(1), segments=(segment("gone"),)))
    assert store.writer.try_lock("unlucky", LOCK_SECONDS)
    updates = itertools.count()

    def fails_at_the_end(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        is_last = asked == "UpdateItem" and next(updates) > 1  # after the lock's renewal and the mark
        return error("AccessDeniedException") if is_last else forward(request)

    dynamodb.fault = fails_at_the_end
    with pytest.raises(StoreUnavailable), store.writer.update("unlucky", LOCK_SECONDS) as update:
        update.commit(data_set(*flags(2)), record_of(data_set(*flags(2))), NOTHING)
    dynamodb.fault = None
    assert versions(load_app(environment)) == all_at(1)


def test_a_first_fill_that_is_incomplete_leaves_the_store_uninitialized(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store, open_sdk: OpenSdk, dynamodb: DynamoDb
) -> None:
    incomplete_write(store, dynamodb, *flags(1))
    answer = app.post("/evaluate", USER)
    assert (answer.status_code, "never filled" in answer.json_body["Message"]) == (503, True)
    launchdarkly.replace(by_key(*flags(1)))
    app.webhook()
    assert versions(app) == all_at(1)
    with open_sdk(use_ldd=True) as client:
        assert len(evaluated_by(client, USER)) == 60


def test_a_refresh_over_a_filled_store_never_takes_its_marker_away(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store, dynamodb: DynamoDb, store_environment: Environment
) -> None:
    launchdarkly.replace(by_key(*flags(1)))
    app.webhook()
    marker = {"S": "launchdarkly:$inited"}
    seen: list[bool] = []

    def watches(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        answer = forward(request)
        found = dynamodb.client().get_item(
            TableName=store_environment["DYNAMODB_TABLE"], Key={"namespace": marker, "key": marker}
        )
        seen.append("Item" in found)
        return answer

    dynamodb.fault = watches
    launchdarkly.replace(by_key(*flags(2)[:30]), by_key(segment("new")))
    app.webhook()
    assert seen == [True] * len(seen)
    assert dynamodb.operations.count("BatchWriteItem") > 2


# Reads.


def test_readers_never_see_a_mix_while_flags_and_segments_are_replaced(
    open_another: OpenStore, store: Store, dynamodb: DynamoDb
) -> None:
    states = [
        data_set(*(boolean_flag(f"{name}-{number}") for number in range(40)), segments=(segment(name),))
        for name in ("a", "b")
    ]
    revisions = {record_of(state).revision: {kind: set(state[kind]) for kind in KINDS} for state in states}
    write(store, states[0])
    readers = [Snapshots(open_another().reader, 15.0) for _ in range(3)]
    for reader in readers:
        reader.current()
    done = threading.Event()

    def replace_again_and_again() -> None:
        for turn in range(12):
            write(store, states[(turn + 1) % 2])
        done.set()

    writer = threading.Thread(target=replace_again_and_again)
    writer.start()
    reads = 0
    while not done.is_set() or reads < 300:
        for reader in readers:
            snapshot = reader.current()
            assert keys_of(snapshot) == revisions[snapshot.revision]
            reads += 1
    writer.join()
    assert {reader.current().revision for reader in readers} == {record_of(states[0]).revision}


def keys_of(snapshot: Snapshot) -> dict[str, set[str]]:
    return {kind.namespace: set(snapshot.feature_store.all(kind)) for kind in (FEATURES, SEGMENTS)}


def test_nobody_waits_for_a_write_in_progress(
    app: App, load_app: LoadApp, environment: Environment, store: Store, dynamodb: DynamoDb
) -> None:
    write(store, data_set(*flags(1)))
    assert versions(app) == all_at(1)
    incomplete_write(store, dynamodb, *flags(2))
    dynamodb.operations.clear()
    assert versions(app) == all_at(1)
    assert dynamodb.operations == ["GetItem"]
    assert versions(load_app(environment)) == all_at(1)
    assert dynamodb.operations == ["GetItem", "BatchGetItem"], "a cold function reads the sync record and the snapshot"


def processes_nothing_of_a_batch(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
    if asked != "BatchGetItem":
        return forward(request)
    return 200, {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}


@pytest.mark.parametrize("fault", ["newer", "damaged", "forbidden", "unprocessed"])
def test_a_cold_function_that_does_not_get_its_snapshot_with_the_sync_record_asks_for_it(
    fault: str, store: Store, open_another: OpenStore, dynamodb: DynamoDb
) -> None:
    write(store, data_set(*flags(1)))
    writer: Any = store.writer
    if fault in ("newer", "damaged"):
        record = store.reader.read_sync_record()
        assert record is not None
        revision = {"revision": {"S": "newer" if fault == "newer" else record.revision}}
        put = writer._table.put_data_request("$current", "launchdarkly:$current", b"another", **revision)
        writer._table.batch_write([put])
    elif fault == "forbidden":
        dynamodb.fault = fails("BatchGetItem", "AccessDeniedException")
    else:
        dynamodb.fault = processes_nothing_of_a_batch
    dynamodb.operations.clear()
    stored = open_another().reader.read_snapshot(None, None)
    assert stored is not None
    assert {key: json.loads(text) for key, text in stored.texts["features"].items()} == by_key(*flags(1))
    asked = ["GetItem"] if fault in ("newer", "damaged") else ["GetItem", "GetItem"]
    assert dynamodb.operations == ["BatchGetItem", *asked]


def test_a_store_that_is_away_is_answered_from_memory_until_it_is_back(
    app: App, load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app.webhook()
    fresh = app.post("/evaluate", USER)
    dynamodb.stop()
    stale = app.post("/evaluate", USER)
    assert (stale.status_code, stale.json_body, stale.headers["X-Flags-Stale"]) == (200, fresh.json_body, "true")
    refused = app.post("/webhook", {"kind": "flag"})
    assert refused.status_code == 503
    assert refused.json_body["Message"] == "DynamoDB cannot be reached (ConnectionRefusedError)."
    cold = load_app(environment).post("/evaluate", USER)
    assert cold.status_code == 503
    assert cold.json_body["Message"] == "DynamoDB cannot be reached (ConnectionRefusedError)."

    dynamodb.resume()
    launchdarkly.put_flag(boolean_flag("shiny", 2))
    load_app(environment).webhook()
    eventually(lambda: app.evaluate(USER)["shiny"]["version"] == 2)
    assert "X-Flags-Stale" not in app.post("/evaluate", USER).headers


def test_a_store_that_is_slow_is_given_up_and_answered_from_memory(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app = load_app(environment, Timing())
    app.webhook()
    fresh = app.evaluate(USER)
    dynamodb.delay_seconds = 20.0  # the answers that would come then are right
    stale = app.post("/evaluate", USER)
    assert (stale.status_code, stale.json_body, stale.headers["X-Flags-Stale"]) == (200, fresh, "true")
    cold = load_app(environment, Timing()).post("/evaluate", USER)
    assert cold.status_code == 503
    assert cold.json_body["Message"] == "DynamoDB did not answer in time."


def test_a_connection_that_died_is_replaced_unseen(
    app: App, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app.webhook()
    for _ in range(3):
        dynamodb.stop()
        dynamodb.resume()
        answer = app.post("/evaluate", USER)
        assert (answer.status_code, answer.headers.get("X-Flags-Stale")) == (200, None)


def test_a_read_that_is_throttled_once_is_fresh_and_one_that_stays_throttled_is_stale(
    app: App, load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app.webhook()
    app.evaluate(USER)
    dynamodb.fault = fails("GetItem", "ProvisionedThroughputExceededException", times=1)
    assert "X-Flags-Stale" not in app.post("/evaluate", USER).headers
    dynamodb.fault = fails("GetItem", "ProvisionedThroughputExceededException")
    assert app.post("/evaluate", USER).headers["X-Flags-Stale"] == "true"
    dynamodb.fault = fails("BatchGetItem", "ProvisionedThroughputExceededException")
    cold = load_app(environment).post("/evaluate", USER)
    assert cold.status_code == 503
    assert cold.json_body["Message"] == ("DynamoDB is throttling requests: ProvisionedThroughputExceededException.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, "Log in to the guest network"), "The answer to a request to DynamoDB is not DynamoDB's."),
        ((503, "Slow down"), "DynamoDB refused BatchGetItem: HTTP 503."),
        ((413, {"message": "Too large"}), "DynamoDB refused BatchGetItem: HTTP 413."),
    ],
)
def test_an_answer_that_is_not_dynamodbs_is_no_empty_store(
    app: App,
    load_app: LoadApp,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    dynamodb: DynamoDb,
    answer: Answer,
    message: str,
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app.webhook()
    app.evaluate(USER)
    dynamodb.fault = lambda asked, request, forward: answer
    assert app.post("/evaluate", USER).headers["X-Flags-Stale"] == "true"
    cold = load_app(environment).post("/evaluate", USER)
    assert (cold.status_code, cold.json_body["Message"]) == (503, message)


# Refusals.


@pytest.mark.parametrize("operation", ["GetItem", "Query", "UpdateItem", "BatchWriteItem"])
def test_a_refusal_names_the_operation_and_the_code_and_no_account(
    app: App,
    launchdarkly: FakeLaunchDarkly,
    store: Store,
    store_environment: Environment,
    dynamodb: DynamoDb,
    operation: str,
) -> None:
    write(store, data_set(boolean_flag("shiny", 1)))
    # Without its snapshot, so that evaluations read the items.
    for name in ("$snapshot", "$current"):
        dynamodb.delete_namespace(store_environment["DYNAMODB_TABLE"], f"launchdarkly:{name}")
    launchdarkly.replace(by_key(boolean_flag("shiny", 2)))
    dynamodb.fault = fails(operation, "AccessDeniedException")
    expected = {
        "Code": "ServiceUnavailableError",
        "Message": f"DynamoDB refused {operation}: AccessDeniedException.",
    }
    webhook = app.post("/webhook", {"kind": "flag"})
    assert (webhook.status_code, webhook.json_body) == (503, expected)
    if operation in ("GetItem", "Query"):
        evaluation = app.post("/evaluate", USER)
        assert (evaluation.status_code, evaluation.json_body) == (503, expected)


def test_a_table_that_does_not_exist_is_a_503_that_says_so(load_app: LoadApp, environment: Environment) -> None:
    app = load_app({**environment, "DYNAMODB_TABLE": "elsewhere"})
    for path in ("/evaluate", "/webhook"):
        answer = app.post(path, {"kind": "flag", "key": "anna"})
        assert (answer.status_code, answer.json_body["Message"]) == (
            503,
            "The table that DYNAMODB_TABLE names does not exist in this account and region.",
        )


def test_the_aws_sdk_reads_where_access_is_not_plain(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app = load_app({**environment, "AWS_USE_DUALSTACK_ENDPOINT": "false"})
    app.webhook()
    fresh = app.evaluate(USER)
    assert fresh == {"shiny": {"value": True, "variation": 0, "version": 1}}
    dynamodb.stop()
    assert app.post("/evaluate", USER).headers["X-Flags-Stale"] == "true"


def test_the_aws_sdk_keeps_its_connection_for_a_minute_and_no_longer(
    environment: Environment, dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    for timing, opened in ((Timing(), 1), (Timing(connection_seconds=0.0), 3)):
        with contextlib.closing(Proxy(dynamodb.port)) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
            table = Table(sdk_read_call(timing), environment["DYNAMODB_TABLE"], "launchdarkly")
            assert [table.has("$inited") for _ in range(3)] == [False] * 3
            assert proxy.connections == opened


@pytest.mark.parametrize("missing", ["AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"])
def test_aws_that_is_not_configured_is_a_503_and_the_log_says_what_is_missing(
    load_app: LoadApp, environment: Environment, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    without = {name: value for name, value in environment.items() if name != missing}
    app = load_app({**without, "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"})
    answer = app.post("/evaluate", USER)
    assert answer.status_code == 503
    assert "not configured correctly" in answer.json_body["Message"]
    assert "DYNAMODB_TABLE is set, but AWS is not configured: " in caplog.text


# Writers that die.

STAGES = [
    (operation, number, applied)
    for operation, number in [
        ("UpdateItem", 2),  # renews the lock; the first one takes it
        ("UpdateItem", 3),  # announces the write
        ("BatchWriteItem", 1),
        ("BatchWriteItem", 2),
        ("BatchWriteItem", 3),
        ("UpdateItem", 4),  # the new record
    ]
    for applied in (False, True)
]


class Ambush:
    """Holds the ``number``-th request of an operation, before or after it is applied, until it is released."""

    def __init__(self, operation: str, number: int, applied: bool) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()
        self._operation, self._number, self._applied = operation, number, applied
        self._count = 0

    def __call__(self, asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        self._count += asked == self._operation
        if asked != self._operation or self._count != self._number:
            return forward(request)
        if self._applied:
            forward(request)
        self.reached.set()
        self.released.wait(120)
        return error("InternalServerError")


@pytest.mark.parametrize(("operation", "number", "applied"), STAGES)
def test_a_refresh_that_is_killed_leaves_a_store_that_serves_and_that_the_next_completes(
    app: App,
    load_app: LoadApp,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    dynamodb: DynamoDb,
    open_sdk: OpenSdk,
    operation: str,
    number: int,
    applied: bool,
) -> None:
    launchdarkly.replace(by_key(*flags(1)))
    app.invoke("reconcile", {})
    assert versions(app) == all_at(1)
    launchdarkly.replace(by_key(*flags(2)))
    ambush = Ambush(operation, number, applied)
    dynamodb.fault = ambush
    with ForkedProcess(reconcile_once, environment) as process:
        assert ambush.reached.wait(60)
        process.kill()
    ambush.released.set()
    dynamodb.fault = None

    is_done = (operation, number, applied) == ("UpdateItem", 4, True)
    assert versions(app) == all_at(2 if is_done else 1)
    assert versions(load_app(environment)) == all_at(2 if is_done else 1)
    with open_sdk(use_ldd=True) as client:  # which reads the items
        evaluated = {key: flag["version"] for key, flag in evaluated_by(client, USER).items()}
    assert set(evaluated) == set(KEYS)
    assert set(evaluated.values()) <= {1, 2}

    free_the_lock(dynamodb, environment)
    assert app.invoke("reconcile", {})["changed"] is not is_done
    assert versions(app) == versions(load_app(environment)) == all_at(2)


def free_the_lock(dynamodb: DynamoDb, environment: Environment) -> None:
    """What time does, which has a test of its own."""
    key = {"S": "launchdarkly:$sync"}
    dynamodb.client().update_item(
        TableName=environment["DYNAMODB_TABLE"],
        Key={"namespace": key, "key": key},
        UpdateExpression="REMOVE lock_owner, lock_expires",
    )


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_without_the_time_of_dynamodb_no_lock_is_taken(date: str) -> None:
    """A proxy may have taken the Date from the answer, or the rest of it."""
    answer = {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}
    table = WritableTable(lambda operation, request, within_seconds=0.0: answer, "flags", "launchdarkly")
    with pytest.raises(StoreUnavailable, match="is not DynamoDB's"):
        table.try_lock("$sync", "a", LOCK_SECONDS)


# What an evaluation loads.


def test_evaluating_from_dynamodb_loads_nothing_of_the_aws_sdk(
    app: App, launchdarkly: FakeLaunchDarkly, environment: Environment
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app.webhook()
    script = """if True:
        import app, json, sys
        flags = app.on_event({"kind": "user", "key": "anna"}, None)["flags"]
        loaded = [name for name in sys.modules if name.partition(".")[0] in ("boto3", "botocore", "s3transfer")]
        print(json.dumps([flags, loaded]))
    """
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(run.stdout) == [{"shiny": {"value": True, "variation": 0, "version": 1}}, []]
