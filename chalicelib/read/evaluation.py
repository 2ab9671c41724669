"""Flags evaluated for a context, in the shapes of the API. Pure over an SDK client and its feature store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

from ldclient.client import LDClient
from ldclient.context import Context
from ldclient.versioned_data_kind import FEATURES

from .. import VERSION
from ..errors import FetchTimedOut, FlagNotFound, UnreadableItem
from ..launchdarkly.clients import daemon_client
from .feature_stores import ReadableFeatureStore, SelectedFlags

_NOT_DELIVERED = "LaunchDarkly has not delivered the data set yet."

_UNREADABLE_REASON = {"kind": "ERROR", "errorKind": "EXCEPTION"}
"""The reason that the SDK gives when its store cannot produce a flag."""


class Options(NamedTuple):
    """What the caller asked for. ``flags`` None means all; see ``select_flags``.

    ``client_side_only``: only flags that are available to browsers, or with ``mobile`` to mobile devices.
    ``conceal``: the caller must not learn of any other, not even as the prerequisite of one that it sees.
    """

    with_reasons: bool = False
    client_side_only: bool = False
    flags: tuple[str, ...] | None = None
    conceal: bool = False
    mobile: bool = False


class FlagSource(Protocol):
    """An SDK client together with the feature store that it evaluates from."""

    @property
    def client(self) -> LDClient: ...

    @property
    def feature_store(self) -> ReadableFeatureStore: ...


def evaluate_flag(source: FlagSource, context: Context, key: str, options: Options = Options()) -> dict[str, Any]:
    """``{"key", "value", "variation", "version", "reason"}`` of one flag.

    A flag that cannot be evaluated has the value and variation None and the SDK's error reason.
    Of the options only ``client_side_only``, ``mobile`` and ``conceal`` matter. Raises as ``look_up`` does.
    """
    look_up(source, key, options)
    detail = source.client.variation_detail(key, context, None)
    error = detail.reason.get("errorKind")
    if error == "CLIENT_NOT_READY":
        raise FetchTimedOut(_NOT_DELIVERED)
    if error == "FLAG_NOT_FOUND":  # in direct mode it may be deleted in this moment
        raise _not_found(key)
    evaluated = {
        "key": key,
        "value": detail.value,
        "variation": detail.variation_index,
        "version": _version(source.feature_store, key),
        "reason": detail.reason,
    }
    return _concealed(evaluated, source.feature_store, options) if options.conceal else evaluated


def look_up(source: FlagSource, key: str, options: Options) -> None:
    """Returns when there is such a flag for this caller. Evaluates nothing: a flag that the caller must not see
    costs what one costs that does not exist, and runs no rule on what the caller has sent.

    Raises FlagNotFound, and FetchTimedOut in direct mode before the first data set has arrived.
    """
    if not source.feature_store.initialized:
        raise FetchTimedOut(_NOT_DELIVERED)
    try:
        flag = source.feature_store.get(FEATURES, key, lambda item: item)
    except UnreadableItem:
        if options.client_side_only:  # nobody can tell whether the caller may see it
            raise _not_found(key) from None
        return
    if flag is None or (options.client_side_only and not is_available(flag, options)):
        raise _not_found(key)


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


def select_available(source: FlagSource, options: Options) -> FlagSource:
    """A source that lists only the flags of it that ``client_side_only`` leaves."""
    flags = source.feature_store.all(FEATURES, lambda items: items)
    return select_flags(source, [key for key, flag in flags.items() if is_available(flag, options)])


def evaluate_flags(source: FlagSource, context: Context, options: Options) -> dict[str, dict[str, Any]]:
    """Flag key -> ``{"value", "variation", "version", ...}``, as LaunchDarkly's and the Relay Proxy's ``evalx``.

    ``reason``, ``trackEvents``, ``trackReason``, ``debugEventsUntilDate`` and ``prerequisites`` are there
    only when set or asked for. A flag whose stored item cannot be read has the value None; it is left out
    of client-side answers, because nobody can tell whether it belongs there.
    Raises FetchTimedOut in direct mode before the first data set has arrived.
    """
    if options.client_side_only:
        source = select_available(source, options)
    state = source.client.all_flags_state(context, with_reasons=options.with_reasons)
    if not state.valid:
        raise FetchTimedOut(_NOT_DELIVERED)
    answer = state.to_json_dict()
    evaluated = {key: {"value": answer[key], **meta} for key, meta in answer["$flagsState"].items()}
    if not options.client_side_only:
        for key in source.feature_store.unreadable_flags():
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
        flag = feature_store.get(FEATURES, key, lambda item: item)
    except UnreadableItem:
        return False
    return flag is not None and is_available(flag, options)


class _Selection(NamedTuple):
    client: LDClient
    feature_store: ReadableFeatureStore


def select_flags(source: FlagSource, keys: Collection[str] | None) -> FlagSource:
    """A source that lists only these flags (None: all of them), and costs only these. Unknown keys are left out.

    Raises FetchTimedOut in direct mode before the first data set has arrived.
    """
    if keys is None:
        return source
    if not source.feature_store.initialized:
        raise FetchTimedOut(_NOT_DELIVERED)
    feature_store = SelectedFlags(source.feature_store, keys)
    return _Selection(daemon_client(feature_store), feature_store)


def etag(revision: str, context: dict[str, Any], *asked: object) -> str:
    """A strong entity tag for what was asked about this context at this revision.

    Names the answer without evaluating it: the same inputs give the same answer in this version of the app.
    """
    inputs = json.dumps([VERSION, revision, context, asked], sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(inputs.encode()).hexdigest()[:32]}"'


def _version(feature_store: ReadableFeatureStore, key: str) -> int | None:
    try:
        flag = feature_store.get(FEATURES, key, lambda item: item)
    except UnreadableItem:
        return None
    return None if flag is None else int(flag.version)
