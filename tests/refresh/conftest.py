"""What the refresh tests share: an app that loses patience soon, its log, and the content of its store."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis

from chalicelib.timing import Timing
from tests.support.app import App, Environment, LoadApp

Json = dict[str, Any]

BRIEF = Timing(
    data_set_seconds=1.5, announced_seconds=1.0, settle_seconds=0.1, stream_retry_seconds=0.3, lock_seconds=3.0
)


@pytest.fixture
def brief_app(load_app: LoadApp, environment: Environment) -> App:
    """The app, which loses patience soon."""
    return load_app(environment, BRIEF)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that is logged from INFO on."""
    caplog.set_level(logging.INFO)
    return caplog


def content(valkey: redis.Redis, prefix: str = "launchdarkly") -> Json:
    """What readers see: items, marker and sync record; not what only serialises refreshes."""
    return {
        "features": valkey.hgetall(f"{prefix}:features"),
        "segments": valkey.hgetall(f"{prefix}:segments"),
        "$inited": valkey.get(f"{prefix}:$inited"),
        "$sync": valkey.get(f"{prefix}:$sync"),
    }
