"""LaunchDarkly is told what an SDK client would tell it of the same evaluations. The SDK is the judge."""

from __future__ import annotations

import pytest

from tests.stores.conftest import over_store
from tests.support.app import Environment, LoadApp
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.judged_events import FLAGS, ask, judging_client, steps, take, told


@pytest.mark.parametrize("flush_seconds", ["0", "3600"])
def test_launchdarkly_is_told_what_the_sdk_tells_it(
    flush_seconds: str,
    load_app: LoadApp,
    environment: Environment,
    store_environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    judge: FakeLaunchDarkly,
) -> None:
    launchdarkly.replace(FLAGS)
    settings = {"EVENTS": "full", "EVENTS_FLUSH_SECONDS": flush_seconds}
    app = load_app({**over_store(environment, store_environment), **settings})
    app.invoke("reconcile", {})
    for step in steps():
        take(app, step)
    app.module.wiring.recorder._left_at = -1e9
    app.invoke("on_event", {"key": "anna"})

    delivered = app.invoke("deliver_events", {})

    with judging_client(judge) as client:
        for step in steps():
            ask(client, step)
    assert told(launchdarkly) == told(judge)
    assert delivered["status"] == "delivered"
    assert delivered["oldestUndeliveredSeconds"] == delivered["dropped"] == 0
    assert delivered["delivered"] == sum(told(judge).counters.values()) + sum(told(judge).full.values())
