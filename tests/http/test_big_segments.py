"""Big segments in a store of their own: where it may be, and what happens while it is away."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from ldclient.client import LDClient

from chalicelib.launchdarkly import evaluators
from chalicelib.launchdarkly.clients import daemon_client
from chalicelib.read.big_segments import BigSegments
from chalicelib.read.contexts import parse_context
from chalicelib.timing import Timing
from tests.support.app import App, Environment, LoadApp, logged
from tests.support.big_segments import (
    CONTEXTS_OF_BIG,
    FLAGS_OF_BIG,
    SEGMENTS_OF_BIG,
    DynamoDbMembers,
    Members,
    RedisMembers,
    big_segment,
    fill,
    judge,
)
from tests.support.clock import Clock
from tests.support.data import Json, boolean_flag, by_key
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.network import Mode, Proxy
from tests.support.parity import MATCH, rule_flag, segment_match
from tests.support.stores import as_json
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually


@pytest.fixture
def filled(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    """The flag store has the data set, and no members."""
    launchdarkly.replace(by_key(*FLAGS_OF_BIG), by_key(*SEGMENTS_OF_BIG))
    app.invoke("reconcile", {})


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    server = DynamoDb()
    yield server
    server.close()


def answer_of(client: LDClient, context: Json) -> Json:
    state = client.all_flags_state(parse_context(context), with_reasons=True).to_json_dict()
    return {key: {"value": state[key], **meta} for key, meta in state["$flagsState"].items()}


def assert_is_what_the_sdk_says(app: App, members: Members) -> None:
    with judge(members.sdks_store()) as client:
        for context in (CONTEXTS_OF_BIG[0], CONTEXTS_OF_BIG[-3]):
            assert app.evaluate(context, "?withReasons=true") == answer_of(client, context)


def status_in(answer: Json) -> str:
    status: str = answer["in big"]["reason"]["bigSegmentsStatus"]
    return status


def by_clock(app: App, clock: Clock) -> None:
    """What the app reads of big segments ages by this clock."""
    wiring = app.module.wiring
    wiring.big_segments = BigSegments(lambda: wiring._membership_reader, 5.0, wiring.timing, clock)


# Where it may be.


def test_members_may_have_a_prefix_of_their_own_in_the_flag_store(
    filled: None, load_app: LoadApp, environment: Environment, redis_url: str
) -> None:
    members = RedisMembers(redis_url, "{big}")
    fill(members)
    app = load_app({**environment, "BIG_SEGMENTS_PREFIX": "{big}"})
    assert_is_what_the_sdk_says(app, members)
    assert app.evaluate(CONTEXTS_OF_BIG[0])["in big"]["value"] == MATCH


def test_members_may_be_on_another_redis(
    filled: None, load_app: LoadApp, environment: Environment, redis_url: str
) -> None:
    members = RedisMembers(f"{redis_url}/3")
    fill(members)
    app = load_app({**environment, "BIG_SEGMENTS_REDIS_URL": f"{redis_url}/3"})
    assert_is_what_the_sdk_says(app, members)
    assert app.evaluate(CONTEXTS_OF_BIG[0])["in big"]["value"] == MATCH


@pytest.mark.parametrize("prefix", ["launchdarkly", "none"])
def test_members_may_be_in_a_table_beside_flags_in_redis(
    filled: None,
    load_app: LoadApp,
    environment: Environment,
    dynamodb: DynamoDb,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    prefix: str,
) -> None:
    for name, value in {**dynamodb.environment, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    table = dynamodb.create_table()
    members = DynamoDbMembers(dynamodb.client(), table, "" if prefix == "none" else prefix)
    fill(members)
    with judge(members.sdks_store()) as client:
        expected = answer_of(client, CONTEXTS_OF_BIG[0])
    settings = {**environment, **dynamodb.environment, "BIG_SEGMENTS_TABLE": table, "BIG_SEGMENTS_PREFIX": prefix}
    assert load_app(settings).evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true") == expected
    assert expected["in big"]["value"] == MATCH


@pytest.mark.parametrize("variable", ["BIG_SEGMENTS_REDIS_URL", "BIG_SEGMENTS_TABLE"])
def test_direct_mode_asks_the_store_that_settings_name_and_no_other(
    load_app: LoadApp,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    redis_url: str,
    dynamodb: DynamoDb,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
) -> None:
    for name, value in {**dynamodb.environment, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    table = dynamodb.create_table()
    members: Members = RedisMembers(redis_url)
    if variable == "BIG_SEGMENTS_TABLE":
        members = DynamoDbMembers(dynamodb.client(), table)
    fill(members)
    with judge(members.sdks_store()) as client:
        expected = answer_of(client, CONTEXTS_OF_BIG[0])
    launchdarkly.replace(by_key(*FLAGS_OF_BIG), by_key(*SEGMENTS_OF_BIG))
    direct = {name: value for name, value in environment.items() if name != "REDIS_URL"}
    direct |= {"EVALUATION_MODE": "direct", **dynamodb.environment}

    where = redis_url if variable == "BIG_SEGMENTS_REDIS_URL" else table
    with_store = load_app({**direct, variable: where})
    try:
        assert with_store.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true") == expected
        assert status_in(expected) == "HEALTHY"
    finally:
        with_store.module.wiring.direct_flags.client.close()
    without = load_app(direct)
    try:
        assert status_in(without.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true")) == "NOT_CONFIGURED"
    finally:
        without.module.wiring.direct_flags.client.close()


# While it is away.


def test_a_store_that_is_away_is_an_error_in_the_reason_and_nothing_else_suffers(
    filled: None,
    load_app: LoadApp,
    environment: Environment,
    own_valkey: ValkeyServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    members = RedisMembers(own_valkey.url)
    fill(members)
    app = load_app({**environment, "BIG_SEGMENTS_REDIS_URL": own_valkey.url, "BIG_SEGMENTS_CACHE_SECONDS": "5"})
    wiring, clock = app.module.wiring, Clock()
    wiring.big_segments = BigSegments(lambda: wiring._membership_reader, 5.0, clock=clock)
    known = app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true")

    own_valkey.kill()
    assert app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true") == known, "it is kept"
    clock.advance(5.0)
    with judge(members.sdks_store()) as client:
        assert app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true") == answer_of(client, CONTEXTS_OF_BIG[0])
    beta = app.post("/evaluate", CONTEXTS_OF_BIG[4])
    assert (beta.status_code, "X-Flags-Stale" in beta.headers) == (200, False)
    assert beta.json_body["in with rules"]["value"] == MATCH, "the segment's rules decide"
    assert beta.json_body["in small"]["value"] != MATCH
    assert [each.getMessage() for each in logged(caplog) if "big segments" in each.getMessage()] == [
        "big segments cannot be read: The store cannot be reached (Connection refused)."
    ]

    own_valkey.start()
    fill(members)
    assert status_in(app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true")) == "STORE_ERROR", "for a second"
    clock.advance(1.0)
    assert app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true") == known


def test_a_store_that_hangs_is_waited_for_once_a_second(
    filled: None, load_app: LoadApp, environment: Environment, redis_url: str, valkey_server: ValkeyServer
) -> None:
    fill(RedisMembers(redis_url))
    proxy = Proxy(valkey_server.port)
    try:
        impatient = Timing(big_segments_seconds=0.3, big_segments_least_seconds=0.1)
        app, clock = load_app({**environment, "BIG_SEGMENTS_REDIS_URL": proxy.url}, impatient), Clock()
        by_clock(app, clock)
        proxy.mode = Mode.SILENT
        multi = CONTEXTS_OF_BIG[-3]
        for _ in range(3):
            answer = app.evaluate(multi, "?withReasons=true")
            assert (status_in(answer), answer["in big"]["value"]) == ("STORE_ERROR", "fallthrough")
            assert answer["in small"]["reason"] == {"kind": "FALLTHROUGH"}
        assert proxy.connections == 1
        proxy.mode = Mode.FORWARD

        def is_back() -> bool:
            clock.advance(1.0)
            return status_in(app.evaluate(multi, "?withReasons=true")) == "HEALTHY"

        eventually(is_back)
    finally:
        proxy.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://127.0.0.1:1?unknown=1", "BIG_SEGMENTS_REDIS_URL has the unknown option unknown"),
        ("redis://u:wrong@{}", "refused the user name or password in BIG_SEGMENTS_REDIS_URL"),
    ],
)
def test_a_store_that_cannot_be_asked_is_told_by_the_name_of_its_setting(
    filled: None,
    load_app: LoadApp,
    environment: Environment,
    valkey_server: ValkeyServer,
    caplog: pytest.LogCaptureFixture,
    url: str,
    told: str,
) -> None:
    app = load_app({**environment, "BIG_SEGMENTS_REDIS_URL": url.format(f"127.0.0.1:{valkey_server.port}")})
    answer = app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true")
    assert (status_in(answer), answer["in small"]["reason"]) == ("STORE_ERROR", {"kind": "FALLTHROUGH"})
    assert [told in each.getMessage() for each in logged(caplog) if "big segments" in each.getMessage()] == [True]


def test_one_context_whose_members_cannot_be_read_is_one_error(
    filled: None, app: App, redis_url: str, valkey: redis.Redis
) -> None:
    members = RedisMembers(redis_url)
    fill(members)
    (key,) = (each for each in valkey.keys("*:big_segment_exclude:*") if valkey.scard(each) == 2)  # of "excluded"
    valkey.delete(key)
    valkey.set(key, "of another type")
    batch = app.invoke("on_event", {"contexts": CONTEXTS_OF_BIG[:3], "withReasons": True})
    with judge(members.sdks_store()) as client:
        expected = [answer_of(client, each) for each in CONTEXTS_OF_BIG[:3]]
    assert [each["flags"] for each in batch["results"]] == expected
    assert [status_in(each) for each in expected] == ["HEALTHY", "STORE_ERROR", "HEALTHY"]


# What it leaves behind.


def test_a_thousand_revisions_leave_no_thread_and_no_connection(
    load_app: LoadApp, environment: Environment, redis_url: str, valkey: redis.Redis
) -> None:
    """Another writer changes the flags; each change is a revision of its own."""
    RedisMembers(redis_url).put("anna", ["big.g3"])
    valkey.set("launchdarkly:$inited", "")
    valkey.hset("launchdarkly:segments", mapping=as_json(big_segment("big")))
    app = load_app({**environment, "STORE_CACHE_SECONDS": "0", "BIG_SEGMENTS_CACHE_SECONDS": "0"})
    anna = {"kind": "user", "key": "anna"}

    def revise(version: int) -> None:
        valkey.hset(
            "launchdarkly:features", mapping=as_json(rule_flag("in big", segment_match("big"), version=version))
        )
        answer = app.invoke("on_event", {"context": anna, "flag": "in big"})["flag"]
        assert (answer["value"], answer["version"]) == (MATCH, version)
        if version % 100 == 0:
            client = daemon_client(app.module.wiring.snapshots.current().feature_store)
            assert client.variation("in big", parse_context(anna), None) == MATCH

    revise(100)
    gc.collect()  # what other tests have left
    threads, connections = set(threading.enumerate()), valkey.info("clients")["connected_clients"]
    for version in range(101, 1101):
        revise(version)
    assert set(threading.enumerate()) <= threads
    assert valkey.info("clients")["connected_clients"] <= connections


def test_a_client_answers_with_the_same_tags_where_the_sdk_has_no_evaluator(
    filled: None, load_app: LoadApp, environment: Environment, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = RedisMembers(redis_url)
    fill(members)
    app = load_app({**environment, "BIG_SEGMENTS_CACHE_SECONDS": "0"})
    expected = [app.post("/evaluate?withReasons=true", each) for each in CONTEXTS_OF_BIG]
    monkeypatch.setattr(evaluators, "Evaluator", None)
    answers = [app.post("/evaluate?withReasons=true", each) for each in CONTEXTS_OF_BIG]
    assert [each.json_body for each in answers] == [each.json_body for each in expected]
    assert [each.headers["ETag"] for each in answers] == [each.headers["ETag"] for each in expected]


def test_a_flag_that_is_the_same_for_everybody_is_not_once_it_needs_a_big_segment(
    app: App, launchdarkly: FakeLaunchDarkly, redis_url: str
) -> None:
    """Answers to everybody are kept with the data set."""
    RedisMembers(redis_url).put("anna", ["big.g3"])
    needs = boolean_flag("needs", prerequisites=[{"key": "in big", "variation": 2}])
    launchdarkly.replace(by_key(rule_flag("in big", segment_match("big")), needs), by_key(big_segment("big")))
    app.invoke("reconcile", {})
    values = [app.evaluate({"key": key})["needs"]["value"] for key in ("ben", "anna", "ben", "anna")]
    assert values == [False, True, False, True]
