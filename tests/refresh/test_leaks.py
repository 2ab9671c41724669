"""Hundreds of refreshes in one process leave nothing behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import psutil
import pytest
import redis

from tests.conftest import App
from tests.data import boolean_flag, by_key
from tests.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.refresh.conftest import wait_until


@pytest.fixture
def in_use(valkey: redis.Redis) -> Callable[[], dict[str, int]]:
    """What the process and Valkey hold open, once the fake LaunchDarkly, which lives in this process, is idle."""
    process = psutil.Process()

    def count() -> dict[str, int]:
        wait_until(lambda: not any("process_request_thread" in thread.name for thread in threading.enumerate()))
        return {
            "threads": process.num_threads(),
            "file descriptors": process.num_fds(),
            "sockets": len(process.net_connections()),
            "valkey connections": len(valkey.client_list()),
        }

    return count


def test_three_hundred_refreshes_leave_nothing_behind(
    app: App, launchdarkly: FakeLaunchDarkly, in_use: Callable[[], dict[str, int]]
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app.invoke("reconcile", {})  # opens what stays open: a connection to Valkey for each path
    gc.collect()
    before = in_use()
    gc.disable()  # what only the collector would close does not count
    try:
        for version in range(2, 302):
            launchdarkly.put_flag(boolean_flag("shiny", version))
            assert app.invoke("reconcile", {})["changed"] is True
        assert in_use() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("fault", list(Fault), ids=[fault.name for fault in Fault])
def test_failed_fetches_leave_nothing_behind(
    brief_app: App, launchdarkly: FakeLaunchDarkly, in_use: Callable[[], dict[str, int]], fault: Fault
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    brief_app.invoke("reconcile", {})
    before = in_use()
    gc.disable()
    try:
        launchdarkly.fault = fault
        brief_app.post("/webhook", {"kind": "flag"})
        assert in_use() == before
    finally:
        gc.enable()


def test_an_answer_that_comes_after_the_fetch_gave_up_opens_nothing(
    brief_app: App, launchdarkly: FakeLaunchDarkly, in_use: Callable[[], dict[str, int]]
) -> None:
    """The SDK's own stream would be read for ever: nobody is left to close it."""
    brief_app.invoke("reconcile", {})
    before = in_use()
    launchdarkly.delay_seconds = 2.0
    answer = brief_app.post("/webhook", {"kind": "flag"})
    assert answer.json_body["Message"] == "LaunchDarkly did not deliver the data set in time."
    wait_until(lambda: launchdarkly.stream_count == 2)
    assert in_use() == before
