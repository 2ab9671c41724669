"""A store's content without a LaunchDarkly: written by a refresh, as hash fields, and what was read of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from chalicelib.data_set import DataSet, StoredDataSet, SyncRecord, fetched_item, revision_of, texts_of
from chalicelib.refresh.refresher import Refresher
from chalicelib.stores.port import Store
from chalicelib.stores.redis.store import RedisStore
from tests.support.data import Json, by_key


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
    return (
        Refresher(RedisStore(redis_url, "launchdarkly"), lambda _: data, "launchdarkly").reconcile(force=True).revision
    )


def as_json(*items: Json) -> dict[Any, Any]:
    """Items as a store's hash holds them: key to text (Any: redis-py accepts more than text)."""
    return {item["key"]: json.dumps(item) for item in items}


class CountedReads:
    """A store that counts how often the read path asks it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.count = 0

    def read_sync_record(self) -> SyncRecord | None:
        self.count += 1
        return self._store.read_sync_record()

    def read_data_set(self) -> StoredDataSet:
        self.count += 1
        return self._store.read_data_set()
