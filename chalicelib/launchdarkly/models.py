"""The SDK's model of a flag, filled in without the SDK's constructor where nothing about the flag has to be judged.

The constructor asks two or three functions about each property; where an answer holds all flags, that is most of
its cold start. Here a property that has the plainest type is taken as it is. Whatever has not, or wants more than
its type to be looked at, is left to the constructor of the SDK for that part: it alone says what can be read. So is
every flag where the SDK is of a version whose models nobody has compared with these.
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

_BOOLEAN, _INTEGER, _NUMBER, _STRING = (bool, NoneType), (int, NoneType), (int, float, NoneType), (str, NoneType)
_OBJECT = (dict, NoneType)
"""What a property may be that may be missing. By exact types: where the SDK takes a truth for a number, it decides."""

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

_STRINGS = {str}


def _plain(model: Any) -> Any:
    """The model without its constructor, and with properties that the interpreter itself reads from the slots."""
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
    """As ``FeatureFlag(fields)``, the same errors among it. It keeps of its JSON what is read later."""
    try:
        version, key, salt, variations = fields["version"], fields["key"], fields["salt"], fields["variations"]
        on, off_variation, fallthrough = fields["on"], fields["offVariation"], fields["fallthrough"]
        prerequisites, rules = fields["prerequisites"], fields["rules"]
        targets, context_targets = fields["targets"], fields["contextTargets"]
        tracked, fallthrough_tracked = fields["trackEvents"], fields["trackEventsFallthrough"]
        debugged, client_side = fields["debugEventsUntilDate"], fields["clientSide"]
        availability = fields["clientSideAvailability"]
    except (KeyError, TypeError):
        return FeatureFlag(fields)
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
        "clientSide": client_side,
        "clientSideAvailability": availability,
        "trackEvents": tracked,
        "debugEventsUntilDate": debugged,
    }
    flag._key, flag._version, flag._deleted, flag._salt = key, version, False, salt
    flag._variations, flag._on, flag._off_variation, flag._fallthrough = variations, on, off_variation, _served(fallthrough)
    flag._prerequisites = [Prerequisite(each) for each in prerequisites] if prerequisites else prerequisites
    flag._rules, flag._targets, flag._context_targets = [], [], []
    for each in rules:
        flag._rules.append(_rule(each))
    for each in targets:
        flag._targets.append(_target(each))
    for each in context_targets:
        flag._context_targets.append(_target(each))
    flag._track_events, flag._track_events_fallthrough = tracked, fallthrough_tracked
    flag._debug_events_until_date, flag._migrations = debugged, None
    flag._exclude_from_summaries, flag._sampling_ratio = False, None
    return flag


def _target(fields: Json) -> Target:
    kind, variation, values = fields.get("contextKind"), fields.get("variation"), fields.get("values")
    if type(kind) not in _STRING or type(variation) is not int or type(values) is not list:
        return Target(fields)
    if values and set(map(type, values)) != _STRINGS:
        return Target(fields)
    target: Target = _Target()
    target._context_kind, target._variation, target._values = kind, variation, set(values)
    return target


def _rule(fields: Json) -> FlagRule:
    get = fields.get
    name, clauses, tracked = get("id"), get("clauses"), get("trackEvents")
    if type(name) not in _STRING or type(clauses) is not list or type(tracked) not in _BOOLEAN:
        return FlagRule(fields)
    rule: FlagRule = _FlagRule()
    rule._id, rule._track_events = name, tracked is True
    rule._variation_or_rollout = _served(fields)
    rule._clauses = []
    for each in clauses:
        rule._clauses.append(_clause(each))
    return rule


def _clause(fields: Json) -> Clause:
    get = fields.get
    attribute, op, values = get("attribute"), get("op"), get("values")
    kind, negated = get("contextKind"), get("negate")
    if (
        op not in _COMPARED_AS_THEY_ARE
        or type(attribute) is not str
        or type(values) is not list
        or type(kind) not in _STRING
        or type(negated) not in _BOOLEAN
    ):
        return Clause(fields)
    clause: Clause = _Clause()
    clause._attribute, clause._context_kind, clause._negate = _attributes.get((attribute, kind)) or _attribute(attribute, kind), kind, negated is True
    clause._op, clause._values, clause._values_preprocessed = op, values, None
    return clause


def _attribute(name: str, context_kind: str | None) -> AttributeRef:
    attribute = _attributes.get((name, context_kind))
    if attribute is None:
        attribute = _attributes[name, context_kind] = req_attr_ref_with_opt_context_kind(name, context_kind)
    return attribute


def _served(fields: Json) -> VariationOrRollout:
    variation, rollout = fields.get("variation"), fields.get("rollout")
    if rollout is None and type(variation) is int:
        served = _variations.get(variation)
        if served is None:
            served = _variations[variation] = _VariationOrRollout()
            served._variation, served._rollout = variation, None
        return served
    if variation is not None or type(rollout) is not dict: 
        return VariationOrRollout(fields)
    served = _VariationOrRollout()
    served._variation, served._rollout = None, _rollout(rollout)
    return served


def _rollout(fields: Json) -> Rollout:
    get = fields.get
    kind, context_kind, bucket_by = get("kind"), get("contextKind"), get("bucketBy")
    seed, variations = get("seed"), get("variations")
    if (
        type(kind) not in _STRING
        or type(context_kind) not in _STRING
        or type(bucket_by) not in _STRING
        or type(seed) not in _INTEGER
        or type(variations) is not list
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
    variation, weight, untracked = fields.get("variation"), fields.get("weight"), fields.get("untracked")
    if type(variation) is not int or type(weight) is not int or type(untracked) not in _BOOLEAN:
        return WeightedVariation(fields)
    weighted: WeightedVariation = _WeightedVariation()
    weighted._variation, weighted._weight, weighted._untracked = variation, weight, untracked is True
    return weighted
