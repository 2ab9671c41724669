"""What the refresh tests share: apps that lose patience soon, their log, and the content of their store."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import redis

from chalicelib.patience import Patience
from tests.support.app import QUICK, App, Environment, LoadApp
from tests.support.fake_launchdarkly import Fault
from tests.support.streams import SDK_KEY, Answer, Serve, Server, spend
from tests.support.waiting import eventually

Json = dict[str, Any]

BRIEF = QUICK._replace(announced_seconds=0.6)
"""For announcements that LaunchDarkly does not follow."""


@pytest.fixture
def brief_app(load_app: LoadApp, environment: Environment) -> App:
    """The app, which loses patience soon with what was announced."""
    return load_app(environment, BRIEF)


FaultyApp = Callable[..., App]


@pytest.fixture
def faulty_app(load_app: LoadApp, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> FaultyApp:
    """The app for a LaunchDarkly with this fault, with further settings: it gives up one that is silent soon, and any
    other at the third try."""
    monkeypatch.setattr(Patience, "pause", spend)
    patient = BRIEF._replace(
        data_set_seconds=60,
        fetch_limit_seconds=120,
        stream_connect_seconds=60,
        stream_retry_seconds=20,
        lock_seconds=300,
    )

    def load(fault: Fault | None, **settings: str) -> App:
        is_silent = fault in (Fault.HANG, Fault.SILENT)
        timing = patient._replace(data_set_seconds=0.8) if is_silent else patient
        return load_app({**environment, **settings}, timing)

    return load


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
        eventually(lambda: _threads() <= threads)
        eventually(lambda: _connections() <= connections)
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
