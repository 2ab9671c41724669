"""Calls of ``flags`` as mypy sees them: `make check` fails if it thinks otherwise of one. Nothing here is run.

An ignored line that is no error is itself one in strict mode (``warn_unused_ignores``), so each wrong call is refused.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypedDict

from ldclient import Context, LDClient, Stage
from ldclient.evaluation import EvaluationDetail, FeatureFlagsState
from ldclient.migrations import OpTracker
from typing_extensions import assert_type

from chalicelib import flags
from chalicelib.testing import OverrideFlags, override


class Plan(str, Enum):
    FREE = "free"


class Limits(TypedDict):
    orders: int


def right_calls(context: Context, user: dict[str, Any], text: str | None, limits: Limits) -> None:
    assert_type(flags.variation("key", context, default=False), bool)
    assert_type(flags.variation("key", context, True), bool)
    assert_type(flags.variation("key", context, 3), int)
    assert_type(flags.variation("key", context, 0.5), float)
    assert_type(flags.variation("key", context, "text"), str)
    assert_type(flags.variation("key", context, Plan.FREE), str)
    assert_type(flags.variation("key", context, ["a"]), list[Any])
    assert_type(flags.variation("key", context, []), list[Any])
    assert_type(flags.variation("key", context, {"a": 1}), dict[str, Any])
    assert_type(flags.variation("key", context, {}), dict[str, Any])
    assert_type(flags.variation("key", context, limits), Limits)
    assert_type(flags.variation("key", context, None), Any)
    assert_type(flags.variation("key", {"kind": "user", "key": "anna"}, False), bool)
    assert_type(flags.variation("key", user, default=""), str)
    assert_type(flags.variation_detail("key", context, False), EvaluationDetail)
    assert_type(flags.all_flags_state(context, with_reasons=True, client_side_only=True), FeatureFlagsState)
    assert_type(flags.migration_variation("key", context, Stage.OFF), tuple[Stage, OpTracker])
    flags.track_migration_op(flags.migration_variation("key", context, Stage.OFF)[1])
    with flags.one_revision() as client:
        assert_type(client, LDClient)
    unknown: str | None = flags.variation("key", context, text)
    with override({"new-pricing": True}, limit=3, text="", anything=None, listed=[1], strict=True):
        flags.variation(key=unknown or "key", context=context, default=0)


def wrong_calls(context: Context, override_flags: OverrideFlags) -> None:
    flags.variation("key", context)  # type: ignore[call-overload]
    flags.variation("key")  # type: ignore[call-overload]
    flags.variation(context, "key", False)  # type: ignore[call-overload]
    flags.variation(7, context, False)  # type: ignore[call-overload]
    flags.variation("key", "anna", False)  # type: ignore[call-overload]
    flags.variation("key", None, False)  # type: ignore[call-overload]
    flags.variation("key", [("key", "anna")], False)  # type: ignore[call-overload]
    flags.variation("key", context, object())  # type: ignore[call-overload]
    flags.variation("key", context, {1, 2})  # type: ignore[call-overload]
    flags.variation("key", context, b"bytes")  # type: ignore[call-overload]
    flags.variation("key", context, (1, 2))  # type: ignore[call-overload]
    flags.variation("key", context, {1: "a"})  # type: ignore[dict-item]
    flags.variation("key", context, False, True)  # type: ignore[call-overload]
    text: str = flags.variation("key", context, default=False)  # type: ignore[assignment]
    number: int = flags.variation("key", context, default="3")  # type: ignore[assignment]
    flag: bool = flags.variation("key", context, default=3)  # type: ignore[assignment]
    several: list[str] = flags.variation("key", context, default={})  # type: ignore[assignment]
    flags.variation_detail("key", context)  # type: ignore[call-arg]
    flags.variation_detail("key", "anna", False)  # type: ignore[arg-type]
    flags.all_flags_state(context, with_reasons="yes")  # type: ignore[arg-type]
    flags.all_flags_state(context, reasons=True)  # type: ignore[call-arg]
    flags.migration_variation("key", context, "off")  # type: ignore[arg-type]
    flags.track_migration_op(context)  # type: ignore[arg-type]
    flags.one_revision(context)  # type: ignore[call-arg]
    flags.variaton("key", context, False)  # type: ignore[attr-defined]
    override(True)  # type: ignore[arg-type]
    override(new_pricing=object())  # type: ignore[arg-type]
    override({"new-pricing": {1}})  # type: ignore[dict-item]
    override(strict="yes")  # type: ignore[arg-type]
    override_flags(new_pricing={1})  # type: ignore[arg-type]
    with override(new_pricing=True) as nothing:
        nothing.get("new-pricing")  # type: ignore[attr-defined]
    del text, number, flag, several
