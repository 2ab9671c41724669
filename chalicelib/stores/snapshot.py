"""The whole data set of one revision as one compressed value, and what changed since the revision before it.

A reader gets all of a revision, or nothing of it, in one small read, whoever else writes to the items
meanwhile. LaunchDarkly's own items stay beside it, for every other reader.

The format, version 1: zlib over a line of JSON and the items' texts, one after the other. The line is
``{"revision", "items": {kind: [[key, ...], [bytes, ...]]}}``; that of changes has ``from``, the revision that
they lead from, and ``gone``: ``{kind: [key, ...]}``. Whoever inflates the whole needs to know no more.

One item can be read without the others. The items are sorted by key and cut into blocks, and the line and each block
are deflated by themselves, up to a full flush. Before ``items`` the line has ``blocks``: ``{kind: [[first key, items,
bytes deflated], ...]}``. In the lists of ``items`` a tab stands where a block begins, and at the end. The last
member is ``checksum``, a CRC-32 of the line before it and of the blocks: damage is noticed without inflating any.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeGuard

from ..data_set import KINDS, StoredDataSet, SyncRecord, Texts
from .texts import Block, PackedTexts, changed_texts, parts

logger = logging.getLogger(__name__)

FORMAT = 1

FLUSHED = b"\0\0\xff\xff"
"""What a full flush ends with."""

LAST_BLOCK = b"\3\0"
"""Deflate's, and empty."""

_END_BYTES = len(LAST_BLOCK) + 4
"""The last block and zlib's own check of the whole, by which older versions of the app notice damage."""

CHECKSUM = b',"checksum":'

Unpacked = tuple[dict[str, Any], Texts]
"""The line of JSON, and the texts."""


def leads_from(record: SyncRecord | None, held: StoredDataSet | None) -> bool:
    """Whether the changes that the record names lead from what is held."""
    if record is None or record.snapshot is None or held is None or held.record is None:
        return False
    return held.is_snapshot and record.snapshot.changes_from == held.record.revision


def open_snapshot(data: bytes | None, record: SyncRecord | None) -> StoredDataSet | None:
    """The data set of the record, from the snapshot that was read with it; None where this is no such snapshot."""
    if data is None or not _is_readable(record):
        return None
    texts = unpack(data, record.revision, _in_blocks)
    return None if texts is None else StoredDataSet(texts, record, initialized=True, is_snapshot=True)


def open_changes(data: bytes | None, record: SyncRecord | None, held: StoredDataSet) -> StoredDataSet | None:
    """The data set of the record, from the changes that were read with it and what is held; None where it is not."""
    if data is None or not _is_readable(record) or held.record is None:
        return None
    header, changed = _decompress(data, whole)
    if (header.get("revision"), header.get("from")) != (record.revision, held.record.revision):
        return None
    texts = {kind: changed_texts(held.texts[kind], changed[kind], set(header["gone"][kind])) for kind in KINDS}
    return StoredDataSet(texts, record, initialized=True, is_snapshot=True)


def _is_readable(record: SyncRecord | None) -> TypeGuard[SyncRecord]:
    return record is not None and record.snapshot is not None and record.snapshot.format == FORMAT


def unpack(data: bytes, revision: str, inflate: Callable[[bytes], Unpacked]) -> Texts | None:
    """The texts of the revision's items; None for a value that is not their snapshot."""
    header, texts = _decompress(data, inflate)
    return texts if header.get("revision") == revision else None


def _decompress(data: bytes, inflate: Callable[[bytes], Unpacked]) -> Unpacked:
    """The line of JSON and the texts; for a value that is damaged, an empty line and no texts."""
    try:
        return inflate(data)
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        logger.error("a snapshot in the store is damaged: %s: %s", type(error).__name__, error)
        return {}, {kind: {} for kind in KINDS}


def whole(data: bytes) -> Unpacked:
    """With all texts, whichever version of the app wrote them."""
    line, _, texts = zlib.decompress(data).partition(b"\n")
    header: dict[str, Any] = json.loads(line)
    items = {kind: header["items"][kind] for kind in KINDS}
    each = parts(texts, (size for _, sizes in items.values() for size in sizes))
    unpacked = {kind: dict(zip(keys, each, strict=False)) for kind, (keys, _) in items.items()}
    if sum(sum(sizes) for _, sizes in items.values()) != len(texts):
        raise ValueError("The texts are not as long as the line says.")
    return header, unpacked


def _in_blocks(data: bytes) -> Unpacked:
    """With texts that wait to be inflated. What is in no blocks, or is damaged, is inflated whole: that tells which."""
    start = data.find(FLUSHED) + len(FLUSHED)
    line, _, checksum = zlib.decompressobj().decompress(data[:start]).rpartition(CHECKSUM)
    deflated = memoryview(data)[start:-_END_BYTES]
    if checksum != b"%d}\n" % zlib.crc32(deflated, zlib.crc32(line)):
        return whole(data)
    head, *shards = line.split(b"\t")
    header: dict[str, Any] = json.loads(head + b"]]}}")
    each = list(parts(deflated, (length for kind in KINDS for _, _, length in header["blocks"][kind])))
    if any(block[-len(FLUSHED) :] != FLUSHED for block in each):
        return whole(data)
    return header, _texts_in_blocks(header["blocks"], iter(shards), iter(each))


def _texts_in_blocks(named: Mapping[str, Any], shards: Iterator[bytes], deflated: Iterator[memoryview]) -> Texts:
    texts = {}
    for kind in KINDS:
        # Behind the shards of a list comes what leads to the next list.
        *keys, _ = islice(shards, len(named[kind]) + 1)
        *sizes, _ = islice(shards, len(named[kind]) + 1)
        each = zip(named[kind], keys, sizes, deflated, strict=False)
        blocks = [Block(first, count, key, size, data) for (first, count, _), key, size, data in each]
        texts[kind] = PackedTexts(blocks, {})
    return texts
