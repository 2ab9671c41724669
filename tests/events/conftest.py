"""Apps that record events, over each store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.stores.conftest import (  # noqa: F401 - fixtures
    dynamodb,
    dynamodb_environment,
    dynamodb_server,
    moto_environment,
    moto_server,
    over_store,
    redis_environment,
    store_environment,
)
from tests.support.app import App, Environment, LoadApp
from tests.support.data import Json, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.judged_events import FLAGS

RecordingApp = Callable[..., App]


@pytest.fixture
def recording_app(load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly) -> RecordingApp:
    """(further flags, settings) -> an app that records every event, over a store with those of ``judged_events``."""

    def load(*flags: Json, **settings: str) -> App:
        launchdarkly.replace({**FLAGS, **by_key(*flags)})
        app = load_app({**environment, "EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0", **settings})
        app.invoke("reconcile", {})
        return app

    return load


@pytest.fixture
def judge() -> Iterator[FakeLaunchDarkly]:
    """The LaunchDarkly of an SDK client that sends its events itself."""
    fake = FakeLaunchDarkly()
    fake.replace(FLAGS)
    yield fake
    fake.close()
