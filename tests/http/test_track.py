"""POST /track: custom events, for the metrics of experiments."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import pytest

from chalicelib.events.batches import unpack
from tests.support.app import App, Environment, LoadApp
from tests.support.data import ANNA, PROJECT
from tests.support.fake_launchdarkly import FakeLaunchDarkly

SERVER, BROWSER, MOBILE = "server-token", "browser-token", "mobile-token"
EVENT = {"context": ANNA, "event": "purchase"}
FORM = '{"context": {...}, "event": "purchase"}, with optional data and metricValue'
ACCEPTED = (202, {"status": "accepted"})


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def recording(environment: Environment) -> Environment:
    return {**environment, "EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0"}


@pytest.fixture
def app(load_app: LoadApp, recording: Environment) -> App:
    return load_app(recording)


def track(app: App, body: object, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    answer = app.post("/track", body, headers)
    return answer.status_code, answer.json_body


def left(app: App) -> list[dict[str, Any]]:
    """What is in the store, without the time."""
    batches = app.module.wiring._event_queue.read_oldest(100, 10**9)
    events = [event for batch in batches for event in unpack(batch).events]
    return [{name: value for name, value in event.items() if name != "creationDate"} for event in events]


BODIES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"data": None, "metricValue": None}, {}),
    ({"metricValue": 12.5}, {"metricValue": 12.5}),
    ({"metricValue": 0}, {"metricValue": 0}),
    ({"metricValue": -3, "data": False}, {"metricValue": -3, "data": False}),
    ({"data": {"cart": [1, {"sku": "ä"}]}}, {"data": {"cart": [1, {"sku": "ä"}]}}),
    ({"data": "text"}, {"data": "text"}),
]


@pytest.mark.parametrize(("body", "event"), BODIES)
def test_a_custom_event_is_left_for_launchdarkly(app: App, body: dict[str, Any], event: dict[str, Any]) -> None:
    assert track(app, {**EVENT, **body}) == ACCEPTED
    index, custom = left(app)
    assert index == {"kind": "index", "context": {"kind": "user", "key": "anna"}}
    assert custom == {"kind": "custom", "key": "purchase", "context": {"kind": "user", "key": "anna"}, **event}


def test_a_name_may_be_as_long_as_a_key_at_launchdarkly(app: App) -> None:
    assert track(app, {**EVENT, "event": "x" * 256}) == ACCEPTED
    assert left(app)[1]["key"] == "x" * 256


def test_a_legacy_user_is_a_context_here_too(app: App) -> None:
    assert track(app, {"context": {"key": "anna", "email": "a@example.com"}, "event": "x"}) == ACCEPTED
    assert left(app)[0]["context"] == {"kind": "user", "key": "anna", "email": "a@example.com"}


NESTED = functools.reduce(lambda inner, _: [inner], range(100), list[Any]())

NO_NAME = "The 'event' must be a string of 1 to 256 characters."
NO_DATA = "The 'data' must be JSON of at most 100 levels, in Unicode, with numbers within 64-bit floating point."
NO_NUMBER = "The 'metricValue' must be a number within 64-bit floating point."
REFUSED: list[tuple[object, str]] = [
    (b"", "The body is empty; expected a JSON object."),
    ([EVENT], f"The body must be a JSON object: {FORM}."),
    ({"event": "x"}, f"The body has no 'context'; expected {FORM}."),
    ({**EVENT, "key": "x"}, f"The body's 'key' is not known; expected {FORM}."),
    ({**EVENT, "context": {"kind": "user"}}, "Invalid context: context key must not be None or empty."),
    ({"context": ANNA}, NO_NAME),
    *(({**EVENT, "event": name}, NO_NAME) for name in ("", 7, None, ["x"], "x" * 257)),
    (b'{"context": {"key": "anna"}, "event": "\\ud800"}', NO_NAME),
    *(({**EVENT, "metricValue": value}, NO_NUMBER) for value in ("12", True, (1,), 10**400)),
    (b'{"context": {"key": "anna"}, "event": "x", "metricValue": 1e999}', NO_NUMBER),
    *(({**EVENT, "data": data}, NO_DATA) for data in (NESTED, 10**400, [{"x": -(10**400)}])),
    (b'{"context": {"key": "anna"}, "event": "x", "data": [1e999]}', NO_DATA),
    (
        b'{"context": {"key": "anna", "custom": {"x": 1e999}}, "event": "x"}',
        "The 'context' must hold numbers within 64-bit floating point.",
    ),
    (b'{"context": {"key": "anna"}, "event": "x", "data": {"\\ud800": 1}}', NO_DATA),
    ({**EVENT, "data": "x" * 66_000}, "The body has 66077 bytes; at most 65536 are accepted."),
]


@pytest.mark.parametrize(("body", "message"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_is_no_custom_event_is_refused(app: App, body: object, message: str) -> None:
    assert track(app, body) == (400, {"Code": "BadRequestError", "Message": message})
    assert left(app) == []


def test_an_option_is_refused(app: App) -> None:
    answer = app.post("/track?events=false", EVENT)
    assert answer.status_code == 400
    assert "there are none here" in answer.json_body["Message"]


@pytest.mark.parametrize("setting", ["refuse", "allow"])
def test_tokens_of_browsers_and_mobile_devices_are_accepted_where_the_setting_says_so(
    load_app: LoadApp, recording: Environment, setting: str
) -> None:
    digests = {
        "EVALUATE_TOKEN_SHA256": digest(SERVER),
        "EVALUATE_CLIENT_TOKEN_SHA256": digest(BROWSER),
        "EVALUATE_MOBILE_TOKEN_SHA256": digest(MOBILE),
    }
    app = load_app({**recording, **digests, "EVALUATE_AUTH": "token", "TRACK_CLIENT_TOKENS": setting})
    assert track(app, EVENT, {"X-API-Key": SERVER}) == ACCEPTED
    for token in (BROWSER, MOBILE):
        status, body = track(app, {**EVENT, "event": token}, {"Authorization": f"Bearer {token}"})
        assert status == (202 if setting == "allow" else 401), body
    assert track(app, EVENT)[0] == track(app, EVENT, {"X-API-Key": "wrong"})[0] == 401
    names = [event["key"] for event in left(app) if event["kind"] == "custom"]
    assert names == (["purchase", BROWSER, MOBILE] if setting == "allow" else ["purchase"])


@pytest.mark.parametrize("mode", ["off", "summary", ""])
def test_the_event_is_ignored_where_custom_events_are_not_sent(
    load_app: LoadApp, recording: Environment, mode: str
) -> None:
    app = load_app({**recording, "EVENTS": mode})
    reason = f"EVENTS is {mode or 'off'!r}; custom events are sent where it is 'full'."
    assert track(app, EVENT) == (202, {"status": "ignored", "reason": reason})
    assert left(app) == []


def test_a_page_may_track(load_app: LoadApp, recording: Environment) -> None:
    app = load_app({**recording, "CORS_ALLOW_ORIGIN": "https://app.example.com"})
    answer = app.post("/track", EVENT)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


def test_direct_mode_leaves_it_to_the_sdk(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    settings = {name: value for name, value in environment.items() if name != "REDIS_URL"}
    app = load_app({**settings, "EVALUATION_MODE": "direct"})
    assert track(app, {**EVENT, "metricValue": 2}) == ACCEPTED
    app.module.wiring.direct_flags.client.close()
    (custom,) = launchdarkly.events("custom")
    assert (custom["key"], custom["metricValue"]) == ("purchase", 2)
    file = str(PROJECT / "tests" / "support" / "example_flags.json")
    for silencing, reason in (
        ({"EVENTS": "off"}, "EVENTS is 'off'."),
        ({"LAUNCHDARKLY_FLAG_FILE": file}, "The flags come from a file."),
    ):
        silent = load_app({**settings, "EVALUATION_MODE": "direct", **silencing})
        assert track(silent, EVENT) == (202, {"status": "ignored", "reason": reason})
        assert silent.post("/evaluate/anything", EVENT["context"]).status_code in (200, 404)
        silent.module.wiring.direct_flags.client.close()
