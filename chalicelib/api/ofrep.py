"""The OpenFeature Remote Evaluation Protocol, version 0.3: our answers in its words. Pure.

Source: https://github.com/open-feature/protocol (service/openapi.yaml). Where it leaves room, this
follows what its providers rely on: ``variant`` and ``errorDetails`` are always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import errors
from ..launchdarkly.sdk import FEATURES, Context
from ..read.contexts import MAX_LEVELS, check_limits, parse_context
from ..read.evaluation import FlagSource, Options, evaluate_flag, evaluate_flags
from ..read.feature_stores import ReadableFeatureStore
from .answers import Json, message_for_callers

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
    attributes. A context of kind ``multi`` holds one context for each kind, with ``targetingKey`` or
    ``key``, and needs no ``targetingKey`` itself. What has another type than LaunchDarkly knows is left out,
    as its OpenFeature providers do, because a refusal would be the default of every flag.
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
    kinds = {kind: _keyed(each) for kind, each in members.items() if isinstance(each, dict)}
    return kinds or members


def _keyed(context: Json) -> Json:
    """The context with its ``targetingKey``, where it has one, as LaunchDarkly's ``key``."""
    attributes = {name: value for name, value in context.items() if _has_known_type(name, value)}
    if "targetingKey" in context:
        attributes["key"] = context["targetingKey"]
    return attributes


def _has_known_type(name: str, value: object) -> bool:
    """Whether this is an attribute as LaunchDarkly knows it; OpenFeature has no types for any of them."""
    if name == "_meta":
        private = value.get("privateAttributes") if isinstance(value, dict) else None
        return isinstance(private, list) and all(isinstance(each, str) for each in private)
    types = {"kind": str, "name": str, "anonymous": bool}
    return name not in ("", "targetingKey") and isinstance(value, types.get(name, object))


def evaluate_one(source: FlagSource, context: Context, key: str, options: Options) -> Json:
    """The evaluation of one flag; see :func:`is_failure`. Raises FlagNotFound."""
    return _evaluation(key, evaluate_flag(source, context, key, options), source.feature_store)


def is_failure(evaluation: Json) -> bool:
    """Whether it says that the flag cannot be evaluated, which OFREP counts as an error."""
    return "errorCode" in evaluation


def evaluate_bulk(source: FlagSource, context: Context, options: Options) -> Json:
    """``{"flags": [...]}``; a flag that cannot be evaluated is a failure in its place."""
    evaluated = evaluate_flags(source, context, options)
    return {"flags": [_evaluation(key, answer, source.feature_store) for key, answer in evaluated.items()]}


def _evaluation(key: str, answer: Mapping[str, Any], feature_store: ReadableFeatureStore) -> Json:
    reason = answer["reason"]
    if reason["kind"] == "ERROR":
        malformed = reason["errorKind"] == "MALFORMED_FLAG"
        return {
            "key": key,
            "errorCode": "PARSE_ERROR" if malformed else "GENERAL",
            "errorDetails": f"The flag cannot be evaluated: {reason['errorKind']}.",
        }
    variation = answer.get("variation")
    return {
        "key": key,
        "reason": _reason(reason, feature_store.get(FEATURES, key)),
        "variant": "" if variation is None else str(variation),
        "metadata": _metadata(answer),
        **({} if answer["value"] is None else {"value": answer["value"]}),
    }


def _metadata(answer: Mapping[str, Any]) -> Json:
    """What OpenFeature has no field for: the version, and the status of the big segments that the flag has asked."""
    metadata = {"version": answer["version"], "bigSegmentsStatus": answer["reason"].get("bigSegmentsStatus")}
    return {name: value for name, value in metadata.items() if value is not None}


def _reason(reason: Mapping[str, Any], flag: Any) -> str:
    """OpenFeature's word for the SDK's reason; ``flag`` is the SDK's model of it (which exports no type)."""
    if any(_is_split(served) for served in _served(reason, flag)):
        return "SPLIT"
    if reason["kind"] == "FALLTHROUGH":
        return "STATIC" if flag is not None and _is_static(flag) else "UNKNOWN"
    return _REASONS.get(reason["kind"], "UNKNOWN")


def _is_static(flag: Any) -> bool:
    """Whether the flag looks at no context. OpenFeature's clients may keep a STATIC answer for every context, so
    one whose rules only did not match is not STATIC.
    """
    return not (flag.rules or flag.targets or flag.context_targets or flag.prerequisites)


def _served(reason: Mapping[str, Any], flag: Any) -> list[Any]:
    """The flag's rule or fallthrough that decided; none if, in direct mode, the flag has changed since."""
    if flag is None:
        return []
    if reason["kind"] == "FALLTHROUGH":
        return [flag.fallthrough]
    if reason["kind"] == "RULE_MATCH":
        index = reason["ruleIndex"]
        return [rule.variation_or_rollout for rule in flag.rules[index : index + 1]]
    return []


def _is_split(served: Any) -> bool:
    """Whether it is a percentage rollout or an experiment; where both are there, the SDK serves the variation."""
    return served.variation is None and served.rollout is not None


def error_body(error: errors.FlagsError, key: str | None) -> Json:
    """The body of an error; ``key`` is that of the flag that was asked for, None in bulk."""
    code = errors.nearest(_ERROR_CODES, error)
    if code is None:
        return {"errorDetails": message_for_callers(error)}
    return {**({} if key is None else {"key": key}), "errorCode": code, "errorDetails": str(error)}
