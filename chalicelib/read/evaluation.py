"""Flags evaluated for a context, in the shapes of the API. Pure over an evaluator and its feature store."""

import json
from typing import Any, NamedTuple, Protocol

from .. import VERSION
from ..digests import sha256_of
from ..errors import FetchTimedOut, FlagNotFound, UnreadableItem
from ..launchdarkly.evaluators import FlagEvaluator, Memberships
from ..launchdarkly.sdk import FEATURES, Context
from .feature_stores import ReadableFeatureStore

_UNREADABLE_REASON = {"kind": "ERROR", "errorKind": "EXCEPTION"}
"""The reason that the SDK gives when its store cannot produce a flag."""


class Options(NamedTuple):
    """What the caller asked for. ``flags`` None means all; unknown keys are left out.

    ``client_side_only``: only flags that are available to browsers, or with ``mobile`` to mobile devices.
    ``conceal``: the caller must not learn of any other, not even as the prerequisite of one that it sees.
    ``events`` False: LaunchDarkly is not to know of this evaluation.
    ``explain``: of one flag, say why it has its value; never together with ``conceal``.
    ``bootstrap``: of all flags, answer in the shape that LaunchDarkly's JavaScript SDKs start from.
    """

    with_reasons: bool = False
    client_side_only: bool = False
    flags: tuple[str, ...] | None = None
    conceal: bool = False
    mobile: bool = False
    events: bool = True
    explain: bool = False
    bootstrap: bool = False


class FlagSource(Protocol):
    """An evaluator together with the feature store that it evaluates from."""

    @property
    def evaluator(self) -> FlagEvaluator: ...

    @property
    def feature_store(self) -> ReadableFeatureStore: ...

    @property
    def memberships(self) -> Memberships | None:
        """What the request learns of big segments; None where an SDK client keeps that to itself."""

    def unrecorded(self) -> "FlagSource":
        """The same, for evaluations that nobody has asked for."""


def evaluate_flag(source: FlagSource, context: Context, key: str, options: Options = Options()) -> dict[str, Any]:
    """``{"key", "value", "variation", "version", "reason"}`` of one flag, and ``explanation`` if asked for.

    A flag that cannot be evaluated has the value and variation None and the SDK's error reason.
    The options ``with_reasons`` and ``flags`` do not matter. Raises FlagNotFound,
    and FetchTimedOut in direct mode before the first data set has arrived.
    """
    if _is_hidden(source, key, options):
        raise _not_found(key)
    detail = source.evaluator.evaluate_flag(key, context)
    error = detail.reason.get("errorKind")
    if error == "CLIENT_NOT_READY":
        raise FetchTimedOut("LaunchDarkly has not delivered the data set yet.")
    if error == "FLAG_NOT_FOUND":
        raise _not_found(key)
    evaluated = {
        "key": key,
        "value": detail.value,
        "variation": detail.variation_index,
        "version": _version(source.feature_store, key),
        "reason": detail.reason,
    }
    if options.explain:
        from .explanation import explain

        evaluated["explanation"] = explain(source.unrecorded(), context, evaluated)
    return _concealed(evaluated, source.feature_store, options) if options.conceal else evaluated


def is_there(source: FlagSource, key: str, options: Options) -> bool:
    """Whether the store holds such a flag for this caller.

    Evaluates nothing, and decodes nothing for a caller who may see every flag.
    """
    return source.feature_store.holds(FEATURES, key) and not _is_hidden(source, key, options)


def _is_hidden(source: FlagSource, key: str, options: Options) -> bool:
    """Whether there is such a flag, but not for this caller; so too if it cannot be read: then nobody can tell.

    Asked before the flag is evaluated: a hidden flag costs what one costs that does not exist, and none of its
    rules runs on what the caller has sent.
    """
    if not options.client_side_only:
        return False
    try:
        flag = source.feature_store.get(FEATURES, key)
    except UnreadableItem:
        return True
    return flag is not None and not is_available(flag, options)


def _not_found(key: str) -> FlagNotFound:
    return FlagNotFound(f"There is no flag {key[:100]!r}.")


def is_available(flag: Any, options: Options) -> bool:
    """Whether the flag (the SDK's model, which exports no type) is available to browsers, or to mobile devices.

    Where ``clientSideAvailability`` is missing, as in data of old, ``clientSide`` is about browsers, and
    mobile devices see every flag.
    Source: https://github.com/launchdarkly/go-server-sdk-evaluation (ldmodel/model_serialization.go)
    """
    availability = flag.get("clientSideAvailability")
    if isinstance(availability, dict):
        return availability.get("usingMobileKey" if options.mobile else "usingEnvironmentId") is True
    return options.mobile or flag.get("clientSide") is True


def _available_keys(feature_store: ReadableFeatureStore, options: Options) -> tuple[str, ...]:
    """Of the flags that are asked for, those that ``client_side_only`` leaves."""
    if options.flags is None:
        return tuple(key for key, flag in feature_store.all(FEATURES).items() if is_available(flag, options))
    return tuple(key for key in options.flags if _is_visible(feature_store, key, options))


def evaluate_flags(source: FlagSource, context: Context, options: Options) -> dict[str, dict[str, Any]]:
    """Flag key -> ``{"value", "variation", "version", ...}``, as LaunchDarkly's and the Relay Proxy's ``evalx``.

    ``reason``, ``trackEvents``, ``trackReason``, ``debugEventsUntilDate`` and ``prerequisites`` are there
    only when set or asked for. A flag whose stored item cannot be read has the value None; it is left out
    of client-side answers, because nobody can tell whether it belongs there.
    Raises FetchTimedOut in direct mode before the first data set has arrived.
    """
    keys = options.flags
    if options.client_side_only:
        keys = _available_keys(source.feature_store, options)
    evaluated = source.evaluator.evaluate_flags(
        context, keys, with_reasons=options.with_reasons, counts=options.flags is not None
    )
    if not options.client_side_only:
        for key in source.feature_store.unreadable_flags():
            if options.flags is None or key in options.flags:
                evaluated[key] = {"value": None, **({"reason": _UNREADABLE_REASON} if options.with_reasons else {})}
    if options.conceal:
        return {key: _concealed(each, source.feature_store, options) for key, each in evaluated.items()}
    return evaluated


def _concealed(evaluated: dict[str, Any], feature_store: ReadableFeatureStore, options: Options) -> dict[str, Any]:
    """The evaluation without the keys of prerequisites that the caller cannot see."""
    concealed = dict(evaluated)
    reason = concealed.get("reason", {})
    if "prerequisiteKey" in reason and not _is_visible(feature_store, reason["prerequisiteKey"], options):
        concealed["reason"] = {name: value for name, value in reason.items() if name != "prerequisiteKey"}
    visible = [key for key in concealed.pop("prerequisites", ()) if _is_visible(feature_store, key, options)]
    return {**concealed, "prerequisites": visible} if visible else concealed


def _is_visible(feature_store: ReadableFeatureStore, key: str, options: Options) -> bool:
    """Whether a client-side caller may see the flag; not if it cannot be read, because then nobody can tell."""
    try:
        flag = feature_store.get(FEATURES, key)
    except UnreadableItem:
        return False
    return flag is not None and is_available(flag, options)


def etag(revision: str, body: object, *asked: object) -> str:
    """A strong entity tag for what was asked at this revision, in a body of JSON and beside it.

    Names the answer without evaluating it: the same inputs give the same answer in this version of the app.
    """
    inputs = json.dumps([VERSION, revision, body, asked], sort_keys=True, separators=(",", ":"))
    return f'"{sha256_of(inputs.encode())[:32]}"'


def _version(feature_store: ReadableFeatureStore, key: str) -> int | None:
    try:
        flag = feature_store.get(FEATURES, key)
    except UnreadableItem:
        return None
    return None if flag is None else int(flag.version)
