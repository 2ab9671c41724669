"""The SDK's evaluator without a client gives what a client of the SDK gives, for every flag and every option."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.launchdarkly import evaluators, sdk
from chalicelib.launchdarkly.clients import daemon_client
from chalicelib.launchdarkly.evaluators import BareEvaluator, ClientEvaluator, evaluator_over
from chalicelib.launchdarkly.sdk import FEATURES
from chalicelib.read.contexts import parse_context
from chalicelib.read.feature_stores import SnapshotFeatureStore
from tests.support import parity
from tests.support.app import App
from tests.support.data import Json, as_sent, boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly

ALL = parity.FLAGS.keys()


def feature_store(flags: Iterable[Json], segments: Iterable[Json] = ()) -> SnapshotFeatureStore:
    """Of these items, and one flag that cannot be read."""
    texts = {each["key"]: json.dumps(each).encode() for each in flags}
    return SnapshotFeatureStore(
        {
            "features": {**texts, "unreadable": b"{"},
            "segments": {each["key"]: json.dumps(each).encode() for each in segments},
        }
    )


def answers(evaluator: Any, contexts: Iterable[Json], keys: Iterable[str]) -> str:
    """Everything that an evaluator says, as text, in its order."""
    said: list[Any] = []
    for each in contexts:
        context = parse_context(each)
        for key in [*keys, "unreadable", "unknown"]:
            detail = evaluator.evaluate_flag(key, context)
            said.append([key, detail.value, detail.variation_index, detail.reason])
        for with_reasons in (False, True):
            said.append(evaluator.evaluate_flags(context, None, with_reasons=with_reasons))
            chosen = [*list(keys)[::3], "unknown", "unreadable"]
            said.append(evaluator.evaluate_flags(context, chosen, with_reasons=with_reasons))
    return json.dumps(said)


def assert_parity(flags: Iterable[Json], segments: Iterable[Json], contexts: Iterable[Json]) -> None:
    flags, segments, contexts = list(flags), list(segments), list(contexts)
    keys = [each["key"] for each in flags]
    bare = BareEvaluator(feature_store(flags, segments))
    client = ClientEvaluator(daemon_client(feature_store(flags, segments)))
    expected = answers(client, contexts, keys)
    assert answers(bare, contexts, keys) == expected
    assert answers(bare, contexts, keys) == expected, "again, of what was kept"
    in_bulk = feature_store(map(as_sent, flags), segments)
    in_bulk.all(FEATURES)
    assert answers(BareEvaluator(in_bulk), contexts, keys) == expected, "decoded all together"


def test_every_flag_of_the_table_is_evaluated_as_by_a_client() -> None:
    assert_parity(parity.FLAGS.values(), parity.ALL_SEGMENTS.values(), parity.CONTEXTS.values())


TRACKING: list[Json] = [
    boolean_flag("tracked", trackEvents=True),
    boolean_flag("tracked fallthrough", trackEventsFallthrough=True),
    boolean_flag("tracked fallthrough, off", on=False, trackEventsFallthrough=True),
    boolean_flag("debugged", debugEventsUntilDate=1),
    boolean_flag("debugged for long", debugEventsUntilDate=10**14),
    boolean_flag("client-side", clientSide=True),
    boolean_flag("odd client-side", clientSide="yes"),
    boolean_flag("off", on=False, offVariation=1),
    boolean_flag("off without a variation", on=False, offVariation=None),
    boolean_flag("off, malformed", on=False, offVariation=9),
    boolean_flag("on, malformed", fallthrough={"variation": 9}),
    boolean_flag("negative", fallthrough={"variation": -1}),
    boolean_flag("a truth for an index", fallthrough={"variation": True}),
    boolean_flag("nothing to serve", fallthrough={}),
    boolean_flag("no fallthrough", fallthrough=None),
    boolean_flag("null", variations=[None], fallthrough={"variation": 0}),
    boolean_flag("needs what is missing", prerequisites=[{"key": "missing", "variation": 0}]),
    boolean_flag("needs the unreadable", prerequisites=[{"key": "unreadable", "variation": 0}]),
    boolean_flag("needs itself", prerequisites=[{"key": "needs itself", "variation": 0}]),
    boolean_flag("needs a chain", prerequisites=[{"key": "needs two", "variation": 0}]),
    boolean_flag(
        "needs two", prerequisites=[{"key": "tracked", "variation": 0}, {"key": "off", "variation": 1}], clientSide=True
    ),
    boolean_flag("off, with prerequisites", on=False, prerequisites=[{"key": "tracked", "variation": 0}]),
    boolean_flag(
        "tracked rule",
        rules=[{"id": "r", "variation": 1, "trackEvents": True, "clauses": [parity.clause("key", "in", "anna")]}],
    ),
    boolean_flag(
        "experiment",
        fallthrough={
            "rollout": {
                "kind": "experiment",
                "variations": [
                    {"variation": 0, "weight": 50_000},
                    {"variation": 1, "weight": 50_000, "untracked": True},
                ],
            }
        },
    ),
    boolean_flag("in a big segment", rules=[{"variation": 1, "clauses": [parity.clause("", "segmentMatch", "big")]}]),
]
BIG: list[Json] = [
    segment("big", unbounded=True, generation=1, rules=[{"clauses": [parity.clause("key", "in", "anna")]}])
]


def test_tracking_prerequisites_and_errors_are_told_as_by_a_client() -> None:
    assert_parity(TRACKING, BIG, parity.CONTEXTS.values())


@pytest.mark.parametrize("chain", [50, 2000])
def test_prerequisites_of_prerequisites_are_followed_as_far_as_by_a_client(chain: int) -> None:
    flags = [boolean_flag(f"f{n}", prerequisites=[{"key": f"f{n + 1}", "variation": 0}]) for n in range(chain)]
    flags.append(boolean_flag(f"f{chain}"))
    logging.disable()
    try:
        bare, client = (
            evaluator.evaluate_flag("f0", parse_context(parity.CONTEXTS["anna"]))
            for evaluator in (
                BareEvaluator(feature_store(flags)),
                ClientEvaluator(daemon_client(feature_store(flags))),
            )
        )
    finally:
        logging.disable(logging.NOTSET)
    assert bare == client


# Flags and contexts that nobody has thought of.

keys = st.sampled_from(["a", "b", "c", "d"])
kinds = st.sampled_from(["user", "org"])
attributes = st.sampled_from(["key", "kind", "name", "email", "/address/city", "groups", "anonymous", "", "/"])
strings = st.sampled_from(["anna", "1.2", "b", "2026-01-01T00:00:00Z"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-2, 2),
    st.sampled_from(["anna", "1.2", "b", "2026-01-01T00:00:00Z"]),
)
comparisons = st.sampled_from(["in", "startsWith", "endsWith", "contains", "matches", "lessThan", "greaterThanOrEqual"])
others = st.sampled_from(["before", "after", "semVerEqual", "semVerLessThan", "segmentMatch", "unknown"])
clauses = st.fixed_dictionaries(
    {"attribute": attributes, "op": comparisons | others, "values": st.lists(st.one_of(scalars, keys), max_size=3)},
    optional={"negate": st.booleans(), "contextKind": kinds},
)
indices = st.integers(-1, 3)
rollouts = st.fixed_dictionaries(
    {
        "variations": st.lists(
            st.fixed_dictionaries(
                {"variation": indices, "weight": st.integers(0, 100_000)}, optional={"untracked": st.booleans()}
            ),
            max_size=3,
        )
    },
    optional={
        "kind": st.sampled_from(["rollout", "experiment"]),
        "seed": st.integers(0, 100),
        "bucketBy": attributes,
        "contextKind": kinds,
    },
)
served: dict[str, st.SearchStrategy[Any]] = {"variation": indices, "rollout": rollouts}
rules = st.fixed_dictionaries(
    {"clauses": st.lists(clauses, max_size=2)}, optional={"id": keys, "trackEvents": st.booleans(), **served}
)
targets = st.fixed_dictionaries(
    {"values": st.lists(keys, max_size=2), "variation": indices},
    optional={"contextKind": kinds},
)
flags = st.fixed_dictionaries(
    {"version": st.integers(0, 9), "on": st.booleans(), "salt": keys, "variations": st.lists(scalars, max_size=3)},
    optional={
        "offVariation": st.one_of(st.none(), indices),
        "fallthrough": st.fixed_dictionaries({}, optional=served),
        "prerequisites": st.lists(st.fixed_dictionaries({"key": keys, "variation": indices}), max_size=2),
        "targets": st.lists(targets, max_size=2),
        "contextTargets": st.lists(targets, max_size=2),
        "rules": st.lists(rules, max_size=2),
        "trackEvents": st.booleans(),
        "trackEventsFallthrough": st.booleans(),
        "debugEventsUntilDate": st.one_of(st.none(), st.integers(0, 10**14)),
        "clientSide": st.booleans(),
        "deleted": st.booleans(),
    },
)
segment_rules = st.fixed_dictionaries(
    {"clauses": st.lists(clauses, max_size=2)}, optional={"weight": st.integers(0, 100_000), "bucketBy": attributes}
)
segments = st.fixed_dictionaries(
    {"version": st.integers(0, 9)},
    optional={
        "included": st.lists(keys, max_size=2),
        "excluded": st.lists(keys, max_size=2),
        "salt": keys,
        "unbounded": st.booleans(),
        "generation": st.integers(0, 3),
        "rules": st.lists(
            st.fixed_dictionaries(
                {"clauses": st.lists(clauses, max_size=2)},
                optional={"weight": st.integers(0, 100_000), "bucketBy": attributes},
            ),
            max_size=2,
        ),
    },
)
data_sets = st.tuples(st.dictionaries(keys, flags, min_size=1), st.dictionaries(keys, segments))


@given(data_sets)
@settings(max_examples=300, deadline=None)
def test_any_data_set_is_evaluated_as_by_a_client(data_set: tuple[dict[str, Json], dict[str, Json]]) -> None:
    made_flags, made_segments = ([{**each, "key": key} for key, each in kind.items()] for kind in data_set)
    logging.disable()
    try:
        assert_parity(
            made_flags, made_segments, [parity.CONTEXTS["anna"], parity.CONTEXTS["multi"], {"kind": "org", "key": "a"}]
        )
    finally:
        logging.disable(logging.NOTSET)


# The fall-back.


def test_a_client_answers_where_the_sdk_has_no_such_evaluator(
    app: App, launchdarkly: FakeLaunchDarkly, monkeypatch: pytest.MonkeyPatch
) -> None:
    launchdarkly.replace(by_key(*TRACKING), by_key(*BIG))
    app.invoke("reconcile", {})

    def answers_of_the_app() -> Any:
        asked = parity.CONTEXTS.values()
        chosen = "?withReasons=true&clientSideOnly=true&flags=tracked,needs two,unknown"
        return [
            [app.evaluate(each, chosen), app.evaluate(each), app.post("/evaluate/off", each).json_body]
            for each in asked
        ]

    expected = answers_of_the_app()
    monkeypatch.setattr(evaluators, "Evaluator", None)  # an SDK that has no such class any more
    assert answers_of_the_app() == expected

    used = [app.module.wiring.snapshots.current().evaluator for _ in range(2)]
    assert [type(each) for each in used] == [ClientEvaluator] * 2
    assert used[0].client is used[1].client, "one for all requests"


# What an evaluator leaves behind.


def test_evaluating_leaves_nothing_for_the_garbage_collector() -> None:
    store = feature_store(parity.FLAGS.values(), parity.ALL_SEGMENTS.values())
    contexts = [parse_context(each) for each in parity.CONTEXTS.values()]
    logging.disable()
    gc.collect()
    gc.disable()
    try:
        for context in contexts:
            evaluator = evaluator_over(store)
            evaluator.evaluate_flags(context, None, with_reasons=True)
            for key in ("unreadable", "unknown", *ALL):
                evaluator.evaluate_flag(key, context)
        assert gc.collect() == 0
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


def test_a_version_is_parsed_once_however_many_clauses_compare_it() -> None:
    parse = sdk._SemanticVersion.parse
    assert parse("1.2.3-beta") is parse("1.2.3-beta")
    with pytest.raises(ValueError, match="is not valid"):
        parse("one.two")
