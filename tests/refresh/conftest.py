"""What the refresh tests share: an app that loses patience soon, its log, and the content of its store."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import redis

from chalicelib.timing import Timing
from tests.support.app import App, Environment, LoadApp
from tests.support.streams import SDK_KEY, Answer, Serve, Server
from tests.support.waiting import eventually

Json = dict[str, Any]

BRIEF = Timing(
    data_set_seconds=0.8,
    announced_seconds=0.6,
    settle_seconds=0.1,
    stream_retry_seconds=0.3,
    lock_seconds=3.0,
    reconcile_extra_seconds=0.0,
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


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(answer: Answer, *arguments: Any, **options: Any) -> Server:
        servers.append(Server(answer, *arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def nothing_left_behind() -> Iterator[None]:
    """Neither a thread nor a connection, while the garbage collector, which would close it, is off."""
    gc.disable()
    try:
        threads, connections = _threads(), _connections()
        yield
        eventually(lambda: _threads() <= threads, seconds=5)
        eventually(lambda: _connections() <= connections, seconds=5)
    finally:
        gc.enable()


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("launchdarkly")}


def _connections() -> set[tuple[Any, Any]]:
    """Of this process: the fetch's and the servers' ends."""
    return {(each.laddr, each.raddr) for each in psutil.Process().net_connections() if each.raddr}


@pytest.fixture
def nothing_private_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    yield
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("ldclient"))
    for private in (SDK_KEY, "127.0.0.1", "localhost", "/all"):
        assert private not in ours
