"""The write path: fetch, merge, write. A refresh never lies, never goes backwards, and runs alone.

Refreshes of one store are serialised by a lock in it; a webhook that waits for the lock may find that
another's refresh has covered it (*coalesced*). Tickets decide that, not clocks: a webhook takes one and
leaves what it announces; a refresh covers every ticket that was out when it began to fetch.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from ..data_set import (
    FEATURES,
    SEGMENTS,
    Announcement,
    DataSet,
    Merge,
    SyncRecord,
    item_count,
    leave_out,
    merge_never_backwards,
    revision_of,
    texts_of,
)
from ..errors import RefreshBusy, RefreshRefused, StoreUnavailable
from ..stores.port import Backlog, Store

logger = logging.getLogger(__name__)

Fetch = Callable[[Collection[Announcement | None]], DataSet]
"""Fetches LaunchDarkly's data set, waiting for what was announced."""

MergeRule = Callable[[DataSet, DataSet], Merge]
"""(stored, fetched) -> what to store."""

LOCK_SECONDS = 12.0
"""Two to gather, eight to fetch, two to write: longer than a refresh takes, so that only a dead one loses it."""

ANSWER_SECONDS = 25.0
"""In which a webhook has its answer, but for what a store that hangs adds to it: API Gateway waits for 29.
It leaves thirteen to get the lock: a webhook outwaits the lock of an instance that died."""

_GATHER_SECONDS = 2.0
_QUIET_SECONDS = 0.3
_POLL_SECONDS = (0.1, 0.3)


@dataclass(frozen=True)
class Refreshed:
    """The store now holds this. Counts and revision are of the stored data set.

    ``confirmed``: whether it holds at least what the webhook announced; None when nothing was announced.
    ``held_back``: items kept because the stored version is higher than the one LaunchDarkly sent.
    ``left_out``: items that are too large for the store.
    """

    revision: str
    flags: int
    segments: int
    changed: bool
    confirmed: bool | None
    held_back: int
    left_out: int

    def to_json(self) -> dict[str, str | int | bool | None]:
        """The answer of the API; ``left_out`` only when something is."""
        fields = asdict(self)
        if not self.left_out:
            del fields["left_out"]
        return {"status": "refreshed", **fields}


@dataclass(frozen=True)
class Coalesced:
    """A refresh that began after the webhook arrived has covered it; ``revision`` is what is stored."""

    revision: str | None

    def to_json(self) -> dict[str, str | None]:
        """The answer of the API."""
        return {"status": "coalesced", "revision": self.revision}


class Refresher:
    """Refreshes ``store`` from ``fetch``. ``source`` goes into the sync record: ``launchdarkly`` or ``file``.

    ``lock_seconds`` is how long a refresh may take, and how long one that died keeps others out.
    """

    def __init__(self, store: Store, fetch: Fetch, source: str, lock_seconds: float = LOCK_SECONDS) -> None:
        self._store = store
        self._fetch = fetch
        self._source = source
        self._lock_seconds = lock_seconds
        # Nothing caches a flag file: a lower version in it is somebody's edit.
        self._merge = _as_fetched if source == "file" else merge_never_backwards

    def refresh(
        self, announcement: Announcement | None, within_seconds: float = ANSWER_SECONDS
    ) -> Refreshed | Coalesced:
        """Refresh on a webhook's word; never backwards, except from a flag file.

        Raises LaunchDarklyUnavailable, StoreUnavailable, RefreshRefused, RefreshConflict or, when other
        refreshes leave no time for this one, RefreshBusy; it has then changed nothing.
        """
        ticket = self._store.take_ticket(announcement)
        with self._turn(within_seconds, ticket) as turn:
            if isinstance(turn, Coalesced):
                return turn
            return self._refresh(turn, self._gathered_backlog(ticket), self._merge, announcement)

    def reconcile(self, *, force: bool, within_seconds: float = ANSWER_SECONDS) -> Refreshed:
        """Make the store what LaunchDarkly says, whatever the stored versions: heals versions that restarted.

        ``force`` lets an empty data set replace a non-empty one. Raises as ``refresh`` does.
        """
        with self._turn(within_seconds) as owner:
            assert isinstance(owner, str)  # only a ticket can be covered
            return self._refresh(owner, self._store.read_backlog(), _as_fetched, may_empty=force)

    def _refresh(
        self,
        owner: str,
        backlog: Backlog,
        merge: MergeRule,
        announcement: Announcement | None = None,
        *,
        may_empty: bool = False,
    ) -> Refreshed:
        fetched = self._fetch(backlog.announcements)
        with self._store.update(owner) as update:
            stored = update.stored.items(fetched)
            if item_count(fetched) == 0 and item_count(stored) > 0 and not may_empty:
                raise _refusal(stored)
            merged = merge(stored, fetched)
            data_set, record = self._storable(merged.data_set)
            update.commit(data_set, record, backlog)
        before = update.stored.record
        return Refreshed(
            revision=record.revision,
            flags=record.flags,
            segments=record.segments,
            changed=before is None or before.revision != record.revision,
            confirmed=None if announcement is None else _holds(data_set, announcement),
            held_back=merged.held_back,
            left_out=record.left_out,
        )

    def _gathered_backlog(self, ticket: int) -> Backlog:
        """The backlog: at once for a webhook that is alone; in a burst, when no more come in, or after _GATHER_SECONDS.

        The fetch of the first one is soon followed by another for those that came meanwhile; gathering
        them keeps it at that.
        """
        deadline = time.monotonic() + _GATHER_SECONDS
        backlog = self._store.read_backlog()
        if backlog.ticket == ticket and len(backlog.announcements) == 1:
            return backlog
        while time.monotonic() < deadline:
            time.sleep(_QUIET_SECONDS)
            previous, backlog = backlog, self._store.read_backlog()
            if backlog.ticket == previous.ticket:
                break
        return backlog

    def _storable(self, merged: DataSet) -> tuple[DataSet, SyncRecord]:
        """What the store can hold of the data set, and the sync record of that."""
        data_set, left_out = leave_out(merged, self._store.can_hold)
        for name in left_out:
            logger.error("left out, because it is too large for the store: %s", name)
        return data_set, SyncRecord(
            revision=revision_of(texts_of(data_set)),
            synced_at_ms=int(time.time() * 1000),
            flags=len(data_set[FEATURES]),
            segments=len(data_set[SEGMENTS]),
            source=self._source,
            left_out=len(left_out),
        )

    @contextmanager
    def _turn(self, seconds: float, ticket: int | None = None) -> Iterator[str | Coalesced]:
        """The refresh lock, as its owner's name; or what came of this ticket when it was covered meanwhile.

        Raises RefreshBusy when neither comes about in time.
        """
        owner = uuid.uuid4().hex
        try:
            yield self._wait_for_turn(owner, seconds, ticket)
        finally:
            self._unlock(owner)

    def _wait_for_turn(self, owner: str, seconds: float, ticket: int | None) -> str | Coalesced:
        start = time.monotonic()
        may_start = True
        while True:
            has_lock = may_start and self._store.try_lock(owner, self._lock_seconds)
            if (coalesced := self._coalesced(ticket)) is not None:
                return coalesced
            if has_lock:
                return owner
            waited = time.monotonic() - start
            if waited >= seconds:
                raise RefreshBusy(f"Other refreshes were under way for {seconds:.0f} seconds.")
            # Too late for a refresh of its own, a webhook can still be covered by the one under way.
            may_start = waited < seconds - self._lock_seconds
            time.sleep(random.uniform(*_POLL_SECONDS))

    def _coalesced(self, ticket: int | None) -> Coalesced | None:
        if ticket is None:
            return None
        covered = self._store.read_covered()
        return Coalesced(covered.revision) if covered.ticket >= ticket else None

    def _unlock(self, owner: str) -> None:
        try:
            self._store.unlock(owner)
        except StoreUnavailable as error:  # the lock expires by itself; what happened before matters more
            logger.warning("refresh lock not released: %s", error)


def _as_fetched(_stored: DataSet, fetched: DataSet) -> Merge:
    return Merge(fetched, held_back=0)


def _holds(data_set: DataSet, announcement: Announcement) -> bool:
    item = data_set[announcement.kind].get(announcement.key)
    return announcement.is_met_by(None if item is None else item.version)


def _refusal(stored: DataSet) -> RefreshRefused:
    return RefreshRefused(
        f"LaunchDarkly sent an empty data set; the store keeps its {len(stored[FEATURES])} flags and "
        f'{len(stored[SEGMENTS])} segments. Invoke reconcile with {{"force": true}} to empty it.'
    )
