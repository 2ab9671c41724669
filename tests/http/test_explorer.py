"""The routes of the explorer page: who is served, what each flag is, and what may be changed where."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.app import App, LoadApp
from tests.support.data import EXAMPLES, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly

TOKENS = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("all", "browser")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(EXAMPLES, tmp_path / "flags.json"))


@pytest.fixture
def local_app(load_app: LoadApp, redis_url: str, file: Path, valkey: redis.Redis) -> App:
    app = load_app({"LOCAL_STAGE": "on", "REDIS_URL": redis_url, "LAUNCHDARKLY_FLAG_FILE": str(file)})
    app.invoke("reconcile", {})
    return app


def change(app: App, key: str, body: object, headers: dict[str, str] | None = None) -> Any:
    return app.post(f"/explorer/flags/{key}", body, headers)


def test_the_page_allows_itself_and_nothing_else(local_app: App) -> None:
    answer = local_app.client.http.get("/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    html = answer.body.decode()
    hashes = {
        tag: base64.b64encode(hashlib.sha256(re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[0].encode()).digest())
        for tag in ("script", "style")
    }
    assert answer.headers["Content-Security-Policy"] == (
        f"default-src 'none'; script-src 'sha256-{hashes['script'].decode()}'; "
        f"style-src 'sha256-{hashes['style'].decode()}'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    assert not re.search(r"https?://|@import|url\(", html)


@pytest.mark.parametrize("environment", [{}, {"EXPLORER": "off"}, {"REDIS_URL": ""}], ids=["unset", "off", "no store"])
def test_without_the_explorer_there_is_nothing(load_app: LoadApp, redis_url: str, environment: dict[str, str]) -> None:
    app = load_app({"REDIS_URL": redis_url, "EVALUATE_AUTH": "none", **environment})
    answer = app.client.http.get("/")
    assert (answer.status_code, answer.json_body["Code"]) == (404, "NotFoundError")
    if environment.get("REDIS_URL", redis_url):
        expected = (404, "There is no explorer here; it is served where EXPLORER is 'on'.")
        for answer in (app.client.http.get("/explorer/flags"), change(app, "maintenance-mode", {"on": True})):
            assert (answer.status_code, answer.json_body["Message"]) == expected


def test_each_flag_is_described(app: App, local_app: App) -> None:
    answer = local_app.client.http.get("/explorer/flags")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    listing = answer.json_body
    assert [each["key"] for each in listing["flags"]] == sorted(json.loads(EXAMPLES.read_text())["flags"])
    assert listing["editing"] is True
    described = {each["key"]: each for each in listing["flags"]}
    assert described["banner-text"] == {
        "key": "banner-text",
        "kind": "string",
        "on": True,
        "version": 4,
        "variations": [
            "Free shipping this week",
            "Kostenloser Versand diese Woche",
            "Livraison gratuite cette semaine",
        ],
        "fallthrough": 0,
        "offVariation": 0,
        "editable": True,
    }
    assert described["new-checkout"]["fallthrough"] is None
    assert {key: each["kind"] for key, each in described.items() if each["kind"] != "boolean"} == {
        "banner-text": "string",
        "mobile-app-minimum": "string",
        "price-adjustment": "number",
        "recommendation-settings": "json",
        "search-results-per-page": "number",
    }


@pytest.mark.parametrize(
    ("variations", "kind", "editable"),
    [
        ([1, 2.5], "number", True),
        ([True, "on"], "json", True),
        ([None, None], "json", True),
        (["only"], "string", False),
    ],
)
def test_a_flag_is_of_the_kind_of_all_its_variations_and_can_be_changed_if_it_has_several(
    local_app: App, file: Path, variations: list[Any], kind: str, editable: bool
) -> None:
    file.write_text(json.dumps({"flags": by_key({**boolean_flag("shiny"), "variations": variations})}))
    local_app.invoke("reconcile", {})
    (described,) = local_app.client.http.get("/explorer/flags").json_body["flags"]
    assert (described["kind"], described["editable"]) == (kind, editable)


def test_a_flag_that_the_file_calls_deleted_is_not_there(local_app: App, file: Path) -> None:
    content = json.loads(file.read_text())
    content["flags"]["banner-text"]["deleted"] = True
    file.write_text(json.dumps(content))
    answer = change(local_app, "banner-text", {"on": False})  # of a page that still shows it
    assert (answer.status_code, answer.json_body["Message"]) == (404, "There is no flag 'banner-text' in the file.")
    assert json.loads(file.read_text()) == content
    local_app.invoke("reconcile", {})
    listed = local_app.client.http.get("/explorer/flags").json_body["flags"]
    assert "banner-text" not in {each["key"] for each in listed}


def test_a_flag_that_cannot_be_read_is_there_too(load_app: LoadApp, redis_url: str, valkey: redis.Redis) -> None:
    valkey.hset("launchdarkly:features", mapping={"bad": "{", "good": json.dumps(boolean_flag("good"))})
    valkey.set("launchdarkly:$inited", "")
    app = load_app({"REDIS_URL": redis_url, "EVALUATE_AUTH": "none", "EXPLORER": "on"})
    flags = app.client.http.get("/explorer/flags").json_body["flags"]
    assert [(each["key"], each["kind"]) for each in flags] == [("bad", "unreadable"), ("good", "boolean")]


def test_nothing_is_shown_without_a_token_that_sees_all(load_app: LoadApp, redis_url: str, valkey: redis.Redis) -> None:
    app = load_app(
        {
            "REDIS_URL": redis_url,
            "LAUNCHDARKLY_FLAG_FILE": str(EXAMPLES),
            "EXPLORER": "on",
            "EVALUATE_TOKEN_SHA256": TOKENS["all"],
            "EVALUATE_CLIENT_TOKEN_SHA256": TOKENS["browser"],
        }
    )
    app.invoke("reconcile", {})
    assert app.client.http.get("/").status_code == 200
    statuses = {}
    for token in ("", "wrong", "browser", "all"):
        headers = {"X-API-Key": token} if token else {}
        listed = app.client.http.get("/explorer/flags", headers=headers)
        statuses[token] = (listed.status_code, change(app, "maintenance-mode", {"on": True}, headers).status_code)
    assert statuses == {"": (401, 401), "wrong": (401, 401), "browser": (401, 401), "all": (200, 404)}


def test_a_change_goes_into_the_file_and_into_the_next_answer(local_app: App, file: Path) -> None:
    before = json.loads(file.read_text())
    answer = change(local_app, "banner-text", {"on": False, "offVariation": 2})
    assert (answer.status_code, answer.json_body["status"], answer.json_body["changed"]) == (200, "refreshed", True)
    after = json.loads(file.read_text())
    before["flags"]["banner-text"].update(on=False, offVariation=2, version=5)
    assert after == before
    assert local_app.evaluate({"key": "anna"})["banner-text"] == {
        "value": "Livraison gratuite cette semaine",
        "variation": 2,
        "version": 5,
    }


@pytest.mark.parametrize(
    "body", [None, [], {}, {"on": 1}, {"on": None}, {"fallthrough": True}, {"offVariation": "0"}, {"rules": []}]
)
def test_what_is_no_change_is_refused(local_app: App, file: Path, body: object) -> None:
    before = file.read_text()
    answer = change(local_app, "banner-text", body)
    assert (answer.status_code, answer.json_body) == (
        400,
        {
            "Code": "BadRequestError",
            "Message": 'The change is not one; expected an object with "on" (true or false), "fallthrough" or '
            '"offVariation" (the index of a variation).',
        },
    )
    assert change(local_app, "banner-text", {"fallthrough": 3}).status_code == 400
    assert change(local_app, "no-such-flag", {"on": True}).status_code == 404
    assert file.read_text() == before


def test_what_launchdarkly_has_sent_cannot_be_changed(
    load_app: LoadApp, redis_url: str, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(flags=by_key(boolean_flag("a")))
    app = load_app(
        {
            "LOCAL_STAGE": "on",
            "REDIS_URL": redis_url,
            "LAUNCHDARKLY_SDK_KEY": "sdk-key",
            "LAUNCHDARKLY_STREAM_URI": launchdarkly.uri,
        }
    )
    app.webhook()
    listing = app.client.http.get("/explorer/flags").json_body
    assert (listing["editing"], listing["flags"][0]["editable"]) == (False, False)
    answer = change(app, "a", {"on": False})
    assert (answer.status_code, answer.json_body["Message"]) == (
        404,
        "Flags can be changed only in the local stage, with a flag file and in daemon mode.",
    )


def test_direct_mode_has_an_explorer_too(load_app: LoadApp, file: Path) -> None:
    app = load_app({"LOCAL_STAGE": "on", "EVALUATION_MODE": "direct", "LAUNCHDARKLY_FLAG_FILE": str(file)})
    listing = app.client.http.get("/explorer/flags").json_body
    assert (len(listing["flags"]), listing["editing"]) == (10, False)
    app.module.wiring.direct_flags.client.close()
