"""The texts of a stored snapshot, of which only those are inflated that somebody asks for."""

from __future__ import annotations

import functools
import json
import threading
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeVar

_Bytes = TypeVar("_Bytes", bytes, memoryview)


class Block:
    """Items of neighbouring keys, whose texts were deflated together. Thread-safe.

    A text that is given away is not kept: whoever asks keeps what it makes of it. So a pass over the items
    inflates a block once, whatever their order, and leaves nothing behind but what is superseded.
    """

    def __init__(self, first_key: str, count: int, keys: bytes, sizes: bytes, deflated: memoryview) -> None:
        """``keys`` and ``sizes`` are parts of lists in JSON: only those of the blocks that are asked are parsed."""
        self.first_key = first_key
        self.count = count
        self._keys_in_json = keys
        self._sizes_in_json = sizes
        self._deflated = deflated
        self._texts: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def keys(self) -> Collection[str]:
        """In order, and quick to look for one."""
        return dict.fromkeys(_list_of(self._keys_in_json))

    def take(self, key: str) -> bytes:
        """The text under one of the keys."""
        with self._lock:
            text = self._texts.pop(key, None)
            if text is None:
                self._texts = self._inflate()
                text = self._texts.pop(key)
            return text

    def _inflate(self) -> dict[str, bytes]:
        texts = zlib.decompressobj(-zlib.MAX_WBITS).decompress(self._deflated)
        return dict(zip(self.keys, parts(texts, _list_of(self._sizes_in_json)), strict=True))


class PackedTexts(Mapping[str, bytes]):
    """Texts by key: those of the blocks, and what has changed since these were made."""

    def __init__(
        self, blocks: Sequence[Block], loose: Mapping[str, bytes], superseded: frozenset[str] = frozenset()
    ) -> None:
        """``loose`` are texts in no block; ``superseded`` keys of blocks whose texts are replaced, or gone."""
        self.blocks = blocks
        self.loose = loose
        self._superseded = superseded
        self._latest: Block | None = None

    def __getitem__(self, key: str) -> bytes:
        text = self.loose.get(key)
        if text is not None:
            return text
        block = self._block_with(key)
        if block is None or key in self._superseded:
            raise KeyError(key)
        return block.take(key)

    def __contains__(self, key: object) -> bool:
        """Inflates nothing, as all but taking a text."""
        return key in self.loose or (self._block_with(key) is not None and key not in self._superseded)

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks:
            for key in block.keys:
                if key not in self._superseded or key in self.loose:
                    yield key
        yield from (key for key in self.loose if key not in self._superseded)

    def __len__(self) -> int:
        return sum(block.count for block in self.blocks) - len(self._superseded) + len(self.loose)

    def changed(self, texts: Mapping[str, bytes], gone: Collection[str]) -> PackedTexts:
        """These with other texts, and without those of the keys that are gone."""
        loose = {key: text for key, text in {**self.loose, **texts}.items() if key not in gone}
        superseded = (key for key in (*texts, *gone) if self._block_with(key) is not None)
        return PackedTexts(self.blocks, loose, self._superseded.union(superseded))

    def _block_with(self, key: object) -> Block | None:
        """The block in which there is such a key; in a walk it is that of the key before.

        In none is what is no text, which a clause may name as a segment.
        """
        if not isinstance(key, str):
            return None
        latest = self._latest  # another thread may be walking elsewhere
        if latest is not None and key in latest.keys:
            return latest
        low, high = 0, len(self.blocks)
        while high - low > 1:  # a binary search, without importing one in a cold function
            middle = (low + high) // 2
            low, high = (low, middle) if key < self.blocks[middle].first_key else (middle, high)
        if low == high or key not in self.blocks[low].keys:
            return None
        self._latest = block = self.blocks[low]
        return block


def is_same_text(key: str, one: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    """Whether both hold the same text under a key of the one.

    Of the same blocks nothing is inflated: what was changed, and changed back, then counts as another text.
    """
    if isinstance(one, PackedTexts) and isinstance(other, PackedTexts) and one.blocks is other.blocks:
        return key in other and one.loose.get(key) == other.loose.get(key)
    return other.get(key) == one[key]


def changed_texts(held: Mapping[str, bytes], texts: Mapping[str, bytes], gone: Collection[str]) -> PackedTexts:
    """The held texts, with others, and without those of the keys that are gone."""
    packed = held if isinstance(held, PackedTexts) else PackedTexts((), held)
    return packed.changed(texts, gone)


def _list_of(part: bytes) -> list[Any]:
    """Any: JSON."""
    values: list[Any] = json.loads(b"[%b]" % part.rstrip(b","))
    return values


def parts(data: _Bytes, sizes: Iterable[int]) -> Iterator[_Bytes]:
    """The parts of ``data`` of these sizes, one after the other."""
    start = 0
    for end in accumulate(sizes):
        yield data[start:end]
        start = end
