"""What one function instance does with events, by a store and a clock that the test has in its hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from chalicelib.errors import StoreUnavailable
from chalicelib.events.batches import Batch, unpack, weight
from chalicelib.events.recorder import EventRules, Recorder
from chalicelib.launchdarkly.clients import daemon_client
from chalicelib.launchdarkly.evaluators import evaluator_over
from chalicelib.launchdarkly.events import MOST_EVENTS
from chalicelib.launchdarkly.sdk import Context
from chalicelib.read.feature_stores import SnapshotFeatureStore
from tests.support.clock import Clock
from tests.support.data import Json, boolean_flag
from tests.support.forks import in_a_fork
from tests.support.judged_events import FLAGS

ANNA = Context.create("anna")


class LeftBatches:
    """A store that does what the test says; ``batches`` are in it."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.attempts: list[tuple[str, ...]] = []
        self.does: Any = True

    def leave(self, batches: Sequence[Batch]) -> bool:
        self.attempts.append(tuple(batch.name for batch in batches))
        if isinstance(self.does, Exception):
            raise self.does
        if self.does:
            self.batches += batches
        return bool(self.does)

    @property
    def events(self) -> list[Json]:
        return [event for batch in self.batches for event in unpack(batch).events]

    @property
    def dropped(self) -> int:
        return sum(unpack(batch).dropped for batch in self.batches)


@pytest.fixture
def store() -> LeftBatches:
    return LeftBatches()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(store: LeftBatches, clock: Clock) -> Recorder:
    return Recorder(store.leave, EventRules(flush_seconds=10), clock=clock)


def evaluate(recorder: Recorder, key: str = "shiny", context: Context = ANNA, **flag: Any) -> None:
    evaluator_over(holding(boolean_flag("shiny", **flag)), record=recorder.record).evaluate_flag(key, context)


def holding(flag: Json) -> SnapshotFeatureStore:
    return SnapshotFeatureStore({"features": {flag["key"]: json.dumps(flag).encode()}, "segments": {}})


def counts(events: list[Json]) -> dict[str, int]:
    return {
        key: sum(counter["count"] for counter in feature["counters"])
        for event in events
        if event["kind"] == "summary"
        for key, feature in event["features"].items()
    }


def test_events_are_left_once_the_last_time_was_long_enough_ago(
    recorder: Recorder, store: LeftBatches, clock: Clock
) -> None:
    evaluate(recorder)
    recorder.end_invocation()
    clock.advance(9.9)
    recorder.end_invocation()
    assert store.attempts == []
    clock.advance(0.1)
    evaluate(recorder)
    recorder.end_invocation()
    assert counts(store.events) == {"shiny": 2}
    evaluate(recorder)
    recorder.end_invocation()
    clock.advance(10)
    recorder.end_invocation()
    assert [counts([event]) for event in store.events if event["kind"] == "summary"] == [{"shiny": 2}, {"shiny": 1}]
    clock.advance(100)
    recorder.end_invocation()
    assert len(store.attempts) == 2  # there was nothing to leave


def test_the_first_invocation_imports_nothing_of_the_pipeline(recorder: Recorder) -> None:
    evaluate(recorder)
    recorder.end_invocation()
    assert recorder._pipeline is None


def test_what_was_recorded_before_a_fork_is_left_once(recorder: Recorder, store: LeftBatches, clock: Clock) -> None:
    def leave_what_is_due() -> Json:
        clock.advance(10)
        recorder.end_invocation()
        return counts(store.events)

    def evaluate_and_leave() -> Json:
        evaluate(recorder)
        return leave_what_is_due()

    evaluate(recorder)
    evaluate(recorder)
    assert in_a_fork(leave_what_is_due) == {}
    assert in_a_fork(evaluate_and_leave) == {"shiny": 1}
    assert leave_what_is_due() == {"shiny": 2}


def test_what_the_store_did_not_take_is_left_later_under_the_same_name(
    recorder: Recorder, store: LeftBatches, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.does = StoreUnavailable("The flag store did not answer in time.")
    evaluate(recorder)
    clock.advance(10)
    recorder.end_invocation()
    evaluate(recorder)
    recorder.end_invocation()
    assert len(store.attempts) == 1  # and now the store is left alone
    store.does = True
    clock.advance(10)
    recorder.end_invocation()
    assert store.attempts[1] == store.attempts[0]
    clock.advance(10)
    recorder.end_invocation()
    assert counts(store.events[:2]) == counts(store.events[2:]) == {"shiny": 1}
    assert "analytics events stay in memory: The flag store did not answer in time." in caplog.text


def test_a_store_that_has_just_failed_the_request_is_not_asked(
    recorder: Recorder, store: LeftBatches, clock: Clock
) -> None:
    evaluate(recorder)
    clock.advance(10)
    recorder.end_invocation(is_store_away=True)
    assert store.attempts == []
    recorder.end_invocation()
    assert counts(store.events) == {"shiny": 1}


def test_what_a_full_store_does_not_take_is_dropped_logged_and_counted(
    recorder: Recorder, store: LeftBatches, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.does = False
    for _ in range(3):
        evaluate(recorder)
    clock.advance(10)
    recorder.end_invocation()
    assert "analytics events were dropped: the store has no room" in caplog.text
    store.does = True
    clock.advance(10)
    recorder.end_invocation()
    assert (store.events, store.dropped) == ([], 4)  # the context's index event is one of them


def test_what_was_dropped_is_told_once_however_often_the_store_was_full(
    recorder: Recorder, store: LeftBatches, clock: Clock
) -> None:
    for is_left in (False, False, True, True):
        store.does = is_left
        evaluate(recorder)
        clock.advance(10)
        recorder.end_invocation()
    assert (counts(store.events), store.dropped) == ({"shiny": 1}, 3)  # two evaluations, and the context's index event


@pytest.mark.parametrize(("flush_seconds", "pause_seconds"), [(0.0, 1.0), (10.0, 10.0)])
def test_a_store_that_has_failed_is_asked_again_after_the_longer_of_a_second_and_the_time_between_two_batches(
    store: LeftBatches, clock: Clock, flush_seconds: float, pause_seconds: float
) -> None:
    recorder = Recorder(store.leave, EventRules(flush_seconds=flush_seconds), clock=clock)
    store.does = StoreUnavailable("away")
    evaluate(recorder)
    clock.advance(flush_seconds)
    for seconds, attempts in ((0.0, 1), (pause_seconds - 0.01, 1), (0.01, 2)):
        clock.advance(seconds)
        recorder.end_invocation()
        assert len(store.attempts) == attempts


def test_whatever_goes_wrong_costs_events_and_nothing_else(
    recorder: Recorder, store: LeftBatches, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.record("no event at all")
    clock.advance(10)
    recorder.end_invocation()
    store.does = RuntimeError("anna@example.com")
    evaluate(recorder)
    recorder.end_invocation()
    assert caplog.messages == [
        "analytics events were lost: AttributeError",
        "analytics events were lost: RuntimeError",
    ]
    store.does = True
    recorder.end_invocation()
    assert counts(store.events) == {"shiny": 1}


def test_nobody_waits_for_a_thread_that_leaves_events(store: LeftBatches, clock: Clock) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slowly(batches: Sequence[Batch]) -> bool:
        entered.set()
        assert leave.wait(60)
        return store.leave(batches)

    recorder = Recorder(slowly, EventRules(flush_seconds=0), clock=clock)
    evaluate(recorder)
    thread = threading.Thread(target=recorder.end_invocation)
    thread.start()
    assert entered.wait(60)
    evaluate(recorder)
    recorder.end_invocation()
    assert store.attempts == []
    leave.set()
    thread.join()
    recorder.end_invocation()
    assert counts(store.events[:2]) == counts(store.events[2:]) == {"shiny": 1}


def test_the_buffer_is_bounded_and_what_it_has_no_room_for_is_counted(
    recorder: Recorder, store: LeftBatches, clock: Clock
) -> None:
    for number in range(MOST_EVENTS + 5):
        evaluate(recorder, f"unknown-{number}")
    for number in range(MOST_EVENTS + 7):
        recorder.track(ANNA, f"event-{number}")
    clock.advance(10)
    recorder.end_invocation()
    assert len(counts(store.events)) == MOST_EVENTS
    assert sum(event["kind"] == "custom" for event in store.events) == MOST_EVENTS - 1  # and the context is one more
    assert store.dropped == 5 + 8
    assert weight(store.events) + store.dropped == 2 * MOST_EVENTS + 5 + 7 + 1


def test_many_full_events_are_left_before_their_time(recorder: Recorder, store: LeftBatches) -> None:
    for number in range(MOST_EVENTS // 2):
        recorder.track(ANNA, f"event-{number}")
    recorder.end_invocation()
    assert len(store.events) == MOST_EVENTS // 2 + 1


def test_events_that_wait_for_a_busy_thread_are_bounded(
    recorder: Recorder, store: LeftBatches, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.events.recorder._MOST", 3)
    with recorder._lock:
        for _ in range(5):
            evaluate(recorder)
    clock.advance(10)
    recorder.end_invocation()
    assert (counts(store.events), store.dropped) == ({"shiny": 3}, 2)


def test_a_context_is_told_once_and_after_a_while_once_more(
    recorder: Recorder, store: LeftBatches, clock: Clock
) -> None:
    indexed = []
    for seconds in (10, 10, 300, 10):
        evaluate(recorder)
        clock.advance(seconds)
        recorder.end_invocation()
        indexed.append(sum(event["kind"] == "index" for event in store.events))
    assert indexed == [1, 1, 2, 2]


def test_counts_alone_are_left_where_summaries_are_asked_for(store: LeftBatches, clock: Clock) -> None:
    recorder = Recorder(store.leave, EventRules(summaries_only=True, flush_seconds=0), clock=clock)
    evaluate(recorder, trackEvents=True, debugEventsUntilDate=4_000_000_000_000)
    evaluate(recorder, excludeFromSummaries=True)
    recorder.track(ANNA, "purchase")
    recorder.end_invocation()
    assert [event["kind"] for event in store.events] == ["summary"]
    assert counts(store.events) == {"shiny": 1}


SECRETIVE = Context.builder("anna").set("email", "a@example.com").set("address", {"street": "x", "city": "y"}).build()
HIDDEN: list[tuple[tuple[str, ...] | None, Json]] = [
    ((), {"email": "a@example.com", "address": {"street": "x", "city": "y"}}),
    (("email",), {"address": {"street": "x", "city": "y"}, "_meta": {"redactedAttributes": ["email"]}}),
    (
        ("/address/street",),
        {"email": "a@example.com", "address": {"city": "y"}, "_meta": {"redactedAttributes": ["/address/street"]}},
    ),
    (None, {"_meta": {"redactedAttributes": ["email", "address"]}}),
]


@pytest.mark.parametrize(("private", "attributes"), HIDDEN)
def test_the_operators_private_attributes_do_not_leave_the_process(
    private: tuple[str, ...] | None, attributes: Json, store: LeftBatches, clock: Clock
) -> None:
    recorder = Recorder(store.leave, EventRules(private_attributes=private, flush_seconds=0), clock=clock)
    evaluate(recorder, context=SECRETIVE)
    recorder.end_invocation()
    (index,) = [event for event in store.events if event["kind"] == "index"]
    assert index["context"] == {"kind": "user", "key": "anna", **attributes}


def test_anonymous_contexts_can_be_left_out(store: LeftBatches, clock: Clock) -> None:
    recorder = Recorder(store.leave, EventRules(omit_anonymous=True, flush_seconds=0), clock=clock)
    evaluate(recorder, context=Context.builder("nobody").anonymous(True).build())
    recorder.end_invocation()
    assert [event["kind"] for event in store.events] == ["summary"]


def test_a_migration_is_an_event_of_the_sdks_own(recorder: Recorder, store: LeftBatches, clock: Clock) -> None:
    # After the pipeline was made, which does not import them.
    from ldclient.migrations import Operation, Origin, Stage

    flag = {**boolean_flag("move"), "variations": ["off", "live"], "fallthrough": {"variation": 1}, "migration": {}}
    client = daemon_client(holding(flag), record=recorder.record)
    stage, tracker = client.migration_variation("move", ANNA, Stage.OFF)
    tracker.operation(Operation.READ).invoked(Origin.NEW)
    client.track_migration_op(tracker)
    clock.advance(10)
    recorder.end_invocation()
    assert stage is Stage.LIVE
    (migration,) = [event for event in store.events if event["kind"] == "migration_op"]
    assert migration["measurements"] == [{"key": "invoked", "values": {"new": True}}]
    assert counts(store.events) == {"move": 1}


@pytest.mark.parametrize("key", ["counted", "experiment", "dependent", "broken", "circular", "no-off", "missing"])
@pytest.mark.parametrize("with_reasons", [True, False])
def test_with_a_default_the_evaluator_records_what_a_client_does(key: str, with_reasons: bool) -> None:
    flags = {**FLAGS, "no-off": boolean_flag("no-off", on=False, offVariation=None)}
    texts = {name: json.dumps(flag).encode() for name, flag in flags.items()}
    feature_store = SnapshotFeatureStore({"features": texts, "segments": {}})
    mine, clients = list[Any](), list[Any]()
    client = daemon_client(feature_store, record=clients.append)

    detail = evaluator_over(feature_store, record=mine.append).evaluate_flag(
        key, ANNA, "default", with_reasons=with_reasons
    )

    expected = client.variation_detail(key, ANNA, "default") if with_reasons else client.variation(key, ANNA, "default")
    assert (detail if with_reasons else detail.value) == expected
    assert [_without_time(event) for event in mine] == [_without_time(event) for event in clients]
    assert mine


def _without_time(event: Any) -> Json:
    return {name: value for name, value in event.to_debugging_dict().items() if name != "timestamp"}
