"""The OpenFeature Remote Evaluation Protocol, version 0.3: our answers in its words. Pure.

Source: https://github.com/open-feature/protocol (service/openapi.yaml). Where it leaves room, this
follows what its providers rely on: ``variant`` and ``errorDetails`` are always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import errors
from ..launchdarkly.sdk import FEATURES, Context
from ..read.contexts import MAX_LEVELS, check_limits, parse_context
from ..read.evaluation import evaluate_flag, evaluate_flags
from ..read.snapshots import Provenance, Snapshot
from .answers import Answer, Json, evaluation_answer, message_for_callers, provenance_fields, provenance_headers
from .request import Asked

if TYPE_CHECKING:
    from ..read.direct import DirectFlags

_REASONS = {
    "OFF": "DISABLED",
    "TARGET_MATCH": "TARGETING_MATCH",
    "RULE_MATCH": "TARGETING_MATCH",
}
"""OpenFeature's words where a fixed variation is served; anything else is UNKNOWN. See ``_is_static`` too."""

_ERROR_CODES: dict[type[errors.FlagsError], str] = {
    errors.TargetingKeyMissing: "TARGETING_KEY_MISSING",
    errors.InvalidContext: "INVALID_CONTEXT",
    errors.InvalidRequest: "PARSE_ERROR",
    errors.FlagNotFound: "FLAG_NOT_FOUND",
}


def parse_request(body: object) -> Context:
    """The context of ``{"context": {...}}``. Raises InvalidRequest, InvalidContext or TargetingKeyMissing.

    ``targetingKey`` is the context's key and ``kind`` its kind, ``user`` by default; all else are its
    attributes; ``privateAttributes`` names those of them that are private. A context of kind ``multi`` holds one
    context for each kind, with ``targetingKey`` or ``key``, and needs no ``targetingKey`` itself. What has another
    type than LaunchDarkly knows is left out, as its OpenFeature providers do, because a refusal would be the default
    of every flag. Source: https://github.com/launchdarkly/openfeature-python-server (context_converter.py)
    """
    if not isinstance(body, dict):
        raise errors.InvalidRequest('The body must be a JSON object: {"context": {"targetingKey": ...}}.')
    check_limits(body, MAX_LEVELS + 1)  # what stands beside the context too: it is part of the entity tag
    context = body.get("context")
    if not isinstance(context, dict):
        raise errors.InvalidContext("The 'context' must be a JSON object.")
    if context.get("kind") == "multi":
        return parse_context({"kind": "multi", **_kinds(context)})
    if not context.get("targetingKey"):
        raise errors.TargetingKeyMissing("The context has no 'targetingKey'.")
    return parse_context({"kind": "user", **_keyed(context)})


def _kinds(context: Json) -> Json:
    """The contexts of a multi-context by kind. What is no context is left out, unless nothing would be left."""
    members = {kind: each for kind, each in context.items() if kind not in ("kind", "targetingKey")}
    kinds = {kind: _keyed(each) for kind, each in members.items() if _is_context(each)}
    return kinds or members


def _is_context(member: object) -> bool:
    return isinstance(member, dict) and isinstance(member.get("targetingKey", ""), (str, type(None)))


def _keyed(context: Json) -> Json:
    """The context with its ``targetingKey``, where it has one, as LaunchDarkly's ``key``."""
    attributes = {name: value for name, value in context.items() if _has_known_type(name, value)}
    if private := _private_attributes(context):
        attributes["_meta"] = {"privateAttributes": private}
    if context.get("targetingKey"):
        attributes["key"] = context["targetingKey"]
    return attributes


def _has_known_type(name: str, value: object) -> bool:
    """Whether this is an attribute as LaunchDarkly knows it; OpenFeature has no types for any of them."""
    types = {"kind": str, "name": str, "anonymous": bool}
    return name not in ("", "targetingKey", "privateAttributes", "_meta") and isinstance(value, types.get(name, object))


def _private_attributes(context: Json) -> list[str]:
    """The strings in ``privateAttributes``, LaunchDarkly's name for them in OpenFeature; those of its own, in
    ``_meta``, if there are only strings.
    """
    named, meta = context.get("privateAttributes"), context.get("_meta")
    own = meta.get("privateAttributes") if isinstance(meta, dict) else None
    if not isinstance(own, list) or not all(isinstance(each, str) for each in own):
        own = []
    return [*own, *(each for each in named if isinstance(each, str))] if isinstance(named, list) else own


def answer_one(source: Snapshot | DirectFlags, asked: Asked, key: str) -> Answer:
    """The evaluation of one flag; one that cannot be evaluated is a 400, as OFREP has it. Raises FlagNotFound."""
    evaluated = evaluate_flag(source, asked.context, key, asked.options)
    is_error = evaluated["reason"]["kind"] == "ERROR"  # perhaps because it cannot be read
    flag = None if is_error else source.feature_store.get(FEATURES, key)
    evaluation = _evaluation(key, evaluated, flag, metadata_of(source.provenance))
    return Answer(evaluation, provenance_headers(source.provenance), 400 if is_error else 200)


def answer_bulk(source: Snapshot | DirectFlags, asked: Asked) -> Answer:
    """``{"flags": [...], "metadata": {...}}``; a flag that cannot be evaluated is a failure in its place.

    Whether the data is stale is part of the answer, so it is part of the entity tag. When it was synced is not:
    each reconcile would have every client fetch again what it holds.
    """

    def evaluate() -> Json:
        evaluated = evaluate_flags(source, asked.context, asked.options)
        models, metadata = source.feature_store.all(FEATURES), metadata_of(source.provenance)
        flags = [_evaluation(key, each, models.get(key), metadata) for key, each in evaluated.items()]
        return {"flags": flags, "metadata": metadata}

    named = asked._replace(body=[asked.body, source.provenance.stale])
    return evaluation_answer(source, named, evaluate)


def metadata_of(provenance: Provenance) -> Json:
    """Where an answer comes from; OFREP's metadata knows no null."""
    return {name: value for name, value in provenance_fields(provenance).items() if value is not None}


def _evaluation(key: str, answer: Mapping[str, Any], flag: Any, metadata: Json) -> Json:
    """``flag`` is the SDK's model of it (which exports no type), ``metadata`` says where the answer comes from."""
    reason, version, variation = answer["reason"], answer.get("version"), answer.get("variation")
    if reason["kind"] == "ERROR":
        malformed = reason["errorKind"] == "MALFORMED_FLAG"
        return {
            "key": key,
            "errorCode": "PARSE_ERROR" if malformed else "GENERAL",
            "errorDetails": f"The flag cannot be evaluated: {reason['errorKind']}.",
            "metadata": {**({} if version is None else {"version": version}), **metadata},
        }
    of_flag = {} if version is None else {"version": version}
    if "bigSegmentsStatus" in reason:  # for which OpenFeature has no field
        of_flag["bigSegmentsStatus"] = reason["bigSegmentsStatus"]
    evaluation = {
        "key": key,
        "reason": _reason(reason, flag),
        "variant": "" if variation is None else str(variation),
        "metadata": of_flag,
    }
    if answer["value"] is not None:
        evaluation["value"] = answer["value"]
    return evaluation


def _reason(reason: Mapping[str, Any], flag: Any) -> str:
    """OpenFeature's word for the SDK's reason; ``flag`` is None if, in direct mode, it is gone since."""
    kind = reason["kind"]
    served = None if flag is None else _served(reason, flag)
    if served is not None and served.variation is None and served.rollout is not None:
        return "SPLIT"  # a percentage rollout or an experiment; where both are there, the SDK serves the variation
    if kind == "FALLTHROUGH":
        return "STATIC" if flag is not None and _is_static(flag) else "UNKNOWN"
    return _REASONS.get(kind, "UNKNOWN")


def _is_static(flag: Any) -> bool:
    """Whether the flag looks at no context. OpenFeature's clients may keep a STATIC answer for every context, so
    one whose rules only did not match is not STATIC.
    """
    return not (flag.rules or flag.targets or flag.context_targets or flag.prerequisites)


def _served(reason: Mapping[str, Any], flag: Any) -> Any:
    """The flag's rule or fallthrough that decided; None if, in direct mode, the flag has changed since."""
    if reason["kind"] == "FALLTHROUGH":
        return flag.fallthrough
    if reason["kind"] == "RULE_MATCH" and reason["ruleIndex"] < len(flag.rules):
        return flag.rules[reason["ruleIndex"]].variation_or_rollout
    return None


def not_found(error: errors.FlagNotFound, key: str, provenance: Provenance) -> Json:
    """The body of the answer to a flag that this data set does not have."""
    return {**error_body(error, key), "metadata": metadata_of(provenance)}


def error_body(error: errors.FlagsError, key: str | None) -> Json:
    """The body of an error; ``key`` is that of the flag that was asked for, None in bulk."""
    code = errors.nearest(_ERROR_CODES, error)
    if code is None:
        return {"errorDetails": message_for_callers(error)}
    return {**({} if key is None else {"key": key}), "errorCode": code, "errorDetails": str(error)}
