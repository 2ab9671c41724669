"""LaunchDarkly's own format in DynamoDB, judged by the SDK's own DynamoDB store in daemon mode."""

from __future__ import annotations

import pytest

from tests.stores.conftest import OpenSdk, evaluated_by, over_store
from tests.stores.test_interoperability import PREFIXES, data
from tests.support.app import App, Environment, LoadApp
from tests.support.data import EXAMPLE_CONTEXTS, boolean_flag, by_key, segment
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.waiting import eventually

USER = {"kind": "user", "key": "anna"}


@pytest.fixture
def store_environment(dynamodb_environment: Environment) -> Environment:
    return dynamodb_environment


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    return over_store(environment, store_environment)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_sdk_evaluates_what_we_wrote_exactly_as_we_do(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, open_sdk: OpenSdk, prefix: str
) -> None:
    launchdarkly.replace(**data())
    app = load_app({**environment, "STORE_PREFIX": prefix})
    app.webhook()
    with open_sdk(prefix, use_ldd=True) as client:
        for context in EXAMPLE_CONTEXTS:
            assert app.evaluate(context, "?withReasons=true") == evaluated_by(client, context)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_we_evaluate_what_the_sdk_wrote_exactly_as_it_does(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, open_sdk: OpenSdk, prefix: str
) -> None:
    launchdarkly.replace(**data())
    app = load_app({**environment, "STORE_PREFIX": prefix})
    with open_sdk(prefix, stream_uri=launchdarkly.uri) as client:
        eventually(client.is_initialized)
        for context in EXAMPLE_CONTEXTS:
            answer = app.post("/evaluate?withReasons=true", context)
            assert answer.json_body == evaluated_by(client, context)
            assert "X-Flags-Synced-At" not in answer.headers


def test_a_table_that_sdks_use_without_a_prefix_is_shared(
    load_app: LoadApp,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    open_sdk: OpenSdk,
    dynamodb: DynamoDb,
) -> None:
    launchdarkly.replace(**data())
    app = load_app({**environment, "STORE_PREFIX": "none"})
    with open_sdk("", stream_uri=launchdarkly.uri) as client:
        eventually(client.is_initialized)
        assert app.evaluate(USER, "?withReasons=true") == evaluated_by(client, USER)
    launchdarkly.put_flag(boolean_flag("new", 1))
    app.webhook()
    with open_sdk("", use_ldd=True) as client:
        assert "new" in evaluated_by(client, USER)
        assert app.evaluate(USER, "?withReasons=true") == evaluated_by(client, USER)
    namespaces = {item["namespace"]["S"] for item in dynamodb.items(environment["DYNAMODB_TABLE"])}
    assert namespaces == {"features", "segments", "$inited", "$sync", "$refresh", "$snapshot", "$current"}


def test_we_take_over_a_table_that_the_sdk_filled(
    app: App, launchdarkly: FakeLaunchDarkly, open_sdk: OpenSdk, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(boolean_flag("old"), boolean_flag("shiny", 1)))
    with open_sdk(stream_uri=launchdarkly.uri) as client:
        eventually(client.is_initialized)
    launchdarkly.replace(by_key(boolean_flag("shiny", 2)), by_key(segment("new")))
    assert app.webhook()["changed"] is True
    assert set(app.evaluate(USER)) == {"shiny"}
    with open_sdk(use_ldd=True) as client:
        assert set(evaluated_by(client, USER)) == {"shiny"}


def test_the_deleted_flags_of_an_sdk_are_no_flags(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    load_app(environment).webhook()
    for key, text in (("deleted", '{"key": "deleted", "version": 9, "deleted": true}'), ("without-text", None)):
        item = {"namespace": {"S": "launchdarkly:features"}, "key": {"S": key}, "version": {"N": "9"}}
        dynamodb.client().put_item(
            TableName=environment["DYNAMODB_TABLE"], Item={**item, **({"item": {"S": text}} if text else {})}
        )
    assert set(load_app(environment).evaluate(USER)) == {"shiny"}


def test_apps_with_different_prefixes_share_a_table(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, open_sdk: OpenSdk
) -> None:
    for prefix in ("blue", "{green}"):
        launchdarkly.replace(by_key(boolean_flag(f"of-{prefix}")))
        load_app({**environment, "STORE_PREFIX": prefix}).webhook()
    for prefix in ("blue", "{green}"):
        app = load_app({**environment, "STORE_PREFIX": prefix})
        assert set(app.evaluate(USER)) == {f"of-{prefix}"}
        with open_sdk(prefix, use_ldd=True) as client:
            assert set(evaluated_by(client, USER)) == {f"of-{prefix}"}


def test_every_item_has_launchdarklys_attributes_and_no_others(
    app: App, launchdarkly: FakeLaunchDarkly, dynamodb: DynamoDb, store_environment: Environment
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 3)), by_key(segment("testers", 4)))
    app.webhook()
    table = store_environment["DYNAMODB_TABLE"]
    items = {item["namespace"]["S"]: item for item in dynamodb.items(table)}
    assert set(items) == {
        f"launchdarkly:{name}"
        for name in ("features", "segments", "$inited", "$sync", "$refresh", "$snapshot", "$current")
    }
    assert items["launchdarkly:$inited"] == {
        "namespace": {"S": "launchdarkly:$inited"},
        "key": {"S": "launchdarkly:$inited"},
    }
    flag = items["launchdarkly:features"]
    assert (set(flag), flag["key"], flag["version"]) == (
        {"namespace", "key", "version", "item"},
        {"S": "shiny"},
        {"N": "3"},
    )
    assert items["launchdarkly:segments"]["version"] == {"N": "4"}
