"""The event of ``on_event``: every form, and what it answers over a data set in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.api.invocations import EventRequest, answer_event, parse_event
from chalicelib.errors import FlagNotFound, InvalidContext, InvalidRequest
from chalicelib.read.evaluation import Options
from chalicelib.read.feature_stores import SnapshotFeatureStore
from chalicelib.read.snapshots import Snapshot
from tests.support.data import boolean_flag

Json = dict[str, Any]

USER: Json = {"kind": "user", "key": "anna"}
LEGACY: Json = {"key": "anna", "custom": {"plan": "gold"}}
MULTI: Json = {"kind": "multi", "user": {"key": "anna"}, "organization": {"key": "acme"}}
ALL = Options()
CHOSEN: Json = {"flags": ["b", "a", "b"], "withReasons": True, "clientSideOnly": True}
CHOSEN_OPTIONS = Options(with_reasons=True, client_side_only=True, flags=("b", "a"))


def eventbridge(detail: object) -> Json:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Visitor arrived",
        "source": "shop.visitors",
        "account": "123456789012",
        "time": "2026-05-01T12:00:00Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": detail,
    }


FORMS: list[tuple[str, Json, EventRequest]] = [
    ("a context", USER, EventRequest((USER,), ALL)),
    ("a legacy user", LEGACY, EventRequest((LEGACY,), ALL)),
    ("a multi-context", MULTI, EventRequest((MULTI,), ALL)),
    (
        "a multi-context with kinds that look like options and subjects",
        {**MULTI, "flag": {"key": "x"}, "context": {"key": "y"}},
        EventRequest(({**MULTI, "flag": {"key": "x"}, "context": {"key": "y"}},), ALL),
    ),
    (
        "a context with attributes that look like EventBridge's",
        {**USER, "detail-type": "x", "detail": {}},
        EventRequest(({**USER, "detail-type": "x", "detail": {}},), ALL),
    ),
    ("context", {"context": MULTI}, EventRequest((MULTI,), ALL)),
    ("user", {"user": LEGACY}, EventRequest((LEGACY,), ALL)),
    ("a bad context, which is found out later", {"context": 7}, EventRequest((7,), ALL)),
    ("one flag", {"context": USER, "flag": "a"}, EventRequest((USER,), ALL, flag="a")),
    ("one flag of a user", {"user": LEGACY, "flag": "a"}, EventRequest((LEGACY,), ALL, flag="a")),
    ("null options", {"context": USER, "flag": None, "flags": None}, EventRequest((USER,), ALL)),
    ("options", {"context": USER, **CHOSEN}, EventRequest((USER,), CHOSEN_OPTIONS)),
    ("without a trace", {"context": USER, "events": False}, EventRequest((USER,), Options(events=False))),
    ("a context with an attribute", {**USER, "events": 3}, EventRequest(({**USER, "events": 3},), ALL)),
    ("no flags", {"context": USER, "flags": []}, EventRequest((USER,), Options(flags=()))),
    ("a batch", {"contexts": [USER, 7, LEGACY]}, EventRequest((USER, 7, LEGACY), ALL, is_batch=True)),
    ("an empty batch", {"contexts": []}, EventRequest((), ALL, is_batch=True)),
    ("a batch with options", {"contexts": [USER], **CHOSEN}, EventRequest((USER,), CHOSEN_OPTIONS, is_batch=True)),
    ("EventBridge, a context", eventbridge(USER), EventRequest((USER,), ALL)),
    ("EventBridge, a request", eventbridge({"user": LEGACY, "flag": "a"}), EventRequest((LEGACY,), ALL, flag="a")),
    ("EventBridge, a batch", eventbridge({"contexts": [USER]}), EventRequest((USER,), ALL, is_batch=True)),
]


@pytest.mark.parametrize(("event", "request_"), [row[1:] for row in FORMS], ids=[row[0] for row in FORMS])
def test_every_documented_form_is_understood(event: Json, request_: EventRequest) -> None:
    assert parse_event(event) == request_


FORMS_IN_WORDS = (
    "a context or user itself, {'context': ...}, {'user': ...}, or {'contexts': [...]}, "
    "with optional flag, flags, withReasons, clientSideOnly and events"
)
NO_OBJECT = f"The event must be a JSON object: {FORMS_IN_WORDS}."
NO_SUBJECT = f"The event must hold exactly one subject: {FORMS_IN_WORDS}."


def ambiguous(name: str) -> str:
    return (
        f"The event's {name!r} stands beside 'kind' or 'key': it is ambiguous whether it belongs to the context. "
        "Put the context into {'context': ...}, or the user into {'user': ...}."
    )


def unknown(name: str) -> str:
    return f"The event's {name!r} is not known: it must be {FORMS_IN_WORDS}."


INVALID: list[tuple[object, str]] = [
    ({"key": "orders/1.json", "context": USER, "flag": "a"}, ambiguous("context")),
    ({"key": "orders/1.json", "user": LEGACY}, ambiguous("user")),
    ({"kind": "order", "contexts": [USER]}, ambiguous("contexts")),
    ({**LEGACY, "flag": "a"}, ambiguous("flag")),
    ({**USER, "flag": "a"}, ambiguous("flag")),
    ({**USER, "flags": ["x"]}, ambiguous("flags")),
    ({**USER, "withReasons": True}, ambiguous("withReasons")),
    ({**LEGACY, "clientSideOnly": True}, ambiguous("clientSideOnly")),
    ({**USER, "events": False}, ambiguous("events")),
    (eventbridge({**USER, "flag": "a"}), ambiguous("flag")),
    ({"context": USER, "flagKey": "a"}, unknown("flagKey")),
    ({"user": LEGACY, "Flag": "a"}, unknown("Flag")),
    ({"contexts": [USER], "options": {}}, unknown("options")),
    ({"context": USER, "x" * 1000: 1}, unknown("x" * 100)),
    (eventbridge({"context": USER, "withReason": True}), unknown("withReason")),
    ({"context": USER, "flag": "a", "flags": ["b"]}, "The event holds 'flag' and 'flags'; expected one of them."),
    (None, NO_OBJECT),
    ([USER], NO_OBJECT),
    ("anna", NO_OBJECT),
    ({}, NO_SUBJECT),
    ({"flag": "a"}, NO_SUBJECT),
    ({"context": USER, "user": LEGACY}, NO_SUBJECT),
    ({"context": USER, "contexts": [USER]}, NO_SUBJECT),
    (eventbridge({}), NO_SUBJECT),
    (eventbridge("anna"), NO_SUBJECT),
    ({"contexts": USER}, "The event's 'contexts' must be an array of contexts."),
    ({"contexts": None}, "The event's 'contexts' must be an array of contexts."),
    (
        {"contexts": [USER], "flag": "a"},
        "The event's 'flag' must be a flag key, and cannot go with 'contexts'; use 'flags'.",
    ),
    (
        {"context": USER, "flag": 7},
        "The event's 'flag' must be a flag key, and cannot go with 'contexts'; use 'flags'.",
    ),
    ({"context": USER, "flags": "a,b"}, "The event's 'flags' must be an array of flag keys."),
    ({"context": USER, "flags": ["a", 7]}, "The event's 'flags' must be an array of flag keys."),
    ({"context": USER, "withReasons": "true"}, "The event's 'withReasons' must be true or false."),
    ({"context": USER, "withReasons": 1}, "The event's 'withReasons' must be true or false."),
    ({"context": USER, "events": "no"}, "The event's 'events' must be true or false."),
    ({"user": LEGACY, "clientSideOnly": None}, "The event's 'clientSideOnly' must be true or false."),
]


@pytest.mark.parametrize(("event", "message"), INVALID)
def test_any_other_event_is_an_error_that_says_what_was_expected(event: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_event(event)
    assert str(raised.value) == message


@pytest.fixture
def source() -> Snapshot:
    flags = [boolean_flag("a", 3), boolean_flag("b", 4, value=False, clientSide=True)]
    feature_store = SnapshotFeatureStore(
        {"features": {flag["key"]: json.dumps(flag).encode() for flag in flags}, "segments": {}}
    )
    return Snapshot(feature_store, "revision", None, read_at=0.0)


A = {"value": True, "variation": 0, "version": 3}
B = {"value": False, "variation": 1, "version": 4}
FALLTHROUGH = {"reason": {"kind": "FALLTHROUGH"}}
NO_KEY = "A context must have a 'kind' and a 'key'; a legacy user must have a 'key'."

ANSWERS: list[tuple[Json, Json]] = [
    (USER, {"flags": {"a": A, "b": B}}),
    ({"user": LEGACY, "withReasons": True}, {"flags": {"a": {**A, **FALLTHROUGH}, "b": {**B, **FALLTHROUGH}}}),
    ({"context": USER, "clientSideOnly": True}, {"flags": {"b": B}}),
    ({"context": USER, "flags": ["b", "missing"]}, {"flags": {"b": B}}),
    ({"context": USER, "flags": []}, {"flags": {}}),
    ({"context": USER, "flag": "a"}, {"flag": {"key": "a", **A, **FALLTHROUGH}}),
    ({"context": USER, "flag": "b", "clientSideOnly": True}, {"flag": {"key": "b", **B, **FALLTHROUGH}}),
    ({"context": USER, "flag": "a", "withReasons": False}, {"flag": {"key": "a", **A, **FALLTHROUGH}}),
    ({"contexts": []}, {"results": []}),
    (
        {"contexts": [USER, {}, None, LEGACY], "flags": ["a"]},
        {
            "results": [
                {"flags": {"a": A}},
                {"error": NO_KEY},
                {"error": "A context must be a JSON object, not null."},
                {"flags": {"a": A}},
            ]
        },
    ),
]


@pytest.mark.parametrize(("event", "answer"), ANSWERS)
def test_an_event_is_answered(source: Snapshot, event: Json, answer: Json) -> None:
    assert answer_event(source, parse_event(event)) == answer


def test_outside_a_batch_a_bad_context_raises(source: Snapshot) -> None:
    for options in ({}, {"flag": "a"}):
        with pytest.raises(InvalidContext) as raised:
            answer_event(source, parse_event({"context": {}, **options}))
        assert str(raised.value) == NO_KEY


def test_an_unknown_flag_raises(source: Snapshot) -> None:
    with pytest.raises(FlagNotFound) as raised:
        answer_event(source, parse_event({"context": USER, "flag": "missing"}))
    assert str(raised.value) == "There is no flag 'missing'."


def test_a_flag_for_servers_is_unknown_to_who_asks_for_client_side_flags_only(source: Snapshot) -> None:
    with pytest.raises(FlagNotFound) as raised:
        answer_event(source, parse_event({"context": USER, "flag": "a", "clientSideOnly": True}))
    assert str(raised.value) == "There is no flag 'a'."
