"""Browsers: what a page of the allowed origin may do, and that no other page may do anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.support.app import App, LoadApp
from tests.support.chalice_local import chalice_local
from tests.support.data import EXAMPLES, example_data
from tests.support.shared_apps import SharedApps

ORIGIN = "https://app.example.com"
USER = {"kind": "user", "key": "anna"}
OFREP = {"context": {"targetingKey": "anna"}}
BODIES: dict[str, object] = {
    "/evaluate": USER,
    "/evaluate/new-checkout": USER,
    "/ofrep/v1/evaluate/flags": OFREP,
    "/ofrep/v1/evaluate/flags/new-checkout": OFREP,
}
OWN_ROUTES = (
    "/",
    *("/evaluate", "/evaluate/{flag_key}", "/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/{flag_key}"),
    *("/webhook", "/status"),
)
"""Those of the project; somebody may have added others."""
ON_EVERY_ANSWER = {
    "Access-Control-Allow-Origin": ORIGIN,
    "Access-Control-Expose-Headers": "ETag, Retry-After, X-Flags-Revision, X-Flags-Stale, X-Flags-Synced-At",
}
ON_PREFLIGHT = {
    **ON_EVERY_ANSWER,
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, If-None-Match, X-Amz-Content-Sha256, X-Amz-Date, X-Amz-Security-Token, X-API-Key"
    ),
    "Access-Control-Max-Age": "7200",
}


@pytest.fixture
def open_app(shared_apps: SharedApps, front: str) -> App:
    return shared_apps.app(example_data(), front, CORS_ALLOW_ORIGIN=ORIGIN)


def cors(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("Access-Control-")}


@pytest.mark.parametrize("path", BODIES)
def test_a_preflight_says_what_a_page_may_send_and_read(open_app: App, path: str) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    answer = open_app.client.http.options(path, headers=asked)
    assert (answer.status_code, answer.body, answer.headers["Allow"]) == (204, b"", "POST, OPTIONS")
    assert cors(answer.headers) == ON_PREFLIGHT


ASKED: list[tuple[str, str]] = [
    ("", ""),
    ("content-type, x-api-key, authorization", ""),
    ("content-type,traceparent,tracestate", ", traceparent, tracestate"),
    ("baggage, sentry-trace", ", baggage, sentry-trace"),
    (
        "x-datadog-trace-id,x-datadog-parent-id,x-datadog-origin",
        ", x-datadog-trace-id, x-datadog-parent-id, x-datadog-origin",
    ),
    ("newrelic, B3, b3", ", newrelic, b3"),
    ("a b, x\r\nSet-Cookie: y, é, *, " + "n" * 65, ", *"),
    (", ".join(f"x-{number}" for number in range(60)), "".join(f", x-{number}" for number in range(50))),
]


@pytest.mark.parametrize(("asked", "added"), ASKED)
def test_a_page_with_a_tracer_may_send_the_headers_that_it_adds(open_app: App, asked: str, added: str) -> None:
    answer = open_app.client.http.options("/evaluate", headers={"Access-Control-Request-Headers": asked})
    accepted = ON_PREFLIGHT["Access-Control-Allow-Headers"]
    assert (answer.status_code, answer.headers["Access-Control-Allow-Headers"]) == (204, accepted + added)
    assert answer.headers["Vary"] == "Access-Control-Request-Headers"


@pytest.mark.parametrize("path", BODIES)
def test_every_answer_may_be_read(open_app: App, shared_apps: SharedApps, front: str, path: str) -> None:
    closed = shared_apps.app(None, front, CORS_ALLOW_ORIGIN=ORIGIN, EVALUATE_AUTH="token")
    empty = shared_apps.app(None, front, CORS_ALLOW_ORIGIN=ORIGIN)
    answers = {
        200: open_app.post(path, BODIES[path]),
        400: open_app.post(path, b"{"),
        405: open_app.client.http.get(path),
        415: open_app.post(path, BODIES[path], {"Content-Type": "text/plain"}),
        401: closed.post(path, BODIES[path]),
        503: empty.post(path, BODIES[path]),
    }
    if "ETag" in answers[200].headers:
        answers[304] = open_app.post(path, BODIES[path], {"If-None-Match": answers[200].headers["ETag"]})
    if path.endswith("new-checkout"):
        answers[404] = open_app.post(path + "-not", BODIES[path])
    assert {status: answer.status_code for status, answer in answers.items()} == {status: status for status in answers}
    assert {status: cors(answer.headers) for status, answer in answers.items()} == dict.fromkeys(
        answers, ON_EVERY_ANSWER
    )


@pytest.mark.parametrize("path", BODIES)
def test_our_own_bugs_may_be_read_too(open_app: App, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(open_app.module.app, "current_flags", broken)
    answer = open_app.post(path, BODIES[path])
    message = "An internal server error occurred."
    shape = {"errorDetails": message} if "ofrep" in path else {"Code": "InternalServerError", "Message": message}
    assert (answer.status_code, answer.json_body, cors(answer.headers)) == (500, shape, ON_EVERY_ANSWER)


def test_status_and_webhook_are_not_for_browsers(open_app: App) -> None:
    for answer in (open_app.client.http.get("/status"), open_app.post("/webhook", {"kind": "flag"})):
        assert (answer.status_code, cors(answer.headers)) == (200, {})
    routes = open_app.module.app.routes
    assert {path for path in OWN_ROUTES if "OPTIONS" not in routes[path]} == {"/", "/webhook", "/status"}


@pytest.mark.parametrize("path", BODIES)
def test_without_the_setting_no_page_may_do_anything(shared_apps: SharedApps, front: str, path: str) -> None:
    app = shared_apps.app(example_data(), front, CORS_ALLOW_ORIGIN="")
    assert cors(app.post(path, BODIES[path]).headers) == {}
    preflight = app.client.http.options(path)
    assert (preflight.status_code, cors(preflight.headers)) == (204, {})


@pytest.mark.parametrize("path", BODIES)
def test_a_preflight_needs_no_token_but_the_request_does(shared_apps: SharedApps, front: str, path: str) -> None:
    app = shared_apps.app(None, front, EVALUATE_AUTH="token", CORS_ALLOW_ORIGIN="*")
    preflight = app.client.http.options(path)
    assert preflight.status_code == 204
    assert cors(preflight.headers) == {**ON_PREFLIGHT, "Access-Control-Allow-Origin": "*"}
    assert app.post(path, BODIES[path]).status_code == 401


def test_a_preflight_of_an_app_without_settings_says_what_is_missing(load_app: LoadApp) -> None:
    answer = load_app({}).client.http.options("/evaluate")
    assert (answer.status_code, answer.json_body["Message"]) == (
        503,
        "The app is not configured correctly; its log says which setting is wrong.",
    )


@pytest.mark.rest_api
def test_chalice_local_answers_browsers_the_same(tmp_path: Path) -> None:
    environment = {
        "REDIS_URL": "embedded",
        "LAUNCHDARKLY_FLAG_FILE": str(EXAMPLES),
        "EVALUATE_AUTH": "none",
        "CORS_ALLOW_ORIGIN": ORIGIN,
    }
    with chalice_local(environment, tmp_path) as server:
        for path, body in BODIES.items():
            preflight = requests.options(server.url + path, timeout=60)
            assert (preflight.status_code, cors(dict(preflight.headers))) == (204, ON_PREFLIGHT)
            answer = requests.post(server.url + path, json=body, timeout=60)
            assert (answer.status_code, cors(dict(answer.headers))) == (200, ON_EVERY_ANSWER)
