"""A store as a test sees it: the reader and the writer of one function instance, and its content."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from chalicelib.config import load_settings
from chalicelib.data_set import DataSet, StoredDataSet, SyncRecord, Texts, fetched_item, revision_of, texts_of
from chalicelib.refresh.refresher import Refresher
from chalicelib.stores.port import MembershipReader, Reader, Writer
from chalicelib.timing import Timing
from chalicelib.wiring import Wiring
from tests.support.data import Json, by_key
from tests.support.timings import PATIENT


class Store(NamedTuple):
    reader: Reader
    writer: Writer


def open_store(environment: Mapping[str, str], timing: Timing = PATIENT) -> Store:
    """The store that these settings name, opened as another function instance would."""
    wiring = wiring_of(environment, timing)
    return Store(wiring.reader, wiring.writer)


def wiring_of(environment: Mapping[str, str], timing: Timing = PATIENT) -> Wiring:
    """The parts of a function instance with these settings."""
    wiring = Wiring(timing)
    wiring.settings = load_settings(environment)
    return wiring


def data_set(flags: Iterable[Json], segments: Iterable[Json] = ()) -> DataSet:
    """What a fetch of these makes."""
    return {
        kind: {key: fetched_item(item) for key, item in by_key(*items).items()}
        for kind, items in (("features", flags), ("segments", segments))
    }


def revision(data: DataSet) -> str:
    return revision_of(texts_of(data))


def refresh_store(redis_url: str, data: DataSet) -> str:
    """What a refresh does once it has fetched ``data``; the new revision."""
    writer = open_store({"REDIS_URL": redis_url}).writer
    return Refresher(writer, lambda _: data, "launchdarkly").reconcile(force=True).revision


def as_json(*items: Json) -> dict[Any, Any]:
    """Items as a store's hash holds them: key to text (Any: redis-py accepts more than text)."""
    return {item["key"]: json.dumps(item) for item in items}


class CountedReads:
    """A reader that counts how often it is asked."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self.kind = store.kind
        self.count = 0

    def read_sync_record(self) -> SyncRecord | None:
        self.count += 1
        return self._store.read_sync_record()

    def read_snapshot(self, record: SyncRecord | None, held: StoredDataSet | None) -> StoredDataSet | None:
        self.count += 1
        return self._store.read_snapshot(record, held)

    def read_items(self) -> StoredDataSet:
        self.count += 1
        return self._store.read_items()

    def read_some(self, keys: Mapping[str, Collection[str]]) -> Texts:
        self.count += 1
        return self._store.read_some(keys)

    def memberships(self, prefix: str) -> MembershipReader:
        return self._store.memberships(prefix)

    def close(self) -> None:
        self._store.close()


def content_of(store: Store) -> StoredDataSet:
    """What a reader finds, by the snapshot if there is one, but for how it was read."""
    found = store.reader.read_snapshot(None, None) or store.reader.read_items()
    return without_snapshot(found)


def without_snapshot(found: StoredDataSet) -> StoredDataSet:
    """The content alone: texts, record and whether the store was filled."""
    record = None if found.record is None else found.record._replace(snapshot=None)
    return StoredDataSet(found.texts, record, found.initialized)
