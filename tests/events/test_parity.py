"""LaunchDarkly is told what an SDK client would tell it of the same evaluations. The SDK is the judge."""

from __future__ import annotations

import json
import logging
from collections import Counter

import pytest
from ldclient.context import Context

from chalicelib.events.batches import unpack
from tests.events.conftest import RecordingApp
from tests.stores.conftest import over_store
from tests.support.app import Environment, LoadApp
from tests.support.app_process import ForkedApp
from tests.support.data import ANNA
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.judged_events import CONTEXTS, FLAGS, PRIVATE, ask, judging_client, steps, take, told


@pytest.mark.parametrize("flush_seconds", ["0", "3600"])
def test_launchdarkly_is_told_what_the_sdk_tells_it(
    flush_seconds: str,
    load_app: LoadApp,
    environment: Environment,
    store_environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    judge: FakeLaunchDarkly,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    launchdarkly.replace(FLAGS)
    settings = {"EVENTS": "full", "EVENTS_FLUSH_SECONDS": flush_seconds}
    app = load_app({**over_store(environment, store_environment), **settings})
    app.invoke("reconcile", {})
    for step in steps():
        take(app, step)
    app.module.wiring.recorder._left_at = -1e9
    app.invoke("on_event", {"key": "anna"})
    left = [unpack(batch) for batch in app.module.wiring._event_queue.read_oldest(1000, 10**9)]

    delivered = app.invoke("deliver_events", {})

    with judging_client(judge) as client:
        for step in steps():
            ask(client, step)
    assert told(launchdarkly) == told(judge)
    for text in (json.dumps(left), json.dumps(launchdarkly.posts), caplog.text, capsys.readouterr().out):
        assert PRIVATE not in text
    assert any("redactedAttributes" in json.dumps(each.events) for each in left)
    assert delivered["status"] == "delivered"
    assert delivered["oldestUndeliveredSeconds"] == delivered["dropped"] == 0
    assert delivered["delivered"] == sum(told(judge).counters.values()) + sum(told(judge).full.values())


def test_what_several_processes_evaluate_is_told_together_and_what_dies_with_one_is_what_it_had_not_left(
    recording_app: RecordingApp, environment: Environment, launchdarkly: FakeLaunchDarkly, judge: FakeLaunchDarkly
) -> None:
    app = recording_app()
    settings = {"REDIS_URL": environment["REDIS_URL"], "EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0"}
    with (
        ForkedApp(settings) as one,
        ForkedApp(settings) as other,
        ForkedApp({**settings, "EVENTS_FLUSH_SECONDS": "3600"}) as dying,
    ):
        for number in range(10):
            for process in (one, other):
                assert process.post("/evaluate/tracked", ANNA)["status"] == 200
            assert other.post("/evaluate/dependent", CONTEXTS["private"])["status"] == 200
            if number < 3:
                assert dying.post("/evaluate/counted", ANNA)["status"] == 200
        for process in (one, other, dying):
            process.kill()
    app.invoke("deliver_events", {})

    with judging_client(judge) as client:
        for _ in range(10):
            for key, context in (("tracked", ANNA), ("tracked", ANNA), ("dependent", CONTEXTS["private"])):
                client.variation_detail(key, Context.from_dict(context), None)
    ours, theirs = told(launchdarkly), told(judge)
    assert (ours.counters, ours.flags) == (theirs.counters, theirs.flags)
    # Each process tells of a context once; the SDK's client is one.
    index_of_anna = [event for event in theirs.full if '"kind": "index"' in event and '"anna"' in event]
    assert ours.full - theirs.full == Counter(index_of_anna)
    assert theirs.full - ours.full == Counter()
