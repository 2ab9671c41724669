"""The OpenFeature Remote Evaluation Protocol, answer by answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from chalicelib.api.ofrep import parse_request
from chalicelib.timing import Timing
from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.shared_apps import SharedApps
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

BULK = "/ofrep/v1/evaluate/flags"
INSTEAD = 'POST with Content-Type: application/json and {"context": {"targetingKey": "user-123"}}'
REQUEST = {"context": {"targetingKey": "anna"}}


FLAGS = by_key(
    boolean_flag("on", 3),
    boolean_flag("off", 4, on=False, offVariation=None),
    boolean_flag("malformed", 5, fallthrough={"variation": 9}),
)
"""One that is on, one that is off without a value, one that cannot be evaluated."""


@pytest.fixture
def filled_app(shared_apps: SharedApps, front: str) -> App:
    return shared_apps.app({"flags": FLAGS}, front)


@pytest.fixture
def own_app(app: App, launchdarkly: FakeLaunchDarkly) -> App:
    """For a test that changes what is answered."""
    launchdarkly.replace(FLAGS)
    app.invoke("reconcile", {})
    return app


EVALUATED: dict[str, dict[str, Any]] = {
    "on": {"key": "on", "reason": "STATIC", "variant": "0", "metadata": {"version": 3}, "value": True},
    "off": {"key": "off", "reason": "DISABLED", "variant": "", "metadata": {"version": 4}},
    "malformed": {
        "key": "malformed",
        "errorCode": "PARSE_ERROR",
        "errorDetails": "The flag cannot be evaluated: MALFORMED_FLAG.",
    },
}


def metadata_in(answer: Any, *, stale: bool = False) -> dict[str, Any]:
    """Where the answer comes from, as its headers say it."""
    headers = answer.headers
    assert headers.get("X-Flags-Stale") == ("true" if stale else None)
    return {"revision": headers["X-Flags-Revision"], "syncedAt": headers["X-Flags-Synced-At"], "stale": stale}


def with_metadata(evaluation: dict[str, Any], answer: Any, **more: object) -> dict[str, Any]:
    """A failure says where the answer comes from; an evaluation leaves that to the whole."""
    if "errorCode" not in evaluation:
        return evaluation
    return {**evaluation, "metadata": {**more, **metadata_in(answer)}}


def test_bulk_holds_every_flag_with_failures_in_their_place(filled_app: App) -> None:
    answer = filled_app.post(BULK, REQUEST)
    assert answer.status_code == 200
    assert set(answer.json_body) == {"flags", "metadata"}
    assert answer.json_body["metadata"] == metadata_in(answer)
    assert {flag["key"]: flag for flag in answer.json_body["flags"]} == {
        key: with_metadata(evaluation, answer, version=5) for key, evaluation in EVALUATED.items()
    }


@pytest.mark.parametrize("key", EVALUATED)
def test_one_flag_is_the_same_by_itself_and_a_failure_is_a_400(filled_app: App, key: str) -> None:
    answer = filled_app.post(f"{BULK}/{key}", REQUEST)
    assert answer.status_code == (400 if key == "malformed" else 200)
    assert answer.json_body == with_metadata(EVALUATED[key], answer, version=5)


def test_an_item_that_cannot_be_read_is_a_failure_and_the_others_are_not(own_app: App, valkey: redis.Redis) -> None:
    valkey.hset("launchdarkly:features", "on", "{broken")
    valkey.delete("launchdarkly:$sync")
    failure = {"key": "on", "errorCode": "GENERAL", "errorDetails": "The flag cannot be evaluated: EXCEPTION."}
    one = own_app.post(f"{BULK}/on", REQUEST)
    from_nobody = {"revision": one.headers["X-Flags-Revision"], "stale": False}
    assert (one.status_code, one.json_body) == (400, {**failure, "metadata": from_nobody})
    bulk = own_app.post(BULK, REQUEST).json_body
    assert bulk["metadata"] == from_nobody
    assert {flag["key"]: flag for flag in bulk["flags"]} == {
        **EVALUATED,
        "malformed": {**EVALUATED["malformed"], "metadata": {"version": 5, **from_nobody}},
        "on": {**failure, "metadata": from_nobody},
    }


def test_bulk_is_a_304_for_who_holds_the_current_answer(own_app: App, launchdarkly: FakeLaunchDarkly) -> None:
    first = own_app.post(BULK, REQUEST)
    tag = first.headers["ETag"]
    again = own_app.post(BULK, REQUEST, {"If-None-Match": tag})
    assert (again.status_code, again.body, again.headers) == (304, b"", first.headers)

    launchdarkly.put_flag(boolean_flag("on", 6, value=False))
    own_app.invoke("reconcile", {})
    changed = own_app.post(BULK, REQUEST, {"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def test_another_context_has_another_tag(filled_app: App) -> None:
    tag = filled_app.post(BULK, REQUEST).headers["ETag"]
    other = filled_app.post(BULK, {"context": {"targetingKey": "ben"}}, {"If-None-Match": tag})
    assert other.status_code == 200


EXPERIMENT = {
    "rollout": {
        "kind": "experiment",
        "variations": [{"variation": 1, "weight": 100_000, "untracked": False}],
    }
}


def test_an_experiment_is_a_split(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("experiment", 2, fallthrough=EXPERIMENT)))
    app.invoke("reconcile", {})
    assert app.post(f"{BULK}/experiment", REQUEST).json_body == {
        "key": "experiment",
        "reason": "SPLIT",
        "variant": "1",
        "metadata": {"version": 2},
        "value": False,
    }


BAD_REQUESTS: list[tuple[object, str, str]] = [
    (b"", "PARSE_ERROR", "The body is empty; expected a JSON object."),
    (b"context", "PARSE_ERROR", "The body is not valid JSON at line 1 column 1."),
    (["anna"], "PARSE_ERROR", 'The body must be a JSON object: {"context": {"targetingKey": ...}}.'),
    ({}, "INVALID_CONTEXT", "The 'context' must be a JSON object."),
    ({"context": "anna"}, "INVALID_CONTEXT", "The 'context' must be a JSON object."),
    ({"context": {}}, "TARGETING_KEY_MISSING", "The context has no 'targetingKey'."),
    ({"context": {"key": "anna"}}, "TARGETING_KEY_MISSING", "The context has no 'targetingKey'."),
    ({"context": {"targetingKey": ""}}, "TARGETING_KEY_MISSING", "The context has no 'targetingKey'."),
    ({"context": {"targetingKey": None}}, "TARGETING_KEY_MISSING", "The context has no 'targetingKey'."),
    ({"context": {"targetingKey": 7}}, "INVALID_CONTEXT", 'Invalid context: invalid data type for "key".'),
    (
        {"context": {"targetingKey": "anna", "kind": "a b"}},
        "INVALID_CONTEXT",
        "Invalid context: context kind contains disallowed characters.",
    ),
    (
        {"context": {"kind": "multi", "targetingKey": "anna"}},
        "INVALID_CONTEXT",
        "Invalid context: multi-context must contain at least one kind.",
    ),
    (
        {"context": {"kind": "multi", "user": "anna"}},
        "INVALID_CONTEXT",
        'Invalid context: invalid data type for "user".',
    ),
]


@pytest.mark.parametrize(("body", "code", "details"), BAD_REQUESTS)
def test_a_bad_request_is_a_400_with_the_protocols_code(filled_app: App, body: object, code: str, details: str) -> None:
    failure = {"errorCode": code, "errorDetails": details}
    bulk = filled_app.post(BULK, body)
    assert (bulk.status_code, bulk.json_body) == (400, failure)
    one = filled_app.post(f"{BULK}/on%20and%20off", body)
    assert (one.status_code, one.json_body) == (400, {"key": "on and off", **failure})


ODD: list[tuple[Any, Any]] = [
    ({"kind": 7}, {"kind": "user", "key": "anna"}),
    ({"kind": None}, {"kind": "user", "key": "anna"}),
    ({"kind": ["org"]}, {"kind": "user", "key": "anna"}),
    ({"name": 7, "country": "DE"}, {"kind": "user", "key": "anna", "country": "DE"}),
    ({"name": {"first": "Anna"}}, {"kind": "user", "key": "anna"}),
    ({"anonymous": "yes"}, {"kind": "user", "key": "anna"}),
    ({"anonymous": None}, {"kind": "user", "key": "anna"}),
    ({"anonymous": 1, "name": "Anna"}, {"kind": "user", "key": "anna", "name": "Anna"}),
    ({"_meta": 7}, {"kind": "user", "key": "anna"}),
    ({"_meta": {"privateAttributes": "email"}}, {"kind": "user", "key": "anna"}),
    ({"_meta": {"privateAttributes": ["email", 7]}}, {"kind": "user", "key": "anna"}),
    (
        {"_meta": {"privateAttributes": ["email"]}, "email": "x"},
        {"kind": "user", "key": "anna", "email": "x", "_meta": {"privateAttributes": ["email"]}},
    ),
    ({"privateAttributes": "email", "email": "x"}, {"kind": "user", "key": "anna", "email": "x"}),
    ({"privateAttributes": [7, None]}, {"kind": "user", "key": "anna"}),
    (
        {"privateAttributes": ["email", 7, "/address/city"], "email": "x"},
        {"kind": "user", "key": "anna", "email": "x", "_meta": {"privateAttributes": ["email", "/address/city"]}},
    ),
    (
        {"privateAttributes": ["a"], "_meta": {"privateAttributes": ["b"]}},
        {"kind": "user", "key": "anna", "_meta": {"privateAttributes": ["b", "a"]}},
    ),
    ({"": "nameless"}, {"kind": "user", "key": "anna"}),
    ({"key": 7}, {"kind": "user", "key": "anna"}),
    (
        {"kind": "multi", "user": {"targetingKey": "anna", "name": 7, "anonymous": "no", "kind": 7}, "count": 3},
        {"kind": "user", "key": "anna"},
    ),
    (
        {"kind": "multi", "user": {"targetingKey": False, "key": "ben"}, "org": {"key": "acme"}},
        {"kind": "org", "key": "acme"},
    ),
    (
        {"kind": "multi", "user": {"targetingKey": "", "key": "ben", "privateAttributes": ["a"]}},
        {"kind": "user", "key": "ben", "_meta": {"privateAttributes": ["a"]}},
    ),
    ({"kind": "multi", "user": {"targetingKey": None, "key": "ben"}}, {"kind": "user", "key": "ben"}),
]


@pytest.mark.parametrize(("attributes", "context"), ODD)
def test_an_attribute_of_another_type_is_left_out_and_the_others_are_not(attributes: Any, context: Any) -> None:
    assert parse_request({"context": {"targetingKey": "anna", **attributes}}).to_dict() == context


DEEP = "nested 400 times"


@pytest.mark.parametrize(
    "body",
    [
        {**REQUEST, "beside": DEEP},
        {"context": {"kind": "multi", "targetingKey": DEEP, "user": {"key": "anna"}}},
        {"context": {"kind": "multi", "dropped": DEEP, "user": {"key": "anna"}}},
        {"context": {"targetingKey": "anna", "name": DEEP}},
        {"context": {"targetingKey": "anna", "key": DEEP}},
    ],
)
def test_what_is_ignored_may_not_be_deep_either(filled_app: App, body: object) -> None:
    nested = json.dumps(body).replace(json.dumps(DEEP), "[" * 400 + "]" * 400)
    for path in (BULK, f"{BULK}/on"):
        answer = filled_app.post(path, nested.encode())
        assert (answer.status_code, answer.json_body["errorCode"]) == (400, "INVALID_CONTEXT")
        assert answer.json_body["errorDetails"].startswith("The context is nested too deeply")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (BULK, "expected one of: events, flagConfigEtag, flagConfigLastModified"),
        (f"{BULK}/on", "expected one of: events"),
    ],
)
def test_a_query_is_refused_because_it_would_be_ignored(filled_app: App, path: str, expected: str) -> None:
    answer = filled_app.post(f"{path}?clientSideOnly=true", REQUEST)
    assert (answer.status_code, answer.json_body["errorCode"], answer.json_body["errorDetails"]) == (
        400,
        "PARSE_ERROR",
        f"The query parameter 'clientSideOnly' is not known; {expected}.",
    )


def test_what_made_a_provider_ask_again_makes_no_other_answer(filled_app: App) -> None:
    asked = filled_app.post(f"{BULK}?flagConfigEtag=abc&flagConfigLastModified=1771622898", REQUEST)
    assert (asked.status_code, asked.json_body) == (200, filled_app.post(BULK, REQUEST).json_body)


NOBODY = [{"variation": 1, "values": []}]
LOOKS_AT_CONTEXTS: list[tuple[dict[str, Any], str]] = [
    ({}, "STATIC"),
    ({"rules": [], "targets": [], "contextTargets": [], "prerequisites": []}, "STATIC"),
    ({"targets": NOBODY}, "UNKNOWN"),
    ({"contextTargets": NOBODY}, "UNKNOWN"),
    ({"rules": [{"variation": 1, "clauses": [{"attribute": "x", "op": "in", "values": [1]}]}]}, "UNKNOWN"),
    ({"prerequisites": [{"key": "on", "variation": 0}]}, "UNKNOWN"),
]


@pytest.mark.parametrize(("fields", "reason"), LOOKS_AT_CONTEXTS)
def test_only_a_flag_that_looks_at_no_context_is_static(
    shared_apps: SharedApps, front: str, fields: dict[str, Any], reason: str
) -> None:
    app = shared_apps.app({"flags": by_key(boolean_flag("on"), boolean_flag("some", **fields))}, front)
    assert app.post(f"{BULK}/some", REQUEST).json_body["reason"] == reason


def test_an_unknown_flag_is_a_404_that_names_it_as_it_was_meant(filled_app: App) -> None:
    answer = filled_app.post(f"{BULK}/gr%C3%B6%C3%9Fe", REQUEST)
    assert answer.status_code == 404
    assert answer.json_body["metadata"].keys() == {"revision", "syncedAt", "stale"}
    assert answer.json_body == {
        "key": "größe",
        "errorCode": "FLAG_NOT_FOUND",
        "errorDetails": "There is no flag 'größe'.",
        "metadata": filled_app.post(BULK, REQUEST).json_body["metadata"],
    }


@pytest.mark.parametrize("path", [BULK, f"{BULK}/on"])
def test_what_is_no_evaluation_failure_has_details_only(
    shared_apps: SharedApps, front: str, filled_app: App, path: str
) -> None:
    assert error(filled_app.client.http.get(path)) == (
        405,
        {"errorDetails": f"Unsupported method: GET. Send {INSTEAD}."},
    )
    assert error(filled_app.post(path, REQUEST, {"Content-Type": "text/plain"})) == (
        415,
        {"errorDetails": f"Unsupported media type: text/plain. Send {INSTEAD}."},
    )
    closed = shared_apps.app(None, front, EVALUATE_AUTH="token").post(path, REQUEST)
    assert closed.headers["WWW-Authenticate"] == "Bearer"
    assert error(closed) == (
        401,
        {"errorDetails": "A token is required: send it as 'Authorization: Bearer <token>' or 'X-API-Key: <token>'."},
    )
    empty = shared_apps.app(None, front).post(path, REQUEST)
    assert empty.headers["Retry-After"] == "5"
    assert error(empty) == (
        503,
        {"errorDetails": "The flag store was never filled; POST a webhook or invoke reconcile to fill it."},
    )


def error(answer: Any) -> tuple[int, object]:
    return answer.status_code, answer.json_body


def test_direct_mode_evaluates_the_same(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("on", 3)))
    app = load_app({**environment, "REDIS_URL": "", "EVALUATION_MODE": "direct"})
    try:
        assert app.post(BULK, REQUEST).json_body == {"flags": [EVALUATED["on"]], "metadata": {"stale": False}}
        assert app.post(f"{BULK}/on", REQUEST).json_body == EVALUATED["on"]
    finally:
        app.module.wiring.direct_flags.client.close()


def test_who_holds_an_answer_learns_that_the_store_is_out_of_reach_and_that_it_is_back(
    load_app: LoadApp, environment: Environment, own_valkey: ValkeyServer, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("on", 3)))
    app = load_app({**environment, "REDIS_URL": own_valkey.url}, Timing(settle_seconds=0.05, store_retry_seconds=0.0))
    app.invoke("reconcile", {})
    fresh = app.post(BULK, REQUEST)
    assert fresh.json_body["metadata"] == metadata_in(fresh)

    own_valkey.freeze()
    stale = app.post(BULK, REQUEST, {"If-None-Match": fresh.headers["ETag"]})
    assert (stale.status_code, stale.json_body["metadata"]) == (200, metadata_in(stale, stale=True))
    assert app.post(BULK, REQUEST, {"If-None-Match": stale.headers["ETag"]}).status_code == 304

    own_valkey.thaw()
    eventually(lambda: "X-Flags-Stale" not in app.post(BULK, REQUEST).headers)
    again = app.post(BULK, REQUEST, {"If-None-Match": stale.headers["ETag"]})
    assert (again.status_code, again.headers["ETag"]) == (200, fresh.headers["ETag"])
