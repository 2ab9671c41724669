"""Requests taken apart: strict JSON, options, entity tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from chalicelib.api.gateway import seconds_left
from chalicelib.api.request import (
    Query,
    checked_size,
    matches_etag,
    no_options,
    options_from_query,
    options_of_ofrep,
    options_of_one_flag,
    parse_json,
)
from chalicelib.errors import InvalidRequest
from chalicelib.read.evaluation import Options


class LambdaContext(NamedTuple):
    """As much of Lambda's as says how long is left."""

    milliseconds: int

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def test_an_invocation_has_a_second_less_than_lambda_gives_it_to_answer_in() -> None:
    assert seconds_left(LambdaContext(30_000), without=5.0) == 29.0
    assert seconds_left(None, without=5.0) == 5.0


VALID_JSON: list[tuple[bytes, object]] = [
    (b'{"key": "u1"}', {"key": "u1"}),
    (b' \r\n\t{"key" : "u1"}\n', {"key": "u1"}),
    ('{"key": "ключ 🔑"}'.encode(), {"key": "ключ 🔑"}),
    (b'\xef\xbb\xbf{"key": "with a byte order mark"}', {"key": "with a byte order mark"}),
    (b'{"key": "first", "key": "last"}', {"key": "last"}),
    (b"[1, 2.5, -3e2, true, null]", [1, 2.5, -300.0, True, None]),
    (b"36893488147419103232", 2**65),
    (b'"\\ud83d\\udd11"', "🔑"),
]


@pytest.mark.parametrize(("body", "value"), VALID_JSON)
def test_json_is_parsed(body: bytes, value: object) -> None:
    assert parse_json(body) == value


INVALID_JSON: list[tuple[bytes, str]] = [
    (b"", "The body is empty; expected a JSON object."),
    (b" ", "The body is not valid JSON at line 1 column 2."),
    (b"{", "The body is not valid JSON at line 1 column 2."),
    (b'{"key": "u1"\n"kind": "user"}', "The body is not valid JSON at line 2 column 1."),
    (b"{'key': 'u1'}", "The body is not valid JSON at line 1 column 2."),
    (b'{"key": "u1"} {}', "The body is not valid JSON at line 1 column 15."),
    (b'{"key": "a\nb"}', "The body is not valid JSON at line 1 column 11."),
    (b"key=u1", "The body is not valid JSON at line 1 column 1."),
    (b'{"score": NaN}', "The body is not valid JSON: NaN is not a JSON number."),
    (b'{"score": Infinity}', "The body is not valid JSON: Infinity is not a JSON number."),
    (b"-Infinity", "The body is not valid JSON: -Infinity is not a JSON number."),
    (b'{"key": "\xff"}', "The body is not valid UTF-8."),
    (b'{"key": "\xed\xa0\x80"}', "The body is not valid UTF-8."),
    ('{"key": "u1"}'.encode("utf-16"), "The body is not valid UTF-8."),
    (b"[" * 100_000, "The body is nested too deeply."),
    (b"9" * 10_000, "The body is not valid JSON: it holds a number with too many digits."),
]


@pytest.mark.parametrize(("body", "message"), INVALID_JSON, ids=[message for _, message in INVALID_JSON])
def test_what_is_not_strict_json_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_json(body)
    assert str(raised.value) == message


def test_a_body_may_be_as_long_as_any_context() -> None:
    body = b" " * 65_536
    assert checked_size(body, 65_536) is body
    with pytest.raises(InvalidRequest) as raised:
        checked_size(body + b" ", 65_536)
    assert str(raised.value) == "The body has 65537 bytes; at most 65536 are accepted."


OPTIONS: list[tuple[dict[str, list[str]], Options]] = [
    ({}, Options()),
    ({"withReasons": ["true"], "clientSideOnly": ["true"]}, Options(with_reasons=True, client_side_only=True)),
    ({"withReasons": ["false"], "clientSideOnly": ["false"]}, Options()),
    ({"withReasons": ["false", "true"]}, Options(with_reasons=True)),
    ({"flags": ["a,b"]}, Options(flags=("a", "b"))),
    ({"flags": ["a,b", "c,,a"]}, Options(flags=("a", "b", "c"))),
    ({"flags": [""]}, Options(flags=())),
]


@pytest.mark.parametrize(("query", "options"), OPTIONS)
def test_options_come_from_the_query(query: dict[str, list[str]], options: Options) -> None:
    assert options_from_query(query) == options


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ({}, Options()),
        ({"clientSideOnly": ["true"]}, Options(client_side_only=True)),
        ({"withReasons": ["true"]}, Options(with_reasons=True)),
    ],
)
def test_one_flag_has_options_too(query: dict[str, list[str]], options: Options) -> None:
    assert options_of_one_flag(query) == options


UNKNOWN: list[tuple[Callable[[Query], Options], str, str]] = [
    *(
        (options_from_query, name, "expected one of: withReasons, clientSideOnly, flags, events, format.")
        for name in ("flag", "Flags", "withreasons", "client_side_only", "context", "")
    ),
    *(
        (options_of_one_flag, name, "expected one of: withReasons, clientSideOnly, events, explain.")
        for name in ("flags", "flag", "withReason")
    ),
    *((options_of_ofrep, name, "expected one of: events.") for name in ("flags", "clientSideOnly", "withReasons")),
    *((no_options, name, "there are none here.") for name in ("flags", "events")),
]


@pytest.mark.parametrize(("options_of", "name", "expected"), UNKNOWN)
def test_an_option_that_is_not_known_is_refused(
    options_of: Callable[[Query], Options], name: str, expected: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        options_of({name: ["true"]})
    assert str(raised.value) == f"The query parameter {name!r} is not known; {expected}"


def test_a_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidRequest) as raised:
        options_from_query({"x" * 1000: ["true"]})
    assert str(raised.value).startswith(f"The query parameter '{'x' * 100}' is not known;")


@pytest.mark.parametrize("name", ["withReasons", "clientSideOnly", "events"])
@pytest.mark.parametrize("value", ["", "1", "True", "yes"])
def test_an_option_that_is_not_true_or_false_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        options_from_query({name: [value]})
    assert str(raised.value) == f"The query parameter {name} must be true or false."


ETAGS: list[tuple[str | None, bool]] = [
    (None, False),
    ("", False),
    ('"tag"', True),
    ('W/"tag"', True),
    ('"other", "tag"', True),
    ('"other",W/"tag" ', True),
    ("*", True),
    ('"other"', False),
    ('"ta"', False),
    ("tag", False),
    ('"TAG"', False),
]


@pytest.mark.parametrize(("if_none_match", "matches"), ETAGS)
def test_if_none_match_is_compared_with_the_tag(if_none_match: str | None, matches: bool) -> None:
    assert matches_etag(if_none_match, '"tag"') is matches
