"""Flags evaluated for a context, in the shapes of the API. Pure over an evaluator and its feature store."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple, Protocol

from .. import VERSION
from ..errors import FetchTimedOut, FlagNotFound, UnreadableItem
from ..launchdarkly.evaluators import FlagEvaluator
from ..launchdarkly.sdk import FEATURES, Context
from .feature_stores import ReadableFeatureStore

_UNREADABLE_REASON = {"kind": "ERROR", "errorKind": "EXCEPTION"}
"""The reason that the SDK gives when its store cannot produce a flag."""


class Options(NamedTuple):
    """What the caller asked for. ``flags`` None means all; unknown keys are left out.

    ``conceal``: the caller must not learn of flags that client-side SDKs cannot see, not even as the
    prerequisite of one that they can see.
    """

    with_reasons: bool = False
    client_side_only: bool = False
    flags: tuple[str, ...] | None = None
    conceal: bool = False


class FlagSource(Protocol):
    """An evaluator together with the feature store that it evaluates from."""

    @property
    def evaluator(self) -> FlagEvaluator: ...

    @property
    def feature_store(self) -> ReadableFeatureStore: ...


def evaluate_flag(source: FlagSource, context: Context, key: str, options: Options = Options()) -> dict[str, Any]:
    """``{"key", "value", "variation", "version", "reason"}`` of one flag.

    A flag that cannot be evaluated has the value and variation None and the SDK's error reason.
    Of the options only ``client_side_only`` and ``conceal`` matter. Raises FlagNotFound, and FetchTimedOut
    in direct mode before the first data set has arrived.
    """
    detail = source.evaluator.evaluate_flag(key, context)
    error = detail.reason.get("errorKind")
    if error == "CLIENT_NOT_READY":
        raise FetchTimedOut("LaunchDarkly has not delivered the data set yet.")
    if error == "FLAG_NOT_FOUND" or (options.client_side_only and not _is_client_side(source.feature_store, key)):
        raise FlagNotFound(f"There is no flag {key[:100]!r}.")
    evaluated = {
        "key": key,
        "value": detail.value,
        "variation": detail.variation_index,
        "version": _version(source.feature_store, key),
        "reason": detail.reason,
    }
    return _concealed(evaluated, source.feature_store) if options.conceal else evaluated


def evaluate_flags(source: FlagSource, context: Context, options: Options) -> dict[str, dict[str, Any]]:
    """Flag key -> ``{"value", "variation", "version", ...}``, as LaunchDarkly's and the Relay Proxy's ``evalx``.

    ``reason``, ``trackEvents``, ``trackReason``, ``debugEventsUntilDate`` and ``prerequisites`` are there
    only when set or asked for. A flag whose stored item cannot be read has the value None; it is left out
    of client-side answers, because nobody can tell whether it belongs there.
    Raises FetchTimedOut in direct mode before the first data set has arrived.
    """
    evaluated = source.evaluator.evaluate_flags(
        context, options.flags, with_reasons=options.with_reasons, client_side_only=options.client_side_only
    )
    if not options.client_side_only:
        for key in source.feature_store.unreadable_flags():
            if options.flags is None or key in options.flags:
                evaluated[key] = {"value": None, **({"reason": _UNREADABLE_REASON} if options.with_reasons else {})}
    if options.conceal:
        return {key: _concealed(each, source.feature_store) for key, each in evaluated.items()}
    return evaluated


def _concealed(evaluated: dict[str, Any], feature_store: ReadableFeatureStore) -> dict[str, Any]:
    """The evaluation without the keys of prerequisites that client-side SDKs cannot see."""
    concealed = dict(evaluated)
    reason = concealed.get("reason", {})
    if "prerequisiteKey" in reason and not _is_client_side(feature_store, reason["prerequisiteKey"]):
        concealed["reason"] = {name: value for name, value in reason.items() if name != "prerequisiteKey"}
    visible = [key for key in concealed.pop("prerequisites", ()) if _is_client_side(feature_store, key)]
    return {**concealed, "prerequisites": visible} if visible else concealed


def _is_client_side(feature_store: ReadableFeatureStore, key: str) -> bool:
    """Whether client-side SDKs may see the flag; not if it cannot be read, because then nobody can tell."""
    try:
        flag = feature_store.get(FEATURES, key)
    except UnreadableItem:
        return False
    return flag is not None and bool(flag.get("clientSide"))


def etag(revision: str, context: dict[str, Any], *asked: object) -> str:
    """A strong entity tag for what was asked about this context at this revision.

    Names the answer without evaluating it: the same inputs give the same answer in this version of the app.
    """
    inputs = json.dumps([VERSION, revision, context, asked], sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(inputs.encode()).hexdigest()[:32]}"'


def _version(feature_store: ReadableFeatureStore, key: str) -> int | None:
    try:
        flag = feature_store.get(FEATURES, key)
    except UnreadableItem:
        return None
    return None if flag is None else int(flag.version)
