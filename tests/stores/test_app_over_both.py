"""The app behaves the same over every store: webhook, evaluation, event, reconcile."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.config import load_settings
from chalicelib.data_set import FEATURES, SEGMENTS, Announcement, DataSet, fetched_item
from chalicelib.refresh.fetch import fetch_data_set
from chalicelib.refresh.refresher import Coalesced, Refreshed, Refresher
from tests.stores.conftest import OpenStore, over_store
from tests.stores.test_store_contract import LOCK_SECONDS, data_set, record_of
from tests.support.app import App, Environment, logged
from tests.support.data import boolean_flag, by_key, example_data, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.stores import Store, content_of
from tests.support.timings import PATIENT
from tests.support.waiting import eventually

USER = {"kind": "user", "key": "anna"}


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    return over_store(environment, store_environment)


def test_a_change_travels_from_the_webhook_to_every_evaluation(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1, value=False)), by_key(segment("testers", 1, "anna")))
    first = app.webhook()
    revision = first.pop("revision")
    assert first == {
        "status": "refreshed",
        "flags": 1,
        "segments": 1,
        "changed": True,
        "confirmed": None,
        "held_back": 0,
    }
    answer = app.post("/evaluate", USER)
    assert answer.json_body == {"shiny": {"value": False, "variation": 1, "version": 1}}
    assert answer.headers["X-Flags-Revision"] == revision
    assert "X-Flags-Stale" not in answer.headers
    assert app.post("/evaluate", USER, {"If-None-Match": answer.headers["ETag"]}).status_code == 304

    launchdarkly.put_flag(boolean_flag("shiny", 2, value=True))
    second = app.webhook()
    assert second["revision"] != revision
    assert app.post("/evaluate/shiny", USER).json_body == {
        "key": "shiny",
        "value": True,
        "variation": 0,
        "version": 2,
        "reason": {"kind": "FALLTHROUGH"},
    }
    event = app.invoke("on_event", USER)
    assert (event["flags"], event["revision"], event["stale"]) == (
        {"shiny": {"value": True, "variation": 0, "version": 2}},
        second["revision"],
        False,
    )


def test_an_unchanged_environment_keeps_its_revision(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(**example_data())
    first = app.invoke("reconcile", {})
    assert app.invoke("reconcile", {}) == {**first, "changed": False}
    assert app.webhook() == {**first, "changed": False}


def test_a_webhook_never_goes_backwards_and_reconcile_heals(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 7), boolean_flag("other", 1)))
    app.webhook()
    launchdarkly.replace(by_key(boolean_flag("shiny", 3, value=False)))
    assert app.webhook()["held_back"] == 1
    assert {key: flag["version"] for key, flag in app.evaluate(USER).items()} == {"shiny": 7, "other": 1}
    assert app.invoke("reconcile", {})["held_back"] == 1
    assert app.invoke("reconcile", {})["flags"] == 1
    assert app.evaluate(USER) == {"shiny": {"value": False, "variation": 1, "version": 3}}


def test_a_store_that_was_never_filled_is_a_503_that_says_so(app: App) -> None:
    answer = app.post("/evaluate", USER)
    assert answer.status_code == 503
    assert answer.json_body == {
        "Code": "ServiceUnavailableError",
        "Message": "The flag store was never filled; POST a webhook or invoke reconcile to fill it.",
    }


def test_an_empty_data_set_does_not_empty_the_store_unless_forced(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    app.webhook()
    launchdarkly.replace({})
    assert app.post("/webhook", {"kind": "flag"}).status_code == 503
    assert app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 1}}
    assert app.invoke("reconcile", {"force": True})["flags"] == 0
    assert app.evaluate(USER) == {}


LONG = PATIENT._replace(lock_seconds=60, write_lock_seconds=60)
LEFT_SECONDS = 20
"""Of the lock, when the fetch is over."""


@pytest.mark.parametrize("webhooks", [1, 2])
def test_a_fetch_may_take_all_the_time_that_it_has(open_another: OpenStore, webhooks: int) -> None:
    """Alone, and after a burst was gathered, there is still time for the write."""
    data: DataSet = {FEATURES: {"shiny": fetched_item(boolean_flag("shiny", 1))}, SEGMENTS: {}}

    def slow_fetch(_announcements: object) -> DataSet:
        age_lock(store, int(LONG.lock_seconds) - LEFT_SECONDS)
        return data

    store = open_another(timing=LONG)
    refresher = Refresher(store.writer, slow_fetch, "launchdarkly", LONG)
    for _ in range(1, webhooks):
        store.writer.take_ticket(None)
    outcome = refresher.refresh(Announcement(FEATURES, "shiny", 1))
    assert isinstance(outcome, Refreshed)
    assert (outcome.flags, outcome.confirmed) == (1, True)


def age_lock(store: Store, seconds: int) -> None:
    """What so much time does to it."""
    writer: Any = store.writer
    if store.reader.kind == "redis":
        left = writer._redis.pttl("launchdarkly:$lock")
        writer._redis.pexpire("launchdarkly:$lock", left - seconds * 1000)
    else:
        writer._table.update("$sync", "SET lock_expires = lock_expires - :seconds", seconds=seconds)


def test_a_burst_of_webhooks_costs_few_fetches_and_loses_no_change(
    open_another: OpenStore, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    fetch = functools.partial(fetch_data_set, load_settings(environment))
    instances = [Refresher(open_another().writer, fetch, "launchdarkly") for _ in range(4)]

    def change_and_announce(number: int) -> Refreshed | Coalesced:
        key, version = f"flag-{number}", number + 1
        launchdarkly.put_flag(boolean_flag(key, version))
        return instances[number % len(instances)].refresh(Announcement(FEATURES, key, version))

    with ThreadPoolExecutor(24) as threads:
        outcomes = list(threads.map(change_and_announce, range(24)))
    assert [outcome for outcome in outcomes if isinstance(outcome, Refreshed) and not outcome.confirmed] == []
    assert launchdarkly.stream_count == sum(isinstance(outcome, Refreshed) for outcome in outcomes) <= 8
    stored = content_of(open_another()).items()
    assert {key: item.version for key, item in stored[FEATURES].items()} == {f"flag-{n}": n + 1 for n in range(24)}
    assert open_another().writer.read_backlog().announcements == {}


def test_a_webhook_that_was_covered_in_vain_goes_on_to_a_refresh_of_its_own(open_another: OpenStore) -> None:
    """Another's refresh waited for what the webhook announced; LaunchDarkly has it only after that."""
    another, fetched = open_another().writer, data_set(boolean_flag("shiny", 4))
    webhook = Refresher(open_another().writer, lambda _: fetched, "launchdarkly")
    assert another.try_lock("another", LOCK_SECONDS)
    with ThreadPoolExecutor(1) as threads:
        outcome = threads.submit(webhook.refresh, Announcement(FEATURES, "shiny", 4))
        eventually(lambda: another.read_backlog().announcements)
        backlog, old = another.read_backlog(), data_set(boolean_flag("shiny", 3))
        with another.update("another", LOCK_SECONDS) as update:
            update.commit(old, record_of(old), backlog, in_vain=tuple(backlog.announcements))
        another.unlock("another")
        assert outcome.result() == Refreshed(
            record_of(fetched).revision, 1, 0, changed=True, confirmed=True, held_back=0, left_out=0, unreadable=0
        )


def test_what_a_store_cannot_hold_is_left_out_and_holds_nothing_back(
    app: App, launchdarkly: FakeLaunchDarkly, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {
        "half a character \ud83d": "features/half a character \ud83d",
        "": "features/",
        "x" * 1025: f"features/{'x' * 1025}",
        "39 digits": "features/39 digits",
    }
    flags = [boolean_flag(key, 10**38 if key == "39 digits" else 1) for key in odd]
    launchdarkly.replace(by_key(boolean_flag("shiny", 1), boolean_flag("38 digits", 10**38 - 1), *flags))
    left_out = set(odd.values() if store.reader.kind == "dynamodb" else [odd["half a character \ud83d"]])
    answer = app.webhook()
    assert (answer["status"], answer["left_out"]) == ("refreshed", len(left_out))
    messages = [record.getMessage() for record in logged(caplog)]
    assert {each.partition(": ")[2] for each in messages if each.startswith("left out")} == left_out
    assert app.client.http.get("/status").json_body["data"]["leftOut"] == len(left_out)
    evaluated = app.evaluate(USER)
    assert (evaluated["shiny"]["version"], evaluated["38 digits"]["version"]) == (1, 10**38 - 1)
    assert app.invoke("reconcile", {})["left_out"] == len(left_out)
