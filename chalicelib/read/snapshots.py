"""The read path: one revision of the data set in memory, and when it is replaced.

Each request reads the sync record, one small read, and answers from the snapshot of that revision.
The store may go away: then the last snapshot answers, marked stale.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..data_set import FEATURES, KINDS, SEGMENTS, StoredDataSet, SyncRecord, revision_of, stored_item
from ..errors import StoreNotInitialized, StoreTooSlow, StoreUnavailable
from ..launchdarkly.evaluators import (
    FlagEvaluator,
    Memberships,
    ReadMemberships,
    Record,
    evaluator_over,
    no_memberships,
)
from ..runtime.clock import AgeingClock
from ..timing import API_GATEWAY_SECONDS, Timing
from .feature_stores import SnapshotFeatureStore

if TYPE_CHECKING:
    from ..stores.ahead import FirstRead
    from ..stores.port import Reader

logger = logging.getLogger(__name__)


class Provenance(NamedTuple):
    """Where an answer comes from. In direct mode, where the SDK holds the data set, revision and time are unknown.

    ``synced_at`` is RFC 3339, and None where another writer filled the store. ``stale``: from memory, while
    the store could not be asked whether this is still its content.
    """

    revision: str | None = None
    synced_at: str | None = None
    stale: bool = False


class Snapshot(NamedTuple):
    """The whole data set of one revision. Immutable.

    ``record`` is None when a Relay Proxy or another SDK filled the store. ``stale`` says that the store
    could not be asked whether this is still its content. ``memberships`` are those of the request that it is for.
    ``record_event`` is given what is evaluated, if somebody is to know.
    """

    feature_store: SnapshotFeatureStore
    revision: str
    record: SyncRecord | None
    read_at: float
    stale: bool = False
    memberships: Memberships | None = None
    record_event: Record | None = None

    def for_request(self, wait_seconds: float) -> "Snapshot":
        """The same for one request, which may wait so long for memberships in big segments."""
        return self._replace(memberships=Memberships(self.feature_store.read_memberships, wait_seconds))

    @property
    def evaluator(self) -> FlagEvaluator:
        """An evaluator over this data set: made for each request, because keeping it there would be a cycle."""
        return evaluator_over(self.feature_store, self.memberships, self.record_event)

    @property
    def records(self) -> bool:
        """Whether somebody is to know what is evaluated."""
        return self.record_event is not None

    def unrecorded(self) -> "Snapshot":
        return self._replace(record_event=None)

    @property
    def provenance(self) -> Provenance:
        return Provenance(self.revision, None if self.record is None else self.record.synced_at, self.stale)


class Snapshots:
    """Holds the current snapshot. Thread-safe; a request calls ``current`` once and keeps what it got."""

    def __init__(
        self,
        store: "Reader",
        reuse_seconds: float,
        timing: Timing = Timing(),
        clock: Callable[[], float] | None = None,
        first_read: "FirstRead | None" = None,
        read_memberships: ReadMemberships = no_memberships,
    ) -> None:
        """``reuse_seconds``: how long a data set without a sync record is reused before it is read again.

        ``first_read``: what the first question to the store is answered with, if it has been asked already.
        ``read_memberships``: where the members of big segments are, for each data set.
        """
        self._store = store
        self._read_memberships = read_memberships
        self._reuse_seconds = reuse_seconds
        self._timing = timing
        self._clock = clock or AgeingClock()
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._stored = StoredDataSet({kind: {} for kind in KINDS}, None, initialized=False)
        """What the snapshot was made from."""
        self._failure: str | None = None
        self._slow_reads = 0
        """How many reads in a row were cut off because the data came too slowly."""
        self._retry_at = 0.0
        self._first_read = first_read
        self._read_ahead_at: float | None = None
        """When the first read began (Unix time), until the next request has been told what it read."""

    @property
    def is_store_away(self) -> bool:
        """Whether the store did not answer when it was asked last, and is left alone since then."""
        if self._failure is None:
            return False
        with self._lock:
            return self._failure is not None and self._clock() < self._retry_at

    def current(self, arrived_at: float | None = None) -> Snapshot:
        """The store's content, or the last known one, marked stale, while the store is out of reach.

        ``arrived_at``: since when the request has been there (Unix time), if that is known. A function that was started
        for it has read the store since then, and need not ask again. Raises StoreUnavailable when there is no last
        known one, and StoreNotInitialized when the store was never filled.
        """
        with self._lock:
            if not self._has_read_since(arrived_at) and (self._failure is None or self._clock() >= self._retry_at):
                self._ask_store()
            if self._snapshot is None:
                # A new error each time: raising a kept one again would pile up its traceback.
                raise StoreUnavailable(self._failure)
            return self._snapshot if self._failure is None else self._snapshot._replace(stale=True)

    def _has_read_since(self, arrived_at: float | None) -> bool:
        """Whether the first read began while the request waited, for no longer than API Gateway does, and did not fail.

        Only the first one: clocks may be set meanwhile.
        """
        begun_at, self._read_ahead_at = self._read_ahead_at, None
        if arrived_at is None or begun_at is None or self._snapshot is None:
            return False
        return self._timing.clocks_differ_seconds <= begun_at - arrived_at <= API_GATEWAY_SECONDS

    def _ask_store(self) -> None:
        try:
            self._snapshot = self._fresh()
        except StoreUnavailable as failure:
            # Without a snapshot nothing is served: whoever asked says so.
            if self._failure is None and self._snapshot is not None:
                logger.error("serving without the store: %s", failure)
            self._failure = str(failure)
            self._retry_at = self._clock() + self._pause_after(failure)
        else:
            self._failure, self._slow_reads = None, 0

    def _pause_after(self, failure: StoreUnavailable) -> float:
        """How long to leave the store alone: longer and longer when data came, but too slowly to read all of it.

        Whoever reads over the same link makes it slow: they come back at different times, and less often.
        """
        if not isinstance(failure, StoreTooSlow):
            return self._timing.store_retry_seconds
        import random  # a cold function that finds its store well has no use for it

        self._slow_reads += 1
        longest = min(self._timing.store_retry_seconds * 2**self._slow_reads, self._timing.store_longest_retry_seconds)
        return random.SystemRandom().uniform(longest / 2, longest)

    def _fresh(self) -> Snapshot:
        held = self._snapshot
        if held is None:
            return self._read(None)
        record = self._store.read_sync_record()
        if record is None or record.revision != held.revision:
            return self._changed(held, record)
        if record.snapshot is not None and self._is_due(held):
            return self._checked(held, record)
        return held._replace(record=record) if record != held.record else held

    def _changed(self, held: Snapshot, record: SyncRecord | None) -> Snapshot:
        """The store's content, now that its record is not of the revision that is held."""
        if record is not None and record.writing and record.snapshot is None:
            return held  # it is complete; the items are not
        if record != self._stored.record:
            return self._read(record)
        # The record was so already when the items were read: they are somebody else's.
        return self._of_items(self._store.read_items()) if self._is_due(held) else held

    def _checked(self, held: Snapshot, record: SyncRecord) -> Snapshot:
        """What is held, unless another writer has taken the store over, whose items then are what counts."""
        if not record.writing and self._is_taken_over():
            logger.warning("another writer has replaced the items in the store")
            return self._of_items(self._store.read_items())
        return held._replace(record=record, read_at=self._clock())

    def _is_due(self, held: Snapshot) -> bool:
        return self._clock() - held.read_at >= self._reuse_seconds

    def _is_taken_over(self) -> bool:
        """Whether somebody else has written the items anew, as far as two of each kind can tell.

        A lower version is no sign of it: a refresh that was stopped for long may have written it. Nor is an
        item that is gone: the store may have evicted it.
        """
        import random  # a cold function has nothing to check yet

        texts = self._stored.texts
        sample = {kind: random.sample(tuple(texts[kind]), min(2, len(texts[kind]))) for kind in KINDS if texts[kind]}
        return any(
            text != texts[kind][key] and stored_item(text).version >= stored_item(texts[kind][key]).version
            for kind, found in self._store.read_some(sample).items()
            for key, text in found.items()
        )

    def _read(self, record: SyncRecord | None) -> Snapshot:
        """The store's content; ``record`` is its sync record, if it was read just now."""
        begun, self._first_read = self._first_read, None
        stored = self._store.read_snapshot(record, self._stored) if begun is None else begun.result()
        self._read_ahead_at = None if begun is None else begun.begun_at
        if stored is None or stored.record is None:
            stored = self._store.read_items()
            if _has_lost_items(stored):
                raise StoreUnavailable("The flag store has lost its flags or segments; it may be evicting keys.")
            return self._of_items(stored)
        return self._of(stored, stored.record.revision, stored.record)

    def _of_items(self, stored: StoredDataSet) -> Snapshot:
        """Of the items as they are. Only if they are what the record says are they of its revision."""
        if not stored.initialized and stored.record is None:
            raise _empty(was_filled=self._snapshot is not None)
        revision = revision_of(stored.texts)
        is_ours = stored.record is not None and stored.record.revision == revision
        return self._of(stored, revision, stored.record if is_ours else None)

    def _of(self, stored: StoredDataSet, revision: str, record: SyncRecord | None) -> Snapshot:
        """A snapshot of this content; the held one, with all that it has decoded, when it is the same."""
        held, self._stored = self._snapshot, stored
        if held is not None and revision == held.revision:
            return held._replace(record=record, read_at=self._clock())
        previous = None if held is None else held.feature_store
        feature_store = SnapshotFeatureStore(stored.texts, previous, self._read_memberships)
        return Snapshot(feature_store, revision, record, read_at=self._clock())


def _empty(was_filled: bool) -> StoreUnavailable | StoreNotInitialized:
    if was_filled:
        # A failover to an empty replica, or somebody flushed the store: what we hold is still the best answer.
        return StoreUnavailable("The flag store came back empty.")
    return StoreNotInitialized("The flag store was never filled; POST a webhook or invoke reconcile to fill it.")


def _has_lost_items(stored: StoredDataSet) -> bool:
    """Whether the sync record counts flags or segments and there is not one.

    A store that evicts keys (``maxmemory-policy allkeys-lru``) drops a hash whole, and keeps the sync
    record, which every request reads. Without its flags every answer would be a 404; without its segments
    every answer would be wrong.
    """
    record = stored.record
    return record is not None and any(
        count > 0 and not stored.texts[kind] for kind, count in ((FEATURES, record.flags), (SEGMENTS, record.segments))
    )
