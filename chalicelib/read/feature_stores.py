"""The data set as evaluations see it: the SDK's models, in memory, decoded when they are first asked for."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

from ..errors import UnreadableItem
from ..launchdarkly.sdk import FEATURES, SEGMENTS, VersionedDataKind
from ..runtime.collector import collector_paused

logger = logging.getLogger(__name__)

_READ_OF_THE_JSON = (
    "key",
    "version",
    "clientSide",
    "clientSideAvailability",
    "trackEvents",
    "debugEventsUntilDate",
)
"""What evaluations read of the JSON that a model keeps, beside the model itself."""

_BULK = 500
"""Of so many items at once, hundreds of thousands of objects, the collector is kept out."""


class ReadableFeatureStore(Protocol):
    """What an answer needs to know of flags beside their evaluation."""

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        """The item, or None when there is none. Raises UnreadableItem."""

    def unreadable_flags(self) -> Collection[str]:
        """Keys of the flags that were asked for and cannot be read."""


class SnapshotFeatureStore:
    """The data set of one revision. An item is decoded when it is first asked for, and kept. Thread-safe.

    Decoding costs about 50 microseconds an item; most functions evaluate a few flags of many. One bad item in
    the store is one bad flag in the answer, while the SDK's own stores fail whole on it.
    """

    def __init__(self, texts: Mapping[str, Mapping[str, bytes]], previous: SnapshotFeatureStore | None = None) -> None:
        """``texts`` is kind -> key -> JSON text. What ``previous`` has decoded of the same text is taken over."""
        self._texts = texts
        self._decoded: dict[str, dict[str, Any]] = {
            kind: {} if previous is None else previous._decoded_of(kind, texts[kind])
            for kind in (FEATURES.namespace, SEGMENTS.namespace)
        }
        self._unreadable: dict[tuple[str, str], None] = {}
        self._lock = threading.Lock()
        self.same_for_everybody: dict[tuple[str, bool], dict[str, Any]] = {}
        """Answers that are the same for every context, by flag; the evaluator keeps them here."""

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        """The item, or None when there is none. Raises UnreadableItem."""
        item = self._item(kind, key)
        if item is None and (kind.namespace, key) in self._unreadable:
            raise UnreadableItem(f"The stored item {kind.namespace}/{key} cannot be read.")
        return item

    def all(self, kind: VersionedDataKind) -> dict[str, Any]:
        """Every readable item by key."""
        texts = self._texts[kind.namespace]
        is_bulk = len(texts) - len(self._decoded[kind.namespace]) >= _BULK
        with collector_paused() if is_bulk else nullcontext():
            items = {key: self._item(kind, key) for key in texts}
        return {key: item for key, item in items.items() if item is not None}

    def unreadable_flags(self) -> Collection[str]:
        return [key for namespace, key in tuple(self._unreadable) if namespace == FEATURES.namespace]

    def count(self, kind: VersionedDataKind) -> int:
        """How many items are stored, readable or not. Decodes nothing."""
        return len(self._texts[kind.namespace])

    @property
    def unreadable_count(self) -> int:
        """Flags and segments that were asked for and could not be decoded."""
        return len(self._unreadable)

    def _decoded_of(self, kind: str, texts: Mapping[str, bytes]) -> dict[str, Any]:
        """The decoded items whose texts are among these. What cannot be read is left out, to be logged anew."""
        mine, decoded = self._texts[kind], self._decoded[kind].copy()  # another thread may be decoding
        return {key: item for key, item in decoded.items() if item is not None and texts.get(key) == mine[key]}

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
            fields = _JSON.decode(text.decode())
            item = kind.decode(fields)
            if not item.deleted and item.key != key:
                raise ValueError("It is stored under another key than its own.")
        except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError) as error:
            self._unreadable[kind.namespace, key] = None
            logger.error("stored item %s/%s cannot be read: %s: %s", kind.namespace, key, type(error).__name__, error)
            return None
        _drop_all_but(_READ_OF_THE_JSON, fields)
        return None if item.deleted else item


def _drop_all_but(names: Collection[str], fields: dict[str, Any]) -> None:
    """The model has taken what it needs; it keeps the rest, a third of what all flags take in memory, for nothing."""
    kept = {name: fields[name] for name in names if name in fields}
    fields.clear()
    fields.update(kept)


def _finite(literal: str) -> float:
    """Python's JSON knows NaN and Infinity, and makes one of 1e999; in an answer they would not be JSON."""
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError("A number is not finite.")
    return number


_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
