"""Hundreds of refreshes in one process leave nothing behind."""

from __future__ import annotations

import gc
from collections.abc import Callable

import psutil
import pytest
import redis

from tests.refresh.conftest import FaultyApp
from tests.support.app import App
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.support.waiting import eventually

InUse = dict[str, int]


@pytest.fixture
def in_use(valkey: redis.Redis, launchdarkly: FakeLaunchDarkly) -> Callable[[], InUse]:
    """What the process and Valkey hold open, once the fake LaunchDarkly, which lives in this process, is idle."""
    process = psutil.Process()

    def count() -> InUse:
        eventually(lambda: launchdarkly.open_connections == 0)
        return {
            "threads": process.num_threads(),
            "file descriptors": process.num_fds(),
            "sockets": len(process.net_connections()),
            "valkey connections": len(valkey.client_list()),
        }

    return count


def more_than(before: InUse, after: InUse) -> InUse:
    """What there is more of. Not less: servers of other tests in this process close idle connections at any time."""
    return {name: count - before[name] for name, count in after.items() if count > before[name]}


def test_three_hundred_refreshes_leave_nothing_behind(
    app: App, launchdarkly: FakeLaunchDarkly, in_use: Callable[[], InUse]
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
        eventually(lambda: more_than(before, in_use()) == {})
    finally:
        gc.enable()


@pytest.mark.parametrize("fault", list(Fault), ids=[fault.name for fault in Fault])
def test_failed_fetches_leave_nothing_behind(
    faulty_app: FaultyApp, launchdarkly: FakeLaunchDarkly, in_use: Callable[[], InUse], fault: Fault
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app = faulty_app(fault)
    app.invoke("reconcile", {})
    before = in_use()
    gc.disable()
    try:
        launchdarkly.fault = fault
        app.post("/webhook", {"kind": "flag"})
        eventually(lambda: more_than(before, in_use()) == {})
    finally:
        gc.enable()


def test_an_answer_that_comes_after_the_fetch_gave_up_opens_nothing(
    faulty_app: FaultyApp, launchdarkly: FakeLaunchDarkly, in_use: Callable[[], InUse]
) -> None:
    """The SDK's own stream would be read for ever: nobody is left to close it."""
    app = faulty_app(Fault.SILENT)
    app.invoke("reconcile", {})
    before = in_use()
    launchdarkly.delay_seconds = 1.2
    answer = app.post("/webhook", {"kind": "flag"})
    assert answer.json_body["Message"] == "LaunchDarkly did not deliver the data set in time."
    eventually(lambda: launchdarkly.stream_count == 2)
    eventually(lambda: more_than(before, in_use()) == {})
