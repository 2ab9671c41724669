"""Direct mode: the SDK streams from LaunchDarkly, and there is no store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ldclient.context import Context
from ldclient.migrations import Stage

from chalicelib import flags
from chalicelib.errors import FetchTimedOut
from chalicelib.timing import Timing
from tests.support.app import QUICK, App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key, example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.support.waiting import eventually

USER = {"kind": "user", "key": "vip-customer"}
VIP = Context.create("vip-customer")
IMPATIENT = Timing(direct_start_seconds=0.1)
IGNORED = {"status": "ignored", "reason": "EVALUATION_MODE is 'direct': there is no store to refresh."}
NOT_YET = (
    503,
    "5",
    {"Code": "ServiceUnavailableError", "Message": "LaunchDarkly has not delivered the data set yet."},
)


@pytest.fixture
def direct(environment: Environment) -> Environment:
    """Direct mode against the fake LaunchDarkly."""
    return {**{name: value for name, value in environment.items() if name != "REDIS_URL"}, "EVALUATION_MODE": "direct"}


@pytest.fixture
def load_direct_app(load_app: LoadApp) -> Iterator[LoadApp]:
    """Loads apps whose SDK clients are closed when the test is over."""
    apps: list[App] = []

    def load(environment: Environment, timing: Timing = QUICK) -> App:
        apps.append(load_app(environment, timing))
        return apps[-1]

    yield load
    for app in apps:
        app.module.wiring.direct_flags.client.close()


def test_flags_are_evaluated_from_launchdarklys_stream(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(**example_data())
    app = load_direct_app(direct)

    one = app.post("/evaluate/new-checkout", USER)
    assert one.status_code == 200
    assert one.json_body == {
        "key": "new-checkout",
        "value": True,
        "variation": 0,
        "version": 7,
        "reason": {"kind": "TARGET_MATCH"},
    }
    evaluated = app.evaluate(USER)
    assert evaluated.keys() == launchdarkly.flags.keys()
    assert evaluated["new-checkout"] == {"value": True, "variation": 0, "version": 7}
    assert app.evaluate(USER, "?flags=banner-text,missing&withReasons=true") == {
        "banner-text": {
            "value": "Free shipping this week",
            "variation": 0,
            "version": 4,
            "reason": {"kind": "FALLTHROUGH"},
        }
    }
    assert app.invoke("on_event", USER) == {"flags": evaluated, "revision": None, "syncedAt": None, "stale": False}
    assert app.post("/evaluate/missing", USER).status_code == 404


def test_one_client_serves_the_process_with_the_configured_key(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    app = load_direct_app(direct)
    for _ in range(3):
        assert app.evaluate(USER) == {}
    assert launchdarkly.sdk_keys == ["sdk-key"]


def test_answers_have_no_tag_because_nothing_names_their_data_set(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    answer = load_direct_app(direct).post("/evaluate", USER, {"If-None-Match": "*"})
    assert (answer.status_code, answer.json_body) == (200, {})
    assert not {"ETag", "X-Flags-Revision", "X-Flags-Synced-At", "X-Flags-Stale"} & answer.headers.keys()


def test_a_change_arrives_without_a_webhook(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1, value=False), boolean_flag("old", 1)))
    app = load_direct_app(direct)
    assert app.evaluate(USER)["shiny"] == {"value": False, "variation": 1, "version": 1}

    launchdarkly.put_flag(boolean_flag("shiny", 2, value=True))
    launchdarkly.delete_flag("old")

    changed = {"shiny": {"value": True, "variation": 0, "version": 2}}
    eventually(lambda: app.evaluate(USER) == changed)


def test_webhooks_and_reconcile_have_nothing_to_refresh(
    load_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    app = load_app({**direct, "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "refuse"})
    assert app.webhook() == IGNORED
    assert app.invoke("reconcile", {}) == IGNORED
    assert launchdarkly.stream_count == 0


def test_before_the_first_data_set_everything_is_a_503(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.fault = Fault.UNAUTHORIZED
    app = load_direct_app(direct, IMPATIENT)
    for path in ("/evaluate", "/evaluate?flags=a", "/evaluate/a"):
        answer = app.post(path, USER)
        assert (answer.status_code, answer.headers.get("Retry-After"), answer.json_body) == NOT_YET
    for options in ({}, {"flag": "a"}, {"flags": ["a"]}):
        with pytest.raises(FetchTimedOut):
            app.invoke("on_event", {"context": USER, **options})


def test_a_data_set_that_arrives_late_is_served(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("late")))
    launchdarkly.fault = Fault.UNAVAILABLE
    app = load_direct_app(direct, IMPATIENT)
    assert app.post("/evaluate", USER).status_code == 503

    launchdarkly.fault = None

    eventually(lambda: app.post("/evaluate", USER).json_body == {"late": {"value": True, "variation": 0, "version": 1}})


def test_without_an_sdk_key_the_log_says_what_to_set(
    load_app: LoadApp, direct: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    answer = load_app({**direct, "LAUNCHDARKLY_SDK_KEY": ""}).post("/evaluate", USER)
    assert (answer.status_code, answer.json_body) == (
        503,
        {
            "Code": "ServiceUnavailableError",
            "Message": "The app is not configured correctly; its log says which setting is wrong.",
        },
    )
    assert caplog.messages == [
        "ConfigurationError: LAUNCHDARKLY_SDK_KEY is not set; set it or LAUNCHDARKLY_SDK_KEY_PARAMETER."
    ]


@pytest.mark.parametrize("settings", [{}, {"EVENTS": "full"}, {"EVENTS": "off"}])
def test_the_sdk_sends_its_own_events_but_for_what_is_to_leave_no_trace(
    load_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly, settings: Environment
) -> None:
    launchdarkly.replace(by_key(boolean_flag("a"), boolean_flag("b"), boolean_flag("hidden")))
    app = load_app({**direct, **settings})
    assert app.post("/evaluate/a", USER).json_body["value"] is True
    app.evaluate(USER, "?flags=a,b,missing")
    app.evaluate(USER)
    one = app.post("/evaluate/hidden?events=false", USER)
    assert one.json_body == {
        "key": "hidden",
        "value": True,
        "variation": 0,
        "version": 1,
        "reason": {"kind": "FALLTHROUGH"},
    }
    assert app.post("/evaluate/unseen?events=false", USER).status_code == 404
    assert app.invoke("on_event", {"context": USER, "flags": ["hidden"], "events": False})["flags"].keys() == {"hidden"}
    app.module.wiring.direct_flags.client.close()
    counted = {
        key: sum(counter["count"] for counter in feature["counters"])
        for summary in launchdarkly.events("summary")
        for key, feature in summary["features"].items()
    }
    assert counted == ({} if settings.get("EVENTS") == "off" else {"a": 2, "b": 1, "missing": 1})
    assert app.invoke("deliver_events", {})["status"] == "ignored"


def test_one_flag_costs_no_other_where_no_events_are_sent(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly, monkeypatch: pytest.MonkeyPatch
) -> None:
    launchdarkly.replace(by_key(boolean_flag("a"), boolean_flag("b")))
    app = load_direct_app({**direct, "EVENTS": "off"})
    monkeypatch.setattr(app.module.wiring.direct_flags.client, "all_flags_state", None)
    assert app.post("/evaluate/a", USER).json_body["value"] is True


@pytest.mark.parametrize("private", ["email", "all"])
def test_what_settings_call_private_is_in_no_event_of_the_sdk_either(
    load_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly, private: str
) -> None:
    settings = {"EVENTS": "full", "EVENTS_PRIVATE_ATTRIBUTES": private, "EVENTS_OMIT_ANONYMOUS": "on"}
    launchdarkly.replace(by_key(boolean_flag("a", trackEvents=True)))
    app = load_app({**direct, **settings})
    assert app.post("/evaluate/a", {**USER, "email": "anna@example.com"}).json_body["value"] is True
    assert app.post("/evaluate/a", {**USER, "key": "nobody", "anonymous": True}).json_body["value"] is True
    app.module.wiring.direct_flags.client.close()
    assert [event["context"]["key"] for event in launchdarkly.events("index")] == ["vip-customer"]
    assert len(launchdarkly.events("feature")) == 2
    assert "anna@example.com" not in str(launchdarkly.posts)


def test_flags_in_a_function_of_ones_own_follow_the_stream_and_a_client_keeps_its_moment(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1, value=False)))
    app = load_direct_app(direct)
    assert flags.variation("shiny", USER, default=None) is False
    assert flags.all_flags_state(USER).to_values_map() == {"shiny": False}

    with flags.one_revision() as client, client:  # whoever closes it does not end the stream
        launchdarkly.put_flag(boolean_flag("shiny", 2, value=True))
        eventually(lambda: flags.variation("shiny", USER, default=None))
        assert client.variation("shiny", VIP, None) is False
    assert client.variation("shiny", VIP, None) is False
    launchdarkly.put_flag(boolean_flag("shiny", 3, value=False))
    eventually(lambda: flags.variation("shiny", USER, default=None) is False)
    assert app.post("/evaluate/shiny", USER).json_body["version"] == 3


def test_events_of_such_a_client_go_the_way_of_all_others(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    app = load_direct_app(direct)
    sent: list[Any] = []
    app.module.wiring.direct_flags.client._event_processor.send_event = sent.append
    flags.variation("shiny", USER, default=False)
    with flags.one_revision() as client:
        client.variation("shiny", VIP, False)
        client.track("purchase", VIP)
    assert [type(event).__name__ for event in sent] == [
        "EventInputEvaluation",
        "EventInputEvaluation",
        "EventInputCustom",
    ]


def test_flags_have_their_defaults_before_launchdarkly_has_delivered(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.fault = Fault.SILENT
    load_direct_app(direct, IMPATIENT)
    assert flags.variation_detail("shiny", USER, "default").reason == {"kind": "ERROR", "errorKind": "CLIENT_NOT_READY"}
    assert flags.all_flags_state(USER).valid is False
    with flags.one_revision() as client:
        assert client.variation("shiny", VIP, "default") == "default"
    eventually(lambda: launchdarkly.stream_count)
    assert launchdarkly.stream_count == 1


@pytest.mark.parametrize("key", [None, 7, ["shiny"]])
def test_a_key_that_is_no_string_has_the_default(
    load_direct_app: LoadApp, direct: Environment, launchdarkly: FakeLaunchDarkly, key: Any
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    load_direct_app(direct)
    assert flags.variation("shiny", USER, default=False) is True
    assert flags.variation(key, USER, "default") == "default"
    assert flags.variation_detail(key, USER, "default").reason == {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}
    assert flags.migration_variation(key, USER, Stage.SHADOW)[0] is Stage.SHADOW
