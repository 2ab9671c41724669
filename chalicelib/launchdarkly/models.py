"""The SDK's model of a flag, filled in without its constructors where nothing about the flag has to be judged.

The SDK's constructors ask two or three functions about each property, which is most of what a cold start takes to
answer with all flags. Here a property that has the type that LaunchDarkly gives it is taken as it is. Whatever has
not, or needs more than that, is left to the SDK's constructor of that part, or of the whole flag: they alone say
what can be read. Imported when all flags are asked for; one of them is not worth it.
"""

from __future__ import annotations

from types import NoneType
from typing import Any

from ldclient.impl.model.attribute_ref import AttributeRef, req_attr_ref_with_opt_context_kind
from ldclient.impl.model.clause import Clause
from ldclient.impl.model.feature_flag import FeatureFlag, FlagRule, Prerequisite, Target
from ldclient.impl.model.variation_or_rollout import Rollout, VariationOrRollout, WeightedVariation

Json = dict[str, Any]
"""A JSON object (Any: JSON)."""

_INTEGER, _NUMBER, _STRING = (int, NoneType), (int, float, NoneType), (str, NoneType)
"""Types of what may be null. They are exact here: the SDK, which takes a truth for a number, is left to do so."""

_COMPARED_AS_THEY_ARE = frozenset(
    {
        "in",
        "startsWith",
        "endsWith",
        "contains",
        "lessThan",
        "lessThanOrEqual",
        "greaterThan",
        "greaterThanOrEqual",
        "segmentMatch",
    }
)
"""The operators whose values need no preparation, as times, versions and patterns do."""


def _plain(model: Any) -> Any:
    """The model without its constructor, and with properties that the interpreter itself reads from their slots."""
    slots = {name[1:]: vars(model)[name] for name in model.__slots__ if isinstance(vars(model).get(name[1:]), property)}
    return type(model.__name__, (model,), {"__slots__": (), "__init__": object.__init__, **slots})


_FeatureFlag, _Target, _FlagRule, _Clause, _VariationOrRollout, _Rollout, _WeightedVariation = map(
    _plain, (FeatureFlag, Target, FlagRule, Clause, VariationOrRollout, Rollout, WeightedVariation)
)

_attributes: dict[tuple[str, str | None], AttributeRef] = {}
"""By name and kind of context: all clauses and rollouts about one attribute share it."""

_variations: dict[int, VariationOrRollout] = {}
"""What rules serve that serve no rollout: those of one variation share it."""


def flag_of(fields: Json) -> FeatureFlag:
    """As ``FeatureFlag(fields)``, the same errors among it. It keeps of its JSON what ``decode_item`` leaves to it."""
    try:
        return _usual_flag(fields)
    except (KeyError, TypeError, AttributeError):  # a property is missing, or is of another type
        return FeatureFlag(fields)


def _usual_flag(fields: Json) -> FeatureFlag:
    version, key, salt, variations = fields["version"], fields["key"], fields["salt"], fields["variations"]
    on, off_variation, fallthrough = fields["on"], fields["offVariation"], fields["fallthrough"]
    prerequisites, rules = fields["prerequisites"], fields["rules"]
    targets, context_targets = fields["targets"], fields["contextTargets"]
    tracked, fallthrough_tracked = fields["trackEvents"], fields["trackEventsFallthrough"]
    debugged = fields["debugEventsUntilDate"]
    if not (
        type(version) is int
        and type(key) is type(salt) is str
        and type(on) is type(tracked) is type(fallthrough_tracked) is bool
        and type(variations) is type(prerequisites) is type(rules) is type(targets) is type(context_targets) is list
        and type(fallthrough) is dict
        and type(off_variation) in _INTEGER
        and type(debugged) in _NUMBER
        and fields.get("deleted", False) is False
        and "migration" not in fields
        and "excludeFromSummaries" not in fields
        and "samplingRatio" not in fields
    ):
        return FeatureFlag(fields)
    flag: FeatureFlag = _FeatureFlag()
    flag._data = {
        "key": key,
        "version": version,
        "clientSide": fields["clientSide"],
        "clientSideAvailability": fields["clientSideAvailability"],
        "trackEvents": tracked,
        "debugEventsUntilDate": debugged,
    }
    flag._key, flag._version, flag._deleted, flag._salt = key, version, False, salt
    flag._on, flag._variations, flag._off_variation = on, variations, off_variation
    flag._fallthrough, flag._debug_events_until_date = _served(fallthrough), debugged
    flag._track_events, flag._track_events_fallthrough = tracked, fallthrough_tracked
    flag._migrations, flag._exclude_from_summaries, flag._sampling_ratio = None, False, None
    _fill_lists(flag, prerequisites, rules, targets, context_targets)
    return flag


def _fill_lists(
    flag: FeatureFlag, prerequisites: list[Json], rules: list[Json], targets: list[Json], context_targets: list[Json]
) -> None:
    """Loops, because before Python 3.12 a list comprehension costs as much as what is in it."""
    flag._prerequisites, flag._rules, flag._targets, flag._context_targets = [], [], [], []
    for each in prerequisites:
        flag._prerequisites.append(Prerequisite(each))
    for each in rules:
        flag._rules.append(_rule(each))
    for each in targets:
        flag._targets.append(_target(each))
    for each in context_targets:
        flag._context_targets.append(_target(each))


def _target(fields: Json) -> Target:
    variation, values, kind = fields["variation"], fields["values"], fields.get("contextKind")
    if type(variation) is not int or type(values) is not list or type(kind) not in _STRING:
        return Target(fields)
    "".join(values)  # a TypeError where one is no string
    target: Target = _Target()
    target._context_kind, target._variation, target._values = kind, variation, set(values)
    return target


def _rule(fields: Json) -> FlagRule:
    name, clauses, tracked, variation = fields["id"], fields["clauses"], fields["trackEvents"], fields.get("variation")
    if type(name) not in _STRING or type(clauses) is not list or type(tracked) is not bool:
        return FlagRule(fields)
    rule: FlagRule = _FlagRule()
    known = _variations.get(variation) if type(variation) is int and "rollout" not in fields else None
    rule._variation_or_rollout = known or _served(fields)
    rule._id, rule._track_events, rule._clauses = name, tracked, []
    for each in clauses:
        rule._clauses.append(_clause(each))
    return rule


def _clause(fields: Json) -> Clause:
    name, op, values, negated = fields["attribute"], fields["op"], fields["values"], fields["negate"]
    kind = fields.get("contextKind")
    if op not in _COMPARED_AS_THEY_ARE or type(values) is not list or type(negated) is not bool:
        return Clause(fields)
    clause: Clause = _Clause()
    clause._attribute = _attributes.get((name, kind)) or _attribute(name, kind)
    clause._context_kind, clause._op, clause._values = kind, op, values
    clause._negate, clause._values_preprocessed = negated, None
    return clause


def _attribute(name: str, context_kind: str | None) -> AttributeRef:
    if type(name) is not str or type(context_kind) not in _STRING:
        raise TypeError  # for the SDK to say so
    attribute = req_attr_ref_with_opt_context_kind(name, context_kind)
    _attributes[name, context_kind] = attribute
    return attribute


def _served(fields: Json) -> VariationOrRollout:
    variation, rollout = fields.get("variation"), fields.get("rollout")
    if rollout is None and type(variation) is int:
        return _variations.get(variation) or _variation(variation)
    if variation is not None or type(rollout) is not dict:
        return VariationOrRollout(fields)
    served: VariationOrRollout = _VariationOrRollout()
    served._variation, served._rollout = None, _rollout(rollout)
    return served


def _variation(index: int) -> VariationOrRollout:
    served: VariationOrRollout = _VariationOrRollout()
    served._variation, served._rollout = index, None
    _variations[index] = served
    return served


def _rollout(fields: Json) -> Rollout:
    get, variations = fields.get, fields["variations"]
    kind, context_kind, bucket_by, seed = get("kind"), get("contextKind"), get("bucketBy"), get("seed")
    if (
        type(variations) is not list
        or type(kind) not in _STRING
        or type(context_kind) not in _STRING
        or type(bucket_by) not in _STRING
        or type(seed) not in _INTEGER
    ):
        return Rollout(fields)
    rollout: Rollout = _Rollout()
    rollout._context_kind, rollout._seed, rollout._is_experiment = context_kind, seed, kind == "experiment"
    rollout._bucket_by = _attribute(bucket_by, context_kind) if bucket_by else None
    rollout._variations = []
    for each in variations:
        rollout._variations.append(_weighted(each))
    return rollout


def _weighted(fields: Json) -> WeightedVariation:
    variation, weight = fields["variation"], fields["weight"]
    if type(variation) is not int or type(weight) is not int or "untracked" in fields:
        return WeightedVariation(fields)
    weighted: WeightedVariation = _WeightedVariation()
    weighted._variation, weighted._weight, weighted._untracked = variation, weight, False
    return weighted
