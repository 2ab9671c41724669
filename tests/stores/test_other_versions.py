"""What another version of the app, or anybody else, has left where our records are: it holds up no refresh."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from chalicelib.timing import Timing
from tests.stores.conftest import over_store
from tests.support.app import App, Environment, LoadApp
from tests.support.data import ANNA, boolean_flag, by_key
from tests.support.dynamodb import Answer, DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.stores import wiring_of
from tests.support.webhooks import flag_entry

Json = dict[str, Any]

BRIEF = Timing(lock_seconds=1.5, settle_seconds=0.1, quiet_seconds=0.1)
FAR_AWAY = 2**33
RECORDS: dict[str, object] = {
    "no JSON": "{",
    "a list": [],
    "a number": 7,
    "without fields": {},
    "of other types": {"revision": 7, "synced_at": "today", "flags": None, "segments": [], "source": {}},
    "from far away": {"revision": "r", "synced_at": 10**40, "flags": 1, "segments": 0, "source": "launchdarkly"},
    **{
        f"{name} {value!r:.30}": {
            "revision": "r",
            "synced_at": 1_700_000_000_000,
            "flags": 1,
            "segments": 0,
            "source": "launchdarkly",
            name: value,
        }
        for name, value in [
            ("something", {"new": [1]}),
            ("left_out", {"features": 2}),
            ("unreadable", "many"),
            ("doubted", {"features": {"shiny": 1}}),
            ("doubted", [["features"], "shiny", 7, None, ["features", "shiny", "1"], [[], {}, []]]),
            ("doubted", [["experiments", "shiny", 1], ["features", "shiny", 1, "and more"]]),
            ("snapshot", "newest"),
            ("snapshot", {"format": 99, "size": 10, "changes_from": None, "codec": "zstd"}),
            ("snapshot", {"format": "two", "size": "large", "changes_from": 7}),
            ("snapshot", {"format": 1, "size": 10**15, "changes_from": None}),
            ("snapshot", {"format": 1, "size": 10, "changes_from": "nothing"}),
        ]
    },
}
ENTRIES = {
    "no JSON": "{",
    "a number": "7",
    "a text": '"later"',
    "nested too deep": "[" * 100_000,
    "one field more": '{"kind": "features", "key": "shiny", "version": 1, "at": 5}',
    "another kind": '{"kind": "experiments", "key": "shiny", "version": 1}',
}


def text_of(record: object) -> str:
    return record if isinstance(record, str) else json.dumps(record)


def assert_refreshes(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    """By a webhook and by a reconcile, both evaluated."""
    for version in (2, 3):
        launchdarkly.put_flag(boolean_flag("shiny", version))
        answer = app.webhook(**flag_entry("shiny", version)) if version == 2 else app.invoke("reconcile", {})
        assert answer["status"] == "refreshed"
        assert app.evaluate(ANNA)["shiny"]["version"] == version


@pytest.fixture
def filled_app(load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly) -> App:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app = load_app(environment, BRIEF)
    app.webhook(**flag_entry("shiny", 1))
    return app


# Redis.


def as_list(client: redis.Redis, name: str) -> None:
    client.delete(f"launchdarkly:{name}")
    client.rpush(f"launchdarkly:{name}", "of another type")


def as_text(client: redis.Redis, name: str) -> None:
    client.set(f"launchdarkly:{name}", "of another type")


def as_hash(client: redis.Redis, name: str) -> None:
    client.delete(f"launchdarkly:{name}")
    client.hset(f"launchdarkly:{name}", "of another", "type")


@pytest.mark.parametrize("leave", [as_list, as_text, as_hash])
@pytest.mark.parametrize("name", ["$queue", "$lock", "$sync", "$snapshot", "$changes", "$inited"])
def test_a_key_of_another_type(
    filled_app: App,
    launchdarkly: FakeLaunchDarkly,
    valkey: redis.Redis,
    name: str,
    leave: Callable[[redis.Redis, str], None],
) -> None:
    leave(valkey, name)
    assert_refreshes(filled_app, launchdarkly)


@pytest.mark.parametrize("record", list(RECORDS.values()), ids=list(RECORDS))
def test_a_sync_record_in_redis(
    filled_app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, record: object
) -> None:
    valkey.set("launchdarkly:$sync", text_of(record))
    assert_refreshes(filled_app, launchdarkly)


@pytest.mark.parametrize("entry", list(ENTRIES.values()), ids=list(ENTRIES))
def test_a_webhook_in_the_queue_of_redis(
    filled_app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, entry: str
) -> None:
    valkey.hset("launchdarkly:$queue", "another", entry)
    assert_refreshes(filled_app, launchdarkly)
    assert valkey.hget("launchdarkly:$queue", "another") == '"met"'


# DynamoDB.

VALUES: dict[tuple[str, str], list[Json]] = {
    ("$refresh", "announced"): [{"N": "7"}, {"S": "one"}, {"L": []}, {"NS": ["1"]}],
    ("$refresh", "met"): [{"N": "7"}, {"S": "one"}],
    ("$refresh", "unmet"): [{"M": {}}],
    ("$sync", "item"): [{"N": "7"}, {"M": {}}],
    ("$sync", "lock_owner"): [{"N": "7"}, {"BOOL": True}],
    ("$sync", "lock_expires"): [{"S": "tomorrow"}],
    ("$sync", "writing"): [{"BOOL": True}, {"S": "a revision"}],
    ("$sync", "writes"): [{"S": "many"}, {"N": "1.5"}],
    ("$sync", "superseded"): [
        {"N": "7"},
        {"S": "{"},
        {"S": "[]"},
        {"S": '{"r": [1e999, 1]}'},
        {"S": '{"r": [1000000000000000, 1]}'},
    ],
}
ATTRIBUTES: list[tuple[str, Json]] = [
    *((name, {attribute: value}) for (name, attribute), values in VALUES.items() for value in values),
    ("$sync", {"lock_owner": {"S": "somebody"}, "lock_expires": {"S": "tomorrow"}}),
    ("$sync", {"lock_owner": {"S": "somebody"}, "lock_expires": {"N": "1.5"}}),
    ("$sync", {"lock_owner": {"S": "somebody"}, "lock_expires": {"N": str(FAR_AWAY)}}),
    ("$sync", {"lock_owner": {"N": "7"}, "lock_expires": {"N": str(FAR_AWAY)}}),
    *(("$refresh", {"announced": {"SS": [entry[:1000]]}}) for entry in ENTRIES.values()),
    *(("$refresh", {"announced": {"SS": [f'["another", {entry[:1000]}]']}}) for entry in ENTRIES.values()),
    *(("$sync", {"item": {"S": text_of(record)}}) for record in RECORDS.values()),
    ("$changes", {"data": {"S": "text"}}),
]


@pytest.fixture
def dynamodb_app(
    load_app: LoadApp, environment: Environment, dynamodb_environment: Environment, launchdarkly: FakeLaunchDarkly
) -> App:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app = load_app(over_store(environment, dynamodb_environment))
    app.webhook(**flag_entry("shiny", 1))
    return app


@pytest.mark.parametrize(("name", "attributes"), ATTRIBUTES, ids=[f"{n} {a!r:.60}" for n, a in ATTRIBUTES])
def test_an_attribute_in_dynamodb(
    dynamodb_app: App,
    launchdarkly: FakeLaunchDarkly,
    dynamodb: DynamoDb,
    dynamodb_environment: Environment,
    name: str,
    attributes: Json,
) -> None:
    key = {"S": f"launchdarkly:{name}"}
    dynamodb.client().update_item(
        TableName=dynamodb_environment["DYNAMODB_TABLE"],
        Key={"namespace": key, "key": key},
        UpdateExpression="SET " + ", ".join(f"#{each} = :{each}" for each in attributes),
        ExpressionAttributeNames={f"#{each}": each for each in attributes},
        ExpressionAttributeValues={f":{each}": value for each, value in attributes.items()},
    )
    assert_refreshes(dynamodb_app, launchdarkly)


def test_a_reader_that_knows_no_snapshots_sees_in_a_number_that_items_are_being_replaced(
    dynamodb_app: App, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb, dynamodb_environment: Environment
) -> None:
    key = {"S": "launchdarkly:$sync"}

    def writes() -> int:
        client = dynamodb.client()
        found = client.get_item(TableName=dynamodb_environment["DYNAMODB_TABLE"], Key={"namespace": key, "key": key})
        return int(found["Item"]["writes"]["N"])

    before, during = writes(), set()

    def watch(asked: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        if asked == "BatchWriteItem":
            during.add(writes())
        return forward(request)

    dynamodb.fault = watch
    launchdarkly.put_flag(boolean_flag("shiny", 2))
    dynamodb_app.webhook(**flag_entry("shiny", 2))
    assert during == {before + 1}


@pytest.mark.parametrize("expires", [{"S": "tomorrow"}, {"N": "1.5"}, {"N": str(FAR_AWAY)}])
@pytest.mark.parametrize("owner", [{"N": "7"}, {"BOOL": True}, {"S": "somebody"}])
def test_a_lock_of_the_delivery_that_is_none(
    dynamodb: DynamoDb, dynamodb_environment: Environment, owner: Json, expires: Json
) -> None:
    key = {"S": "launchdarkly:$delivery"}
    item = {"namespace": key, "key": key, "lock_owner": owner, "lock_expires": expires}
    dynamodb.client().put_item(TableName=dynamodb_environment["DYNAMODB_TABLE"], Item=item)
    queue = wiring_of(dynamodb_environment)._event_queue
    assert queue.try_lock("a", 30)
    assert not queue.try_lock("b", 30)
