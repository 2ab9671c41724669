"""Whatever LaunchDarkly does: the answer says what happened, and the store keeps what it had."""

from __future__ import annotations

import json
import socket

import pytest
import redis

from tests.refresh.conftest import FaultyApp, content
from tests.support.app import App
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.support.webhooks import flag_entry

FLAG = boolean_flag("shiny", 3)
DATA = {"flags": by_key(FLAG), "segments": by_key(segment("beta", 3, "anna"))}

FAULTS = [
    (Fault.HANG, "FetchTimedOut", "LaunchDarkly did not deliver the data set in time."),
    (Fault.SILENT, "FetchTimedOut", "LaunchDarkly did not deliver the data set in time."),
    (Fault.UNAUTHORIZED, "SdkKeyRejected", "LaunchDarkly rejected the SDK key (HTTP 401)."),
    (Fault.FORBIDDEN, "SdkKeyRejected", "LaunchDarkly rejected the SDK key (HTTP 403)."),
    (Fault.UNAVAILABLE, "LaunchDarklyUnreachable", "LaunchDarkly answered HTTP 503."),
    (Fault.GARBAGE, "LaunchDarklyUnreachable", "LaunchDarkly sent a data set that cannot be read."),
    (
        Fault.DROP_MID_PUT,
        "LaunchDarklyUnreachable",
        "LaunchDarkly cannot be reached, or the connection to it broke.",
    ),
]


@pytest.mark.parametrize(("fault", "error", "message"), FAULTS, ids=[fault.name for fault, *_ in FAULTS])
def test_a_fault_is_a_503_that_names_it_and_the_store_is_untouched(
    app: App,
    faulty_app: FaultyApp,
    launchdarkly: FakeLaunchDarkly,
    valkey: redis.Redis,
    log: pytest.LogCaptureFixture,
    fault: Fault,
    error: str,
    message: str,
) -> None:
    launchdarkly.replace(**DATA)
    app.webhook()
    before = content(valkey)
    launchdarkly.fault = fault
    launchdarkly.put_flag(boolean_flag("shiny", 4))

    answer = faulty_app(fault).post("/webhook", flag_entry("shiny", 4))

    assert answer.status_code == 503
    assert answer.json_body == {"Code": "ServiceUnavailableError", "Message": message}
    assert answer.headers["Retry-After"]
    assert f"{error}: {message}" in log.messages
    assert_nothing_private_in(log)
    assert content(valkey) == before

    launchdarkly.fault = None
    assert app.webhook(**flag_entry("shiny", 4))["confirmed"] is True
    assert json.loads(content(valkey)["features"]["shiny"])["version"] == 4


def test_a_refused_connection_is_a_503_and_the_store_is_untouched(
    app: App,
    faulty_app: FaultyApp,
    launchdarkly: FakeLaunchDarkly,
    valkey: redis.Redis,
    log: pytest.LogCaptureFixture,
) -> None:
    launchdarkly.replace(**DATA)
    app.webhook()
    before = content(valkey)
    with socket.socket() as unused:  # bound but not listening: every connection is refused
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        answer = faulty_app(None, LAUNCHDARKLY_STREAM_URI=uri).post("/webhook", flag_entry("shiny", 4))

    message = "LaunchDarkly cannot be reached, or the connection to it broke."
    assert answer.status_code == 503
    assert answer.json_body == {"Code": "ServiceUnavailableError", "Message": message}
    assert f"LaunchDarklyUnreachable: {message}" in log.messages
    assert_nothing_private_in(log)
    assert content(valkey) == before


def test_an_empty_data_set_is_refused_until_it_is_forced(
    brief_app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, log: pytest.LogCaptureFixture
) -> None:
    launchdarkly.replace(**DATA)
    brief_app.webhook()
    before = content(valkey)
    launchdarkly.replace({})
    message = (
        "LaunchDarkly sent an empty data set; the store keeps its 1 flags and 1 segments. "
        'Invoke reconcile with {"force": true} to empty it.'
    )

    answer = brief_app.post("/webhook", flag_entry("shiny", 4))
    assert answer.status_code == 503
    assert answer.json_body == {"Code": "ServiceUnavailableError", "Message": message}
    assert f"RefreshRefused: {message}" in log.messages
    with pytest.raises(Exception, match="LaunchDarkly sent an empty data set"):
        brief_app.invoke("reconcile", {})
    with pytest.raises(Exception, match="LaunchDarkly sent an empty data set"):
        brief_app.invoke("reconcile", {"force": "yes"})
    assert content(valkey) == before

    answer = brief_app.invoke("reconcile", {"force": True})
    assert (answer["status"], answer["flags"], answer["segments"], answer["changed"]) == ("refreshed", 0, 0, True)
    after = content(valkey)
    assert (after["features"], after["segments"]) == ({}, {})
    assert brief_app.evaluate({"kind": "user", "key": "anna"}) == {}


def test_an_empty_environment_fills_an_empty_store(app: App, valkey: redis.Redis) -> None:
    assert app.webhook()["flags"] == 0
    assert app.evaluate({"kind": "user", "key": "anna"}) == {}
    assert content(valkey)["$inited"] == "launchdarkly:$inited"


def test_a_connection_that_is_lost_after_the_data_set_is_none_of_our_business(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.replace(**DATA)
    launchdarkly.fault = Fault.DROP_AFTER_PUT
    answer = app.webhook(**flag_entry("shiny", 3))
    assert (answer["confirmed"], answer["flags"], answer["segments"]) == (True, 1, 1)
    assert list(content(valkey)["features"]) == ["shiny"]


def test_a_flag_that_no_sdk_can_read_holds_nothing_back(
    app: App, launchdarkly: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    launchdarkly.put_override = {"flags": {**DATA["flags"], "broken": "flag"}, "segments": DATA["segments"]}
    answer = app.webhook(**flag_entry("shiny", 3))
    assert (answer["confirmed"], answer["flags"], answer["segments"]) == (True, 2, 1)
    assert content(valkey)["features"]["broken"] == '"flag"'
    assert app.evaluate({"kind": "user", "key": "anna"})["shiny"]["value"] is True
    assert app.webhook(**flag_entry("shiny", 3))["changed"] is False


def assert_nothing_private_in(log: pytest.LogCaptureFixture) -> None:
    for private in ("anna@example.com", "sdk-key", "currentVersion", "The flag shiny"):
        assert private not in log.text
