"""The app's health, for load balancers and people: can it answer, from where, and how old is the data? Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import RECONCILE_MINUTES, VERSION
from ..data_set import SyncRecord
from ..errors import StoreNotInitialized, StoreUnavailable
from ..launchdarkly.sdk import FEATURES, SEGMENTS
from ..read.snapshots import Snapshot
from .answers import Answer, Json

if TYPE_CHECKING:
    from ..read.direct import DirectFlags

CLOCK_SKEW_SECONDS = 60
"""By so much the clocks of two function instances may differ."""

STALE_AFTER_SECONDS = 3 * RECONCILE_MINUTES * 60
"""Three missed refreshes in a row are no accident."""


def status_answer(report: Json, *, in_full: bool) -> Answer:
    """The report as HTTP; not ``in_full`` for a caller without a token where ``STATUS_AUTH`` asks for one.

    That one learns whether all is well: no count, no time, no version.
    """
    can_answer = report["status"] in ("healthy", "stale")
    body = report if in_full else {"status": "healthy" if can_answer else "unavailable"}
    if can_answer:
        return Answer(body, {"Cache-Control": "no-store"})
    return Answer(body, {"Cache-Control": "no-store", "Retry-After": "5"}, 503)


def daemon_status(store_kind: str, current: Callable[[], Snapshot], now_seconds: float) -> Json:
    """The report of daemon mode, for what an evaluation would be answered from now; the time is Unix time.

    ``current`` gives that, or raises what an evaluation would.
    """
    data, is_out_of_reach = None, False
    try:
        snapshot = current()
    except StoreNotInitialized:
        condition = "empty"
    except StoreUnavailable:
        condition, is_out_of_reach = "unavailable", True
    else:
        condition = "stale" if snapshot.stale or not _is_recent(snapshot.record, now_seconds) else "healthy"
        data, is_out_of_reach = _stored_data(snapshot, now_seconds), snapshot.stale
    return {
        "status": condition,
        "mode": "daemon",
        "store": {"kind": store_kind, "state": "INTERRUPTED" if is_out_of_reach else "VALID"},
        "data": data,
        "version": VERSION,
    }


def _is_recent(record: SyncRecord | None, now_seconds: float) -> bool:
    """Whether refreshes still come. A record from the future, by a clock that was wrong, says nothing about that.

    Of a data set that somebody else has written, nobody knows its age.
    """
    if record is None:
        return True
    age_seconds = now_seconds - record.synced_at_ms / 1000
    return -CLOCK_SKEW_SECONDS <= age_seconds <= STALE_AFTER_SECONDS


def _stored_data(snapshot: Snapshot, now_seconds: float) -> Json:
    """``unreadable``: what the refresh has counted; of a data set that somebody else wrote, what was met so far."""
    record = snapshot.record
    return {
        "revision": snapshot.revision,
        **_refresh(snapshot.record, now_seconds),
        "flags": snapshot.feature_store.count(FEATURES),
        "segments": snapshot.feature_store.count(SEGMENTS),
        "unreadable": max(snapshot.feature_store.unreadable_count, 0 if record is None else record.unreadable),
    }


def _refresh(record: SyncRecord | None, now_seconds: float) -> Json:
    """What only a sync record tells; without one nobody knows. ``leftOut``: items that the store cannot hold."""
    if record is None:
        return {"syncedAt": None, "ageSeconds": None, "source": None, "leftOut": None}
    return {
        "syncedAt": record.synced_at,
        "ageSeconds": max(0, round(now_seconds - record.synced_at_ms / 1000)),
        "source": record.source,
        "leftOut": record.left_out,
    }


def direct_status(flags: DirectFlags, source: str) -> Json:
    """The report of direct mode: the state is that of the SDK's connection, and there is no store."""
    state = flags.client.data_source_status_provider.status.state
    has_data = flags.feature_store.initialized
    return {
        "status": "unavailable" if not has_data else "healthy" if state.name == "VALID" else "stale",
        "mode": "direct",
        "store": None,
        "dataSource": {"state": state.name},
        "data": _direct_data(flags, source) if has_data else None,
        "version": VERSION,
    }


def _direct_data(flags: DirectFlags, source: str) -> Json:
    return {
        "revision": None,
        **_refresh(None, 0),
        "source": source,
        "flags": len(flags.feature_store.all(FEATURES, dict)),
        "segments": len(flags.feature_store.all(SEGMENTS, dict)),
        "unreadable": 0,
    }
