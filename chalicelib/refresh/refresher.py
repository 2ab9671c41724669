"""The write path: fetch, merge, write. A refresh never lies, never goes backwards, and runs alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple

from ..data_set import (
    FEATURES,
    SEGMENTS,
    Announcement,
    DataSet,
    Doubts,
    StoredDataSet,
    SyncRecord,
    name_doubts,
    revision_of,
    texts_of,
)
from ..errors import OtherEnvironment, RefreshConflict, RefreshRefused
from ..stores.port import Backlog, Writer
from ..timing import Timing
from .merge import Merge, item_count, leave_out, merge_as_fetched, merge_never_backwards, merge_reconciled
from .turn import Turn
from .unreadable import count_unreadable

logger = logging.getLogger(__name__)

Fetch = Callable[[Collection[Announcement | None]], DataSet]
"""Fetches LaunchDarkly's data set, waiting for what was announced."""

MergeRule = Callable[[DataSet, DataSet, Doubts], Merge]
"""(stored, fetched, what earlier reconciles doubted) -> what to store."""


class Refreshed(NamedTuple):
    """The store now holds this. Counts and revision are of the stored data set.

    ``confirmed``: whether it holds at least what the webhook announced; None when nothing was announced.
    ``held_back``: items kept because the stored version is higher than the one LaunchDarkly sent.
    ``left_out``: items that the store cannot hold. ``unreadable``: stored items that the SDK cannot read.
    """

    revision: str
    flags: int
    segments: int
    changed: bool
    confirmed: bool | None
    held_back: int
    left_out: int
    unreadable: int

    def to_json(self) -> dict[str, str | int | bool | None]:
        """The answer of the API; ``left_out`` and ``unreadable`` only when something is."""
        fields = {name: value for name, value in self._asdict().items() if name not in _RARE or value}
        return {"status": "refreshed", **fields}


_RARE = ("left_out", "unreadable")


class Coalesced(NamedTuple):
    """A refresh that began after the webhook arrived has covered it; ``revision`` is what is stored.

    ``confirmed`` is False when two of them did, and neither got what the webhook announced.
    """

    revision: str | None
    confirmed: bool = True

    def to_json(self) -> dict[str, str | bool | None]:
        """The answer of the API; ``confirmed`` only when it is False."""
        return {
            "status": "coalesced",
            "revision": self.revision,
            **({} if self.confirmed else {"confirmed": False}),
        }


class Refresher:
    """Refreshes a store from ``fetch``.

    ``source`` goes into the sync record: ``launchdarkly`` or ``file``; and so does ``environment``, where it is known:
    the LaunchDarkly environment, without which a store of another one is not told apart.
    """

    def __init__(
        self, store: Writer, fetch: Fetch, source: str, timing: Timing = Timing(), environment: str | None = None
    ) -> None:
        self._store = store
        self._fetch = fetch
        self._source = source
        self._environment = environment
        self._timing = timing
        # Nothing caches a flag file: a lower version in it is somebody's edit.
        self._merge: MergeRule = merge_as_fetched if source == "file" else merge_never_backwards

    def refresh(self, announcement: Announcement | None, within_seconds: float | None = None) -> Refreshed | Coalesced:
        """Refresh on a webhook's word; never backwards, except from a flag file.

        ``within_seconds``: until when the caller wants an answer; None is ``Timing.answer_seconds``.
        Raises LaunchDarklyUnavailable, StoreUnavailable, RefreshRefused, OtherEnvironment, RefreshConflict or, when
        other refreshes leave no time for this one, RefreshBusy; it has then changed nothing.
        """
        if within_seconds is None:
            within_seconds = self._timing.answer_seconds
        with Turn(self._store, self._timing, within_seconds) as turn:
            ticket = self._store.take_ticket(announcement)
            covered = turn.wait(ticket)
            if covered is not None and not covered.is_met:
                # LaunchDarkly was behind. All whom that concerns ask again, and one refresh more serves them.
                ticket = self._store.take_ticket(announcement)
                covered = turn.wait(ticket)
            if covered is not None:
                return Coalesced(covered.revision, covered.is_met)
            return self._refresh(turn, turn.gather_backlog(ticket, announcement), self._merge, announcement)

    def reconcile(self, *, force: bool) -> Refreshed:
        """Make the store what LaunchDarkly says; heals versions that restarted.

        A lower version than the stored one is doubted, for LaunchDarkly's caches may lag, until it is there
        at a later reconcile as well. ``force`` doubts nothing, and lets an empty data set replace a
        non-empty one, or that of another environment. Raises as ``refresh`` does.
        """
        with Turn(self._store, self._timing, self._timing.answer_seconds) as turn:
            turn.wait()
            merge = merge_as_fetched if force or self._source == "file" else merge_reconciled
            return self._refresh(turn, self._store.read_backlog(), merge, forced=force)

    def _refresh(
        self,
        turn: Turn,
        backlog: Backlog,
        merge: MergeRule,
        announcement: Announcement | None = None,
        *,
        forced: bool = False,
    ) -> Refreshed:
        fetched = self._fetch(backlog.announcements.values())
        with suppress(RefreshConflict):  # another writer, or a store that evicts; if the lock is held, all is well
            return self._write(turn, backlog, fetched, merge, announcement, forced=forced)
        return self._write(turn, backlog, fetched, merge, announcement, forced=forced)

    def _write(
        self,
        turn: Turn,
        backlog: Backlog,
        fetched: DataSet,
        merge: MergeRule,
        announcement: Announcement | None,
        *,
        forced: bool,
    ) -> Refreshed:
        with self._store.update(turn.owner, turn.write_lock_seconds) as update:
            before, stored = update.stored.record, update.stored.items(fetched)
            if not forced:
                self._check_may_replace(before, stored, fetched)
            merged = merge(stored, fetched, {} if before is None else before.doubts)
            data_set, record = self._storable(merged, update.stored)
            update.commit(data_set, record, backlog, _in_vain(backlog, data_set))
        return Refreshed(
            revision=record.revision,
            flags=record.flags,
            segments=record.segments,
            changed=before is None or before.revision != record.revision,
            confirmed=None if announcement is None else _holds(data_set, announcement),
            held_back=merged.held_back,
            left_out=record.left_out,
            unreadable=record.unreadable,
        )

    def _check_may_replace(self, record: SyncRecord | None, stored: DataSet, fetched: DataSet) -> None:
        """Raises OtherEnvironment, and RefreshRefused where nothing would replace something.

        A record that names no environment is older than names, or its writer was not told.
        """
        named = None if record is None else record.environment
        if None not in (named, self._environment) and named != self._environment:
            raise OtherEnvironment(
                f"The store holds the flags of {named}, and this app refreshes {self._environment}; nothing was "
                "written. Give each environment a store or a STORE_PREFIX of its own, or invoke reconcile with "
                '{"force": true} to replace what the store holds.'
            )
        if item_count(fetched) == 0 and item_count(stored) > 0:
            sent = "The flag file holds" if self._source == "file" else "LaunchDarkly sent"
            raise RefreshRefused(
                f"{sent} an empty data set; the store keeps its {len(stored[FEATURES])} flags and "
                f'{len(stored[SEGMENTS])} segments. Invoke reconcile with {{"force": true}} to empty it.'
            )

    def _storable(self, merged: Merge, stored: StoredDataSet) -> tuple[DataSet, SyncRecord]:
        """What the store can hold of the data set, and the sync record of that."""
        data_set, left_out = leave_out(merged.data_set, self._store.can_hold)
        for name in left_out:
            logger.error("left out, because the store cannot hold it: %s", name)
        revision = revision_of(texts_of(data_set))
        return data_set, SyncRecord(
            revision=revision,
            synced_at_ms=int(time.time() * 1000),
            flags=len(data_set[FEATURES]),
            segments=len(data_set[SEGMENTS]),
            source=self._source,
            left_out=len(left_out),
            doubted=name_doubts(merged.doubted),
            unreadable=count_unreadable(data_set, revision, stored),
            environment=self._environment,
        )


def _in_vain(backlog: Backlog, data_set: DataSet) -> set[str]:
    """The tickets of the backlog whose announcement the data set does not meet."""
    return {
        ticket
        for ticket, announcement in backlog.announcements.items()
        if announcement is not None and not _holds(data_set, announcement)
    }


def _holds(data_set: DataSet, announcement: Announcement) -> bool:
    item = data_set[announcement.kind].get(announcement.key)
    return announcement.is_met_by(None if item is None else item.version)
