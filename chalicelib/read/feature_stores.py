"""The data set as evaluations see it: the SDK's models, in memory, decoded when they are first asked for."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

from ..errors import UnreadableItem
from ..launchdarkly.evaluators import ReadMemberships, no_memberships
from ..launchdarkly.items import ModelOf, decode_item, log_unreadable, model_in_bulk
from ..launchdarkly.sdk import FEATURES, SEGMENTS, VersionedDataKind
from ..runtime.collector import collector_paused
from ..stores.texts import is_same_text

_BULK = 500
"""Of so many items at once, hundreds of thousands of objects, the collector is kept out."""


class ReadableFeatureStore(Protocol):
    """What an answer needs to know of flags beside their evaluation."""

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        """The item, or None when there is none. Raises UnreadableItem."""

    def holds(self, kind: VersionedDataKind, key: str) -> bool:
        """Whether there is such an item, readable or not. Decodes nothing."""

    def all(self, kind: VersionedDataKind) -> dict[str, Any]:
        """Every readable item by key."""

    def unreadable_flags(self) -> Collection[str]:
        """Keys of the flags that were asked for and cannot be read."""


class SnapshotFeatureStore:
    """The data set of one revision. An item is decoded when it is first asked for, and kept. Thread-safe.

    Decoding costs about 50 microseconds an item; most functions evaluate a few flags of many. One bad item in
    the store is one bad flag in the answer, while the SDK's own stores fail whole on it.
    """

    def __init__(
        self,
        texts: Mapping[str, Mapping[str, bytes]],
        previous: SnapshotFeatureStore | None = None,
        read_memberships: ReadMemberships = no_memberships,
    ) -> None:
        """``texts`` is kind -> key -> JSON text. What ``previous`` has decoded of the same text is taken over."""
        self._texts = texts
        self.read_memberships = read_memberships
        self._decoded: dict[str, dict[str, Any]] = {
            kind: {} if previous is None else previous._decoded_of(kind, texts[kind])
            for kind in (FEATURES.namespace, SEGMENTS.namespace)
        }
        self._unreadable: dict[tuple[str, str], None] = {}
        self._lock = threading.Lock()
        self.same_for_everybody: dict[bool, dict[str, dict[str, Any]]] = {False: {}, True: {}}
        """Answers that are the same for every context, by flag; the evaluator keeps them here."""

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        """The item, or None when there is none. Raises UnreadableItem."""
        item = self._item(kind, key)
        if item is None and (kind.namespace, key) in self._unreadable:
            raise UnreadableItem(f"The stored item {kind.namespace}/{key} cannot be read.")
        return item

    def holds(self, kind: VersionedDataKind, key: str) -> bool:
        return key in self._texts[kind.namespace]

    def all(self, kind: VersionedDataKind) -> dict[str, Any]:
        """Every readable item by key."""
        texts, decoded = self._texts[kind.namespace], self._decoded[kind.namespace]
        if len(decoded) < len(texts):
            self._decode_rest(kind)
        return {key: item for key in texts if (item := decoded[key]) is not None}

    def _decode_rest(self, kind: VersionedDataKind) -> None:
        """What nobody has asked for by its key."""
        model_of = model_in_bulk(kind)
        texts, decoded = self._texts[kind.namespace], self._decoded[kind.namespace]
        is_bulk = len(texts) - len(decoded) >= _BULK
        with collector_paused() if is_bulk else nullcontext():
            for key in texts:
                if key not in decoded:
                    with self._lock:
                        if key not in decoded:
                            decoded[key] = self._decode(kind, key, texts[key], model_of)

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
        return {key: item for key, item in decoded.items() if item is not None and is_same_text(key, mine, texts)}

    def _item(self, kind: VersionedDataKind, key: str) -> Any:
        """The item; None when there is none, and when it is deleted or unreadable."""
        decoded = self._decoded[kind.namespace]
        if key not in decoded:
            with self._lock:
                text = None if key in decoded else self._texts[kind.namespace].get(key)
                if text is not None:  # of unknown keys nothing is kept: callers may ask for any number
                    decoded[key] = self._decode(kind, key, text)
        return decoded.get(key)

    def _decode(self, kind: VersionedDataKind, key: str, text: bytes, model_of: ModelOf | None = None) -> Any:
        try:
            item = decode_item(kind, key, text, model_of)
        except UnreadableItem as error:
            self._unreadable[kind.namespace, key] = None
            log_unreadable(kind, key, text, error)
            return None
        if item is not None:
            bound_patterns_of(item)
        return item


def bound_patterns_of(item: Any) -> None:
    """Bounds what the regular expressions of a flag or segment may cost, if it has any."""
    if not item.deleted and _has_patterns(item):
        from .patterns import bound_patterns

        bound_patterns(item)


def _has_patterns(item: Any) -> bool:
    """Loops, because a generator for each rule of each flag costs more than what it looks at."""
    for rule in item.rules:
        for clause in rule.clauses:
            if clause.op == "matches":
                return True
    return False
