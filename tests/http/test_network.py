"""Daemon mode evaluates from the store alone: every other address is refused, and nobody asks for one."""

from __future__ import annotations

import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from chalicelib.stores.wire import Socket
from tests.support.app import Environment, LoadApp
from tests.support.data import example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly

USER = {"kind": "user", "key": "vip-customer"}


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> list[Any]:
    """Addresses that somebody connects to from now on; all but the store's are refused."""
    attempts: list[Any] = []
    store = (urlsplit(redis_url).hostname, urlsplit(redis_url).port)

    def refusing(connect: Any) -> Any:
        def guarded(sock: Any, address: Any) -> Any:
            attempts.append(address)
            if address != store:
                raise ConnectionRefusedError(f"only the store may be contacted, not {address}")
            return connect(sock, address)

        return guarded

    for kind in (socket.socket, Socket):  # the second is the read path's own
        for name in ("connect", "connect_ex"):
            monkeypatch.setattr(kind, name, refusing(getattr(kind, name)))
    return attempts


def test_an_evaluation_in_daemon_mode_opens_no_socket_but_to_the_store(
    load_app: LoadApp,
    environment: Environment,
    redis_url: str,
    launchdarkly: FakeLaunchDarkly,
    request: pytest.FixtureRequest,
) -> None:
    launchdarkly.replace(**example_data())
    load_app(environment).invoke("reconcile", {})
    threads = set(threading.enumerate())

    connections: list[Any] = request.getfixturevalue("connections")
    app = load_app(environment)
    assert app.evaluate(USER).keys() == launchdarkly.flags.keys()
    assert app.evaluate(USER, "?flags=one-click-payment&withReasons=true")["one-click-payment"]["value"] is True
    assert app.post("/evaluate/one-click-payment", USER).json_body["value"] is True
    assert app.invoke("on_event", {"contexts": [USER, USER]})["results"][1]["flags"].keys() == launchdarkly.flags.keys()

    assert set(connections) == {(urlsplit(redis_url).hostname, urlsplit(redis_url).port)}
    assert set(threading.enumerate()) <= threads  # nothing is left that could connect later
    assert launchdarkly.stream_count == 1


def test_the_guard_of_these_tests_refuses_launchdarkly(connections: list[Any], launchdarkly: FakeLaunchDarkly) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(launchdarkly.uri, timeout=60)
    assert connections == [(urlsplit(launchdarkly.uri).hostname, urlsplit(launchdarkly.uri).port)]
