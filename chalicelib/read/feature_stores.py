"""The feature stores that the SDK's clients evaluate from: memory only, no connection.

Each can name its unreadable flags: one bad item in the store is one bad flag in the answer, while the
SDK's own stores fail whole on it.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from ldclient.feature_store import InMemoryFeatureStore
from ldclient.interfaces import FeatureStore
from ldclient.versioned_data_kind import FEATURES, SEGMENTS, VersionedDataKind

from ..errors import UnreadableItem
from ..runtime.collector import collector_paused

logger = logging.getLogger(__name__)

Callback = Callable[[Any], Any]
"""The SDK's store interface hands every result through one of these (untyped there)."""


class ReadableFeatureStore(Protocol):
    """What evaluation needs beside the SDK's FeatureStore."""

    @property
    def initialized(self) -> bool:
        """Whether there is a data set; only in direct mode it may still have to arrive."""

    def get(self, kind: VersionedDataKind, key: str, callback: Callback) -> Any: ...

    def all(self, kind: VersionedDataKind, callback: Callback) -> Any: ...

    def unreadable_flags(self) -> Collection[str]:
        """Keys of the flags that ``all`` had to leave out."""


class DirectFeatureStore(InMemoryFeatureStore):
    """The SDK's in-memory store of direct mode; the SDK itself refuses what it cannot read."""

    def unreadable_flags(self) -> Collection[str]:
        return ()


class _ReadOnlyFeatureStore(FeatureStore):
    """In daemon mode nothing writes to the SDK's feature store."""

    @property
    def initialized(self) -> bool:
        return True

    def init(self, all_data: object) -> None:
        raise NotImplementedError

    def upsert(self, kind: VersionedDataKind, item: object) -> None:
        raise NotImplementedError

    def delete(self, kind: VersionedDataKind, key: str, version: int) -> None:
        raise NotImplementedError


class SnapshotFeatureStore(_ReadOnlyFeatureStore):
    """The data set of one revision. An item is decoded when it is first asked for, and kept. Thread-safe.

    Decoding costs about 50 microseconds an item; most functions evaluate a few flags of many.
    """

    def __init__(self, texts: Mapping[str, Mapping[str, bytes]]) -> None:
        self._texts = texts
        self._decoded: dict[str, dict[str, Any]] = {FEATURES.namespace: {}, SEGMENTS.namespace: {}}
        self._unreadable: dict[tuple[str, str], None] = {}
        self._lock = threading.Lock()

    def get(self, kind: VersionedDataKind, key: str, callback: Callback = lambda item: item) -> Any:
        """The item, or None when there is none. Raises UnreadableItem."""
        item = self._item(kind, key)
        if item is None and (kind.namespace, key) in self._unreadable:
            raise UnreadableItem(f"The stored item {kind.namespace}/{key} cannot be read.")
        return callback(item)

    def all(self, kind: VersionedDataKind, callback: Callback = lambda items: items) -> Any:
        """Every readable item by key."""
        with collector_paused():
            items = {key: self._item(kind, key) for key in self._texts[kind.namespace]}
        return callback({key: item for key, item in items.items() if item is not None})

    def unreadable_flags(self) -> Collection[str]:
        return [key for namespace, key in tuple(self._unreadable) if namespace == FEATURES.namespace]

    def count(self, kind: VersionedDataKind) -> int:
        """How many items are stored, readable or not. Decodes nothing."""
        return len(self._texts[kind.namespace])

    @property
    def unreadable_count(self) -> int:
        """Flags and segments that were asked for and could not be decoded."""
        return len(self._unreadable)

    def _item(self, kind: VersionedDataKind, key: str) -> Any:
        """The item; None when there is none, and when it is deleted or unreadable."""
        text = self._texts[kind.namespace].get(key)
        if text is None:
            return None  # and nothing to keep: callers may ask for any number of unknown keys
        decoded = self._decoded[kind.namespace]
        if key not in decoded:
            with self._lock:
                if key not in decoded:
                    decoded[key] = self._decode(kind, key, text)
        return decoded[key]

    def _decode(self, kind: VersionedDataKind, key: str, text: bytes) -> Any:
        try:
            item = kind.decode(_JSON.decode(text.decode()))
            if not item.deleted and item.key != key:
                raise ValueError("It is stored under another key than its own.")
        except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError) as error:
            self._unreadable[kind.namespace, key] = None
            logger.error("stored item %s/%s cannot be read: %s: %s", kind.namespace, key, type(error).__name__, error)
            return None
        return None if item.deleted else item


def _finite(literal: str) -> float:
    """Python's JSON knows NaN and Infinity, and makes one of 1e999; in an answer they would not be JSON."""
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError("A number is not finite.")
    return number


_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


class SelectedFlags(_ReadOnlyFeatureStore):
    """A view of another store in which only some flags are listed; prerequisites and segments are all found."""

    def __init__(self, feature_store: ReadableFeatureStore, keys: Collection[str]) -> None:
        self._feature_store = feature_store
        self._keys = keys
        self._unreadable: dict[str, None] = {}

    def get(self, kind: VersionedDataKind, key: str, callback: Callback = lambda item: item) -> Any:
        return self._feature_store.get(kind, key, callback)

    def all(self, kind: VersionedDataKind, callback: Callback = lambda items: items) -> Any:
        found = {}
        for key in self._keys:
            try:
                item = self.get(kind, key)
            except UnreadableItem:
                self._unreadable[key] = None
                continue
            if item is not None:
                found[key] = item
        return callback(found)

    def unreadable_flags(self) -> Collection[str]:
        return tuple(self._unreadable)
