"""An item that no SDK can read holds nothing back: it is stored as it came, is an error by itself, and is counted."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from chalicelib.data_set import FEATURES, SEGMENTS
from tests.stores.conftest import over_store
from tests.support.app import App, Environment, logged
from tests.support.data import ANNA, boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.stores import Store
from tests.support.webhooks import flag_entry

Json = dict[str, Any]

ERROR = {"kind": "ERROR", "errorKind": "EXCEPTION"}
CLAUSE: Json = {"attribute": "name", "op": "in", "values": ["Anna"]}
MISSING = object()


def changed(item: Json, **fields: Any) -> Json:
    """The item with these fields; without those that are MISSING."""
    return {name: value for name, value in {**item, **fields}.items() if value is not MISSING}


def clause(**fields: Any) -> Json:
    return {"rules": [{"variation": 0, "clauses": [changed(CLAUSE, **fields)]}]}


def rule(**fields: Any) -> Json:
    return {"rules": [changed({"variation": 0, "clauses": [CLAUSE]}, **fields)]}


def rollout(**fields: Any) -> Json:
    return {"fallthrough": {"rollout": changed({"variations": [{"variation": 0, "weight": 100000}]}, **fields)}}


def weighted(**fields: Any) -> Json:
    return rollout(variations=[changed({"variation": 0, "weight": 100000}, **fields)])


def prerequisite(**fields: Any) -> Json:
    return {"prerequisites": [changed({"key": "good", "variation": 0}, **fields)]}


def target(**fields: Any) -> Json:
    return {"targets": [changed({"variation": 0, "values": ["anna"]}, **fields)]}


FLAG_FIELDS: dict[str, Json] = {
    **{f"clause-without-{name}": clause(**{name: MISSING}) for name in CLAUSE},
    **{f"clause-with-null-{name}": clause(**{name: None}) for name in CLAUSE},
    "clause-attribute-number": clause(attribute=7),
    "clause-op-number": clause(op=7),
    "clause-values-text": clause(values="Anna"),
    "clause-values-object": clause(values={"Anna": True}),
    "clause-negate-text": clause(negate="true"),
    "clause-negate-number": clause(negate=1),
    "clause-context-kind-number": clause(contextKind=7),
    "clause-text": rule(clauses=["everybody"]),
    "clauses-object": rule(clauses=CLAUSE),
    "rule-without-clauses": rule(clauses=MISSING),
    "rule-with-null-clauses": rule(clauses=None),
    "rule-id-number": rule(id=7),
    "rule-variation-text": rule(variation="0"),
    "rule-variation-float": rule(variation=0.0),
    "rule-text": {"rules": ["everybody"]},
    "rules-object": {"rules": {"everybody": True}},
    "off-variation-text": {"offVariation": "1"},
    "off-variation-float": {"offVariation": 1.0},
    "fallthrough-list": {"fallthrough": [0]},
    "fallthrough-variation-text": {"fallthrough": {"variation": "0"}},
    "fallthrough-variation-float": {"fallthrough": {"variation": 0.0}},
    "rollout-list": {"fallthrough": {"rollout": []}},
    "rollout-without-variations": rollout(variations=MISSING),
    "rollout-variations-object": rollout(variations={}),
    "rollout-seed-text": rollout(seed="x"),
    "rollout-seed-float": rollout(seed=61.0),
    "rollout-bucket-by-number": rollout(bucketBy=7),
    "rollout-kind-number": rollout(kind=7),
    "weight-missing": weighted(weight=MISSING),
    "weight-float": weighted(weight=100000.0),
    "weight-text": weighted(weight="100000"),
    "weighted-variation-missing": weighted(variation=MISSING),
    "weighted-untracked-text": weighted(untracked="no"),
    "prerequisite-without-variation": prerequisite(variation=MISSING),
    "prerequisite-without-key": prerequisite(key=MISSING),
    "prerequisite-variation-text": prerequisite(variation="0"),
    "prerequisite-text": {"prerequisites": ["good"]},
    "prerequisites-object": {"prerequisites": {"good": 0}},
    "target-without-values": target(values=MISSING),
    "target-with-null-values": target(values=None),
    "target-values-numbers": target(values=[1]),
    "target-without-variation": target(variation=MISSING),
    "target-context-kind-number": target(contextKind=7),
    "context-target-without-values": {"contextTargets": [{"variation": 0}]},
    "targets-object": {"targets": {}},
    "version-missing": {"version": MISSING},
    "version-null": {"version": None},
    "version-float": {"version": 3.0},
    "version-text": {"version": "3"},
    "version-list": {"version": [3]},
    "key-missing": {"key": MISSING},
    "key-null": {"key": None},
    "key-number": {"key": 7},
    "key-of-another": {"key": "good"},
    "deleted-text": {"deleted": "no"},
    "on-text": {"on": "true"},
    "variations-object": {"variations": {"0": True}},
    "variations-text": {"variations": "true"},
    "salt-number": {"salt": 7},
    "track-events-text": {"trackEvents": "yes"},
    "debug-date-text": {"debugEventsUntilDate": "tomorrow"},
    "migration-list": {"migration": ["stage"]},
    "migration-ratio-text": {"migration": {"checkRatio": "1"}},
    "sampling-ratio-text": {"samplingRatio": "1"},
    "summaries-text": {"excludeFromSummaries": "no"},
    "infinite-variation": {"variations": [float("inf"), 0]},
    "nan-variation": {"variations": [float("nan"), 0]},
}
BAD_FLAGS: dict[str, Any] = {
    **{key: changed(boolean_flag(key), **fields) for key, fields in FLAG_FIELDS.items()},
    "null": None,
    "text": "a flag",
    "number": 7,
    "list": [boolean_flag("list")],
    "true": True,
    "empty": {},
}
SEGMENT_FIELDS: dict[str, Json] = {
    "version-missing": {"version": MISSING},
    "version-text": {"version": "1"},
    "key-missing": {"key": MISSING},
    "included-text": {"included": "anna"},
    "included-numbers": {"included": [7]},
    "rules-object": {"rules": {}},
    "rule-without-clauses": {"rules": [{}]},
    "rule-weight-float": {"rules": [{"clauses": [CLAUSE], "weight": 0.5}]},
    "salt-number": {"salt": 7},
    "unbounded-text": {"unbounded": "no"},
    "generation-text": {"generation": "1"},
    "contexts-without-values": {"includedContexts": [{"contextKind": "user"}]},
}
BAD_SEGMENTS: dict[str, Any] = {
    **{
        f"segment-{name}": changed(segment(f"segment-{name}", 1, "anna"), **fields)
        for name, fields in SEGMENT_FIELDS.items()
    },
    "segment-null": None,
    "segment-text": "a segment",
}
NEED_SEGMENT = [
    boolean_flag(
        f"needs-{key}", rules=[{"variation": 1, "clauses": [{**CLAUSE, "op": "segmentMatch", "values": [key]}]}]
    )
    for key in BAD_SEGMENTS
]
SEGMENT_MATCH_ON_A_LIST = boolean_flag("odd-match", **clause(op="segmentMatch", values=[["beta"]]))
"""The SDK reads it, and fails when it evaluates it."""


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    return over_store(environment, store_environment)


@pytest.fixture
def broken_app(app: App, launchdarkly: FakeLaunchDarkly) -> App:
    """The app over a store that a webhook has filled with every bad item, and with good ones."""
    good = [boolean_flag("good", 1), *NEED_SEGMENT, SEGMENT_MATCH_ON_A_LIST]
    launchdarkly.replace(
        {**by_key(*good), **BAD_FLAGS, "gone": {"key": "gone", "deleted": True}},
        {**by_key(segment("beta")), **BAD_SEGMENTS},
    )
    answer = app.webhook(**flag_entry("good", 1))
    assert {name: answer[name] for name in ("status", "confirmed", "flags", "segments", "unreadable")} == {
        "status": "refreshed",
        "confirmed": True,
        "flags": len(good) + len(BAD_FLAGS),
        "segments": 1 + len(BAD_SEGMENTS),
        "unreadable": len(BAD_FLAGS) + len(BAD_SEGMENTS),
    }
    return app


def test_bad_items_are_stored_as_they_came(broken_app: App, store: Store) -> None:
    texts = store.reader.read_items().texts
    assert {key: texts[FEATURES][key] for key in BAD_FLAGS} == {
        key: json.dumps(flag).encode() for key, flag in BAD_FLAGS.items()
    }
    assert {key: texts[SEGMENTS][key] for key in BAD_SEGMENTS} == {
        key: json.dumps(each).encode() for key, each in BAD_SEGMENTS.items()
    }


def test_bad_items_are_errors_on_every_route_and_the_others_are_not(broken_app: App) -> None:
    bad = [*BAD_FLAGS, *(flag["key"] for flag in NEED_SEGMENT), SEGMENT_MATCH_ON_A_LIST["key"]]
    everything = broken_app.evaluate(ANNA, "?withReasons=true")
    some = broken_app.evaluate(ANNA, f"?withReasons=true&flags=good,{','.join(bad)}")
    for answer in (everything, some):
        assert answer["good"] == {"value": True, "variation": 0, "version": 1, "reason": {"kind": "FALLTHROUGH"}}
        assert {key: (answer[key]["value"], answer[key]["reason"]) for key in bad} == dict.fromkeys(bad, (None, ERROR))
    for key in bad:
        answer = broken_app.post(f"/evaluate/{key}", ANNA)
        assert answer.status_code == 200
        assert {name: answer.json_body[name] for name in ("value", "variation", "reason")} == {
            "value": None,
            "variation": None,
            "reason": ERROR,
        }
    assert broken_app.post("/evaluate/gone", ANNA).status_code == 404


def test_bad_items_are_counted_and_logged_once_for_each_revision(
    broken_app: App, launchdarkly: FakeLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    names = sorted([f"features/{key}" for key in BAD_FLAGS] + [f"segments/{key}" for key in BAD_SEGMENTS])
    caplog.clear()
    for version in (2, 3):
        launchdarkly.put_flag(boolean_flag("good", version))
        broken_app.webhook(**flag_entry("good", version))
        assert broken_app.client.http.get("/status").json_body["data"]["unreadable"] == len(names)
        broken_app.evaluate(ANNA)
        assert broken_app.invoke("reconcile", {})["unreadable"] == len(names)
        messages = [record.getMessage() for record in logged(caplog) if record.levelno == logging.ERROR]
        assert sorted(message.split()[2] for message in messages if message.startswith("stored item ")) == names
        assert "Anna" not in caplog.text
        caplog.clear()


def test_a_status_without_an_evaluation_knows_the_count(
    broken_app: App, load_app: Any, environment: Environment
) -> None:
    cold = load_app(environment)
    assert cold.client.http.get("/status").json_body["data"]["unreadable"] == len(BAD_FLAGS) + len(BAD_SEGMENTS)


def test_an_item_that_can_be_read_again_is_counted_no_more(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("good"), boolean_flag("bad", 1)))
    assert "unreadable" not in app.webhook(**flag_entry("good", 1))
    launchdarkly.replace({**by_key(boolean_flag("good", 2)), "bad": {"key": "bad", "version": "2"}})
    assert app.webhook(**flag_entry("good", 2))["unreadable"] == 1
    launchdarkly.replace(by_key(boolean_flag("good", 3), boolean_flag("bad", 3)))
    assert "unreadable" not in app.webhook(**flag_entry("good", 3))
    assert app.evaluate(ANNA)["bad"]["version"] == 3
