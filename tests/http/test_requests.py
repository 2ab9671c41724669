"""Requests as they should not be: each gets the answer that helps its sender, and none is a 500."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.runtime.logs import JsonFormatter
from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.fronts import HTTP

USER = {"kind": "user", "key": "anna"}
ROUTES = ["/evaluate", "/evaluate/new-checkout"]


def bad_request(message: str) -> tuple[int, Any]:
    return 400, {"Code": "BadRequestError", "Message": message}


EVALUATE = 'POST with Content-Type: application/json and a context, such as {"kind": "user", "key": "user-123"}'
WEBHOOK = "POST with Content-Type: application/json and LaunchDarkly's audit-log entry, signed in X-LD-Signature"
SEND = dict.fromkeys(ROUTES, EVALUATE) | {"/webhook": WEBHOOK, "/status": "GET"}


def unsupported(media_type: str, send: str) -> tuple[int, Any]:
    message = f"Unsupported media type: {media_type}. Send {send}."
    return 415, {"Code": "UnsupportedMediaType", "Message": message}


def answer_to(app: App, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> tuple[int, Any]:
    answer = app.client.http.request(method, path, body=body, headers=headers)
    return answer.status_code, answer.json_body


BODIES = [
    (b"", "The body is empty; expected a JSON object."),
    (b"key=anna", "The body is not valid JSON at line 1 column 1."),
    (b'{"key": "anna"', "The body is not valid JSON at line 1 column 15."),
    (b'{"key": "\xff"}', "The body is not valid UTF-8."),
    (b'{"key": "anna", "custom": {"score": NaN}}', "The body is not valid JSON: NaN is not a JSON number."),
    (b"[" * 60_000, "The body is nested too deeply."),
    (b" " * 65_537, "The body has 65537 bytes; at most 65536 are accepted."),
    (b"null", "A context must be a JSON object, not null."),
    (b"7", "A context must be a JSON object, not a number."),
    (b'"anna"', "A context must be a JSON object, not a string."),
    (b'[{"key": "anna"}]', "A context must be a JSON object, not an array."),
    (b"{}", "A context must have a 'kind' and a 'key'; a legacy user must have a 'key'."),
    (
        b'{"key": 7}',
        (
            "The user's 'key' must be a string, not a number. Put it in quotes: LaunchDarkly documents a user's key "
            "and built-in attributes as strings."
        ),
    ),
    (b'{"kind": "multi"}', "Invalid context: multi-context must contain at least one kind."),
    (
        b'{"key": "anna", "custom": {"deep": ' + b"[" * 400 + b"]" * 400 + b"}}",
        "The context is nested too deeply: at most 100 levels are accepted.",
    ),
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(("body", "message"), BODIES, ids=[message for _, message in BODIES])
def test_a_body_that_is_no_context_is_a_400_that_says_what_is_wrong(
    example_app: App, path: str, body: bytes, message: str
) -> None:
    assert answer_to(example_app, path, body, {"Content-Type": "application/json"}) == bad_request(message)


@pytest.mark.rest_api
def test_no_depth_of_nesting_is_our_bug(example_app: App) -> None:
    """Python's recursion limit is met in different places by different depths."""
    for levels in range(50, 1000, 7):
        body = b'{"key": "anna", "custom": {"deep": ' + b"[" * levels + b"]" * levels + b"}}"
        answer = example_app.post("/evaluate/maintenance-mode", body)
        assert answer.status_code == (200 if levels <= 98 else 400), (levels, answer.body)


WEBHOOKS = [
    (b"", "The body is empty; expected a JSON object."),
    (b"kind=flag", "The body is not valid JSON at line 1 column 1."),
    (b'{"kind": "flag", "version": Infinity}', "The body is not valid JSON: Infinity is not a JSON number."),
    (b'["flag"]', "A webhook must be a JSON object: an audit-log entry."),
    (b"7", "A webhook must be a JSON object: an audit-log entry."),
    (b"null", "A webhook must be a JSON object: an audit-log entry."),
]


@pytest.mark.parametrize(("body", "message"), WEBHOOKS)
def test_a_webhook_that_is_no_entry_is_a_400_and_costs_no_fetch(
    app: App, launchdarkly: FakeLaunchDarkly, body: bytes, message: str
) -> None:
    assert answer_to(app, "/webhook", body, {"Content-Type": "application/json"}) == bad_request(message)
    assert launchdarkly.stream_count == 0


QUERIES = [
    ("?withReasons=yes", "The query parameter withReasons must be true or false."),
    ("?clientSideOnly=", "The query parameter clientSideOnly must be true or false."),
]


@pytest.mark.parametrize(("query", "message"), QUERIES)
def test_an_option_of_the_wrong_type_is_a_400(example_app: App, query: str, message: str) -> None:
    body = json.dumps(USER).encode()
    assert answer_to(example_app, "/evaluate" + query, body, {}) == bad_request(message)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"content-type": "application/json; charset=utf-8"},
        {"CONTENT-TYPE": "application/json;charset=UTF-8"},
    ],
)
def test_json_is_taken_for_json_whether_the_content_type_is_missing_or_has_a_charset(
    example_app: App, path: str, headers: dict[str, str]
) -> None:
    assert answer_to(example_app, path, json.dumps(USER).encode(), headers)[0] == 200


@pytest.mark.parametrize("path", [*ROUTES, "/webhook"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_another_content_type_is_a_415(example_app: App, path: str, content_type: str) -> None:
    answer = answer_to(example_app, path, json.dumps(USER).encode(), {"Content-Type": content_type})
    assert answer == unsupported(content_type, SEND[path])


@pytest.mark.parametrize("path", SEND)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_another_method_is_a_405_that_names_the_right_one(example_app: App, path: str, method: str) -> None:
    if SEND[path].startswith(method) or (path, method) == ("/status", "HEAD"):
        return
    answer = example_app.client.http.request(method, path)
    assert (answer.status_code, answer.json_body, answer.headers["Allow"]) == (
        405,
        {"Code": "MethodNotAllowedError", "Message": f"Unsupported method: {method}. Send {SEND[path]}."},
        {"/webhook": "POST", "/status": "GET, HEAD"}.get(path, "POST, OPTIONS"),
    )


def test_head_of_the_status_is_as_get_without_a_body(example_app: App, app: App) -> None:
    """``app`` is one over an empty store."""
    for each, status in ((example_app, 200), (app, 503)):
        got, head = (each.client.http.request(method, "/status") for method in ("GET", "HEAD"))
        assert (head.status_code, head.body) == (status, b"")
        assert (head.status_code, head.headers) == (got.status_code, got.headers)
        assert got.json_body["status"] == ("healthy" if status == 200 else "empty")


def test_every_route_says_what_to_send_instead(app: App) -> None:
    for path in SEND:  # and not of routes that somebody adds
        answer = app.client.http.request("PATCH", path.replace("{flag_key}", "some-flag"))
        assert answer.status_code == 405
        message = answer.json_body.get("Message") or answer.json_body["errorDetails"]
        assert re.fullmatch(r"Unsupported method: PATCH\. Send .+\.", message)


def test_who_looks_at_the_apps_address_is_told_where_to_go(app: App) -> None:
    answer = app.client.http.get("/")
    assert (answer.status_code, answer.json_body) == (
        404,
        {
            "Code": "NotFoundError",
            "Message": (
                'There is nothing at this address. Send a context, such as {"kind": "user", "key": "user-123"}, by '
                "POST to /evaluate or /evaluate/{flag_key} with Content-Type: application/json; OpenFeature's "
                "providers use /ofrep/v1/evaluate/flags; GET /status says how the app is."
            ),
        },
    )


NO_ROUTE = (403, {"message": "Missing Authentication Token"})


@pytest.mark.parametrize("path", ["/flags", "/webhook/x", "/evaluat", "/evaluate2", "/ofrep/v1/evaluate"])
def test_an_unknown_route_is_api_gateways_own_403(example_app: App, path: str) -> None:
    assert answer_to(example_app, path, b"{}", {}) == NO_ROUTE


@pytest.mark.parametrize("path", ["/evaluate/a/b", "/evaluate/a%2Fb/c"])
def test_a_slash_ends_a_key_unless_it_is_encoded(example_app: App, path: str) -> None:
    """An HTTP API decodes it, so that it may be either."""
    status = answer_to(example_app, path, b"{}", {})[0]
    assert status == (400 if example_app.front == HTTP else 403)


KEYS = ["größe", "a/b", "a b", "50%", "q?x=1", "#1", "a;b", "a+b", "..", "ключ🔑", "x" * 1000]


def test_a_flag_key_that_needs_percent_encoding_is_found(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(*(boolean_flag(key, version) for version, key in enumerate(KEYS))))
    app.invoke("reconcile", {})
    for version, key in enumerate(KEYS):
        if app.front == HTTP and "?" in key:
            continue  # it hands on what comes before
        answer = app.post("/evaluate/" + quote(key, safe=""), USER)
        assert (answer.status_code, answer.json_body) == (
            200,
            {
                "key": key,
                "value": True,
                "variation": 0,
                "version": version,
                "reason": {"kind": "FALLTHROUGH"},
            },
        )
    assert list(app.evaluate(USER, "?flags=" + quote("größe,a b,missing"))) == ["größe", "a b"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("missing", "missing"),
        ("MAINTENANCE-MODE", "MAINTENANCE-MODE"),
        ("%ff", "\ufffd"),
        ("a%0Ab", "a\\nb"),
        ("y" * 4000, "y" * 100),
    ],
)
def test_an_unknown_flag_is_a_404_that_names_it(example_app: App, path: str, named: str) -> None:
    answer = example_app.post("/evaluate/" + path, USER)
    assert (answer.status_code, answer.json_body) == (
        404,
        {"Code": "NotFoundError", "Message": f"There is no flag '{named}'."},
    )


def test_the_options_choose_and_explain(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(
        by_key(boolean_flag("web", 1, clientSide=True), boolean_flag("server", 2)), by_key(segment("beta"))
    )
    app.invoke("reconcile", {})
    web = {"value": True, "variation": 0, "version": 1}
    server = {"value": True, "variation": 0, "version": 2}
    fallthrough = {"reason": {"kind": "FALLTHROUGH"}}
    assert app.evaluate(USER) == {"web": web, "server": server}
    assert app.evaluate(USER, "?clientSideOnly=true") == {"web": web}
    assert app.evaluate(USER, "?flags=server&flags=missing") == {"server": server}
    assert app.evaluate(USER, "?flags=server,web&clientSideOnly=true") == {"web": web}
    assert app.evaluate(USER, "?flags=") == {}
    assert app.evaluate(USER, "?withReasons=true") == {
        "web": {**web, **fallthrough},
        "server": {**server, **fallthrough},
    }


NOT_CONFIGURED = {
    "Code": "ServiceUnavailableError",
    "Message": "The app is not configured correctly; its log says which setting is wrong.",
}
WRONG_SETTINGS = [
    ({"REDIS_URL": ""}, "Neither REDIS_URL nor DYNAMODB_TABLE is set; daemon mode needs exactly one of them."),
    ({"LAUNCHDARKLY_BASE_URI": "hunter2"}, "LAUNCHDARKLY_BASE_URI"),
    ({"LAUNCHDARKLY_STREAM_URI": "https://u:hunter2@relay:80300"}, "LAUNCHDARKLY_STREAM_URI"),
    ({"EVALUATION_MODE": "hunter2"}, "EVALUATION_MODE"),
    ({"CORS_ALLOW_ORIGIN": "hunter2"}, "CORS_ALLOW_ORIGIN"),
    ({"EVALUATE_TOKEN_SHA256": "hunter2"}, "EVALUATE_TOKEN_SHA256"),
    ({"REDIS_URL": "redis://:hunter2@127.0.0.1:port"}, "REDIS_URL"),
    ({"REDIS_URL": "redis://:hunter2/3@127.0.0.1:6379"}, "REDIS_URL"),
    ({"REDIS_URL": "redis://:hunter2@127.0.0.1:6379/first"}, "REDIS_URL"),
    ({"REDIS_URL": "redis://:hunter2@127.0.0.1:6379?time_out=hunter2"}, "REDIS_URL"),
]


@pytest.mark.rest_api
@pytest.mark.parametrize(("variables", "logged"), WRONG_SETTINGS)
def test_callers_learn_that_a_setting_is_wrong_and_the_log_says_which(
    load_app: LoadApp,
    environment: Environment,
    variables: dict[str, str],
    logged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = load_app({**environment, **variables})
    http = app.client.http
    for path in (*ROUTES, "/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/a", "/webhook", "/status"):
        caplog.clear()
        body = {"context": {"targetingKey": "anna"}} if "ofrep" in path else {**USER, "kind": "flag"}
        answer = http.get(path) if path == "/status" else app.post(path, body)
        told = {"errorDetails": NOT_CONFIGURED["Message"]} if "ofrep" in path else NOT_CONFIGURED
        assert (answer.status_code, answer.json_body) == (503, told)
        (line,) = [JsonFormatter().format(record) for record in caplog.records if hasattr(record, "fields")]
        assert f"ConfigurationError: {logged}" in json.loads(line)["error"]


def test_tokens_are_asked_for_before_the_body_is_read(load_app: LoadApp, environment: Environment) -> None:
    app = load_app({**environment, "EVALUATE_AUTH": "token"})
    for path in ROUTES:
        answer = app.post(path, b"no json")
        assert (answer.status_code, answer.headers["WWW-Authenticate"], answer.json_body) == (
            401,
            "Bearer",
            {
                "Code": "UnauthorizedError",
                "Message": "A token is required: send it as 'Authorization: Bearer <token>' or 'X-API-Key: <token>'.",
            },
        )
