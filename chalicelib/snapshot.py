"""The read path: one revision of the data set in memory, and when it is replaced.

Each request reads the sync record, one small read, and answers from the snapshot of that revision.
The store may go away: then the last snapshot answers, marked stale.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ldclient.client import LDClient

from chalicelib.clients import daemon_client
from chalicelib.data_set import StoredDataSet, SyncRecord, revision_of
from chalicelib.errors import StoreNotInitialized, StoreUnavailable
from chalicelib.feature_stores import SnapshotFeatureStore
from chalicelib.stores import Store

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
"""How long the store is left alone after it failed, so that not every request pays the time-out."""


@dataclass(frozen=True)
class Snapshot:
    """The whole data set of one revision, with an SDK client in daemon mode over it. Immutable.

    ``record`` is None when a Relay Proxy or another SDK filled the store. ``stale`` says that the store
    could not be asked whether this is still its content.
    """

    client: LDClient
    feature_store: SnapshotFeatureStore
    revision: str
    record: SyncRecord | None
    read_at: float
    stale: bool = False


class Snapshots:
    """Holds the current snapshot. Thread-safe; a request calls ``current`` once and keeps what it got."""

    def __init__(self, store: Store, reuse_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``reuse_seconds``: how long a data set without a sync record is reused before it is read again."""
        self._store = store
        self._reuse_seconds = reuse_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._failure: StoreUnavailable | None = None
        self._retry_at = 0.0

    def current(self) -> Snapshot:
        """The store's content, or the last known one, marked stale, while the store is out of reach.

        Raises StoreUnavailable when there is no last known one, and StoreNotInitialized when the store
        was never filled.
        """
        with self._lock:
            if self._failure is None or self._clock() >= self._retry_at:
                self._try_store()
            if self._failure is None and self._snapshot is not None:
                return self._snapshot
            return self._last_known()

    def _try_store(self) -> None:
        try:
            self._snapshot = self._fresh()
            self._failure = None
        except StoreUnavailable as failure:
            if self._failure is None:
                logger.error("serving without the store: %s", failure)
            self._failure = failure
            self._retry_at = self._clock() + _RETRY_SECONDS

    def _last_known(self) -> Snapshot:
        if self._snapshot is None:
            assert self._failure is not None
            raise self._failure
        return replace(self._snapshot, stale=True)

    def _fresh(self) -> Snapshot:
        record = self._store.read_sync_record()
        held = self._snapshot
        if held is not None and record is not None and record.revision == held.revision:
            return held if record == held.record else replace(held, record=record)
        if held is not None and record is None and held.record is None and self._is_reusable(held):
            return held
        return self._snapshot_of(self._store.read_data_set())

    def _is_reusable(self, snapshot: Snapshot) -> bool:
        return self._clock() - snapshot.read_at < self._reuse_seconds

    def _snapshot_of(self, stored: StoredDataSet) -> Snapshot:
        if not stored.initialized and stored.record is None:
            if self._snapshot is None:
                raise StoreNotInitialized(
                    "The flag store was never filled; POST a webhook or invoke reconcile to fill it."
                )
            # A failover to an empty replica, or somebody flushed the store: what we hold is still the best answer.
            raise StoreUnavailable("The flag store came back empty.")
        feature_store = SnapshotFeatureStore(stored.texts)
        return Snapshot(
            client=daemon_client(feature_store),
            feature_store=feature_store,
            revision=revision_of(stored.texts) if stored.record is None else stored.record.revision,
            record=stored.record,
            read_at=self._clock(),
        )
