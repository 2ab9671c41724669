"""What a user's own function asks ``flags`` is told as well. Its handler has no end that we could see."""

from __future__ import annotations

import pytest
from ldclient.context import Context

from chalicelib import flags
from tests.events.conftest import RecordingApp
from tests.support.data import ANNA
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


@pytest.mark.parametrize("context", [{"kind": "user"}, {"key": 7}, Context.create("")])
def test_an_event_of_an_invalid_context_is_not_sent_and_raises_nothing(
    recording_app: RecordingApp, context: object
) -> None:
    app = recording_app()
    flags.track("purchase", context)  # type: ignore[arg-type]
    assert app.module.wiring.reader.read_delivery().oldest is None
