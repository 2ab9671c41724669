"""The SDK's model of a flag, filled in without the SDK's constructor where nothing about the flag has to be judged.

The constructor asks two or three functions about each property; where an answer holds all flags, that is most of
its cold start. Here a property that has the plainest type is taken as it is. Whatever has not, or wants more than
its type to be looked at, is left to the constructor of the SDK for that part: it alone says what can be read. So is
every flag where the SDK is of a version whose models nobody has compared with these.
"""

from __future__ import annotations

from functools import lru_cache
from types import NoneType
from typing import Any

from ldclient.impl.model.attribute_ref import AttributeRef, req_attr_ref_with_opt_context_kind
from ldclient.impl.model.clause import Clause
from ldclient.impl.model.feature_flag import FeatureFlag, FlagRule, Prerequisite, Target
from ldclient.impl.model.variation_or_rollout import Rollout, VariationOrRollout, WeightedVariation

Json = dict[str, Any]
"""A JSON object (Any: JSON)."""

_BOOLEAN, _INTEGER, _NUMBER, _STRING = (bool, NoneType), (int, NoneType), (int, float, NoneType), (str, NoneType)
_LIST, _OBJECT = (list, NoneType), (dict, NoneType)
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


def flag_of(fields: Json) -> FeatureFlag:
    """As ``FeatureFlag(fields)``, the same errors among it."""
    get = fields.get
    version, key, salt, variations = get("version"), get("key"), get("salt"), get("variations")
    on, off_variation, fallthrough = get("on"), get("offVariation"), get("fallthrough")
    prerequisites, rules = get("prerequisites"), get("rules")
    targets, context_targets = get("targets"), get("contextTargets")
    tracked, fallthrough_tracked = get("trackEvents"), get("trackEventsFallthrough")
    debugged, summarized, sampling = get("debugEventsUntilDate"), get("excludeFromSummaries"), get("samplingRatio")
    if not (
        type(version) is int
        and type(key) is str
        and not get("deleted")
        and "migration" not in fields
        and type(salt) in _STRING
        and type(variations) in _LIST
        and type(on) in _BOOLEAN
        and type(off_variation) in _INTEGER
        and type(fallthrough) in _OBJECT
        and type(prerequisites) in _LIST
        and type(rules) in _LIST
        and type(targets) in _LIST
        and type(context_targets) in _LIST
        and type(tracked) in _BOOLEAN
        and type(fallthrough_tracked) in _BOOLEAN
        and type(debugged) in _NUMBER
        and type(summarized) in _BOOLEAN
        and type(sampling) in _INTEGER
    ):
        return FeatureFlag(fields)
    flag: FeatureFlag = _FeatureFlag()
    flag._data, flag._key, flag._version, flag._deleted = fields, key, version, False
    flag._variations, flag._on, flag._off_variation = variations or [], on is True, off_variation
    flag._fallthrough = _served(fallthrough or {})
    flag._prerequisites = [Prerequisite(each) for each in prerequisites] if prerequisites else []
    flag._rules = [_rule(each) for each in rules] if rules else []
    flag._targets = [_target(each) for each in targets] if targets else []
    flag._context_targets = [_target(each) for each in context_targets] if context_targets else []
    flag._salt, flag._track_events, flag._track_events_fallthrough = salt or "", tracked is True, fallthrough_tracked is True
    flag._debug_events_until_date, flag._migrations = debugged, None
    flag._exclude_from_summaries, flag._sampling_ratio = summarized is True, sampling
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
    rule._clauses = [_clause(each) for each in clauses]
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
    clause._attribute, clause._context_kind = _attribute(attribute, kind), kind
    clause._op, clause._values, clause._negate, clause._values_preprocessed = op, values, negated is True, None
    return clause


@lru_cache(maxsize=1024)
def _attribute(name: str, context_kind: str | None) -> AttributeRef:
    """All clauses about one attribute share it."""
    return req_attr_ref_with_opt_context_kind(name, context_kind)


def _served(fields: Json) -> VariationOrRollout:
    variation, rollout = fields.get("variation"), fields.get("rollout")
    if type(variation) not in _INTEGER or type(rollout) not in _OBJECT:
        return VariationOrRollout(fields)
    served: VariationOrRollout = _VariationOrRollout()
    served._variation = variation
    served._rollout = None if rollout is None else _rollout(rollout)
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
    rollout._variations = [_weighted(each) for each in variations]
    return rollout


def _weighted(fields: Json) -> WeightedVariation:
    variation, weight, untracked = fields.get("variation"), fields.get("weight"), fields.get("untracked")
    if type(variation) is not int or type(weight) is not int or type(untracked) not in _BOOLEAN:
        return WeightedVariation(fields)
    weighted: WeightedVariation = _WeightedVariation()
    weighted._variation, weighted._weight, weighted._untracked = variation, weight, untracked is True
    return weighted
