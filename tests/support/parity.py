"""Flags, segments and contexts that between them use all of LaunchDarkly's evaluation rules, as data.

``CLAUSES`` and ``SEGMENTS`` say for each which contexts it matches, so that every case is known to go both
ways. The other flags are compared with the SDK alone.
"""

from __future__ import annotations

from typing import Any

from tests.support.data import Json, by_key, segment

CONTEXTS: dict[str, Json] = {
    "bare": {"kind": "user", "key": "u-bare"},
    "anna": {
        "kind": "user",
        "key": "anna",
        "name": "Anna Blume",
        "email": "anna@example.com",
        "age": 34,
        "score": 12.5,
        "beta": True,
        "groups": ["alpha", "beta", 7],
        "version": "2.10.0",
        "joined": "2024-02-29T12:00:00Z",
        "joinedMs": 1709208000000,
        "address": {"city": "Köln", "geo": {"lat": 50.9}, "": "empty name"},
        "a/b": "slash",
        "m~n": "tilde",
        "/lead": "leading slash",
        "nothing": None,
        "bucket": "blue",
        "number": 4711,
    },
    "ben": {
        "kind": "user",
        "key": "ben",
        "anonymous": True,
        "email": "BEN@EXAMPLE.ORG",
        "age": "34",
        "score": -1,
        "beta": False,
        "groups": [],
        "version": "2.2",
        "joined": "2024-03-01T00:00:00.500+02:00",
        "joinedMs": 1709244000500,
        "address": "Köln",
        "bucket": 4711,
        "number": 4711.0,
    },
    "odd": {
        "kind": "user",
        "key": "🔑 clé/#%",
        "version": "not a version",
        "joined": "yesterday",
        "groups": [["beta"], {"beta": 1}, None, "gamma"],
        "age": [33, 34],
        "bucket": 0.5,
        "number": True,
    },
    "acme": {"kind": "organization", "key": "acme", "employees": 500, "plan": "gold"},
    "multi": {
        "kind": "multi",
        "user": {"key": "anna", "age": 20, "groups": ["gamma"]},
        "organization": {"key": "globex", "employees": 20, "version": "1.0.0"},
        "device": {"key": "d1", "os": {"name": "iOS", "version": "17.1.0"}},
    },
    **{
        f"user-{number}": {
            "kind": "user",
            "key": f"user-{number}",
            "shard": number % 4,
            "address": {"city": str(number)},
        }
        for number in range(40)
    },
}

OFF, FALLTHROUGH, MATCH = "off", "fallthrough", "match"


def clause(attribute: str, op: str, *values: Any, **fields: Any) -> Json:
    return {"contextKind": "user", "attribute": attribute, "op": op, "values": list(values), "negate": False, **fields}


def rule_flag(key: str, *clauses: Json, **fields: Any) -> Json:
    """Serves "match" where all clauses match, else "fallthrough"."""
    return {
        "key": key,
        "version": 11,
        "on": True,
        "variations": [OFF, FALLTHROUGH, MATCH],
        "offVariation": 0,
        "fallthrough": {"variation": 1},
        "rules": [{"id": f"{key}-rule", "variation": 2, "clauses": list(clauses)}],
        "salt": key,
        **fields,
    }


EVERYBODY = {"bare", "anna", "ben", "odd", "acme", "multi"}
"""The contexts of the tables; the numbered users are for the rollouts."""

CLAUSES: list[tuple[str, list[Json], set[str]]] = [
    # Operators.
    ("in, string", [clause("key", "in", "anna", "ben")], {"anna", "ben", "multi"}),
    ("in, number", [clause("age", "in", 34)], {"anna", "odd"}),
    ("in, integer and float are one number", [clause("number", "in", 4711)], {"anna", "ben"}),
    ("in, boolean", [clause("beta", "in", True)], {"anna"}),
    ("in, array attribute", [clause("groups", "in", "beta")], {"anna"}),
    ("in, number in an array", [clause("groups", "in", 7)], {"anna"}),
    ("in, object", [clause("address", "in", {"city": "Köln", "geo": {"lat": 50.9}, "": "empty name"})], {"anna"}),
    ("in, null", [clause("nothing", "in", None)], set()),
    ("in, no values", [clause("key", "in")], set()),
    ("startsWith", [clause("email", "startsWith", "anna@")], {"anna"}),
    ("endsWith, case", [clause("email", "endsWith", "@example.com", ".ORG")], {"anna", "ben"}),
    ("contains", [clause("name", "contains", "na Bl")], {"anna"}),
    ("contains, number in a string", [clause("age", "contains", "3")], {"ben"}),
    ("matches", [clause("email", "matches", r"^[a-z]+@example\.(com|org)$")], {"anna"}),
    ("matches, not anchored, unicode", [clause("key", "matches", "clé|^b.n")], {"odd", "ben"}),
    ("matches, invalid expression", [clause("email", "matches", "***")], set()),
    ("lessThan", [clause("score", "lessThan", 12.5)], {"ben"}),
    ("lessThanOrEqual", [clause("score", "lessThanOrEqual", 12.5)], {"anna", "ben"}),
    ("greaterThan", [clause("score", "greaterThan", -1)], {"anna"}),
    ("greaterThanOrEqual", [clause("score", "greaterThanOrEqual", -1)], {"anna", "ben"}),
    ("greaterThan, any of an array", [clause("age", "greaterThan", 33)], {"anna", "odd"}),
    ("greaterThan, string", [clause("age", "greaterThan", "33")], set()),
    ("before, string", [clause("joined", "before", "2024-02-29T13:00:00+00:00")], {"anna"}),
    ("after, string and zone", [clause("joined", "after", "2024-02-29T22:00:00Z")], {"ben"}),
    ("before, number", [clause("joinedMs", "before", 1709208000001)], {"anna"}),
    ("after, number and string", [clause("joinedMs", "after", "2024-02-29T12:00:00Z")], {"ben"}),
    ("before, invalid date", [clause("joined", "before", "tomorrow")], set()),
    ("semVerEqual", [clause("version", "semVerEqual", "2.2.0")], {"ben"}),
    ("semVerLessThan, not as text", [clause("version", "semVerLessThan", "2.10.0")], {"ben"}),
    ("semVerGreaterThan", [clause("version", "semVerGreaterThan", "2.10.0-rc.1")], {"anna"}),
    ("semVerEqual, invalid version", [clause("version", "semVerEqual", "2.x")], set()),
    ("an operator from the future", [clause("key", "resembles", "anna")], set()),
    # Negation: an absent attribute matches neither way.
    ("negated in", [clause("beta", "in", True, negate=True)], {"ben"}),
    ("negated, all of an array", [clause("groups", "in", "beta", negate=True)], {"ben", "odd", "multi"}),
    ("negated semver", [clause("version", "semVerLessThan", "2.10.0", negate=True)], {"anna", "odd"}),
    ("negated invalid expression", [clause("email", "matches", "***", negate=True)], {"anna", "ben"}),
    # Attributes and their references.
    ("name", [clause("name", "in", "Anna Blume")], {"anna"}),
    ("anonymous", [clause("anonymous", "in", True)], {"ben"}),
    ("not anonymous", [clause("anonymous", "in", False)], {"bare", "anna", "odd", "multi"}),
    ("a nested attribute", [clause("/address/city", "in", "Köln")], {"anna"}),
    ("a deeply nested attribute", [clause("/address/geo/lat", "greaterThan", 50)], {"anna"}),
    ("a literal name with a slash", [clause("a/b", "in", "slash", contextKind=None)], {"anna"}),
    ("an escaped slash", [clause("/a~1b", "in", "slash")], {"anna"}),
    ("an escaped tilde", [clause("/m~0n", "in", "tilde")], {"anna"}),
    ("an escaped leading slash", [clause("/~1lead", "in", "leading slash")], {"anna"}),
    ("an index is no reference", [clause("/groups/0", "in", "alpha")], set()),
    ("below a string", [clause("/address/city/0", "in", "K")], set()),
    # Kinds.
    ("of another kind", [clause("employees", "greaterThan", 100, contextKind="organization")], {"acme"}),
    ("of a kind among several", [clause("/os/name", "in", "iOS", contextKind="device")], {"multi"}),
    ("kind", [clause("kind", "in", "organization")], {"acme", "multi"}),
    ("negated kind", [clause("kind", "in", "organization", negate=True)], {"bare", "anna", "ben", "odd"}),
    ("no kind is user", [clause("key", "in", "anna", contextKind=None)], {"anna", "multi"}),
    ("all of several clauses", [clause("beta", "in", True), clause("age", "in", 34)], {"anna"}),
    (
        "all of several kinds",
        [clause("age", "in", 20), clause("key", "in", "globex", contextKind="organization")],
        {"multi"},
    ),
    ("no clauses", [], EVERYBODY),
]


def segment_match(*keys: str, negate: bool = False) -> Json:
    return {"contextKind": "", "attribute": "", "op": "segmentMatch", "values": list(keys), "negate": negate}


def segment_rule(*clauses: Json, **fields: Any) -> Json:
    return {"id": "rule", "clauses": list(clauses), **fields}


def targets(kind: str, *keys: str) -> Json:
    return {"contextKind": kind, "values": list(keys)}


SEGMENTS: list[tuple[Json, set[str]]] = [
    (segment("included", 1, "anna", "ben"), {"anna", "ben", "multi"}),
    (segment("included before excluded", 1, "anna", excluded=["anna"]), {"anna", "multi"}),
    (segment("excluded from a rule", excluded=["ben"], rules=[segment_rule()]), EVERYBODY - {"ben"}),
    (segment("included contexts", includedContexts=[targets("organization", "acme", "globex")]), {"acme", "multi"}),
    (
        segment("excluded contexts", excludedContexts=[targets("organization", "globex")], rules=[segment_rule()]),
        EVERYBODY - {"multi"},
    ),
    (segment("a rule", rules=[segment_rule(clause("groups", "in", "beta"))]), {"anna"}),
    (
        segment(
            "any of several rules",
            rules=[segment_rule(clause("age", "in", 20)), segment_rule(clause("beta", "in", False))],
        ),
        {"multi", "ben"},
    ),
    (segment("nested", rules=[segment_rule(segment_match("included"), clause("beta", "in", False))]), {"ben"}),
    (segment("nested, negated", rules=[segment_rule(segment_match("included", negate=True))]), {"bare", "odd", "acme"}),
    (segment("of nobody", rules=[segment_rule(clause("key", "in"))]), set()),
    (segment("weight of all", rules=[segment_rule(weight=100000)]), EVERYBODY),
    # The SDK's own word: the bucket of a context without that kind is below every weight.
    (segment("weight of none", rules=[segment_rule(weight=0)]), {"acme"}),
    (segment("unbounded without members", unbounded=True, generation=2), set()),
]

WEIGHTED_SEGMENTS = [
    segment("half", rules=[segment_rule(weight=50000)]),
    segment("half by shard", rules=[segment_rule(weight=50000, bucketBy="shard")]),
    segment("half of organizations", rules=[segment_rule(weight=50000, rolloutContextKind="organization")]),
    segment("circular one", rules=[segment_rule(segment_match("circular two"))]),
    segment("circular two", rules=[segment_rule(segment_match("circular one"))]),
    segment("itself", rules=[segment_rule(segment_match("itself"))]),
]


def weights(*shares: int, **fields: Any) -> Json:
    variations = [{"variation": variation, "weight": weight} for variation, weight in enumerate(shares)]
    return {"rollout": {"variations": variations, **fields}}


def experiment(*shares: int, **fields: Any) -> Json:
    rollout = weights(*shares, kind="experiment", **fields)
    rollout["rollout"]["variations"][0]["untracked"] = True
    return rollout


def prerequisite(key: str, variation: int) -> Json:
    return {"key": key, "variation": variation}


ROLLOUTS: dict[str, Json] = {
    "by key": weights(30000, 30000, 40000),
    "of a share of a thousandth": weights(100, 99900),
    "that does not add up": weights(10000, 10000),
    "by attribute": weights(50000, 50000, bucketBy="bucket"),
    "by shard": weights(50000, 50000, bucketBy="shard"),
    "by a nested attribute": weights(50000, 50000, bucketBy="/address/city", contextKind="user"),
    "by a literal name, because it has no kind": weights(50000, 50000, bucketBy="/address/city"),
    "of another kind": weights(50000, 50000, contextKind="organization"),
    "with a seed": weights(50000, 50000, seed=61),
    "experiment": experiment(30000, 30000, 40000, contextKind="user", seed=61),
    "experiment ignores bucketBy": experiment(50000, 50000, bucketBy="shard"),
    "experiment of a kind": experiment(50000, 50000, contextKind="organization", seed=7),
}

MALFORMED: list[Json] = [
    rule_flag("fallthrough out of range", fallthrough={"variation": 3}),
    rule_flag("fallthrough negative", fallthrough={"variation": -1}),
    rule_flag("fallthrough of nothing", fallthrough={}),
    rule_flag("rollout of nothing", fallthrough={"rollout": {"variations": []}}),
    rule_flag("rollout out of range", fallthrough=weights(0, 0, 0, 100000)),
    rule_flag("rule out of range", rules=[{"id": "r", "variation": 99, "clauses": []}]),
    rule_flag("rule of nothing", rules=[{"id": "r", "clauses": []}]),
    rule_flag("target out of range", targets=[{"values": ["anna"], "variation": 99}]),
    rule_flag("off out of range", on=False, offVariation=99),
    rule_flag("off negative", on=False, offVariation=-1),
    rule_flag("no variations", variations=[]),
    rule_flag("reference that is empty", clause("", "in", "anna")),
    rule_flag("reference that is invalid", clause("//", "in", "anna")),
    rule_flag("reference with a bad escape", clause("/a~2b", "in", "slash")),
    rule_flag("requires itself", prerequisites=[prerequisite("requires itself", 1)]),
    rule_flag("circle one", prerequisites=[prerequisite("circle two", 1)]),
    rule_flag("circle two", prerequisites=[prerequisite("circle three", 1)]),
    rule_flag("circle three", prerequisites=[prerequisite("circle one", 1)]),
    rule_flag("requires what is missing", prerequisites=[prerequisite("missing", 0)]),
    rule_flag("requires what is malformed", prerequisites=[prerequisite("fallthrough out of range", 3)]),
    rule_flag("missing segment", segment_match("missing")),
    rule_flag("bucket by an invalid reference", fallthrough=weights(50000, 50000, bucketBy="//", contextKind="user")),
]

OTHERS: list[Json] = [
    rule_flag("off", on=False),
    rule_flag("off without a variation", on=False, offVariation=None),
    rule_flag("prerequisite that is met", prerequisites=[prerequisite("in, string", 2)]),
    rule_flag("prerequisite that is off", prerequisites=[prerequisite("off", 0)]),
    rule_flag(
        "prerequisites of prerequisites",
        prerequisites=[prerequisite("prerequisite that is met", 1), prerequisite("rollout experiment", 0)],
    ),
    rule_flag("targets", targets=[{"values": ["anna"], "variation": 0}, {"values": ["ben", "anna"], "variation": 2}]),
    rule_flag(
        "context targets",
        targets=[{"values": ["anna"], "variation": 0}],
        contextTargets=[
            {"contextKind": "organization", "values": ["acme", "globex"], "variation": 2},
            {"contextKind": "user", "values": [], "variation": 0},
        ],
    ),
    rule_flag(
        "first rule that matches",
        rules=[
            {"id": "one", "variation": 0, "clauses": [clause("key", "in", "ben")]},
            {"id": "two", **weights(50000, 0, 50000), "clauses": [clause("kind", "in", "user")]},
            {"id": "three", "variation": 2, "clauses": [], "trackEvents": True},
        ],
    ),
    rule_flag(
        "values of every type",
        variations=[None, False, 0, -0.5, "", "größe", [], [1, [None]], {}, {"z": {"a": 1}, "a": 2**53}],
        fallthrough=weights(*[10000] * 10),
    ),
    rule_flag("tracked", trackEvents=True, debugEventsUntilDate=4102444800000, clientSide=True),
    rule_flag("tracked fallthrough", trackEventsFallthrough=True),
    rule_flag("half, negated", segment_match("half", "half by shard", negate=True)),
    *(rule_flag(f"in {each['key']}", segment_match(each["key"])) for each in WEIGHTED_SEGMENTS),
]

FLAGS: dict[str, Json] = by_key(
    *(rule_flag(name, *clauses) for name, clauses, _ in CLAUSES),
    *(rule_flag(f"segment {each['key']}", segment_match(each["key"])) for each, _ in SEGMENTS),
    *(rule_flag(f"rollout {name}", rules=[], fallthrough=fallthrough) for name, fallthrough in ROLLOUTS.items()),
    *MALFORMED,
    *OTHERS,
)
ALL_SEGMENTS: dict[str, Json] = by_key(*(each for each, _ in SEGMENTS), *WEIGHTED_SEGMENTS)
