"""Hostile and broken requests, each with its exact answer: none a 5xx, none with a secret or a stack trace in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.app import App
from tests.support.chalice_local import chalice_local
from tests.support.data import EXAMPLES, example_data
from tests.support.shared_apps import SharedApps

TOKEN = "correct-horse-battery-staple"
SIGNING_SECRET = "webhook-signing-secret"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
USER = b'{"kind": "user", "key": "anna"}'
FLAG = "/evaluate/maintenance-mode"
OFF = {"key": "maintenance-mode", "value": False, "variation": 1, "version": 12, "reason": {"kind": "OFF"}}


@pytest.fixture
def closed_app(shared_apps: SharedApps) -> App:
    return shared_apps.app(
        example_data(),
        EVALUATE_AUTH="token",
        EVALUATE_TOKEN_SHA256=hashlib.sha256(TOKEN.encode()).hexdigest(),
        LAUNCHDARKLY_WEBHOOK_SECRET=SIGNING_SECRET,
        LAUNCHDARKLY_WEBHOOK_UNSIGNED="refuse",
    )


def unauthorized(message: str) -> tuple[int, dict[str, str]]:
    return 401, {"Code": "UnauthorizedError", "Message": message}


def bad_request(message: str) -> tuple[int, dict[str, str]]:
    return 400, {"Code": "BadRequestError", "Message": message}


def not_found(key: str) -> tuple[int, dict[str, str]]:
    return 404, {"Code": "NotFoundError", "Message": f"There is no flag {key!r}."}


def user(**attributes: object) -> bytes:
    return json.dumps({"key": "anna", **attributes}).encode()


NO_TOKEN = "A token is required: send it as 'Authorization: Bearer <token>' or 'X-API-Key: <token>'."
SURROGATE = "The context is not valid Unicode: it holds half of a surrogate pair."

# name: path, headers, body, answer
REQUESTS: dict[str, tuple[str, dict[str, str], bytes, tuple[int, object]]] = {
    "no token": (FLAG, {}, USER, unauthorized(NO_TOKEN)),
    "wrong token": (FLAG, {"X-API-Key": TOKEN[:-1]}, USER, unauthorized("The token is not accepted.")),
    "token in the query": (f"{FLAG}?access_token={TOKEN}&token={TOKEN}", {}, USER, unauthorized(NO_TOKEN)),
    "token in the body": (FLAG, {}, user(token=TOKEN), unauthorized(NO_TOKEN)),
    "two headers that disagree": (
        FLAG,
        {**AUTHORIZED, "X-API-Key": "another"},
        USER,
        unauthorized("The Authorization and X-API-Key headers hold different tokens; send one."),
    ),
    "non-ASCII token": (FLAG, {"Authorization": "Bearer tökén🔑"}, USER, unauthorized("The token is not accepted.")),
    "half a surrogate pair as token": (
        FLAG,
        {"X-API-Key": "\ud800"},
        USER,
        unauthorized("The token is not accepted."),
    ),
    "huge header": (FLAG, {"X-API-Key": "x" * 1_000_000}, USER, unauthorized("The token is not accepted.")),
    "huge entity tag": (FLAG, {**AUTHORIZED, "If-None-Match": '"x", ' * 200_000}, USER, (200, OFF)),
    "6 MB body": (
        FLAG,
        AUTHORIZED,
        user(custom={"x": "x" * 6_000_000}),
        bad_request("The body has 6000036 bytes; at most 65536 are accepted."),
    ),
    "one byte more than a body may have": (
        FLAG,
        AUTHORIZED,
        USER + b" " * (65_537 - len(USER)),
        bad_request("The body has 65537 bytes; at most 65536 are accepted."),
    ),
    "as many bytes as a body may have": (FLAG, AUTHORIZED, USER + b" " * (65_536 - len(USER)), (200, OFF)),
    "an array of thousands": (
        FLAG,
        AUTHORIZED,
        user(custom={"groups": ["g"] * 9_000}),
        bad_request("An array in the context has 9000 elements; at most 100 are accepted."),
    ),
    "an array in an array": (
        FLAG,
        AUTHORIZED,
        user(custom={"groups": [["g"] * 101]}),
        bad_request("An array in the context has 101 elements; at most 100 are accepted."),
    ),
    "a string of 60 KB": (
        FLAG,
        AUTHORIZED,
        user(email="x" * 60_000),
        bad_request("A string in the context has 60000 characters; at most 4096 are accepted."),
    ),
    "a name of 60 KB": (
        FLAG,
        AUTHORIZED,
        user(custom={"x" * 60_000: 1}),
        bad_request("A name in the context has 60000 characters; at most 4096 are accepted."),
    ),
    "thousands of attributes": (
        FLAG,
        AUTHORIZED,
        user(custom={str(number): 1 for number in range(5_000)}),
        bad_request("An object in the context has 5000 properties; at most 500 are accepted."),
    ),
    "hundreds of kinds": (
        FLAG,
        AUTHORIZED,
        json.dumps({"kind": "multi", **{f"k{number}": {"key": "k"} for number in range(400)}}).encode(),
        bad_request("The context has 400 kinds; at most 20 are accepted."),
    ),
    "a number that no flag can compare": (
        FLAG,
        AUTHORIZED,
        user(custom={"x": 10**309}),
        bad_request("A number in the context is too large for 64-bit floating point."),
    ),
    "an option that is not known": (
        f"{FLAG}?flag=maintenance-mode",
        AUTHORIZED,
        USER,
        bad_request(
            "The query parameter 'flag' is not known; expected one of: withReasons, clientSideOnly, events, explain."
        ),
    ),
    "an option of all flags for one": (
        f"{FLAG}?flags=new-checkout",
        AUTHORIZED,
        USER,
        bad_request(
            "The query parameter 'flags' is not known; expected one of: withReasons, clientSideOnly, events, explain."
        ),
    ),
    "a tag that names everything, of no flag": (
        "/evaluate/no-such-flag",
        {**AUTHORIZED, "If-None-Match": "*"},
        USER,
        not_found("no-such-flag"),
    ),
    "the address of the app": (
        "/",
        {},
        USER,
        (
            405,
            {
                "Code": "MethodNotAllowedError",
                "Message": (
                    'Unsupported method: POST. Send a context, such as {"kind": "user", "key": '
                    '"user-123"}, by POST to /evaluate or /evaluate/{flag_key} with Content-Type: application/json; '
                    "OpenFeature's providers use "
                    "/ofrep/v1/evaluate/flags; GET /status says how the app is."
                ),
            },
        ),
    ),
    "duplicate keys": (FLAG, AUTHORIZED, b'{"key": "ben", "key": "anna"}', (200, OFF)),
    "half a surrogate pair as key": (FLAG, AUTHORIZED, b'{"key": "\\ud800"}', bad_request(SURROGATE)),
    "half a surrogate pair as name": (
        FLAG,
        AUTHORIZED,
        b'{"key": "anna", "custom": {"\\udfff": 1}}',
        bad_request(SURROGATE),
    ),
    "a whole surrogate pair": (FLAG, AUTHORIZED, b'{"key": "\\ud83d\\ude00"}', (200, OFF)),
    "bytes that are no UTF-8": (FLAG, AUTHORIZED, b'{"key": "\xc3\x28"}', bad_request("The body is not valid UTF-8.")),
    "null bytes": (FLAG, AUTHORIZED, b'{"key": "a\\u0000b"}', (200, OFF)),
    "a key of 4 KB": (f"/evaluate/{'k' * 4096}", AUTHORIZED, USER, not_found("k" * 100)),
    "path traversal, encoded": ("/evaluate/..%2F..%2Fetc%2Fpasswd", AUTHORIZED, USER, not_found("../../etc/passwd")),
    "path traversal": ("/evaluate/../../etc/passwd", {}, USER, (403, {"message": "Missing Authentication Token"})),
    "line break in the key": ("/evaluate/a%0D%0AX-Evil:%201", AUTHORIZED, USER, not_found("a\r\nX-Evil: 1")),
    "broken percent-encoding": ("/evaluate/%zz%", AUTHORIZED, USER, not_found("%zz%")),
    "percent-encoding that is no UTF-8": ("/evaluate/%ff", AUTHORIZED, USER, not_found("\ufffd")),
    "Infinity": (
        FLAG,
        AUTHORIZED,
        b'{"key": "anna", "custom": {"x": Infinity}}',
        bad_request("The body is not valid JSON: Infinity is not a JSON number."),
    ),
    "a float beyond 64 bits": (FLAG, AUTHORIZED, b'{"key": "anna", "custom": {"x": 1e999}}', (200, OFF)),
    "an integer beyond 64 bits": (FLAG, AUTHORIZED, user(custom={"x": 2**70}), (200, OFF)),
    "an integer of 5,000 digits": (
        FLAG,
        AUTHORIZED,
        b'{"key": "anna", "custom": {"x": ' + b"9" * 5000 + b"}}",
        bad_request("The body is not valid JSON: it holds a number with too many digits."),
    ),
    "wrong content type": (
        FLAG,
        {**AUTHORIZED, "Content-Type": "multipart/form-data"},
        USER,
        (
            415,
            {
                "Code": "UnsupportedMediaType",
                "Message": (
                    "Unsupported media type: multipart/form-data. Send POST with Content-Type: application/json and a "
                    'context, such as {"kind": "user", "key": "user-123"}.'
                ),
            },
        ),
    ),
    "a reference into a prototype": (
        FLAG,
        AUTHORIZED,
        user(custom={"__proto__": {"x": 1}, "__class__": 1}),
        (200, OFF),
    ),
    "an unsigned webhook": (
        "/webhook",
        AUTHORIZED,
        b'{"kind": "flag"}',
        unauthorized("The webhook is not signed: the X-LD-Signature header is missing."),
    ),
    "a wrong signature": (
        "/webhook",
        {"X-LD-Signature": "0" * 64},
        b'{"kind": "flag"}',
        unauthorized("The X-LD-Signature header does not match the body."),
    ),
    "a signature that is no ASCII": (
        "/webhook",
        {"X-LD-Signature": "ü\ud800"},
        b'{"kind": "flag"}',
        unauthorized("The X-LD-Signature header does not match the body."),
    ),
    "a huge unsigned webhook": (
        "/webhook",
        {},
        b"[" * 6_000_000,
        unauthorized("The webhook is not signed: the X-LD-Signature header is missing."),
    ),
}


@pytest.mark.parametrize(("path", "headers", "body", "answer"), REQUESTS.values(), ids=REQUESTS)
def test_a_hostile_request_gets_this_answer(
    closed_app: App, path: str, headers: dict[str, str], body: bytes, answer: tuple[int, object]
) -> None:
    got = closed_app.post(path, body, headers)
    assert (got.status_code, got.json_body) == answer
    assert_keeps_secrets(got.headers, got.body.decode())


@pytest.mark.parametrize("path", ["/evaluate", "/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/maintenance-mode"])
@pytest.mark.parametrize(
    ("headers", "body"), [each[1:3] for each in REQUESTS.values() if each[0] == FLAG], ids=lambda _: ""
)
def test_the_other_routes_stand_it_too(closed_app: App, path: str, headers: dict[str, str], body: bytes) -> None:
    if "ofrep" in path and body.startswith(b"{"):
        body = b'{"context": {"targetingKey": "anna", ' + body[1:] + b"}"
    got = closed_app.post(path, body, headers)
    assert got.status_code in (200, 400, 401, 415)
    assert_keeps_secrets(got.headers, got.body.decode())


def test_10_000_levels_are_too_deep(closed_app: App) -> None:
    """Python versions differ in whether they parse it; none evaluates it."""
    got = closed_app.post(FLAG, b'{"key": "anna", "custom": {"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}", AUTHORIZED)
    assert (got.status_code, got.json_body) in [
        bad_request("The body is nested too deeply."),
        bad_request("The context is nested too deeply: at most 100 levels are accepted."),
    ]


IN_QUOTES = " Put it in quotes: LaunchDarkly documents a user's key and built-in attributes as strings."
WRONG_TYPES = [
    ("key", ["anna"], "The user's 'key' must be a string, not an array."),
    ("name", 1, f"The user's 'name' must be a string (or absent), not a number.{IN_QUOTES}"),
    ("firstName", {}, "The user's 'firstName' must be a string (or absent), not an object."),
    ("lastName", True, "The user's 'lastName' must be a string (or absent), not a boolean."),
    ("email", 1.5, f"The user's 'email' must be a string (or absent), not a number.{IN_QUOTES}"),
    ("country", [], "The user's 'country' must be a string (or absent), not an array."),
    ("avatar", 0, f"The user's 'avatar' must be a string (or absent), not a number.{IN_QUOTES}"),
    ("ip", 127, f"The user's 'ip' must be a string (or absent), not a number.{IN_QUOTES}"),
    ("anonymous", "yes", "The user's 'anonymous' must be a boolean (or absent), not a string."),
    ("custom", "x", "The user's 'custom' must be an object (or absent), not a string."),
    ("privateAttributeNames", "x", "The user's 'privateAttributeNames' must be an array (or absent), not a string."),
    ("privateAttributeNames", [1], "The user's 'privateAttributeNames' must hold strings, not a number."),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG_TYPES)
def test_a_legacy_user_with_an_attribute_of_the_wrong_type_is_told_which(
    closed_app: App, name: str, value: object, message: str
) -> None:
    got = closed_app.post(FLAG, user(**{name: value}), AUTHORIZED)
    assert (got.status_code, got.json_body) == bad_request(message)


def test_a_legacy_user_with_every_attribute_of_the_wrong_type_is_refused_once(closed_app: App) -> None:
    got = closed_app.post(FLAG, user(**{name: value for name, value, _ in WRONG_TYPES}), AUTHORIZED)
    assert (got.status_code, got.json_body) == bad_request("The user's 'key' must be a string, not an array.")


def test_over_a_real_connection_too(tmp_path: Path) -> None:
    """Header lines and requests as HTTP clients send them, to `chalice local`."""
    environment = {
        "REDIS_URL": "embedded",
        "LAUNCHDARKLY_FLAG_FILE": str(EXAMPLES),
        "EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
    }
    with chalice_local(environment, tmp_path) as server:

        def post(path: str, headers: dict[str, Any], body: bytes) -> tuple[int, object]:
            answer = requests.post(server.url + path, data=body, headers=headers, timeout=60)
            assert_keeps_secrets(dict(answer.headers), answer.text)
            return answer.status_code, answer.json()

        assert post(FLAG, {}, USER) == unauthorized(NO_TOKEN)
        assert post(FLAG, {"Authorization": "Bearer tökén".encode()}, USER)[0] == 401
        assert post(FLAG, {"X-API-Key": "x" * 60_000}, USER)[0] == 401
        assert post(FLAG, AUTHORIZED, REQUESTS["6 MB body"][2]) == REQUESTS["6 MB body"][3]
        assert post("/evaluate/..%2Fstatus", AUTHORIZED, USER) == not_found("../status")
        assert post(FLAG, AUTHORIZED, USER) == (200, OFF)


def assert_keeps_secrets(headers: dict[str, str], body: str) -> None:
    answer = json.dumps(dict(headers)) + body
    for secret in (TOKEN, SIGNING_SECRET, "Traceback", hashlib.sha256(TOKEN.encode()).hexdigest()):
        assert secret not in answer
