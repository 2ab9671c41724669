"""Flags in a function of your own, in the words of LaunchDarkly's SDK::

    from chalicelib import flags  # elsewhere: from serverless_flags import flags

    if flags.variation("new-pricing", Context.create("acme", "organization"), default=False):
        ...

The functions have the signatures and semantics of ``LDClient``: they never raise for something that fails at run
time, and what cannot be evaluated has its default value. There is nothing to make, to keep or to close; an answer
is at most ``FLAGS_MAX_AGE_SECONDS`` old. Importing this module does nothing.

A context is the SDK's ``Context``, a context JSON such as ``{"kind": "user", "key": "anna"}``, or a legacy user JSON.
``flags.Context`` is that of the SDK. ``from ldclient import Context`` gives the same; before this module, it makes a
cold start import the whole SDK.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import config as _config
from . import wiring as _wiring
from .launchdarkly.sdk import Context, EvaluationDetail, FeatureFlagsState
from .read.contexts import context_or_invalid

if TYPE_CHECKING:
    from ldclient.client import LDClient
    from ldclient.migrations import OpTracker, Stage

    from .read.recent import Answers

__all__ = [
    "Context",
    "all_flags_state",
    "migration_variation",
    "one_revision",
    "read_ahead",
    "track",
    "track_migration_op",
    "variation",
    "variation_detail",
]

logger = logging.getLogger(__name__)

AnyContext = Context | Mapping[str, Any]
"""The SDK's, or JSON (Any: JSON)."""

Json = TypeVar("Json", bound=Mapping[str, Any])
"""A JSON object: also a TypedDict."""

_overrides: Callable[[], Answers | None] | None = None
"""What the functions answer from in a test that overrides flags: ``testing`` puts it here."""


@overload
def variation(key: str, context: AnyContext, default: bool) -> bool: ...
@overload
def variation(key: str, context: AnyContext, default: int) -> int: ...
@overload
def variation(key: str, context: AnyContext, default: float) -> float: ...
@overload
def variation(key: str, context: AnyContext, default: str) -> str: ...
@overload
def variation(key: str, context: AnyContext, default: list[Any]) -> list[Any]: ...
@overload
def variation(key: str, context: AnyContext, default: dict[str, Any]) -> dict[str, Any]: ...
@overload
def variation(key: str, context: AnyContext, default: Json) -> Json: ...
@overload
def variation(key: str, context: AnyContext, default: None) -> Any: ...
def variation(key: str, context: AnyContext, default: Any) -> Any:
    """The value of the flag for this context, or ``default`` if it cannot be evaluated.

    As in the SDK, the flag's value is not held against the default's type: keep both of one type.
    """
    return _answers().variation(_name(key), context_or_invalid(context), default)


def variation_detail(key: str, context: AnyContext, default: Any) -> EvaluationDetail:
    """The value, its variation index and its reason, ``{"kind": "RULE_MATCH", ...}``.

    With the default value the index is None, and the reason ``{"kind": "ERROR", "errorKind": ...}``:
    ``CLIENT_NOT_READY`` without a store or before it was filled, ``FLAG_NOT_FOUND``, ``USER_NOT_SPECIFIED`` for an
    invalid context, ``MALFORMED_FLAG``, ``EXCEPTION``; or ``OFF``, for a flag without an off variation.
    """
    return _answers().variation_detail(_name(key), context_or_invalid(context), default)


def all_flags_state(
    context: AnyContext,
    *,
    client_side_only: bool = False,
    with_reasons: bool = False,
    details_only_for_tracked_flags: bool = False,
) -> FeatureFlagsState:
    """The state of all flags, for a front end; with ``valid`` False when there is none."""
    return _answers().all_flags_state(
        context_or_invalid(context),
        client_side_only=client_side_only,
        with_reasons=with_reasons,
        details_only_for_tracked_flags=details_only_for_tracked_flags,
    )


def migration_variation(key: str, context: AnyContext, default_stage: Stage) -> tuple[Stage, OpTracker]:
    """The stage of a migration flag, and the tracker of the operation, for ``track_migration_op``."""
    return _answers().migration_variation(_name(key), context_or_invalid(context), default_stage)


@contextmanager
def one_revision() -> Iterator[LDClient]:
    """An SDK client over one revision, for a whole invocation: the store is asked once, at the block's beginning.

    Whatever happens meanwhile, all of its answers are of that revision, also after the block for whoever keeps it.
    While there is nothing to evaluate from, it is a client that answers with default values.
    """
    overridden = _overridden()
    if overridden is not None:
        yield overridden.new_client()
        return
    try:
        yield _wiring.wiring.recent_flags.fresh_answers().new_client()
    finally:
        _wiring.wiring.end_invocation()


def track(event_name: str, context: AnyContext, data: Any = None, metric_value: float | None = None) -> None:
    """Tell LaunchDarkly that something has happened, where ``EVENTS`` is ``full`` (``data``: JSON).

    Like what is evaluated, it is left in the store by a later call of ``flags``, or at the end of ``one_revision``.
    """
    if _overridden() is not None:
        return
    checked = context_or_invalid(context)
    if not checked.valid:
        logger.warning("the event %r is not sent: %s", event_name, checked.error)
        return
    try:
        _wiring.wiring.track(checked, event_name, data, metric_value)
    except Exception as error:  # as wide as in the SDK's client: no event fails a caller
        logger.error("the event %r is not sent: %s", event_name, type(error).__name__)
    _wiring.wiring.end_invocation()


def track_migration_op(tracker: OpTracker) -> None:
    """Tell LaunchDarkly how an operation of a migration has gone, where ``EVENTS`` is ``full``."""
    try:
        _answers().new_client().track_migration_op(tracker)
    except Exception as error:  # as in ``track``
        logger.error("the operation of a migration is not sent: %s", type(error).__name__)


def read_ahead() -> None:
    """Read the flags now. Call it once, where your handler's module is imported, to start faster on Lambda.

    Until a function's first event it has a whole processor, and after it the share that its memory buys. What fails
    is left to the first flag that you ask for. Nothing happens where this is no Lambda function, or in direct mode.
    """
    if _config.is_on_lambda():
        _wiring.wiring.read_flags_ahead()


def _answers() -> Answers:
    overridden = _overridden()
    if overridden is not None:
        return overridden
    answers = _wiring.wiring.recent_flags.answers()
    # A handler's end is nobody's to see: what is due goes with the next call. By now it is known if the store is away.
    _wiring.wiring.end_invocation()
    return answers


def _name(key: object) -> str:
    """The flag's key; of what is no string a name that no flag has, because the SDK raises for some of that."""
    return key if isinstance(key, str) else f"<{type(key).__name__}>"


def _overridden() -> Answers | None:
    return None if _overrides is None else _overrides()
