"""A Redis user who may do what the app does, and nothing else: no scripts, no keys of others."""

from __future__ import annotations

import re

import pytest
import redis
from ldclient.context import Context

from tests.stores.test_interoperability import sdk_client_over, sdk_store
from tests.support.app import App, Environment, LoadApp
from tests.support.big_segments import RedisMembers, big_segment
from tests.support.data import PROJECT, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.parity import MATCH, rule_flag, segment_match
from tests.support.stores import data_set, open_store, refresh_store
from tests.support.valkey import ValkeyServer
from tests.support.webhooks import flag_entry

USER = {"kind": "user", "key": "anna"}


def granted_in_the_readme() -> list[str]:
    """The rule that docs/stores.md tells to give to such a user."""
    return granted_in("docs/stores.md", "flags")


def granted_in(document: str, user: str) -> list[str]:
    rule = re.search(rf"ACL SETUSER {user} on >\S+ (.+)", (PROJECT / document).read_text())
    assert rule is not None
    return re.findall(r"\([^)]*\)|\S+", rule[1])  # a selector, with what stands in its parentheses, is one word


@pytest.fixture
def restricted_app(
    load_app: LoadApp, environment: Environment, own_valkey: ValkeyServer, own_client: redis.Redis
) -> App:
    own_client.execute_command("ACL", "SETUSER", "flags", "on", ">secret", *granted_in_the_readme())
    return load_app(recording(environment, own_valkey))


def recording(environment: Environment, valkey: ValkeyServer) -> Environment:
    """The settings of an app that leaves events at each evaluation, as this user."""
    events = {"EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0"}
    return {**environment, **events, "REDIS_URL": f"redis://flags:secret@127.0.0.1:{valkey.port}"}


def test_the_commands_in_the_readme_suffice(
    restricted_app: App, launchdarkly: FakeLaunchDarkly, own_client: redis.Redis, own_valkey: ValkeyServer
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1), boolean_flag("gone", 1)))
    assert restricted_app.webhook(**flag_entry("shiny", 1))["status"] == "refreshed"
    assert restricted_app.evaluate(USER)["shiny"]["version"] == 1
    launchdarkly.replace(by_key(boolean_flag("shiny", 2)))
    own_client.set("launchdarkly:$lock", "left by somebody", px=300)
    assert restricted_app.webhook(**flag_entry("shiny", 2))["confirmed"] is True
    own_client.delete("launchdarkly:$snapshot")
    assert restricted_app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 2}}
    assert restricted_app.invoke("reconcile", {})["changed"] is False
    assert own_client.exists("launchdarkly:$lock") == 0
    own_client.rpush("launchdarkly:$other", "of another type")
    own_client.rename("launchdarkly:$other", "launchdarkly:$queue")
    own_client.set("launchdarkly:$lock", "for ever")
    own_client.pexpire("launchdarkly:$lock", 300)
    assert restricted_app.webhook(**flag_entry("shiny", 2))["status"] == "refreshed"
    assert restricted_app.post("/evaluate/shiny", USER).status_code == 200
    assert restricted_app.client.http.get("/status").json_body["events"]["oldestUndeliveredSeconds"] >= 0
    assert restricted_app.invoke("deliver_events", {})["delivered"] == 2  # and the context
    launchdarkly.replace(by_key(rule_flag("in big", segment_match("big"))), by_key(big_segment("big")))
    RedisMembers(own_valkey.url).put("anna", ["big.g3"])
    restricted_app.webhook()
    assert restricted_app.evaluate(USER)["in big"]["value"] == MATCH
    denied = [entry for entry in own_client.acl_log() if entry["reason"] != "auth"]
    assert [entry["object"] for entry in denied if entry["object"] != "client|setinfo"] == []


def test_a_user_who_may_only_read_reads_everything(own_valkey: ValkeyServer, own_client: redis.Redis) -> None:
    """By the rule in docs/from-another-repository.md, which also has what LaunchDarkly's SDKs need."""
    document = (PROJECT / "docs" / "from-another-repository.md").read_text()
    rule = re.search(r"ACL SETUSER reader on >\S+ (.+)", document)
    assert rule is not None
    refresh_store(own_valkey.url, data_set([boolean_flag("shiny")]))
    own_client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", *rule[1].split())
    url = f"redis://reader:secret@127.0.0.1:{own_valkey.port}/0"
    reader = open_store({"REDIS_URL": url}).reader
    assert reader.read_sync_record() is not None
    for stored in (reader.read_snapshot(None, None), reader.read_items()):
        assert stored is not None
        assert list(stored.texts["features"]) == ["shiny"]
    assert list(reader.read_some({"features": ["shiny"]})["features"]) == ["shiny"]
    with sdk_client_over(sdk_store(url)) as client:
        assert client.variation("shiny", Context.create("anna"), False) is True
        assert client.all_flags_state(Context.create("anna")).to_values_map() == {"shiny": True}
    with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.set("launchdarkly:$sync", "theirs")


@pytest.mark.parametrize("command", ["EVAL 1 0", "KEYS *", "FLUSHALL", "CONFIG GET maxmemory", "GET theirs"])
def test_other_commands_stay_refused(restricted_app: App, own_valkey: ValkeyServer, command: str) -> None:
    with (
        redis.Redis.from_url(f"redis://flags:secret@127.0.0.1:{own_valkey.port}") as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*command.split())


@pytest.fixture
def evaluating_app(
    load_app: LoadApp, environment: Environment, own_valkey: ValkeyServer, own_client: redis.Redis
) -> App:
    """Functions that only evaluate, as the user that docs/events.md gives them, over flags that another has written."""
    own_client.execute_command("ACL", "SETUSER", "flags", "on", ">secret", *granted_in("docs/events.md", "evaluations"))
    load_app({**environment, "REDIS_URL": own_valkey.url}).webhook()
    return load_app(recording(environment, own_valkey))


def test_whoever_evaluates_may_add_events_and_not_write_flags(
    launchdarkly: FakeLaunchDarkly, own_valkey: ValkeyServer, own_client: redis.Redis, evaluating_app: App
) -> None:
    assert evaluating_app.post("/evaluate/missing", USER).status_code == 404
    assert own_client.llen("launchdarkly:$events") == 1
    own_client.set("launchdarkly:$events_bytes", 2**40)
    for _ in range(3):  # the last time it asks whether there is room
        assert evaluating_app.post("/evaluate/missing", USER).status_code == 404
    assert own_client.llen("launchdarkly:$events") == 2
    own_client.delete("launchdarkly:$snapshot", "launchdarkly:$sync")
    assert evaluating_app.evaluate(USER) == {}
    assert evaluating_app.client.http.get("/status").status_code == 200
    assert own_client.acl_log() == []
    with redis.Redis.from_url(f"redis://flags:secret@127.0.0.1:{own_valkey.port}") as client:
        for command in (
            "HSET launchdarkly:features shiny {}",
            "SET launchdarkly:$sync x",
            "SET launchdarkly:$delivery x",
            "RPUSH launchdarkly:features x",
            "INCRBY launchdarkly:$delivery_lock 1",
            "LRANGE launchdarkly:$events 0 -1",
            "LREM launchdarkly:$events 1 x",
            "DEL launchdarkly:$events",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
