"""On Lambda the data set is read before the first event: for a while a function then has a whole processor."""

from __future__ import annotations

import gc

import pytest
import redis

from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly

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


def connections(valkey: redis.Redis) -> int:
    connected: int = valkey.info("clients")["connected_clients"]
    return connected


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
    assert (is_read(app), connections(valkey)) == (True, before)
    assert app.evaluate(ANNA)["shiny"]["value"] is True
    assert connections(valkey) == before + 1
