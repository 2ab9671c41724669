"""On Lambda the data set is read before the first event: for a while a function then has a whole processor."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import cast

import pytest
import redis
from chalice.local import LambdaContext

from chalicelib.data_set import StoredDataSet
from chalicelib.errors import StoreNotInitialized, StoreUnavailable
from chalicelib.read.snapshots import Snapshots
from chalicelib.stores.ahead import FirstRead
from chalicelib.stores.port import Reader
from chalicelib.timing import Timing
from tests.support.app import App, Environment, Json, LoadApp
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.fronts import HTTP, REST, URL, event_of
from tests.support.lambda_runtime import api_event
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

ON_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "serverless-flags-production", "_HANDLER": "app.app"}
ANNA = {"kind": "user", "key": "anna"}


@pytest.fixture
def filled(environment: Environment, launchdarkly: FakeLaunchDarkly, load_app: LoadApp) -> Environment:
    """Settings of a store with one flag."""
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    load_app(environment).invoke("reconcile", {})
    return environment


def commands(valkey: redis.Redis) -> int:
    """How many commands the server has processed, this one not counted."""
    processed: int = valkey.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"]
    return processed


def connections(valkey: redis.Redis) -> set[str]:
    """The server's names of those that are open."""
    return {each["id"] for each in valkey.client_list()}


def questions(valkey: redis.Redis) -> int:
    """How many times the sync record was read by itself."""
    asked: int = valkey.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]
    return asked


def is_read(app: App) -> bool:
    return "snapshots" in vars(app.module.wiring)


@pytest.mark.parametrize("handler", ["app.app", "app.on_event"])
def test_what_evaluates_has_read_the_data_set_when_it_is_loaded(
    handler: str, filled: Environment, load_app: LoadApp, valkey: redis.Redis
) -> None:
    before = commands(valkey)
    app = load_app({**filled, **ON_LAMBDA, "_HANDLER": handler})
    assert (is_read(app), commands(valkey)) == (True, before + 1)
    assert app.evaluate(ANNA)["shiny"]["value"] is True
    assert commands(valkey) == before + 1, "the data set is not read again"


class FailsOnce:
    """As much of a reader as is asked of a store that another writer has filled. Its items cannot be read at first."""

    def __init__(self, failure: Exception) -> None:
        self._failures = [failure]

    def read_snapshot(self, *_: object) -> None:
        return None

    def read_items(self) -> StoredDataSet:
        if self._failures:
            raise self._failures.pop()
        return StoredDataSet({"features": {}, "segments": {}}, None, initialized=True)


def now_in_milliseconds() -> int:
    return int(time.time() * 1000)


def arriving(front: str, moment: object) -> Json:
    """A request for one flag that was there at that moment: in milliseconds, or whatever else the field may hold."""
    headers, body = {"content-type": "application/json"}, json.dumps(ANNA)
    if front == REST:
        event = api_event("/evaluate/{flag_key}", body, headers, {"flag_key": "shiny"})
    else:
        event = event_of(front, "POST", "/evaluate/shiny", headers, body.encode())
    event["requestContext"]["requestTimeEpoch" if front == REST else "timeEpoch"] = moment
    return event


def answer_to(app: App, event: Json) -> Json:
    answer: Json = json.loads(app.module.app(event, LambdaContext("api_handler", 256, max_runtime_ms=30_000))["body"])
    return answer


@pytest.mark.parametrize("front", [URL, HTTP, REST])
def test_a_function_that_was_started_for_a_request_asks_the_store_once(
    front: str, filled: Environment, load_app: LoadApp, valkey: redis.Redis
) -> None:
    waiting = arriving(front, now_in_milliseconds() - 50)
    app = load_app({**filled, **ON_LAMBDA})
    asked = questions(valkey)
    for count in (0, 1, 2):
        assert answer_to(app, waiting)["value"] is True
        assert questions(valkey) == asked + count


@pytest.mark.parametrize(
    "arrival",
    [
        lambda begun: begun + 1,
        lambda begun: begun - 10,
        lambda begun: begun - 60_000,
        lambda begun: 1_583_348_638_390,
        lambda begun: 0,
        lambda begun: -begun,
        lambda begun: str(begun - 50),
        lambda begun: begun - 50.5,
        lambda begun: True,
        lambda begun: None,
        lambda begun: [],
    ],
    ids=["later", "clocks differ", "too long ago", "2020", "1970", "negative", "text", "float", "true", "null", "list"],
)
def test_what_may_have_arrived_later_and_what_makes_no_sense_is_asked_for(
    arrival: Callable[[int], object], filled: Environment, load_app: LoadApp, valkey: redis.Redis
) -> None:
    app = load_app({**filled, **ON_LAMBDA})
    asked = questions(valkey)
    begun = int(app.module.wiring.snapshots._read_ahead_at * 1000)
    assert answer_to(app, arriving(URL, arrival(begun)))["value"] is True
    assert questions(valkey) == asked + 1


def test_a_change_between_reading_ahead_and_the_request_is_seen(
    filled: Environment, load_app: LoadApp, launchdarkly: FakeLaunchDarkly
) -> None:
    app = load_app({**filled, **ON_LAMBDA})
    launchdarkly.replace(by_key(boolean_flag("shiny", 2, value=False)))
    load_app(filled).invoke("reconcile", {})
    assert answer_to(app, arriving(URL, now_in_milliseconds()))["value"] is False


def test_a_request_that_was_refused_leaves_what_was_read_ahead_to_the_requests_that_waited(
    filled: Environment, load_app: LoadApp, valkey: redis.Redis
) -> None:
    waiting = arriving(URL, now_in_milliseconds() - 50)
    app = load_app({**filled, **ON_LAMBDA})
    asked = questions(valkey)
    assert "Code" in answer_to(app, {**waiting, "body": "no JSON"})
    assert answer_to(app, waiting)["value"] is True
    assert questions(valkey) == asked
    assert answer_to(app, arriving(URL, now_in_milliseconds()))["value"] is True
    assert questions(valkey) == asked + 1


def test_a_store_that_went_away_since_is_noticed_by_the_first_request_that_did_not_wait(
    own_valkey: ValkeyServer, filled: Environment, load_app: LoadApp
) -> None:
    environment = {**filled, "REDIS_URL": own_valkey.url}
    load_app(environment).invoke("reconcile", {})
    waiting = arriving(URL, now_in_milliseconds() - 50)
    app = load_app({**environment, **ON_LAMBDA})
    own_valkey.stop()
    answers = [app.module.app(waiting, LambdaContext("api_handler", 256, max_runtime_ms=30_000)) for _ in range(2)]
    assert [answer["statusCode"] for answer in answers] == [200, 200]
    assert [answer["headers"].get("X-Flags-Stale") for answer in answers] == [None, "true"]


@pytest.mark.parametrize("failure", [StoreUnavailable("away"), StoreNotInitialized("empty")], ids=["away", "empty"])
def test_a_first_read_that_failed_halfway_answers_no_request(failure: Exception) -> None:
    reader = cast(Reader, FailsOnce(failure))
    first_read = FirstRead(reader)
    snapshots = Snapshots(reader, 15.0, Timing(store_retry_seconds=0.0), first_read=first_read)
    with pytest.raises(type(failure)):
        snapshots.current()
    assert snapshots.current(first_read.begun_at - 1).record is None


@pytest.mark.parametrize(
    "elsewhere",
    [
        {},
        {"AWS_LAMBDA_FUNCTION_NAME": "serverless-flags-production"},
        {"_HANDLER": "app.app"},
        {**ON_LAMBDA, "_HANDLER": "app.reconcile"},
        {**ON_LAMBDA, "_HANDLER": "app.take_orders"},
    ],
    ids=["another process", "no handler", "another system", "reconcile", "a user's own function"],
)
def test_nothing_is_read_for_anybody_else(
    elsewhere: Environment, filled: Environment, load_app: LoadApp, valkey: redis.Redis
) -> None:
    before = commands(valkey)
    app = load_app({**filled, **elsewhere})
    assert (is_read(app), commands(valkey)) == (False, before)


def test_nothing_is_read_in_direct_mode(filled: Environment, load_app: LoadApp) -> None:
    app = load_app({**filled, **ON_LAMBDA, "EVALUATION_MODE": "direct"})
    assert not is_read(app)
    assert "direct_flags" not in vars(app.module.wiring)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"REDIS_URL": "redis://127.0.0.1:1"}, 503),
        ({"REDIS_URL": "http://no.redis"}, 503),
        ({"STORE_PREFIX": "never-filled"}, 503),
    ],
    ids=["out of reach", "not configured", "never filled"],
)
def test_what_fails_is_left_to_the_first_request(
    change: Environment, status: int, filled: Environment, load_app: LoadApp
) -> None:
    ahead = load_app({**filled, **ON_LAMBDA, **change})
    assert not is_read(ahead)
    usual = load_app({**filled, **change})
    assert ahead.post("/evaluate", ANNA).status_code == status
    assert ahead.post("/evaluate", ANNA).json_body == usual.post("/evaluate", ANNA).json_body


@pytest.mark.parametrize(
    "change", [{}, {"EVALUATION_MODE": "direct"}, {"REDIS_URL": "http://no.redis"}], ids=["", "direct", "fails"]
)
def test_the_garbage_collector_rests_no_longer_than_that(
    change: Environment, filled: Environment, load_app: LoadApp
) -> None:
    load_app({**filled, **ON_LAMBDA, **change})
    assert gc.isenabled()


def test_a_store_that_is_filled_by_the_first_request_answers_it(filled: Environment, load_app: LoadApp) -> None:
    app = load_app({**filled, **ON_LAMBDA, "STORE_PREFIX": "later"})
    load_app({**filled, "STORE_PREFIX": "later"}).invoke("reconcile", {})
    assert app.evaluate(ANNA)["shiny"]["value"] is True


def test_a_function_that_is_kept_as_an_image_keeps_no_connection(
    filled: Environment, load_app: LoadApp, valkey: redis.Redis
) -> None:
    before = connections(valkey)
    app = load_app({**filled, **ON_LAMBDA, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"})
    assert is_read(app)
    eventually(lambda: connections(valkey) <= before)  # other apps' may be closed meanwhile
    assert app.evaluate(ANNA)["shiny"]["value"] is True
    assert len(connections(valkey) - before) == 1


def test_the_first_read_is_waited_for() -> None:
    """What would be taken for no snapshot, if it were not, would be read item by item."""
    stored = StoredDataSet({}, None, initialized=True)

    class SlowReader:
        def read_snapshot(self, record: None, held: None) -> StoredDataSet:
            time.sleep(0.1)
            return stored

    assert FirstRead(cast(Reader, SlowReader())).result() is stored
