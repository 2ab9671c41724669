"""A change travels from LaunchDarkly through the webhook into the store and out of every evaluation."""

from __future__ import annotations

from tests.support.app import App
from tests.support.data import boolean_flag, by_key, example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly

USER = {"kind": "user", "key": "anna"}


def test_a_change_is_visible_in_every_evaluation_after_the_webhook(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1, value=False)))
    first = app.webhook()
    assert app.evaluate(USER) == {"shiny": {"value": False, "variation": 1, "version": 1}}

    launchdarkly.put_flag(boolean_flag("shiny", 2, value=True))
    second = app.webhook()

    assert second["revision"] != first["revision"]
    assert app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 2}}
    assert app.post("/evaluate/shiny", USER).json_body == {
        "key": "shiny",
        "value": True,
        "variation": 0,
        "version": 2,
        "reason": {"kind": "FALLTHROUGH"},
    }
    answer = app.invoke("on_event", USER)
    assert answer["flags"] == {"shiny": {"value": True, "variation": 0, "version": 2}}
    assert answer["revision"] == second["revision"]
    assert answer["stale"] is False


def test_the_webhook_says_what_is_in_the_store(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(**example_data())
    answer = app.webhook()
    revision = answer.pop("revision")
    assert answer == {
        "status": "refreshed",
        "flags": 10,
        "segments": 2,
        "changed": True,
        "confirmed": None,
        "held_back": 0,
    }
    assert app.webhook() == {**answer, "revision": revision, "changed": False}


def test_a_store_that_was_never_filled_is_a_503_that_says_so(app: App) -> None:
    answer = app.post("/evaluate", USER)
    assert answer.status_code == 503
    assert answer.json_body["Code"] == "ServiceUnavailableError"
    assert "never filled" in answer.json_body["Message"]
    assert answer.headers["Retry-After"]
