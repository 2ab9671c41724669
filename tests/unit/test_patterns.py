"""Regular expressions of flags: what Python's matcher says wherever it ends, and an end in any case."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.feature_store import InMemoryFeatureStore
from ldclient.versioned_data_kind import FEATURES
from ldclient.versioned_data_kind import SEGMENTS as SEGMENT_KIND

from chalicelib.launchdarkly.evaluators import evaluator_over
from chalicelib.launchdarkly.sdk import Context
from chalicelib.read import patterns
from chalicelib.read.direct import DirectFeatureStore
from chalicelib.read.feature_stores import SnapshotFeatureStore
from chalicelib.read.patterns import MOST_STEPS, BoundedPattern, longest_text, steps
from tests.support.data import boolean_flag, segment

pytest.importorskip("re2")

HOSTILE = [
    (r"(a+)+$", "a" * 4095 + "!"),
    (r"(a|a)*$", "a" * 4095 + "!"),
    (r"(a|aa)+$", "a" * 4095 + "!"),
    (r"(x+x+)+y", "x" * 4096),
    (r"([a-zA-Z]+)*$", "a" * 4095 + "!"),
    (r"^(\w+\s?)*$", "a" * 4095 + "!"),
    (r"(\w+\s?)*é$", "ü" * 4095 + "!"),
    (r"(?i)(straße|s+)+$", "\u017f" * 4095 + "!"),
    (r".*@example\.com.*\.test$", "@example.com" * 340),
    (r"(.*)(.*)(.*)(.*)x", "a" * 4096),
    (r"(a+)+$", "a" * 4095 + "\n"),
    (r"(?=(a+)+$)b", "a" * 4096),
    (r"(a|a)*(?=b)", "a" * 4096),
    (r"(a*)*\1b", "a" * 4096),
    (r"((a|a)+)+(?!b)c", "a" * 4096),
    (r"(?<=a)(a+)+b", "a" * 4096),
    (r"\b(a+)+é", "aé" * 2000),
    (r"(?P<x>a+)+(?(x)b|c)", "a" * 4096),
    (r"(a{0,1000}){0,1000}b", "a" * 4096),
    (r"(\w{1,64}){1,64}!", "é" * 4096),
    (r"(a+)+$\n", "a" * 4095 + "\n"),
]
"""Each would take Python's matcher longer than the universe is old, or at least minutes."""


@pytest.mark.parametrize(("pattern", "text"), HOSTILE)
def test_no_pattern_and_no_text_takes_forever(pattern: str, text: str) -> None:
    """That this test ends is what it shows."""
    BoundedPattern(re.compile(pattern), "some").search(text)


MEANINGS = [
    (r"a$", "a\n", True),
    (r"a$", "a\n\n", False),
    (r"a$\n", "a\n", True),
    (r"a\Z", "a\n", False),
    (r"(?:a$|b)", "a\n", True),
    (r"(?m)^b$", "a\nb\nc", True),
    (r"(?m)^$", "a\n", True),
    (r"^$", "\n", True),
    (r"\d", "٣", True),
    (r"(?a)\d", "٣", False),
    (r"\w\s\w", "é\u2003é", True),
    (r"\s", "\x1c", True),
    (r"\s", "\x0b", True),
    (r"\S", "\u00a0", False),
    (r"(?i)STRASSE", "stra\u017f\u017fe", True),
    (r"(?i)k", "\u212a", True),
    (r"(?i)i", "\u0130", True),
    (r"(?i)[^k]", "\u212a", False),
    (r"(?i:a)b", "Ab", True),
    (r"(?i:a)b", "AB", False),
    (r"(?i)a(?-i:b)", "AB", False),
    (r"(?s).", "\n", True),
    (r".", "\n", False),
    (r"a{,2}b", "aab", True),
    (r"^a{,2}b", "aaab", False),
    (r"[[:alpha:]]", "x:]", True),
    (r"[[:alpha:]]", "x]", False),
    (r"[[:alpha:]]", "a]", True),
    (r"\bé", "é", True),
    (r"(?a)\bé", "é", False),
    (r"(?a)\B", "1ß1", False),
    (r"(?a)\B", "ß", True),
    (r"\B", "", bool(re.search(r"\B", ""))),
    (r"", "", True),
    (r"x*", "é", True),
    (r"(?x) a b # comment", "ab", True),
    (r"(?#comment)a", "a", True),
    (r"\u0041", "A", True),
    (r"[\b]", "\b", True),
    (r"(a)(?:b)\1", "aba", True),
    (r"a(?!b)", "ab", False),
    (r"(?<!a)b", "ab", False),
    ("é", "é", True),
    ("e\u0301", "é", False),
    ("\ud800", "é", False),
    (r"[\ud800-\udfff]", "😀", False),
    (r"[^a]", "😀", True),
]


@pytest.mark.parametrize(("pattern", "text", "matches"), MEANINGS)
def test_a_pattern_means_what_it_means_in_python(pattern: str, text: str, matches: bool) -> None:
    assert (re.search(pattern, text) is not None) == matches
    assert (BoundedPattern(re.compile(pattern), "some").search(text) is not None) == matches


ALPHABET = "abAB1_ \n\t.-éß\u017fK\u0131İ٣\u2003\x1c😀"
ATOMS = st.sampled_from(
    [
        *"abAB1_é.",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        r"\.",
        r"\n",
        "[a-b]",
        "[^a]",
        r"[\w-]",
        r"[^\s1]",
        "[A-Zé]",
    ]
)
POSITIONS = st.sampled_from(["^", "$", r"\A", r"\Z", r"\b", r"\B"])


def composed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeats = st.sampled_from(["*", "+", "?", "*?", "+?", "{2}", "{1,2}", "{,2}"])
    return (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})")
        | st.builds(lambda part, repeat: f"(?:{part}){repeat}", inner, repeats)
        | st.builds(lambda kind, part: f"({kind}{part})", st.sampled_from(["", "?i:", "?=", "?!", "?s:", "?m:"]), inner)
    )


PATTERNS = st.builds(
    lambda flags, body: flags + body,
    st.sampled_from(["", "", "", "(?i)", "(?m)", "(?s)", "(?a)", "(?im)"]),
    st.recursive(ATOMS | POSITIONS, composed, max_leaves=6),
)


@pytest.mark.no_cover
@settings(max_examples=600, deadline=None)
@given(PATTERNS, st.text(st.sampled_from(ALPHABET), max_size=8))
def test_any_pattern_finds_what_python_finds(pattern: str, text: str) -> None:
    regex = re.compile(pattern)
    found = BoundedPattern(regex, "some").search(text) is not None
    is_searched = is_translated(pattern, text) or len(text) <= longest_text(pattern)
    assert found == (is_searched and regex.search(text) is not None)


def is_translated(pattern: str, text: str) -> bool:
    translated = patterns._translate(pattern, is_ascii=text.isascii())
    return translated is not None and not (translated.wants_no_final_newline and text.endswith("\n"))


@settings(max_examples=100, deadline=None)
@given(PATTERNS)
def test_a_longer_text_never_costs_less(pattern: str) -> None:
    """The length up to which a pattern may be searched is found by halving."""
    costs = [min(steps(pattern, length), MOST_STEPS + 1) for length in range(0, 60, 7)]
    assert costs == sorted(costs)


COSTS = [
    (r"a(?=b)", 1_000, 20_000),
    (r"^(?!.*test).*@example\.com$", 500, 2_000),
    (r"(?=.*\d)(?=.*[a-z]).{8,}", 30, 100),
    (r"(a|a)*(?=b)", 1, 10),
    (r"(a+)+(?=b)", 1, 5),
    (r"(a|b)\1", 40, 200),
]


@pytest.mark.parametrize(("pattern", "least", "most"), COSTS)
def test_what_only_pythons_matcher_knows_has_a_longest_text(
    pattern: str, least: int, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    longest = longest_text(pattern)
    assert least <= longest <= most
    bounded = BoundedPattern(re.compile(pattern), "flag-1")
    with caplog.at_level(logging.WARNING):
        bounded.search("a" * longest)
        assert caplog.messages == []
        for _ in range(3):
            assert bounded.search("a" * (longest + 1)) is None
    assert caplog.messages == [
        f"a pattern of 'flag-1' matches no text of more than {longest} characters: longer ones could take too long"
    ]


def test_without_re2_every_pattern_has_a_longest_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    bounded = BoundedPattern(re.compile("(a+)+$"), "some")
    assert bounded.search("aaa") is not None
    assert bounded.search("a" * 4096) is None


MATCHES: dict[str, Any] = {"attribute": "email", "op": "matches", "values": [7, "[", r"(a+)+$", "^b"], "negate": False}
IN_BETA: dict[str, Any] = {"attribute": "", "op": "segmentMatch", "values": ["beta"], "negate": False}
FLAGS = [
    boolean_flag("by-rule", rules=[{"variation": 1, "clauses": [MATCHES]}]),
    boolean_flag("by-segment", rules=[{"variation": 1, "clauses": [IN_BETA]}]),
    boolean_flag("negated", rules=[{"variation": 1, "clauses": [{**MATCHES, "negate": True}]}]),
    boolean_flag("deleted", deleted=True),
]
SEGMENTS = [segment("beta", rules=[{"clauses": [MATCHES]}])]
SERVED = {"b@example.com": [False, False, True], "a" * 4095 + "!": [True, True, False], "caa": [False, False, True]}


@pytest.mark.parametrize(("email", "served"), SERVED.items())
def test_the_clauses_of_flags_and_segments_are_bounded_in_both_modes(email: str, served: list[bool]) -> None:
    context = Context.from_dict({"kind": "user", "key": "anna", "email": email})
    texts = {
        "features": {flag["key"]: json.dumps(flag).encode() for flag in FLAGS},
        "segments": {each["key"]: json.dumps(each).encode() for each in SEGMENTS},
    }
    evaluator = evaluator_over(SnapshotFeatureStore(texts))
    keys = ("by-rule", "by-segment", "negated")
    assert [evaluator.evaluate_flag(key, context).value for key in keys] == served

    store = DirectFeatureStore()
    store.init({FEATURES: {}, SEGMENT_KIND: {each["key"]: each for each in SEGMENTS}})
    for flag in FLAGS:
        store.upsert(FEATURES, flag)
    with LDClient(Config("sdk-key", feature_store=store, use_ldd=True, send_events=False), start_wait=0) as client:
        assert [client.variation(key, context, None) for key in keys] == served


def test_the_sdk_alone_agrees_where_it_ends() -> None:
    store = InMemoryFeatureStore()
    data = {FEATURES: {flag["key"]: flag for flag in FLAGS}, SEGMENT_KIND: {each["key"]: each for each in SEGMENTS}}
    store.init(data)
    with LDClient(Config("sdk-key", feature_store=store, use_ldd=True, send_events=False), start_wait=0) as client:
        for email in ("b@example.com", "caa"):
            context = Context.from_dict({"kind": "user", "key": "anna", "email": email})
            answers = [client.variation(key, context, None) for key in ("by-rule", "by-segment", "negated")]
            assert answers == SERVED[email]
