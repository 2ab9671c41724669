"""POST /webhook: who is listened to, and what costs a fetch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.webhooks import WEBHOOK_SECRET, signature_of

FLAG = "proj/shop:env/production:flag/größe"

# As raw as it gets: odd white space, text that is not ASCII both plain and escaped, a duplicate key, a line end.
BODY = (
    '  {"kind" :"flag",\t"name":"Gr\\u00f6ße 🔑","name":"x",\r\n'
    ' "accesses":[{"action":"updateOn","resource":"proj/shop:env/production:flag/gr\\u00f6ße"}],'
    '"currentVersion":{"environments":{"production":{"version":2}}}}\n'
).encode()


@pytest.fixture
def signed_app(load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly) -> App:
    """An app of the environment shop/production that wants its webhooks signed."""
    launchdarkly.replace(by_key(boolean_flag("größe", 2)))
    return load_app(
        {
            **environment,
            "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "refuse",
            "LAUNCHDARKLY_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "LAUNCHDARKLY_ENVIRONMENT": "proj/shop:env/production",
        }
    )


def test_a_signature_over_the_raw_bytes_is_accepted(signed_app: App) -> None:
    answer = signed_app.post("/webhook", BODY, {"X-LD-Signature": signature_of(BODY)})
    assert answer.status_code == 200
    body = answer.json_body
    revision = body.pop("revision")
    assert body == {
        "status": "refreshed",
        "flags": 1,
        "segments": 0,
        "changed": True,
        "confirmed": True,
        "held_back": 0,
    }
    assert signed_app.post("/evaluate", {"key": "anna"}).headers["X-Flags-Revision"] == revision


UNSIGNED = "The webhook is not signed: the X-LD-Signature header is missing."
MISMATCH = "The X-LD-Signature header does not match the body."
REFUSED = [
    (BODY, {}, UNSIGNED),
    (BODY, {"X-LD-Signature": ""}, UNSIGNED),
    (BODY, {"X-LD-Signature": signature_of(BODY, "guess")}, MISMATCH),
    (BODY, {"X-LD-Signature": signature_of(BODY.strip())}, MISMATCH),
    (BODY + b" ", {"X-LD-Signature": signature_of(BODY)}, MISMATCH),
    (BODY, {"X-LD-Signature": signature_of(BODY).upper()}, MISMATCH),
    (BODY, {"X-LD-Signature": "größe"}, MISMATCH),
    (BODY, {"Authorization": f"Bearer {signature_of(BODY)}"}, UNSIGNED),
    (b"", {}, UNSIGNED),
    (b"not json", {"X-LD-Signature": signature_of(b"{}")}, MISMATCH),
]


@pytest.mark.parametrize(("body", "headers", "message"), REFUSED)
def test_any_other_webhook_is_a_401_that_costs_nothing(
    signed_app: App, launchdarkly: FakeLaunchDarkly, body: bytes, headers: dict[str, str], message: str
) -> None:
    answer = signed_app.post("/webhook", body, headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"], answer.json_body) == (
        401,
        "Bearer",
        {"Code": "UnauthorizedError", "Message": message},
    )
    assert launchdarkly.stream_count == 0
    assert signed_app.post("/evaluate", {"key": "anna"}).status_code == 503


def test_without_a_secret_every_webhook_is_refused(load_app: LoadApp, environment: Environment) -> None:
    app = load_app({**environment, "LAUNCHDARKLY_WEBHOOK_UNSIGNED": ""})
    for headers in ({}, {"X-LD-Signature": signature_of(BODY, "")}):
        answer = app.post("/webhook", BODY, headers)
        assert (answer.status_code, answer.json_body) == (
            401,
            {
                "Code": "UnauthorizedError",
                "Message": "Every webhook is refused, because LAUNCHDARKLY_WEBHOOK_SECRET is not set.",
            },
        )


def test_the_signature_is_checked_before_the_body_is_parsed(signed_app: App) -> None:
    body = b"not json"
    answer = signed_app.post("/webhook", body, {"X-LD-Signature": signature_of(body)})
    assert (answer.status_code, answer.json_body["Message"]) == (
        400,
        "The body is not valid JSON at line 1 column 1.",
    )


OTHER_ENVIRONMENT = "This webhook is not about shop/production."
OTHER_KIND = "This webhook is not about a flag or a segment."
IGNORED: list[tuple[dict[str, Any], str]] = [
    ({"accesses": [{"resource": "proj/shop:env/test:flag/a"}]}, OTHER_ENVIRONMENT),
    ({"kind": "segment", "target": {"resources": ["proj/blog:env/*:segment/s"]}}, OTHER_ENVIRONMENT),
    *(({"kind": kind}, OTHER_KIND) for kind in ("environment", "project", "member", "webhook", "hologram", None, 7)),
]


@pytest.mark.parametrize(("entry", "reason"), IGNORED)
def test_a_webhook_about_something_else_is_ignored_and_costs_no_fetch(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, entry: dict[str, Any], reason: str
) -> None:
    app = load_app({**environment, "LAUNCHDARKLY_ENVIRONMENT": "proj/shop:env/production"})
    assert app.webhook(**entry) == {"status": "ignored", "reason": reason}
    assert launchdarkly.stream_count == 0


def test_the_version_that_a_webhook_announces_is_confirmed(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("größe", 7)))
    accesses = [{"action": "updateOn", "resource": FLAG}]
    current = {"environments": {"production": {"version": 7}}}
    answer = app.webhook(accesses=accesses, currentVersion=current)
    assert (answer["status"], answer["confirmed"]) == ("refreshed", True)
