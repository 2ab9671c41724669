"""Our Redis store is LaunchDarkly's: its SDK reads what we write, and we read what it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import redis
from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.context import Context
from ldclient.feature_store import CacheConfig
from ldclient.integrations import Redis
from ldclient.interfaces import FeatureStore

from tests.support.app import App, Environment, LoadApp
from tests.support.data import EXAMPLE_CONTEXTS, Json, boolean_flag, by_key, example_data, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.waiting import eventually

PREFIXES = ["launchdarkly", "shop:größe", "{launchdarkly}"]
USER = {"kind": "user", "key": "anna"}


def sdk_store(redis_url: str, prefix: str = "launchdarkly") -> FeatureStore:
    """The SDK's own Redis feature store, uncached."""
    store: FeatureStore = Redis.new_feature_store(url=redis_url, prefix=prefix, caching=CacheConfig.disabled())
    return store


@contextmanager
def sdk_client_over(store: FeatureStore, launchdarkly: FakeLaunchDarkly | None = None) -> Iterator[LDClient]:
    """The SDK as anybody uses it: in daemon mode over the store, or filling it from LaunchDarkly's stream."""
    config = Config(
        "sdk-key",
        feature_store=store,
        use_ldd=launchdarkly is None,
        stream_uri="http://127.0.0.1:1" if launchdarkly is None else launchdarkly.uri,
        send_events=False,
        diagnostic_opt_out=True,
    )
    with LDClient(config, start_wait=60) as client:
        yield client


def data() -> dict[str, dict[str, Json]]:
    """The examples, and what keys and values may hold beyond ASCII."""
    examples = example_data()
    clause = {"attribute": "", "op": "segmentMatch", "values": ["größte"], "negate": False}
    return {
        "flags": {
            **examples["flags"],
            **by_key(
                boolean_flag("größe-ключ-🔑", 3, variations=["naïve ☕", "плохо"]),
                boolean_flag("in größte", 4, rules=[{"id": "r", "variation": 1, "clauses": [clause]}]),
                boolean_flag("a/b c%d", 5, futureField={"kept": [1.0, None]}),
            ),
        },
        "segments": {**examples["segments"], **by_key(segment("größte", 2, "ключ", "carl"))},
    }


def answers_of_the_sdk(client: LDClient, context: Json, keys: list[str]) -> list[Json]:
    details = [(key, client.variation_detail(key, Context.from_dict(context), None)) for key in keys]
    return [
        {"key": key, "value": detail.value, "variation": detail.variation_index, "reason": detail.reason}
        for key, detail in details
    ]


def our_answers(app: App, context: Json, keys: list[str]) -> list[Json]:
    answers = [app.post("/evaluate/" + quote(key, safe=""), context).json_body for key in keys]
    return [{name: value for name, value in answer.items() if name != "version"} for answer in answers]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_sdk_evaluates_what_we_wrote_exactly_as_we_do(
    load_app: LoadApp, environment: Environment, redis_url: str, launchdarkly: FakeLaunchDarkly, prefix: str
) -> None:
    launchdarkly.replace(**data())
    keys = list(launchdarkly.flags)
    app = load_app({**environment, "STORE_PREFIX": prefix})
    app.invoke("reconcile", {})
    with sdk_client_over(sdk_store(redis_url, prefix)) as client:
        for context in EXAMPLE_CONTEXTS:
            assert our_answers(app, context, keys) == answers_of_the_sdk(client, context, keys)


def test_the_sdk_sees_a_change_and_a_deletion_that_we_wrote(
    app: App, redis_url: str, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1), boolean_flag("old", 1)))
    app.invoke("reconcile", {})
    launchdarkly.replace(by_key(boolean_flag("shiny", 2, value=False)))
    app.invoke("reconcile", {})
    with sdk_client_over(sdk_store(redis_url)) as client:
        state = client.all_flags_state(Context.create("anna"))
        assert state.to_values_map() == {"shiny": False}


def test_we_store_launchdarklys_keys_and_every_field_as_it_was_sent(
    app: App, valkey: redis.Redis, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(**data())
    app.invoke("reconcile", {})
    ours = {"$sync", "$snapshot"}
    assert {name.removeprefix("launchdarkly:") for name in valkey.scan_iter()} == {
        "features",
        "segments",
        "$inited",
        *ours,
    }
    stored = {
        kind: {key: json.loads(text) for key, text in valkey.hgetall(f"launchdarkly:{kind}").items()}
        for kind in ("features", "segments")
    }
    assert stored == {"features": launchdarkly.flags, "segments": launchdarkly.segments}
    assert valkey.get("launchdarkly:$inited") == "launchdarkly:$inited"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_we_evaluate_a_store_that_the_sdk_filled_exactly_as_it_does(
    load_app: LoadApp, environment: Environment, redis_url: str, launchdarkly: FakeLaunchDarkly, prefix: str
) -> None:
    launchdarkly.replace(**data())
    keys = list(launchdarkly.flags)
    app = load_app({**environment, "STORE_PREFIX": prefix})
    with sdk_client_over(sdk_store(redis_url, prefix), launchdarkly) as client:
        for context in EXAMPLE_CONTEXTS:
            assert our_answers(app, context, keys) == answers_of_the_sdk(client, context, keys)


def test_a_store_that_sdks_use_without_a_prefix_is_shared(
    load_app: LoadApp, environment: Environment, redis_url: str, launchdarkly: FakeLaunchDarkly
) -> None:
    """On Redis they have a prefix all the same."""
    launchdarkly.replace(**data())
    keys = list(launchdarkly.flags)
    app = load_app({**environment, "STORE_PREFIX": "none"})
    with sdk_client_over(sdk_store(redis_url, ""), launchdarkly) as client:
        assert our_answers(app, USER, keys) == answers_of_the_sdk(client, USER, keys)
    launchdarkly.put_flag(boolean_flag("new", 1))
    app.webhook()
    with sdk_client_over(sdk_store(redis_url, "")) as client:
        assert our_answers(app, USER, [*keys, "new"]) == answers_of_the_sdk(client, USER, [*keys, "new"])


def test_a_store_without_a_sync_record_has_a_revision_and_no_age(
    app: App, redis_url: str, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    with sdk_client_over(sdk_store(redis_url), launchdarkly):
        answer = app.post("/evaluate", USER)
    assert answer.json_body == {"shiny": {"value": True, "variation": 0, "version": 1}}
    assert answer.headers["X-Flags-Revision"]
    assert "X-Flags-Synced-At" not in answer.headers
    again = app.post("/evaluate", USER, {"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    invoked = app.invoke("on_event", USER)
    assert (invoked["revision"], invoked["syncedAt"]) == (answer.headers["X-Flags-Revision"], None)


def test_a_store_without_a_sync_record_is_reused_for_as_long_as_configured(
    load_app: LoadApp, environment: Environment, redis_url: str, launchdarkly: FakeLaunchDarkly
) -> None:
    def reusing_for(seconds: str) -> App:
        app = load_app({**environment, "STORE_CACHE_SECONDS": seconds})
        app.module.wiring.settings  # noqa: B018 - now, before another app gets another environment
        return app

    launchdarkly.replace(by_key(boolean_flag("shiny", 1), boolean_flag("old", 1)))
    before = {key: {"value": True, "variation": 0, "version": 1} for key in ("shiny", "old")}
    after = {"shiny": {"value": False, "variation": 1, "version": 2}}
    never, briefly, for_long = reusing_for("0"), reusing_for("0.5"), reusing_for("3600")
    with sdk_client_over(sdk_store(redis_url), launchdarkly):
        assert [app.evaluate(USER) for app in (never, briefly, for_long)] == [before] * 3

        launchdarkly.put_flag(boolean_flag("shiny", 2, value=False))
        launchdarkly.delete_flag("old")  # the SDK leaves a tombstone

        eventually(lambda: never.evaluate(USER) == after)
        eventually(lambda: briefly.evaluate(USER) == after)
        assert for_long.evaluate(USER) == before


def test_our_refresh_takes_over_a_store_that_the_sdk_filled(
    load_app: LoadApp, environment: Environment, redis_url: str, valkey: redis.Redis, launchdarkly: FakeLaunchDarkly
) -> None:
    app = load_app({**environment, "STORE_CACHE_SECONDS": "3600"})
    launchdarkly.replace(by_key(boolean_flag("shiny", 1), boolean_flag("old", 1)))
    with sdk_client_over(sdk_store(redis_url), launchdarkly):
        launchdarkly.delete_flag("old")
        eventually(lambda: '"deleted": true' in (valkey.hget("launchdarkly:features", "old") or ""))
    assert app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 1}}
    launchdarkly.replace(by_key(boolean_flag("shiny", 2, value=False)))

    answer = app.webhook()

    assert {**answer, "revision": None} == {
        "status": "refreshed",
        "revision": None,
        "flags": 1,
        "segments": 0,
        "changed": True,
        "confirmed": None,
        "held_back": 0,
    }
    assert app.evaluate(USER) == {"shiny": {"value": False, "variation": 1, "version": 2}}
    assert app.post("/evaluate", USER).headers["X-Flags-Synced-At"]
    assert valkey.hkeys("launchdarkly:features") == ["shiny"]
