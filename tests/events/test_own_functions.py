"""What a user's own function asks ``flags`` is told as well. Its handler has no end that we could see."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from chalice.app import CloudWatchEvent, SQSEvent
from ldclient.context import Context
from ldclient.migrations import Operation, OpTracker, Origin, Stage

from chalicelib import flags
from tests.events.conftest import RecordingApp
from tests.support.app import App
from tests.support.data import ANNA, boolean_flag
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.judged_events import CONTEXTS, judging_client, told


def test_flags_in_a_function_of_ones_own_count_as_with_the_sdk(
    recording_app: RecordingApp, launchdarkly: FakeLaunchDarkly, judge: FakeLaunchDarkly
) -> None:
    app = recording_app()
    for context in CONTEXTS.values():
        for key in ("counted", "tracked", "experiment", "dependent", "missing"):
            flags.variation(key, context, default="default")
            flags.variation_detail(key, context, default="default")
        flags.all_flags_state(context, client_side_only=True)
        flags.track("purchase", context, {"cart": 1}, 2.5)
    with flags.one_revision() as client:
        client.variation("tracked", Context.from_dict(ANNA), None)
        client.track("seen", Context.from_dict(ANNA))
    app.invoke("deliver_events", {})

    with judging_client(judge) as client:
        for each in CONTEXTS.values():
            checked = Context.from_dict(each)
            for key in ("counted", "tracked", "experiment", "dependent", "missing"):
                client.variation(key, checked, "default")
                client.variation_detail(key, checked, "default")
            client.track("purchase", checked, {"cart": 1}, 2.5)
        client.variation("tracked", Context.from_dict(ANNA), None)
        client.track("seen", Context.from_dict(ANNA))
    assert told(launchdarkly) == told(judge)


@pytest.mark.parametrize("fails", [False, True])
def test_a_handler_of_the_app_leaves_its_events_at_its_end(
    recording_app: RecordingApp, launchdarkly: FakeLaunchDarkly, fails: bool
) -> None:
    app = recording_app()

    def take_orders(event: SQSEvent) -> None:
        for record in event:
            assert flags.variation("counted", {"key": record.body}, default=False)
        assert not fails

    def remind(event: CloudWatchEvent) -> None:
        flags.variation("counted", ANNA, default=False)

    app.module.app.on_sqs_message(queue="orders")(take_orders)
    app.module.app.schedule("rate(1 hour)")(remind)
    own = App(app.module)
    with pytest.raises(AssertionError) if fails else nullcontext():
        own.invoke("take_orders", own.client.events.generate_sqs_event(["anna", "ben"]))
    own.invoke("remind", own.client.events.generate_cw_event("a", "b", {}, []))
    app.invoke("deliver_events", {})
    assert list(told(launchdarkly).counters.values()) == [3]


def test_the_operation_of_a_migration_is_told_as_by_the_sdk(
    recording_app: RecordingApp, launchdarkly: FakeLaunchDarkly, judge: FakeLaunchDarkly
) -> None:
    move = {**boolean_flag("move"), "variations": ["off", "live"], "fallthrough": {"variation": 1}, "migration": {}}
    app = recording_app(move)
    judge.put_flag(move)
    with judging_client(judge) as client:
        for ask in (flags, client):
            stage, tracker = ask.migration_variation("move", Context.from_dict(ANNA), Stage.OFF)
            tracker.operation(Operation.READ).invoked(Origin.NEW)
            ask.track_migration_op(tracker)
            assert stage is Stage.LIVE
    flags.track_migration_op(OpTracker.__new__(OpTracker))  # which can tell nothing
    app.invoke("on_event", ANNA)
    app.invoke("deliver_events", {})
    assert launchdarkly.events("migration_op")
    assert told(launchdarkly) == told(judge)


@pytest.mark.parametrize("context", [{"kind": "user"}, {"key": 7}, Context.create("")])
def test_an_event_of_an_invalid_context_is_not_sent_and_raises_nothing(
    recording_app: RecordingApp, context: object
) -> None:
    app = recording_app()
    flags.track("purchase", context)  # type: ignore[arg-type]
    assert app.module.wiring.reader.read_delivery().oldest is None
