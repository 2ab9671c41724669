"""Entity tags: what names an answer, and when it need not be sent again."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.app import App
from tests.support.data import boolean_flag, by_key, example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly

USER = {"kind": "user", "key": "anna", "country": "DE"}
PATHS = ["/evaluate", "/evaluate?flags=banner-text&withReasons=true", "/evaluate/banner-text"]


def tag_of(app: App, path: str = "/evaluate", context: object = USER) -> str:
    tag: str = app.post(path, context).headers["ETag"]
    return tag


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_names_itself_its_data_set_and_its_age(app: App, launchdarkly: FakeLaunchDarkly, path: str) -> None:
    launchdarkly.replace(**example_data())
    refreshed = app.invoke("reconcile", {})
    headers = app.post(path, USER).headers
    assert re.fullmatch(r'"[0-9a-f]{32}"', headers["ETag"])
    assert headers["X-Flags-Revision"] == refreshed["revision"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", headers["X-Flags-Synced-At"])
    assert "X-Flags-Stale" not in headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_who_holds_the_current_answer_gets_a_304_without_a_body(example_app: App, path: str, form: str) -> None:
    first = example_app.post(path, USER)
    again = example_app.post(path, USER, {"If-None-Match": form.format(first.headers["ETag"])})
    assert (again.status_code, again.body) == (304, b"")
    assert again.headers == first.headers


@pytest.mark.parametrize("path", PATHS)
def test_who_holds_another_answer_gets_this_one(example_app: App, path: str) -> None:
    first = example_app.post(path, USER)
    again = example_app.post(path, USER, {"If-None-Match": '"0123456789abcdef0123456789abcdef"'})
    assert (again.status_code, again.body) == (200, first.body)


def test_the_same_context_written_differently_has_the_same_tag(example_app: App) -> None:
    assert tag_of(example_app, context=b'{"key":"anna","kind":"user","country":"D\\u0045"}') == tag_of(
        example_app, context=b' {"country": "DE",\n"kind": "user", "key": "anna"}'
    )


def test_what_makes_another_answer_makes_another_tag(example_app: App) -> None:
    asked: list[tuple[str, Any]] = [
        ("/evaluate", USER),
        ("/evaluate", {**USER, "country": "AT"}),
        ("/evaluate", {"key": "anna", "country": "DE"}),
        ("/evaluate?withReasons=true", USER),
        ("/evaluate?clientSideOnly=true", USER),
        ("/evaluate?flags=banner-text", USER),
        ("/evaluate?flags=", USER),
        ("/evaluate/banner-text", USER),
        ("/evaluate/new-checkout", USER),
    ]
    assert len({tag_of(example_app, path, context) for path, context in asked}) == len(asked)


def test_a_new_revision_makes_a_new_tag_and_the_same_content_does_not(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app.invoke("reconcile", {})
    before = tag_of(app)

    app.invoke("reconcile", {})
    assert tag_of(app) == before

    launchdarkly.replace(by_key(boolean_flag("shiny", 2)))
    app.invoke("reconcile", {})
    answer = app.post("/evaluate", USER, {"If-None-Match": before})
    assert answer.status_code == 200
    assert answer.headers["ETag"] != before


def test_an_error_has_no_tag(example_app: App) -> None:
    for path, context in (("/evaluate/missing", USER), ("/evaluate", {})):
        assert "ETag" not in example_app.post(path, context).headers
