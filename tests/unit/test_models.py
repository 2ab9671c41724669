"""A flag that is decoded with all others is, property by property, what the SDK's own constructor makes of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import ldclient.version
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ldclient.impl.model.feature_flag import FeatureFlag

from chalicelib.launchdarkly import items
from chalicelib.launchdarkly.models import flag_of
from chalicelib.launchdarkly.sdk import FEATURES
from chalicelib.read.feature_stores import SnapshotFeatureStore
from tests.support import parity
from tests.support.data import Json, as_sent, boolean_flag
from tests.unit.test_evaluators import TRACKING, flags

EVERYTHING = as_sent(
    boolean_flag(
        "everything",
        prerequisites=[{"key": "other", "variation": 0}],
        targets=[{"values": ["anna", "carl"], "variation": 1}, {"values": [], "variation": 0}],
        contextTargets=[{"contextKind": "org", "values": ["acme"], "variation": 1}],
        rules=[
            {"id": "r1", "variation": 1, "clauses": [parity.clause("/address/city", "in", "Ulm", contextKind="org")]},
            {
                "rollout": {
                    "kind": "experiment",
                    "seed": 7,
                    "contextKind": "org",
                    "bucketBy": "name",
                    "variations": [{"variation": 0, "weight": 60_000}, {"variation": 1, "weight": 40_000}],
                },
                "clauses": [parity.clause("key", "matches", "a+"), parity.clause("born", "before", 7)],
                "trackEvents": True,
            },
        ],
        debugEventsUntilDate=1_700_000_000_000,
        trackEventsFallthrough=True,
    )
)


def contents(value: Any) -> Any:
    """All that a model holds, to compare: each value with its type, and models by their attributes."""
    if isinstance(value, list):
        return [contents(each) for each in value]
    names = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
    if not names:
        return type(value), value
    attributes = {name: getattr(value, name) for name in names if hasattr(value, name)} | getattr(value, "__dict__", {})
    return {name: contents(each) for name, each in attributes.items() if name != "_data"}


def made_by(constructor: Any, fields: Json) -> Any:
    """What it makes of the flag, or the error that it raises."""
    try:
        return contents(constructor(copy.deepcopy(fields)))
    except Exception as error:
        return type(error), str(error)


def test_everything_that_a_flag_can_hold_is_filled_in() -> None:
    assert type(flag_of(EVERYTHING)) is not FeatureFlag
    assert made_by(flag_of, EVERYTHING) == made_by(FeatureFlag, EVERYTHING)


@pytest.mark.parametrize("flag", [*parity.FLAGS.values(), *TRACKING], ids=lambda flag: flag["key"])
def test_every_flag_of_the_tables_is_what_the_sdk_makes_of_it(flag: Json) -> None:
    for fields in (flag, as_sent(flag)):
        assert made_by(flag_of, fields) == made_by(FeatureFlag, fields)


@given(flags, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_flag_is_what_the_sdk_makes_of_it(flag: Json, is_as_sent: bool) -> None:
    fields = {"key": "a", **(as_sent(flag) if is_as_sent else flag)}
    assert made_by(flag_of, fields) == made_by(FeatureFlag, fields)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container within a JSON value, with each of its names or indices."""
    if isinstance(value, (dict, list)):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, name
            yield from places(each)


ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    1e300,
    "",
    "x",
    "in",
    [],
    [0],
    ["x"],
    [None],
    {},
    {"variation": 0},
    [{}],
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_value_anywhere_is_judged_by_the_sdk(odd: object) -> None:
    for number in range(len(list(places(EVERYTHING)))):
        fields = copy.deepcopy(EVERYTHING)
        container, name = list(places(fields))[number]
        container[name] = odd
        assert made_by(flag_of, fields) == made_by(FeatureFlag, fields), (name, fields)


def test_a_property_that_is_missing_anywhere_is_judged_by_the_sdk() -> None:
    for number in range(len(list(places(EVERYTHING)))):
        fields = copy.deepcopy(EVERYTHING)
        container, name = list(places(fields))[number]
        del container[name]
        assert made_by(flag_of, fields) == made_by(FeatureFlag, fields), (name, fields)


@pytest.mark.parametrize("extra", ["migration", "excludeFromSummaries", "samplingRatio", "deleted", "unknown"])
@pytest.mark.parametrize("odd", [*ODD, {"checkRatio": 2}], ids=repr)
def test_a_property_that_few_flags_have_is_judged_by_the_sdk(extra: str, odd: object) -> None:
    fields = {**EVERYTHING, extra: odd}
    assert made_by(flag_of, fields) == made_by(FeatureFlag, fields)


@pytest.mark.parametrize("value", [None, "text", 1, [], [{}]], ids=repr)
def test_what_is_no_object_is_refused_as_by_the_sdk(value: Any) -> None:
    assert made_by(flag_of, value) == made_by(FeatureFlag, value)


# What a feature store does with it.


def store_of(flag: Json) -> SnapshotFeatureStore:
    return SnapshotFeatureStore({"features": {flag["key"]: json.dumps(flag).encode()}, "segments": {}})


def test_a_flag_keeps_the_same_of_its_json_alone_and_among_all() -> None:
    among_all = store_of(EVERYTHING).all(FEATURES)["everything"]
    alone = store_of(EVERYTHING).get(FEATURES, "everything")
    assert (type(alone), type(among_all)) == (FeatureFlag, type(flag_of(EVERYTHING)))
    assert among_all.to_json_dict() == alone.to_json_dict()
    assert contents(among_all).keys() == contents(alone).keys()


def test_models_are_the_sdks_own_where_nobody_has_compared_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ldclient.version.VERSION == items._COMPARED_WITH, "compare the models of the new version with models.py"
    monkeypatch.setattr(ldclient.version, "VERSION", "9.99.0")
    assert type(store_of(EVERYTHING).all(FEATURES)["everything"]) is FeatureFlag
