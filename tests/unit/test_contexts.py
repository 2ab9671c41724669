"""Contexts from JSON: single, multi, and the legacy user that most callers still send."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.api.ofrep import parse_request
from chalicelib.errors import InvalidContext
from chalicelib.read.contexts import (
    MAX_CHARACTERS,
    MAX_ELEMENTS,
    MAX_KINDS,
    MAX_LEVELS,
    MAX_PROPERTIES,
    parse_context,
)

Json = dict[str, Any]

SINGLE: Json = {
    "kind": "organization",
    "key": "acme",
    "name": "Acme",
    "anonymous": True,
    "employees": 501,
    "address": {"city": "Berlin", "lines": ["a", "b"]},
    "_meta": {"privateAttributes": ["employees", "/address/city"]},
}
MULTI: Json = {
    "kind": "multi",
    "user": {"key": "anna", "email": "anna@example.com"},
    "organization": {"key": "acme", "_meta": {"privateAttributes": ["plan"]}, "plan": "gold"},
}


@pytest.mark.parametrize("context", [{"kind": "user", "key": "anna"}, SINGLE, MULTI, {"kind": "user", "key": "ключ"}])
def test_a_context_is_taken_as_it_is(context: Json) -> None:
    assert parse_context(context).to_dict() == context


def test_a_multi_context_of_one_kind_is_that_context() -> None:
    assert parse_context({"kind": "multi", "device": {"key": "d1"}}).to_dict() == {"kind": "device", "key": "d1"}


LEGACY_USERS: list[tuple[str, Json, Json]] = [
    ("only a key", {"key": "u1"}, {"key": "u1"}),
    ("an empty key, which contexts may not have", {"key": ""}, {"key": ""}),
    (
        "built-in attributes",
        {
            "key": "u1",
            "name": "Anna B",
            "firstName": "Anna",
            "lastName": "B",
            "email": "anna@example.com",
            "country": "DE",
            "avatar": "https://example.com/a.png",
            "ip": "192.0.2.1",
        },
        {
            "key": "u1",
            "name": "Anna B",
            "firstName": "Anna",
            "lastName": "B",
            "email": "anna@example.com",
            "country": "DE",
            "avatar": "https://example.com/a.png",
            "ip": "192.0.2.1",
        },
    ),
    ("null attributes are absent", {"key": "u1", "name": None, "email": None, "custom": None}, {"key": "u1"}),
    (
        "custom attributes of every type",
        {"key": "u1", "custom": {"s": "x", "n": 1.5, "b": False, "a": [1, None], "o": {"p": {"q": 0}}, "z": None}},
        {"key": "u1", "s": "x", "n": 1.5, "b": False, "a": [1, None], "o": {"p": {"q": 0}}},
    ),
    (
        "custom attributes do not override built-in ones",
        {"key": "u1", "email": "a@example.com", "custom": {"email": "b@example.com", "country": "FR"}},
        {"key": "u1", "email": "a@example.com", "country": "FR"},
    ),
    (
        "custom attributes cannot take the name of a context's own properties",
        {"key": "u1", "custom": {"kind": "k", "key": "k", "name": "n", "anonymous": True, "_meta": {}, "own": 1}},
        {"key": "u1", "own": 1},
    ),
    ("anonymous", {"key": "u1", "anonymous": True}, {"key": "u1", "anonymous": True}),
    ("not anonymous", {"key": "u1", "anonymous": False}, {"key": "u1"}),
    ("null is not anonymous", {"key": "u1", "anonymous": None}, {"key": "u1"}),
    ("secondary is dropped", {"key": "u1", "secondary": "s"}, {"key": "u1"}),
    ("secondary is dropped, whatever it is", {"key": "u1", "secondary": 1}, {"key": "u1"}),
    ("unknown properties are ignored", {"key": "u1", "emial": "typo", "device": {"key": "d"}}, {"key": "u1"}),
    (
        "private attributes are literal names",
        {"key": "u1", "privateAttributeNames": ["email", "/a/b~c", "d~e"]},
        {"key": "u1", "_meta": {"privateAttributes": ["email", "/~1a~1b~0c", "d~e"]}},
    ),
    ("no private attributes", {"key": "u1", "privateAttributeNames": []}, {"key": "u1"}),
    ("null private attributes", {"key": "u1", "privateAttributeNames": None}, {"key": "u1"}),
]


@pytest.mark.parametrize(("user", "context"), [row[1:] for row in LEGACY_USERS], ids=[row[0] for row in LEGACY_USERS])
def test_a_legacy_user_becomes_a_context_of_kind_user(user: Json, context: Json) -> None:
    before = json.dumps(user)
    assert parse_context(user).to_dict() == {"kind": "user", **context}
    assert json.dumps(user) == before


IN_QUOTES = " Put it in quotes: LaunchDarkly documents a user's key and built-in attributes as strings."
NEITHER = "A context must have a 'kind' and a 'key'; a legacy user must have a 'key'."
INVALID: list[tuple[object, str]] = [
    (None, "A context must be a JSON object, not null."),
    ([], "A context must be a JSON object, not an array."),
    ("anna", "A context must be a JSON object, not a string."),
    (True, "A context must be a JSON object, not a boolean."),
    (7, "A context must be a JSON object, not a number."),
    (0.5, "A context must be a JSON object, not a number."),
    ({}, NEITHER),
    ({"email": "anna@example.com"}, NEITHER),
    ({"kind": "user"}, "Invalid context: context key must not be None or empty."),
    ({"kind": "user", "key": ""}, "Invalid context: context key must not be None or empty."),
    ({"kind": "user", "key": 7}, 'Invalid context: invalid data type for "key".'),
    ({"kind": "user", "key": None}, 'Invalid context: invalid data type for "key".'),
    ({"kind": None, "key": "u1"}, 'Invalid context: invalid data type for "kind".'),
    ({"kind": 7, "key": "u1"}, 'Invalid context: invalid data type for "kind".'),
    ({"kind": "", "key": "u1"}, "Invalid context: context kind must not be empty."),
    ({"kind": "kind", "key": "u1"}, 'Invalid context: "kind" is not a valid context kind.'),
    ({"kind": "a b", "key": "u1"}, "Invalid context: context kind contains disallowed characters."),
    ({"kind": "user", "key": "u1", "name": 7}, 'Invalid context: invalid data type for "name".'),
    ({"kind": "user", "key": "u1", "anonymous": "yes"}, 'Invalid context: invalid data type for "anonymous".'),
    ({"kind": "user", "key": "u1", "": 7}, 'Invalid context: invalid data type for "".'),
    ({"kind": "user", "key": "u1", "_meta": 7}, 'Invalid context: invalid data type for "_meta".'),
    (
        {"kind": "user", "key": "u1", "_meta": {"privateAttributes": "email"}},
        'Invalid context: invalid data type for "privateAttributes".',
    ),
    (
        {"kind": "user", "key": "u1", "_meta": {"privateAttributes": [7]}},
        'Invalid context: invalid data type for "privateAttributes".',
    ),
    ({"kind": "multi"}, "Invalid context: multi-context must contain at least one kind."),
    ({"kind": "multi", "key": "u1"}, 'Invalid context: invalid data type for "key".'),
    ({"kind": "multi", "user": {}}, "Invalid context: context key must not be None or empty."),
    (
        {"kind": "multi", "user": {"key": "u1"}, "kind of thing": {"key": "t1"}},
        "Invalid context: context kind contains disallowed characters.",
    ),
    ({"key": None}, "The user's 'key' must be a string, not null."),
    ({"key": 7}, f"The user's 'key' must be a string, not a number.{IN_QUOTES}"),
    ({"key": 7.5}, f"The user's 'key' must be a string, not a number.{IN_QUOTES}"),
    ({"key": True}, "The user's 'key' must be a string, not a boolean."),
    ({"key": ["u1"]}, "The user's 'key' must be a string, not an array."),
    ({"key": "u1", "email": 7}, f"The user's 'email' must be a string (or absent), not a number.{IN_QUOTES}"),
    ({"key": "u1", "name": {}}, "The user's 'name' must be a string (or absent), not an object."),
    ({"key": "u1", "anonymous": 1}, "The user's 'anonymous' must be a boolean (or absent), not a number."),
    ({"key": "u1", "custom": []}, "The user's 'custom' must be an object (or absent), not an array."),
    (
        {"key": "u1", "privateAttributeNames": "email"},
        "The user's 'privateAttributeNames' must be an array (or absent), not a string.",
    ),
    (
        {"key": "u1", "privateAttributeNames": [None]},
        "The user's 'privateAttributeNames' must hold strings, not null.",
    ),
]


@pytest.mark.parametrize(("data", "message"), INVALID)
def test_anything_else_is_an_error_that_says_what_is_wrong(data: object, message: str) -> None:
    with pytest.raises(InvalidContext) as raised:
        parse_context(data)
    assert str(raised.value) == message


def nested(levels: int) -> Json:
    """A user that is this many objects and arrays deep."""
    value: object = []
    for level in range(levels - 3):
        value = [value] if level % 2 else {"in": value}
    return {"key": "u1", "custom": {"deep": value}}


def test_a_context_may_be_as_deep_as_a_caller_can_mean() -> None:
    assert parse_context(nested(MAX_LEVELS)).valid


def test_what_is_around_a_context_of_openfeature_is_none_of_its_levels() -> None:
    def body(levels: int) -> Json:
        return {"context": {"targetingKey": "anna", **nested(levels)}}

    assert parse_request(body(MAX_LEVELS)).valid
    with pytest.raises(InvalidContext, match="nested too deeply"):
        parse_request(body(MAX_LEVELS + 1))


@pytest.mark.parametrize("levels", [MAX_LEVELS + 1, 950, 100_000])
def test_a_deeper_context_is_an_error_and_not_a_recursion_error_later(levels: int) -> None:
    with pytest.raises(InvalidContext) as raised:
        parse_context(nested(levels))
    assert str(raised.value) == "The context is nested too deeply: at most 100 levels are accepted."


def multi(kinds: int) -> Json:
    return {"kind": "multi", **{f"kind-{number}": {"key": "k"} for number in range(kinds)}}


def attributes(count: int) -> Json:
    return {f"attribute-{number}": number for number in range(count)}


LIMITS: list[tuple[str, Callable[[int], Json], int, str]] = [
    (
        "array",
        lambda n: {"key": "u1", "custom": {"groups": ["g"] * n}},
        MAX_ELEMENTS,
        "An array in the context has {} elements",
    ),
    (
        "array in an array",
        lambda n: {"kind": "user", "key": "u1", "a": [{"b": [0] * n}]},
        MAX_ELEMENTS,
        "An array in the context has {} elements",
    ),
    (
        "private attributes",
        lambda n: {"key": "u1", "privateAttributeNames": ["a"] * n},
        MAX_ELEMENTS,
        "An array in the context has {} elements",
    ),
    ("key", lambda n: {"kind": "user", "key": "k" * n}, MAX_CHARACTERS, "A string in the context has {} characters"),
    (
        "string in an array",
        lambda n: {"kind": "user", "key": "k", "a": ["ü" * n]},
        MAX_CHARACTERS,
        "A string in the context has {} characters",
    ),
    (
        "name",
        lambda n: {"kind": "user", "key": "k", "n" * n: 1},
        MAX_CHARACTERS,
        "A name in the context has {} characters",
    ),
    (
        "name in an object",
        lambda n: {"key": "k", "custom": {"a": {"n" * n: 1}}},
        MAX_CHARACTERS,
        "A name in the context has {} characters",
    ),
    (
        "attributes",
        lambda n: {"kind": "user", "key": "k", **attributes(n - 2)},
        MAX_PROPERTIES,
        "An object in the context has {} properties",
    ),
    (
        "attributes of a user",
        lambda n: {"key": "k", "custom": attributes(n)},
        MAX_PROPERTIES,
        "An object in the context has {} properties",
    ),
    (
        "ignored properties of a user",
        lambda n: {"key": "k", **attributes(n - 1)},
        MAX_PROPERTIES,
        "An object in the context has {} properties",
    ),
    (
        "attributes of one kind",
        lambda n: {"kind": "multi", "org": {"key": "k", **attributes(n - 1)}},
        MAX_PROPERTIES,
        "An object in the context has {} properties",
    ),
    ("kinds", multi, MAX_KINDS, "The context has {} kinds"),
]


@pytest.mark.parametrize(("context_of", "limit", "what"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_a_context_may_be_as_large_as_a_limit_and_no_larger(
    context_of: Callable[[int], Json], limit: int, what: str
) -> None:
    assert parse_context(context_of(limit)).valid
    with pytest.raises(InvalidContext) as raised:
        parse_context(context_of(limit + 1))
    assert str(raised.value) == f"{what.format(limit + 1)}; at most {limit} are accepted."


@pytest.mark.parametrize("number", [2**70, -(2**70), 10**308, float("1e999"), 0.1])
def test_a_number_may_be_whatever_floating_point_can_compare(number: float) -> None:
    assert parse_context({"kind": "user", "key": "k", "n": number}).valid


@pytest.mark.parametrize("value", [10**309, -(10**309), [10**309], {"x": [10**309]}])
def test_a_larger_number_is_an_error(value: object) -> None:
    with pytest.raises(InvalidContext) as raised:
        parse_context({"kind": "user", "key": "k", "n": value})
    assert str(raised.value) == "A number in the context is too large for 64-bit floating point."
