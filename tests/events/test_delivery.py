"""One run of ``deliver_events`` after the other, while LaunchDarkly takes what it is sent, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from ldclient.context import Context

from chalicelib.events.batches import pack
from chalicelib.events.delivery import Delivery
from chalicelib.events.state import State
from chalicelib.launchdarkly.bulk import Reply, Verdict
from chalicelib.timing import Timing
from tests.events.conftest import RecordingApp
from tests.events.test_killed import custom, summary
from tests.support.app import App, Environment
from tests.support.data import ANNA
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.judged_events import judging_client
from tests.support.stores import wiring_of
from tests.support.waiting import eventually

NOW_MS = int(time.time() * 1000)


@pytest.fixture
def app(recording_app: RecordingApp) -> App:
    return recording_app()


def leave(app: App, *events: Any, dropped: int = 0, at_ms: int | None = None) -> None:
    reader = app.module.wiring.reader
    assert reader.leave_events(pack(events, dropped, int(time.time() * 1000) if at_ms is None else at_ms))


def keys_sent(launchdarkly: FakeLaunchDarkly) -> list[str]:
    return [event["key"] for event in launchdarkly.events("custom")]


def delivered(count: int, dropped: int = 0) -> dict[str, Any]:
    return {"status": "delivered", "delivered": count, "dropped": dropped, "oldestUndeliveredSeconds": 0}


def test_nothing_is_sent_where_there_is_nothing(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    assert app.invoke("deliver_events", {}) == delivered(0)
    assert launchdarkly.posts == []


def test_a_payload_is_sent_as_the_sdk_sends_it(
    app: App, launchdarkly: FakeLaunchDarkly, judge: FakeLaunchDarkly
) -> None:
    leave(app, custom("a"))
    app.invoke("deliver_events", {})
    with judging_client(judge, enable_event_compression=True) as client:
        client.track("a", Context.create("anna"))
    (mine,), (sdks,) = launchdarkly.posts, judge.posts
    assert mine.path == sdks.path == "/bulk"
    same = ("authorization", "user-agent", "content-type", "content-encoding", "x-launchdarkly-event-schema")
    assert {name: mine.headers[name] for name in same} == {name: sdks.headers[name] for name in same}
    assert len(mine.payload_id) == len(sdks.payload_id) == 36


def test_several_batches_of_summaries_are_one_summary(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    for count in (1, 2, 4):
        leave(app, {**summary("shiny", count), "startDate": NOW_MS})
    assert app.invoke("deliver_events", {}) == delivered(7)
    (sent,) = launchdarkly.events("summary")
    assert sent["features"]["shiny"]["counters"] == [{"count": 7, "value": True, "variation": 0, "version": 1}]


@pytest.mark.parametrize("status", [400, 408, 429, 500, 503, 302, 0])
def test_what_launchdarkly_does_not_take_for_a_while_is_sent_later_under_the_same_id_in_order_of_age(
    app: App, launchdarkly: FakeLaunchDarkly, status: int
) -> None:
    tries = 2 if status == 400 else 1  # the second asks whether LaunchDarkly takes anything
    launchdarkly.event_statuses = [status] * 3 * tries
    for number in range(3):
        leave(app, custom(f"event-{number}"))
        postponed = app.invoke("deliver_events", {"force": True})
        assert (postponed["status"], postponed["delivered"], postponed["dropped"]) == ("postponed", 0, 0)
    waiting = app.invoke("deliver_events", {})
    assert (waiting["status"], len(launchdarkly.posts)) == ("postponed", 3 * tries)  # not before the pause is over
    assert app.invoke("deliver_events", {"force": True}) == delivered(3)
    assert keys_sent(launchdarkly) == ["event-0", "event-1", "event-2"]
    assert len({post.payload_id for post in launchdarkly.posts[: 3 * tries + 1 : tries]}) == 1
    assert app.module.wiring.reader.read_delivery().oldest is None


def test_launchdarkly_away_costs_nothing_and_pauses_grow(environment: Environment) -> None:
    """An hour, by a clock that the test has in its hand: one run a minute."""
    wiring = wiring_of({**environment, "EVENTS": "full"})
    clock, sent, tried = Clock(NOW_MS / 1000), list[bytes](), list[int]()

    def answer(body: bytes) -> Reply:
        tried.append(minute)
        if minute < 60:
            return Reply(Verdict.LATER, "away")
        sent.append(body)
        return Reply(Verdict.ACCEPTED, "here again")

    delivery = Delivery(wiring._event_queue, lambda: Answering(answer), Timing(), clock)
    for minute in range(71):
        wiring.reader.leave_events(pack([custom(f"{minute:02d}")], 0, int(clock() * 1000)))
        delivery.deliver(40)
        clock.now += 60
    assert tried[:5] == [0, 1, 3, 7, 14]
    assert tried[4:9] == [14, 24, 34, 44, 54]
    keys = b"".join(sent)
    positions = [keys.index(b'"key":"%02d"' % number) for number in range(71)]
    assert positions == sorted(positions)
    assert wiring.reader.read_delivery().oldest is None


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_person_has_to_mend_stops_the_delivery_with_an_error_and_keeps_everything(
    app: App, launchdarkly: FakeLaunchDarkly, status: int
) -> None:
    leave(app, custom("a"))
    tries = 2 if status == 404 else 1  # the second asks whether LaunchDarkly takes anything
    launchdarkly.event_statuses = [status] * tries
    words = f"rejected the SDK key \\(HTTP {status}\\)" if status < 404 else "answered HTTP 404"
    for _ in range(2):  # the second run does not ask LaunchDarkly, and fails all the same
        with pytest.raises(app.module.errors.EventsRefused, match=f"^LaunchDarkly {words}. The events stay in the"):
            app.invoke("deliver_events", {})
    assert len(launchdarkly.posts) == tries
    report = app.client.http.get("/status").json_body["events"]
    assert report["refused"] is not None
    assert app.invoke("deliver_events", {"force": True}) == delivered(1)
    assert app.client.http.get("/status").json_body["events"] == {
        "mode": "full",
        "delivered": 1,
        "dropped": 0,
        "oldestUndeliveredSeconds": 0,
        "refused": None,
    }


def test_a_payload_that_is_too_large_is_sent_in_parts_and_an_event_that_is_too_large_is_dropped(
    app: App, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.most_event_bytes = 400
    events = [custom(f"event-{number}") for number in range(9)]
    leave(app, *events[:5], {**custom("huge"), "data": "x" * 1000}, *events[5:])
    assert app.invoke("deliver_events", {}) == delivered(9, dropped=1)
    assert keys_sent(launchdarkly) == [f"event-{number}" for number in range(9)]
    assert {post.status for post in launchdarkly.posts} == {202, 413}


def refused_thrice(app: App) -> None:
    """Three runs; the next one that LaunchDarkly refuses something in has seen enough of it."""
    for _ in range(3):
        postponed = app.invoke("deliver_events", {"force": True})
        assert (postponed["status"], postponed["delivered"], postponed["dropped"]) == ("postponed", 0, 0)


def test_an_event_that_launchdarkly_never_takes_is_dropped_alone_and_holds_up_nothing_for_long(
    app: App, launchdarkly: FakeLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    events = [custom(f"event-{number}") for number in range(40)]
    launchdarkly.unfit_keys = {"event-7", "event-23"}
    leave(app, *events)
    refused_thrice(app)
    leave(app, custom("behind it"))
    assert app.invoke("deliver_events", {"force": True}) == delivered(39, dropped=2)
    taken = [f"event-{number}" for number in range(40) if number not in (7, 23)]
    assert keys_sent(launchdarkly) == [*taken, "behind it"]
    assert app.client.http.get("/status").json_body["events"]["dropped"] == 2
    assert "1 analytics events were dropped: in one event of kind 'custom', which is not taken." in caplog.text
    assert len(launchdarkly.posts) < 50


def test_such_an_event_holds_up_what_is_behind_it_for_some_minutes(environment: Environment) -> None:
    """By a clock that the test has in its hand: one run a minute."""
    wiring = wiring_of({**environment, "EVENTS": "full"})
    wiring.reader.leave_events(pack([custom("unfit")], 0, NOW_MS))
    clock, tried = Clock(NOW_MS / 1000), list[int]()

    def answer(body: bytes) -> Reply:
        if b"unfit" not in body:
            return Reply(Verdict.ACCEPTED, "taken")
        tried.append(minute)
        return Reply(Verdict.LATER, "refused", may_be_payload=True)

    delivery = Delivery(wiring._event_queue, lambda: Answering(answer), Timing(), clock)
    for minute in range(9):
        last = delivery.deliver(40)
        clock.now += 60
        wiring.reader.leave_events(pack([custom(f"other-{minute}")], 0, int(clock() * 1000)))
    assert tried == [0, 1, 3, 7]
    assert last == ("delivered", 1, 0, 0, None)


def test_the_next_payload_with_such_an_event_is_not_waited_for_again(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.unfit_keys = {"unfit"}
    leave(app, custom("unfit"))
    refused_thrice(app)
    assert app.invoke("deliver_events", {"force": True}) == delivered(0, dropped=1)
    leave(app, custom("a"), custom("unfit"))
    assert app.invoke("deliver_events", {}) == delivered(1, dropped=1)
    for number in range(4):
        leave(app, custom(f"b-{number}"))
        assert app.invoke("deliver_events", {}) == delivered(1)
    leave(app, custom("unfit"))
    refused_thrice(app)  # by now it may be a trouble of LaunchDarkly's again


def test_while_launchdarkly_refuses_all_events_none_is_dropped_however_long(
    app: App, launchdarkly: FakeLaunchDarkly
) -> None:
    leave(app, custom("a"))
    launchdarkly.event_statuses = [400] * 40
    for _ in range(20):
        assert app.invoke("deliver_events", {"force": True})["status"] == "postponed"
    assert app.invoke("deliver_events", {"force": True}) == delivered(1)


def test_what_asks_whether_launchdarkly_takes_anything_counts_nothing(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    leave(app, custom("a"))
    launchdarkly.event_statuses = [400]
    assert app.invoke("deliver_events", {})["delivered"] == 0
    (asked,) = launchdarkly.accepted
    (event,) = asked.events
    assert event == {
        **summary("shiny", 1),
        "startDate": event["startDate"],
        "endDate": event["endDate"],
        "features": {},
    }
    assert app.client.http.get("/status").json_body["events"]["delivered"] == 0


def test_a_batch_that_was_left_twice_is_sent_once(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    reader = app.module.wiring.reader
    twice, other = (pack([custom(key)], 0, NOW_MS) for key in ("twice", "other"))
    for batches in (twice, other, twice):
        reader.leave_events(batches)
    assert app.invoke("deliver_events", {}) == delivered(2)
    reader.leave_events(twice)
    assert app.invoke("deliver_events", {}) == delivered(0)
    assert sorted(keys_sent(launchdarkly)) == ["other", "twice"]


def test_events_of_a_week_ago_are_dropped_and_counted(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    leave(app, custom("old"), custom("older"), at_ms=NOW_MS - 8 * 86_400_000)
    leave(app, custom("new"))
    assert app.invoke("deliver_events", {}) == delivered(1, dropped=2)
    assert keys_sent(launchdarkly) == ["new"]


@pytest.mark.parametrize(
    "value", [b"", b"x", b"x y", b"\xff", b"\xff y", b"9" * 400, b"9" * 5000], ids=lambda value: repr(value[:5])
)
def test_what_is_no_batch_holds_nothing_up(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, value: bytes
) -> None:
    valkey.rpush("launchdarkly:$events", value)
    leave(app, custom("a"))
    answer = app.invoke("deliver_events", {})
    assert (answer["status"], answer["delivered"], keys_sent(launchdarkly)) == ("delivered", 1, ["a"])
    assert valkey.exists("launchdarkly:$events", "launchdarkly:$events_bytes") == 0


def test_a_payload_that_nobody_has_taken_for_a_week_is_dropped_and_counted(environment: Environment) -> None:
    wiring = wiring_of({**environment, "EVENTS": "full"})
    wiring.reader.leave_events(pack([custom("a"), custom("b")], 0, NOW_MS))
    clock, answers = Clock(NOW_MS / 1000), [Reply(Verdict.LATER, "away"), Reply(Verdict.ACCEPTED, "here again")]
    delivery = Delivery(wiring._event_queue, lambda: Answering(lambda _: answers.pop(0)), Timing(), clock)
    assert delivery.deliver(40).status == "postponed"
    clock.now += 6.9 * 86_400
    wiring.reader.leave_events(pack([custom("c")], 0, int(clock() * 1000)))
    clock.now += 0.2 * 86_400
    assert delivery.deliver(40) == ("delivered", 1, 2, 0, None)


class Answering:
    """A LaunchDarkly that answers to a payload what the test says."""

    def __init__(self, answer: Callable[[bytes], Reply]) -> None:
        self._answer = answer

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, payload_id: str, body: bytes) -> Reply:
        return self._answer(body)


ODD: list[tuple[str, object]] = [
    ('"odd": 1e999', {"odd": None}),
    ('"odd": -1e999, "private": 1e999, "_meta": {"privateAttributes": ["private"]}', {"odd": None}),
    ('"odd": [1e999, {"deep": 1e999, "even": 1e308}]', {"odd": [None, {"deep": None, "even": 1e308}]}),
]


@pytest.mark.parametrize(("attributes", "told"), ODD, ids=["a number", "a private one", "deep within"])
def test_a_number_that_json_does_not_have_costs_no_event(
    app: App, launchdarkly: FakeLaunchDarkly, attributes: str, told: dict[str, Any]
) -> None:
    body = f'{{"kind": "user", "key": "anna", {attributes}}}'.encode()
    assert app.post("/evaluate/tracked", body).json_body["value"] is True
    assert app.invoke("deliver_events", {})["dropped"] == 0
    (index,), (feature,) = (launchdarkly.events(kind) for kind in ("index", "feature"))
    for event in (index, feature):
        assert {name: value for name, value in event["context"].items() if name in ("odd", "private")} == told


def test_what_functions_had_no_room_for_is_told(
    app: App, launchdarkly: FakeLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    leave(app, custom("a"), dropped=4)
    leave(app, dropped=3)
    assert app.invoke("deliver_events", {}) == delivered(1, dropped=7)
    assert app.client.http.get("/status").json_body["events"]["dropped"] == 7
    assert "7 analytics events were dropped: whoever has recorded them had no room" in caplog.text
    assert [event["kind"] for post in launchdarkly.posts for event in post.events] == ["custom"]


def test_a_pause_that_no_clock_that_is_right_can_have_set_is_not_kept(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    leave(app, custom("a"))
    queue = app.module.wiring._event_queue
    assert queue.try_lock("wrong", 30)
    queue.write_state("wrong", State(retry_at_ms=NOW_MS + 86_400_000).to_json())
    queue.unlock("wrong")
    assert app.invoke("deliver_events", {}) == delivered(1)


def test_one_delivery_at_a_time(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    leave(app, custom("a"))
    queue = app.module.wiring._event_queue
    assert queue.try_lock("another", 30)
    assert app.invoke("deliver_events", {})["status"] == "busy"
    queue.unlock("somebody else")
    assert app.invoke("deliver_events", {})["status"] == "busy"
    queue.unlock("another")
    assert app.invoke("deliver_events", {}) == delivered(1)


@pytest.mark.parametrize("order", ["abcda", "aabcd"])
def test_a_batch_that_was_left_twice_costs_none_of_its_neighbours_when_launchdarkly_takes_it_later(
    app: App, launchdarkly: FakeLaunchDarkly, order: str
) -> None:
    reader = app.module.wiring.reader
    batches = {key: pack([custom(key)], 0, NOW_MS + number) for number, key in enumerate("abcd")}
    for key in order:
        reader.leave_events(batches[key])
    launchdarkly.event_statuses = [503]
    assert app.invoke("deliver_events", {})["status"] == "postponed"
    assert app.invoke("deliver_events", {"force": True}) == delivered(4)
    assert keys_sent(launchdarkly) == ["a", "b", "c", "d"]


def test_many_batches_are_delivered_in_one_run(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    for number in range(700):
        leave(app, custom(f"event-{number}"))
    assert app.invoke("deliver_events", {}) == delivered(700)
    assert keys_sent(launchdarkly) == [f"event-{number}" for number in range(700)]
    assert len(launchdarkly.posts) == 2


def test_a_key_that_was_replaced_is_tried_at_once(
    recording_app: RecordingApp, launchdarkly: FakeLaunchDarkly, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = recording_app()
    leave(app, custom("a"))
    launchdarkly.revoked_sdk_keys = {"sdk-key"}
    monkeypatch.setattr("chalicelib.launchdarkly.bulk.rotated_secret", lambda *_: "another-key")
    assert app.invoke("deliver_events", {}) == delivered(1)
    assert [post.headers["authorization"] for post in launchdarkly.posts] == ["sdk-key", "another-key"]


@pytest.mark.parametrize("settings", [{"EVENTS": "off"}, {"EVENTS": ""}])
def test_nothing_is_recorded_where_nobody_asks_for_it(
    recording_app: RecordingApp, launchdarkly: FakeLaunchDarkly, settings: dict[str, str]
) -> None:
    app = recording_app(**settings)
    app.post("/evaluate/counted", ANNA)
    assert app.module.wiring.reader.read_delivery() == (None, None)
    assert app.invoke("deliver_events", {})["status"] == "ignored"
    assert launchdarkly.posts == []
    assert "events" not in app.client.http.get("/status").json_body


def test_an_address_that_does_not_answer_is_given_up(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    leave(app, custom("a"))
    launchdarkly.close()
    eventually(lambda: app.invoke("deliver_events", {"force": True})["status"] == "postponed")
