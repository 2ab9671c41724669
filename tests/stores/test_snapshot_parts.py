"""A snapshot that is larger than an item of DynamoDB may be: it is read whole, in few requests, and of one revision."""

from __future__ import annotations

import base64
import functools
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.data_set import DataSet, texts_of
from chalicelib.errors import StoreUnavailable
from chalicelib.stores import packing
from chalicelib.stores.dynamodb import table, writer
from tests.stores.test_dynamodb_faults import fails
from tests.stores.test_store_contract import LOCK_SECONDS, NOTHING, data_set, record_of, write
from tests.support.app import Environment
from tests.support.data import boolean_flag, segment
from tests.support.dynamodb import Answer, DynamoDb, Fault, Json, error
from tests.support.stores import Store, open_store

CURRENT = "launchdarkly:$current"
FLAGS_OF = {1: 1, 2: 3, 3: 5, 4: 6}
"""How many flags make a snapshot of so many parts."""


REAL_PART_BYTES = table.PART_BYTES
PART_BYTES = 19 * 1024
"""Of the parts here: a twentieth of what they are, but for one test."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (table, writer):
        monkeypatch.setattr(module, "PART_BYTES", PART_BYTES)


@functools.cache
def flags_of(parts: int, version: int = 1) -> DataSet:
    """A data set whose snapshot has so many parts. Its descriptions are random, so that zlib cannot shorten them."""
    chance = random.Random(version)
    descriptions = (base64.b64encode(chance.randbytes(11_000)).decode() for _ in itertools.count())
    flags = (boolean_flag(f"flag-{n}", version, description=next(descriptions)) for n in range(FLAGS_OF[parts]))
    return data_set(*flags, segments=(segment("testers", version),))


on_dynalite = pytest.mark.parametrize("emulator", ["dynamodb"])
"""The quick one alone."""


@pytest.fixture(params=["dynamodb", "moto"])
def emulator(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def dynamodb(emulator: str, request: pytest.FixtureRequest) -> Iterator[DynamoDb]:
    server: DynamoDb = request.getfixturevalue(f"{emulator}_server")
    server.reset()
    yield server
    server.reset()


@pytest.fixture
def store_environment(emulator: str, request: pytest.FixtureRequest) -> Environment:
    environment: Environment = request.getfixturevalue(f"{emulator}_environment")
    return environment


@pytest.fixture
def cold_read(dynamodb: DynamoDb, store_environment: Environment) -> Callable[[], str]:
    """Reads as a cold function does, past the proxy; the revision, of which it has found all texts and no others."""
    host, port = dynamodb.emulator_address
    direct = {**store_environment, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    return lambda: revision_read(open_store(direct))


def revision_read(store: Store) -> str:
    found = store.reader.read_snapshot(None, None)
    assert found is not None
    assert found.record is not None
    assert record_of(found.items()).revision == found.record.revision
    return found.record.revision


def copies_in(dynamodb: DynamoDb, store_environment: Environment) -> dict[str, str]:
    """The revision of each part in ``$current``, by its sort key."""
    items = dynamodb.items(store_environment["DYNAMODB_TABLE"])
    return {item["key"]["S"]: item["revision"]["S"] for item in items if item["namespace"]["S"] == CURRENT}


def current_keys(parts: int) -> list[str]:
    return [CURRENT, "1"][:parts]


def revision_of(data: DataSet) -> str:
    return record_of(data).revision


def test_parts_of_the_real_size_fit_into_items(
    store: Store, open_another: Callable[[], Store], dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (table, writer):
        monkeypatch.setattr(module, "PART_BYTES", REAL_PART_BYTES)
    description = base64.b64encode(random.Random(1).randbytes(600_000)).decode()
    data = data_set(*(boolean_flag(f"flag-{n}", 1, description=description[n::2]) for n in range(2)))
    write(store, data)
    dynamodb.operations.clear()
    assert revision_read(open_another()) == revision_of(data)
    assert dynamodb.operations == ["BatchGetItem"]


@pytest.mark.parametrize("parts", FLAGS_OF)
def test_a_cold_start_reads_two_parts_with_the_sync_record_and_each_other_one_by_itself(
    store: Store, open_another: Callable[[], Store], dynamodb: DynamoDb, parts: int
) -> None:
    write(store, flags_of(parts))
    dynamodb.operations.clear()
    found = open_another().reader.read_snapshot(None, None)
    assert dynamodb.operations == ["BatchGetItem", *["GetItem"] * (parts - 2)]
    assert found is not None
    assert found.texts == texts_of(flags_of(parts))


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2), (3, 1), (3, 2)])
def test_current_holds_parts_of_the_last_snapshot_and_no_others(
    store: Store, dynamodb: DynamoDb, store_environment: Environment, before: int, after: int
) -> None:
    for parts, version in ((before, 1), (after, 2)):
        data = flags_of(parts, version)
        write(store, data)
        assert copies_in(dynamodb, store_environment) == dict.fromkeys(current_keys(parts), revision_of(data))


def test_each_part_is_written_once_in_a_request_of_its_own(store: Store, dynamodb: DynamoDb) -> None:
    requests: list[list[str]] = []

    def seen(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        if asked == "BatchWriteItem":
            ((_, batch),) = request["RequestItems"].items()
            if any("$snapshot" in line(each) for each in batch):
                requests.append([line(each) for each in batch])
        return forward(request)

    def line(request: Json) -> str:
        ((action, of),) = request.items()
        key = of.get("Item") or of["Key"]
        return f"{action} {key['namespace']['S'].partition(':')[2]} {key['key']['S'].rpartition('/')[2]}"

    dynamodb.fault = seen
    for parts in (3, 1):
        write(store, flags_of(parts))
    assert requests == [
        ["PutRequest $snapshot 0", f"PutRequest $current {CURRENT}"],
        ["PutRequest $snapshot 1", "PutRequest $current 1"],
        ["PutRequest $snapshot 2"],
        ["DeleteRequest $current 1", "PutRequest $snapshot 0", f"PutRequest $current {CURRENT}"],
    ]


def processes_all_but(*unprocessed: str) -> Fault:
    """Of a BatchGetItem, DynamoDB does not come to what has these sort keys."""

    def fault(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        if asked != "BatchGetItem":
            return forward(request)
        ((name, wanted),) = request["RequestItems"].items()
        left = [key for key in wanted["Keys"] if key["key"]["S"] in unprocessed]
        done = [key for key in wanted["Keys"] if key not in left]
        _, answer = forward({"RequestItems": {name: {**wanted, "Keys": done}}})
        return 200, {**answer, "UnprocessedKeys": {name: {**wanted, "Keys": left}}}

    return fault


FAULTS: dict[str, tuple[Fault, int]] = {
    "forbidden": (fails("BatchGetItem", "AccessDeniedException"), 3),
    "without the record": (processes_all_but("launchdarkly:$sync"), 3),
    "without the first part": (processes_all_but(CURRENT), 1),
    "without the second part": (processes_all_but("1"), 1),
    "with the record alone": (processes_all_but(CURRENT, "1"), 2),
}


@on_dynalite
@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_come_with_the_sync_record_is_asked_for(
    store: Store, open_another: Callable[[], Store], dynamodb: DynamoDb, fault: str
) -> None:
    write(store, flags_of(2))
    dynamodb.fault, requests = FAULTS[fault]
    dynamodb.operations.clear()
    assert revision_read(open_another()) == revision_of(flags_of(2))
    assert dynamodb.operations == ["BatchGetItem", *["GetItem"] * requests]


NEWER, DAMAGED, OF_ANOTHER_TYPE = {"revision": {"S": "newer"}}, {"data": {"B": b"damaged"}}, {"data": {"S": "text"}}


@on_dynalite
@pytest.mark.parametrize(
    ("left", "requests"),
    [
        ({CURRENT: NEWER}, 1),
        ({"1": NEWER}, 1),
        ({CURRENT: NEWER, "1": NEWER}, 2),
        ({CURRENT: None}, 1),
        ({"1": None}, 1),
        ({CURRENT: OF_ANOTHER_TYPE}, 1),
        ({"1": OF_ANOTHER_TYPE}, 1),
        ({CURRENT: DAMAGED}, 2),
        ({"1": DAMAGED}, 2),
    ],
)
def test_what_is_not_the_records_is_read_where_the_record_says_until_the_next_refresh(
    store: Store,
    open_another: Callable[[], Store],
    dynamodb: DynamoDb,
    store_environment: Environment,
    left: dict[str, Json | None],
    requests: int,
) -> None:
    write(store, flags_of(2))
    for key, attributes in left.items():
        change_copy(dynamodb, store_environment, key, attributes)
    dynamodb.operations.clear()
    assert revision_read(open_another()) == revision_of(flags_of(2))
    assert dynamodb.operations == ["BatchGetItem", *["GetItem"] * requests]

    write(store, flags_of(2))
    dynamodb.operations.clear()
    assert revision_read(open_another()) == revision_of(flags_of(2))
    assert dynamodb.operations == ["BatchGetItem"]


@on_dynalite
def test_a_second_part_that_belongs_to_nothing_goes_with_the_next_refresh(
    store: Store, dynamodb: DynamoDb, store_environment: Environment, earlier: Callable[..., Any]
) -> None:
    write(store, flags_of(2))
    earlier(write, store, flags_of(1, 2))
    assert set(copies_in(dynamodb, store_environment)) == {CURRENT, "1"}
    write(store, flags_of(1, 2))
    assert copies_in(dynamodb, store_environment) == {CURRENT: revision_of(flags_of(1, 2))}


@on_dynalite
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_refresh_that_changes_nothing_writes_no_part(store: Store, dynamodb: DynamoDb, parts: int) -> None:
    write(store, flags_of(parts))
    dynamodb.operations.clear()
    write(store, flags_of(parts))
    assert "BatchWriteItem" not in dynamodb.operations


def change_copy(dynamodb: DynamoDb, store_environment: Environment, key: str, attributes: Json | None) -> None:
    """Give a part in ``$current`` these attributes; None takes it away."""
    name, where = store_environment["DYNAMODB_TABLE"], {"namespace": {"S": CURRENT}, "key": {"S": key}}
    item = dynamodb.client().get_item(TableName=name, Key=where)["Item"]
    if attributes is None:
        dynamodb.client().delete_item(TableName=name, Key=where)
    else:
        dynamodb.client().put_item(TableName=name, Item={**item, **attributes})


# While it is written.

SIZES = [(2, 2), (1, 2), (2, 1), (3, 2)]
"""Parts before a write, and after it."""


@on_dynalite
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_at_every_moment_of_a_write_a_cold_start_reads_one_revision(
    store: Store, dynamodb: DynamoDb, cold_read: Callable[[], str], before: int, after: int
) -> None:
    old, new = flags_of(before, 1), flags_of(after, 2)
    write(store, old)
    seen: list[str] = []

    def looked_at(_: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        seen.append(cold_read())
        answer = forward(request)
        seen.append(cold_read())
        return answer

    dynamodb.fault = looked_at
    write(store, new)
    assert [revision for revision, _ in itertools.groupby(seen)] == [revision_of(old), revision_of(new)]


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("applied", [False, True])
@on_dynalite
def test_a_writer_that_dies_at_any_batch_leaves_a_store_that_serves_and_that_the_next_completes(
    store: Store,
    dynamodb: DynamoDb,
    store_environment: Environment,
    cold_read: Callable[[], str],
    before: int,
    after: int,
    applied: bool,
) -> None:
    old, new = flags_of(before, 1), flags_of(after, 2)
    write(store, old)
    for batch in itertools.count(1):
        if not dies_at(batch, applied, store, dynamodb, new):
            break
        assert cold_read() == revision_of(old)
        write(store, old)
        assert cold_read() == revision_of(old)
    assert batch > after, "it died at each part"
    assert cold_read() == revision_of(new)
    assert copies_in(dynamodb, store_environment) == dict.fromkeys(current_keys(after), revision_of(new))


def dies_at(batch: int, applied: bool, store: Store, dynamodb: DynamoDb, new: DataSet) -> bool:
    """Whether a refresh comes to this batch, and ends with it, for all that the store is told."""
    batches = itertools.count(1)

    def fault(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        if asked != "BatchWriteItem" or next(batches) != batch:
            return forward(request)
        if applied:
            forward(request)
        return error("AccessDeniedException")

    dynamodb.fault = fault
    try:
        assert store.writer.try_lock("unlucky", LOCK_SECONDS)
        with store.writer.update("unlucky", LOCK_SECONDS) as update:
            update.commit(new, record_of(new), NOTHING)
    except StoreUnavailable:
        return True
    finally:
        dynamodb.fault = None
        store.writer.unlock("unlucky")
    return False


@on_dynalite
def test_readers_never_see_a_mix_of_parts_while_snapshots_are_replaced(
    store: Store, cold_read: Callable[[], str]
) -> None:
    states = [flags_of(2, 1), flags_of(2, 2), flags_of(1, 3), flags_of(3, 4)]
    write(store, states[0])
    done = threading.Event()

    def replace_again_and_again() -> None:
        try:
            for turn in range(1, 25):
                write(store, states[turn % len(states)])
        finally:
            done.set()

    thread = threading.Thread(target=replace_again_and_again)
    thread.start()
    seen = set()
    while not done.is_set():
        seen.add(cold_read())
    thread.join()
    assert cold_read() == revision_of(states[0])
    assert len(seen) > 1
    assert seen <= {revision_of(state) for state in states}


# Beside a version of the app that knows the first part alone.


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs something as that version does."""

    def run(work: Callable[..., Any], *arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(table, "CURRENT_PARTS", 1)
            return work(*arguments)

    return run


@on_dynalite
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_what_an_earlier_version_has_written_is_read_beside_a_second_part_that_it_has_left(
    store: Store,
    open_another: Callable[[], Store],
    dynamodb: DynamoDb,
    store_environment: Environment,
    earlier: Callable[..., Any],
    before: int,
    after: int,
) -> None:
    old, new = flags_of(before, 1), flags_of(after, 2)
    write(store, old)
    earlier(write, store, new)
    left = dict.fromkeys(current_keys(before)[1:], revision_of(old))
    assert copies_in(dynamodb, store_environment) == {CURRENT: revision_of(new), **left}
    dynamodb.operations.clear()
    assert revision_read(open_another()) == revision_of(new)
    assert dynamodb.operations == ["BatchGetItem", *["GetItem"] * (after - 1)]


@on_dynalite
@pytest.mark.parametrize("parts", FLAGS_OF)
def test_an_earlier_version_reads_what_this_one_has_written(
    store: Store,
    open_another: Callable[[], Store],
    dynamodb: DynamoDb,
    earlier: Callable[..., Any],
    parts: int,
) -> None:
    write(store, flags_of(parts))
    dynamodb.operations.clear()
    assert earlier(revision_read, open_another()) == revision_of(flags_of(parts))
    assert dynamodb.operations == ["BatchGetItem", *["GetItem"] * (parts - 1)]


@on_dynalite
def test_a_second_part_of_the_same_revision_that_was_packed_otherwise_is_not_taken(
    store: Store,
    open_another: Callable[[], Store],
    dynamodb: DynamoDb,
    earlier: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A change, and back, by an earlier version whose blocks are smaller."""
    write(store, flags_of(2, 1))
    monkeypatch.setattr(packing, "_BLOCK_BYTES", 4 * 1024)
    for version in (2, 1):
        earlier(write, store, flags_of(2, version))
    dynamodb.operations.clear()
    assert revision_read(open_another()) == revision_of(flags_of(2, 1))
    assert dynamodb.operations == ["BatchGetItem", "GetItem", "GetItem"]
