"""Thousands of contexts in one event: one snapshot, one pass, each result in its place."""

from __future__ import annotations

import redis

from tests.support.app import App
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.valkey import recorded_commands

TARGETED = boolean_flag("shiny", targets=[{"values": ["user-7"], "variation": 1}])
UNREADABLE = {"value": None, "reason": {"kind": "ERROR", "errorKind": "EXCEPTION"}}


def test_a_batch_of_thousands_reads_the_store_once(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.replace(by_key(TARGETED, boolean_flag("other")))
    app.invoke("reconcile", {})
    app.evaluate({"key": "anna"})
    contexts: list[object] = [{"key": f"user-{number}"} for number in range(5000)]
    contexts[4321] = {"kind": "user"}

    with recorded_commands(valkey) as commands:
        answer = app.invoke("on_event", {"contexts": contexts, "flags": ["shiny"]})

    assert [command for command in commands if "launchdarkly" in command] == ["GET launchdarkly:$sync"]
    results = answer["results"]
    assert len(results) == 5000
    assert results[4321] == {"error": "Invalid context: context key must not be None or empty."}
    assert [number for number, each in enumerate(results) if each.get("flags", {}).get("shiny", {}).get("value")] == [
        number for number in range(5000) if number not in (7, 4321)
    ]
    assert results[7] == {"flags": {"shiny": {"value": False, "variation": 1, "version": 1}}}


def test_an_unreadable_flag_is_an_error_in_every_result(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.replace(by_key(TARGETED))
    app.invoke("reconcile", {})
    valkey.hset("launchdarkly:features", "shiny", "{broken")
    valkey.delete("launchdarkly:$snapshot")
    event = {"contexts": [{"key": "anna"}, {"key": "ben"}], "flags": ["shiny"], "withReasons": True}
    assert app.invoke("on_event", event)["results"] == [{"flags": {"shiny": UNREADABLE}}] * 2
