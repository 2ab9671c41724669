"""`?explain=true`: why a flag has its value, which must never be another reason than the SDK's own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.app import App, Environment, LoadApp
from tests.support.big_segments import RedisMembers, big_segment
from tests.support.data import ANNA, EXAMPLE_CONTEXTS, boolean_flag, by_key, example_data, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly

Json = dict[str, Any]

DECIDES = {"OFF": "targeting", "PREREQUISITE_FAILED": "prerequisite", "TARGET_MATCH": "target", "RULE_MATCH": "rule"}
"""By the SDK's reason, the kind of the step that decides; else it is the default rule."""


def explain(app: App, key: str, context: Json) -> Json:
    answer = app.post(f"/evaluate/{key}?explain=true", context)
    assert answer.status_code == 200, answer.body
    body: Json = answer.json_body
    return body


@pytest.fixture(params=["daemon", "direct"])
def app_in_both_modes(
    request: pytest.FixtureRequest, load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> Iterator[App]:
    """Over the example flags."""
    launchdarkly.replace(**example_data())
    if request.param == "daemon":
        app = load_app(environment)
        app.invoke("reconcile", {})
        yield app
        return
    app = load_app({**environment, "REDIS_URL": "", "EVALUATION_MODE": "direct"})
    yield app
    app.module.wiring.direct_flags.client.close()


def test_every_explanation_comes_to_what_the_sdk_came_to(app_in_both_modes: App) -> None:
    for context in EXAMPLE_CONTEXTS:
        for key in example_data()["flags"]:
            plain = app_in_both_modes.post(f"/evaluate/{key}", context).json_body
            explained = explain(app_in_both_modes, key, context)
            explanation = explained.pop("explanation")
            assert explained == plain
            check(explanation, plain["reason"])


def check(explanation: Json, reason: Json) -> None:
    """One step decides, of the kind that the reason names, and the rules before it did not match."""
    steps = explanation["steps"]
    decisive = [each for each in steps if each["outcome"] in ("matched", "failed")]
    assert [each["kind"] for each in decisive] == [DECIDES.get(reason["kind"], "default")], steps
    assert explanation["summary"] == decisive[0]["text"]
    for step in steps:
        if step["kind"] == "rule" and step["outcome"] != "not reached":
            has_matched = all(clause["matched"] for clause in step["clauses"])
            assert has_matched == (step["outcome"] == "matched")
            assert not has_matched or step["index"] == reason["ruleIndex"]


GERMAN = {
    "text": "country is one of DE, AT (it is DE)",
    "matched": True,
    "operator": "in",
    "values": ["DE", "AT"],
    "valueCount": 2,
    "negate": False,
    "contextKind": "user",
    "attribute": "country",
    "actual": "DE",
}
BETA = {
    "text": "the context is not in segment beta",
    "matched": False,
    "operator": "segmentMatch",
    "values": ["beta"],
    "valueCount": 1,
    "negate": False,
    "segments": [{"key": "beta", "matched": False, "text": "not in segment beta"}],
}
SECOND = "Rule 2 (german) matched: country is one of DE, AT (it is DE). So the flag serves variation 0, true."
EXPLANATION = {
    "summary": SECOND,
    "steps": [
        {"kind": "targeting", "outcome": "passed", "text": "Targeting is on.", "on": True},
        {
            "kind": "rule",
            "outcome": "not matched",
            "text": "Rule 1 (beta) did not match: the context is not in segment beta.",
            "index": 0,
            "id": "beta",
            "clauses": [BETA],
        },
        {
            "kind": "rule",
            "outcome": "matched",
            "text": SECOND,
            "index": 1,
            "id": "german",
            "clauses": [GERMAN],
        },
        {
            "kind": "rule",
            "outcome": "not reached",
            "text": "Rule 3 was not reached.",
            "index": 2,
            "id": "",
            "clauses": [],
        },
        {"kind": "default", "outcome": "not reached", "text": "The default rule was not reached."},
    ],
}


def test_a_whole_answer(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    clause = {"contextKind": "user", "attribute": "country", "op": "in", "values": ["DE", "AT"]}
    rules = [
        {"id": "beta", "variation": 1, "clauses": [{"attribute": "", "op": "segmentMatch", "values": ["beta"]}]},
        {"id": "german", "variation": 0, "clauses": [clause]},
        {"id": "", "variation": 1, "clauses": []},
    ]
    launchdarkly.replace(flags=by_key(boolean_flag("a", rules=rules)), segments=by_key(segment("beta")))
    app.webhook()
    assert explain(app, "a", {**ANNA, "country": "DE"}) == {
        "key": "a",
        "value": True,
        "variation": 0,
        "version": 1,
        "reason": {"kind": "RULE_MATCH", "ruleIndex": 1, "ruleId": "german"},
        "explanation": EXPLANATION,
    }


def clause(attribute: str, op: str, *values: Any, **fields: Any) -> Json:
    return {"contextKind": "user", "attribute": attribute, "op": op, "values": list(values), **fields}


USER = {
    **ANNA,
    "email": "anna@example.com",
    "age": 30,
    "groups": ["a", "b"],
    "address": {"city": "Bonn"},
    "app": "2.1.0",
}
CLAUSES: dict[str, tuple[Json, str]] = {
    "one value": (clause("key", "in", "anna"), "key is anna"),
    "another value": (clause("key", "in", "ben"), "key is not ben (it is anna)"),
    "negated": (clause("key", "in", "ben", negate=True), "key is not ben (it is anna)"),
    "negated, and so": (clause("key", "in", "anna", negate=True), "key is anna"),
    "negated, and missing": (clause("country", "in", "DE", negate=True), "the context has no country"),
    "another kind": (
        {**clause("employees", "greaterThan", 500), "contextKind": "organization"},
        "the context has no organization",
    ),
    "nested": (clause("/address/city", "startsWith", "Bo"), "/address/city starts with Bo (it is Bonn)"),
    "nested, and missing": (clause("/address/zip", "in", "53111"), "the context has no /address/zip"),
    "an array": (clause("groups", "in", "b", "c"), 'groups is one of b, c (it is ["a", "b"])'),
    "a number": (clause("age", "lessThan", 18), "age is not less than 18 (it is 30)"),
    "a version": (clause("app", "semVerGreaterThan", "2.0.0"), "app is a version after 2.0.0 (it is 2.1.0)"),
    "a pattern": (
        clause("email", "matches", "@example\\.com$"),
        "email matches @example\\.com$ (it is anna@example.com)",
    ),
    "an operator of the future": (
        clause("key", "resembles", "anne"),
        "key does not satisfy resembles anne (it is anna)",
    ),
    "many values": (
        clause("key", "in", *(f"k{n}" for n in range(200))),
        "key is not one of k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, 190 more (it is anna)",
    ),
    "the kind": (clause("kind", "in", "device"), 'kind is not device (it is ["user"])'),
    "no attribute": (clause("", "in", "x"), "the clause names no valid attribute"),
    "no values": (clause("country", "in"), "the clause has no values"),
    "a segment that is not there": (clause("", "segmentMatch", "gone"), "the context is not in segment gone"),
    "included": (clause("", "segmentMatch", "in", "out"), "the context is included in segment in"),
    "excluded": (
        clause("", "segmentMatch", "out"),
        "the context is not in segment out: it is excluded from segment out",
    ),
    "by a rule of a segment": (
        clause("", "segmentMatch", "by-rule"),
        "the context is in segment by-rule by its rule 2: age is at least 18 (it is 30)",
    ),
    "by a segment of a segment": (
        clause("", "segmentMatch", "outer"),
        "the context is in segment outer by its rule 1: the context is included in segment in",
    ),
    "by its kind": (
        clause("", "segmentMatch", "by-kind"),
        "the context is included in segment by-kind",
    ),
    "not, but is": (clause("", "segmentMatch", "in", negate=True), "the context is included in segment in"),
    "a circle": (
        clause("", "segmentMatch", "circle"),
        "the context is not known to be in segment circle: it cannot be evaluated by itself",
    ),
    "a circle beside a segment that it is in": (
        clause("", "segmentMatch", "half-circle"),
        "the context is in segment half-circle by its rule 1: the context is included in segment in",
    ),
}
SEGMENTS = by_key(
    segment("in", 1, "anna"),
    segment("out", 1, excluded=["anna"], rules=[{"clauses": [clause("key", "in", "anna")]}]),
    segment(
        "by-rule",
        rules=[{"clauses": [clause("age", "lessThan", 18)]}, {"clauses": [clause("age", "greaterThanOrEqual", 18)]}],
    ),
    segment("outer", rules=[{"clauses": [clause("", "segmentMatch", "in")]}]),
    segment("by-kind", includedContexts=[{"contextKind": "user", "values": ["anna"]}]),
    segment("circle", rules=[{"clauses": [clause("", "segmentMatch", "circle")]}]),
    segment("half-circle", rules=[{"clauses": [clause("", "segmentMatch", "in", "half-circle")]}]),
)


def test_a_clause_says_what_is_the_case(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    flags = [
        boolean_flag(str(number), rules=[{"id": "r", "variation": 1, "clauses": [each]}])
        for number, (each, _) in enumerate(CLAUSES.values())
    ]
    launchdarkly.replace(flags=by_key(*flags), segments=SEGMENTS)
    app.webhook()
    said = {}
    for number, name in enumerate(CLAUSES):
        steps = explain(app, str(number), USER)["explanation"]["steps"]
        (said[name],) = (clause["text"] for step in steps if step["kind"] == "rule" for clause in step["clauses"])
    assert said == {name: text for name, (_, text) in CLAUSES.items()}


ROLLOUT = {"rollout": {"contextKind": "user", "variations": [{"variation": 0, "weight": 100_000}]}}
EXPERIMENT = {
    "rollout": {
        "kind": "experiment",
        "contextKind": "organization",
        "variations": [{"variation": 0, "weight": 60_000}, {"variation": 1, "weight": 40_000}],
    }
}
SUMMARIES: dict[str, tuple[Json, str]] = {
    "off": (boolean_flag("a", on=False), "Targeting is off: the flag serves variation 1, false."),
    "off, without an off variation": (
        boolean_flag("a", on=False, offVariation=None),
        "Targeting is off: the flag has no off variation to serve.",
    ),
    "default": (boolean_flag("a"), "The default rule applies: the flag serves variation 0, true."),
    "rollout": (
        boolean_flag("a", fallthrough=ROLLOUT),
        (
            "The default rule applies: a rollout by user key (100 % variation 0) decides: the flag serves variation 0, "
            "true."
        ),
    ),
    "experiment": (
        boolean_flag("a", fallthrough=EXPERIMENT),
        (
            "The default rule applies: an experiment by organization key (60 % variation 0, 40 % variation 1) decides: "
            "the flag serves variation 0, true."
        ),
    ),
    "target": (
        boolean_flag("a", targets=[{"values": ["anna"], "variation": 1}]),
        "The user anna is targeted individually: the flag serves variation 1, false.",
    ),
    "another target": (
        boolean_flag("a", targets=[{"values": ["ben"], "variation": 1}]),
        "The default rule applies: the flag serves variation 0, true.",
    ),
    "prerequisite": (
        boolean_flag("a", prerequisites=[{"key": "b", "variation": 1}]),
        "Prerequisite b must have variation 1: it has variation 0. So the flag serves variation 1, false.",
    ),
    "prerequisite that is off": (
        boolean_flag("a", prerequisites=[{"key": "off", "variation": 1}]),
        "Prerequisite off must have variation 1: it is off. So the flag serves variation 1, false.",
    ),
    "prerequisite that is not there": (
        boolean_flag("a", prerequisites=[{"key": "gone", "variation": 0}]),
        (
            "Prerequisite gone must have variation 0: there is no such flag that can be read. "
            "So the flag serves variation 1, false."
        ),
    ),
    "prerequisite that is met": (
        boolean_flag("a", prerequisites=[{"key": "b", "variation": 0}]),
        "The default rule applies: the flag serves variation 0, true.",
    ),
    "big segment": (
        boolean_flag("a", rules=[{"id": "big", "variation": 1, "clauses": [clause("", "segmentMatch", "big")]}]),
        (
            "No rule matched, so the default rule applies: the flag serves variation 0, true. "
            "It depends on a big segment, whose members are not known for certain: NOT_CONFIGURED."
        ),
    ),
    "error": (
        boolean_flag("a", fallthrough={"variation": 7}),
        "The flag cannot be evaluated: MALFORMED_FLAG.",
    ),
}


@pytest.mark.parametrize(("flag", "summary"), SUMMARIES.values(), ids=SUMMARIES)
def test_a_summary_is_a_sentence(app: App, launchdarkly: FakeLaunchDarkly, flag: Json, summary: str) -> None:
    others = by_key(boolean_flag("b"), boolean_flag("off", on=False))
    big = segment("big", unbounded=True, unboundedContextKind="user", generation=None)
    launchdarkly.replace(flags={**others, "a": flag}, segments=by_key(big))
    app.webhook()
    assert explain(app, "a", ANNA)["explanation"]["summary"] == summary


BIG = {
    "daemon": (["big.g3"], "the context is in the big segment big", True),
    "direct": (["big.g3"], "the context is not known to be in segment big: only the SDK knows its members", None),
    "no member": ([], "the context is not in segment big", False),
}


@pytest.mark.parametrize(("references", "text", "matched"), BIG.values(), ids=BIG)
def test_a_big_segment_is_explained_as_far_as_it_is_known(
    load_app: LoadApp,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    redis_url: str,
    references: list[str],
    text: str,
    matched: bool | None,
) -> None:
    rules = [{"id": "big", "variation": 0, "clauses": [clause("", "segmentMatch", "big")]}]
    launchdarkly.replace(flags=by_key(boolean_flag("a", value=False, rules=rules)), segments=by_key(big_segment("big")))
    members = RedisMembers(redis_url)
    members.put("anna", references)
    members.synchronize(int(time.time() * 1000))
    is_direct = matched is None
    mode = {"REDIS_URL": "", "EVALUATION_MODE": "direct", "BIG_SEGMENTS_REDIS_URL": redis_url} if is_direct else {}
    app = load_app({**environment, **mode})
    app.webhook()
    explained = explain(app, "a", ANNA)
    assert explained["value"] is (matched is not False)
    (rule,) = (each for each in explained["explanation"]["steps"] if each["kind"] == "rule")
    assert (rule["clauses"][0]["text"], rule["clauses"][0]["matched"]) == (text, matched)
    assert rule["outcome"] == ("not matched" if matched is False else "matched")
    if is_direct:
        app.module.wiring.direct_flags.client.close()


MALFORMED: dict[str, tuple[Json, tuple[str, str]]] = {
    "a default rule": (
        boolean_flag("a", fallthrough={"variation": 7}),
        ("default", "The default rule applies: the flag serves no variation that exists."),
    ),
    "a rule": (
        boolean_flag("a", rules=[{"id": "r", "variation": 7, "clauses": []}]),
        ("rule", "Rule 1 (r) matched: it has no conditions. So the flag serves no variation that exists."),
    ),
    "a circle": (
        boolean_flag("a", prerequisites=[{"key": "a", "variation": 0}]),
        (
            "prerequisite",
            "Prerequisite a must have variation 0: it has no variation.",
        ),
    ),
    "an off variation that is not there": (
        boolean_flag("a", on=False, offVariation=9),
        ("targeting", "Targeting is off: the flag serves no variation that exists."),
    ),
    "a clause without an attribute": (
        boolean_flag("a", rules=[{"id": "r", "variation": 1, "clauses": [clause("", "in", "x")]}]),
        ("rule", "Rule 1 (r) cannot be evaluated: the clause names no valid attribute."),
    ),
    "a clause with no valid attribute, after one that matches": (
        boolean_flag(
            "a",
            rules=[{"id": "r", "variation": 1, "clauses": [clause("key", "in", "anna"), clause("/a~2", "in", "x")]}],
        ),
        ("rule", "Rule 1 (r) cannot be evaluated: the clause names no valid attribute."),
    ),
    "a clause with no valid attribute, after one that does not match": (
        boolean_flag(
            "a",
            rules=[{"id": "r", "variation": 1, "clauses": [clause("key", "in", "ben"), clause("/a~2", "in", "x")]}],
            fallthrough={},
        ),
        ("default", "No rule matched, so the default rule applies: the flag serves no variation that exists."),
    ),
}


@pytest.mark.parametrize(("flag", "decisive"), MALFORMED.values(), ids=MALFORMED)
def test_a_flag_that_fails_says_where(
    app: App, launchdarkly: FakeLaunchDarkly, flag: Json, decisive: tuple[str, str]
) -> None:
    launchdarkly.replace(flags={"a": flag})
    app.webhook()
    explanation = explain(app, "a", ANNA)["explanation"]
    assert explanation["summary"] == "The flag cannot be evaluated: MALFORMED_FLAG."
    steps = [(each["kind"], each["text"]) for each in explanation["steps"] if each["outcome"] in ("matched", "failed")]
    assert steps == [decisive]


def test_a_flag_that_no_sdk_can_read_is_explained(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(flags={"a": {**boolean_flag("a"), "variations": 7}})
    app.webhook()
    assert explain(app, "a", ANNA)["explanation"] == {
        "summary": "The flag is stored in a form that no SDK can read.",
        "steps": [],
    }


TOKENS = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("all", "browser", "mobile")}


def test_who_may_not_see_targeting_rules_gets_no_explanation(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(flags=by_key(boolean_flag("a", clientSide=True)))
    app = load_app(
        {
            **environment,
            "EVALUATE_AUTH": "token",
            "EVALUATE_TOKEN_SHA256": TOKENS["all"],
            "EVALUATE_CLIENT_TOKEN_SHA256": TOKENS["browser"],
            "EVALUATE_MOBILE_TOKEN_SHA256": TOKENS["mobile"],
        }
    )
    app.webhook()
    answers = {name: app.post("/evaluate/a?explain=true", ANNA, {"X-API-Key": name}) for name in TOKENS}
    assert {name: answer.status_code for name, answer in answers.items()} == {"all": 200, "browser": 401, "mobile": 401}
    assert answers["browser"].json_body == {
        "Code": "UnauthorizedError",
        "Message": "The token sees no targeting rules: an explanation needs one of EVALUATE_TOKEN_SHA256.",
    }


def test_an_explanation_has_an_entity_tag_of_its_own(example_app: App) -> None:
    plain = example_app.post("/evaluate/banner-text", ANNA)
    explained = example_app.post("/evaluate/banner-text?explain=true", ANNA)
    assert plain.headers["ETag"] != explained.headers["ETag"]
    again = example_app.post("/evaluate/banner-text?explain=true", ANNA, {"If-None-Match": explained.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/evaluate?explain=true", "/evaluate/banner-text?explain=yes"])
def test_only_one_flag_is_explained(example_app: App, path: str) -> None:
    assert example_app.post(path, ANNA).status_code == 400


def test_an_explanation_holds_a_hundred_values_of_a_clause(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    (many, _) = CLAUSES["many values"]
    launchdarkly.replace(flags=by_key(boolean_flag("a", rules=[{"id": "r", "variation": 1, "clauses": [many]}])))
    app.webhook()
    (_, rule, _) = explain(app, "a", ANNA)["explanation"]["steps"]
    (explained,) = rule["clauses"]
    assert (len(explained["values"]), explained["valueCount"]) == (100, 200)
    assert json.dumps(explained)
