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

import json
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeGuard

from ..data_set import KINDS, SnapshotName, StoredDataSet, SyncRecord, Texts
from .texts import Block, PackedTexts, changed_texts, parts

logger = logging.getLogger(__name__)

FORMAT = 1

_LARGEST_CHANGES = 64 * 1024
"""In bytes. Beyond this, changes save a reader too little to be worth a second value."""

_BLOCK_BYTES = 384 * 1024
"""Of texts. Smaller blocks are inflated sooner, and take more room: half as large, 2 % more for 5,000 flags."""

_FLUSHED = b"\0\0\xff\xff"
"""What a full flush ends with."""

_LAST_BLOCK = b"\3\0"
"""Deflate's, and empty."""

_END_BYTES = len(_LAST_BLOCK) + 4
"""The last block and zlib's own check of the whole, by which older versions of the app notice damage."""

_CHECKSUM = b',"checksum":'


Unpacked = tuple[dict[str, Any], Texts]
"""The line of JSON, and the texts."""


class Packed(NamedTuple):
    """What a refresh writes beside the items.

    ``snapshot`` is None when it is stored already, ``changes`` when they would save a reader nothing.
    """

    name: SnapshotName
    snapshot: bytes | None
    changes: bytes | None


def pack(revision: str, texts: Texts, before: SyncRecord | None, snapshot_before: bytes | None) -> Packed:
    """The snapshot of ``revision``, given what the store holds: the sync record and the snapshot that it names."""
    old = None
    if before is not None and before.snapshot is not None and snapshot_before is not None:
        old = _unpack(snapshot_before, before.revision, _whole)
        if old is not None and before.revision == revision:
            return Packed(before.snapshot, None, None)
    snapshot = _compress({"revision": revision}, texts)
    if old is None or before is None:
        return Packed(SnapshotName(FORMAT, len(snapshot), None), snapshot, None)
    changes = _pack_changes(revision, texts, before.revision, old)
    if len(changes) > min(_LARGEST_CHANGES, len(snapshot)):
        return Packed(SnapshotName(FORMAT, len(snapshot), None), snapshot, None)
    return Packed(SnapshotName(FORMAT, len(snapshot), before.revision), snapshot, changes)


def _pack_changes(revision: str, texts: Texts, old_revision: str, old: Texts) -> bytes:
    changed = {kind: {key: text for key, text in texts[kind].items() if old[kind].get(key) != text} for kind in KINDS}
    gone = {kind: [key for key in old[kind] if key not in texts[kind]] for kind in KINDS}
    return _compress({"revision": revision, "from": old_revision, "gone": gone}, changed)


def leads_from(record: SyncRecord | None, held: StoredDataSet | None) -> bool:
    """Whether the changes that the record names lead from what is held."""
    if record is None or record.snapshot is None or held is None or held.record is None:
        return False
    return held.is_snapshot and record.snapshot.changes_from == held.record.revision


def open_snapshot(data: bytes | None, record: SyncRecord | None) -> StoredDataSet | None:
    """The data set of the record, from the snapshot that was read with it; None where this is no such snapshot."""
    if data is None or not _is_readable(record):
        return None
    texts = _unpack(data, record.revision, _in_blocks)
    return None if texts is None else StoredDataSet(texts, record, initialized=True, is_snapshot=True)


def open_changes(data: bytes | None, record: SyncRecord | None, held: StoredDataSet) -> StoredDataSet | None:
    """The data set of the record, from the changes that were read with it and what is held; None where it is not."""
    if data is None or not _is_readable(record) or held.record is None:
        return None
    header, changed = _decompress(data, _whole)
    if (header.get("revision"), header.get("from")) != (record.revision, held.record.revision):
        return None
    texts = {kind: changed_texts(held.texts[kind], changed[kind], set(header["gone"][kind])) for kind in KINDS}
    return StoredDataSet(texts, record, initialized=True, is_snapshot=True)


def _is_readable(record: SyncRecord | None) -> TypeGuard[SyncRecord]:
    return record is not None and record.snapshot is not None and record.snapshot.format == FORMAT


def _unpack(data: bytes, revision: str, inflate: Callable[[bytes], Unpacked]) -> Texts | None:
    """The texts of the revision's items; None for a value that is not their snapshot."""
    header, texts = _decompress(data, inflate)
    return texts if header.get("revision") == revision else None


class _PackedBlock(NamedTuple):
    keys: list[str]
    sizes: list[int]
    text: bytes
    deflated: bytes


def _compress(header: Mapping[str, Any], texts: Texts) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    blocks = {kind: [_packed(items, compressor) for items in _cut(texts[kind])] for kind in KINDS}
    of_all = [block for kind in KINDS for block in blocks[kind]]
    deflated = b"".join(block.deflated for block in of_all)
    line = _line(header, blocks)
    line += b"%b%d}\n" % (_CHECKSUM, zlib.crc32(deflated, zlib.crc32(line)))
    check = zlib.adler32(line)
    for block in of_all:
        check = zlib.adler32(block.text, check)
    return b"".join([_flushed(line, zlib.compressobj()), deflated, _LAST_BLOCK, check.to_bytes(4, "big")])


def _cut(texts: Mapping[str, bytes]) -> Iterator[list[tuple[str, bytes]]]:
    """The items, by key, in blocks of about _BLOCK_BYTES."""
    block, size = [], 0
    for key, text in sorted(texts.items()):
        block.append((key, text))
        size += len(text)
        if size >= _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _packed(items: list[tuple[str, bytes]], compressor: Any) -> _PackedBlock:
    keys, texts = zip(*items, strict=True)
    text = b"".join(texts)
    return _PackedBlock(list(keys), list(map(len, texts)), text, _flushed(text, compressor))


def _flushed(data: bytes, compressor: Any) -> bytes:
    """Any: the type of zlib's compressors has no name that can be imported."""
    return bytes(compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH))


def _line(header: Mapping[str, Any], blocks: Mapping[str, Sequence[_PackedBlock]]) -> bytes:
    """The line up to the checksum."""
    named = {kind: [(block.keys[0], len(block.keys), len(block.deflated)) for block in blocks[kind]] for kind in KINDS}
    items = (
        f'"{kind}":[{_in_shards([block.keys for block in blocks[kind]])},'
        f"{_in_shards([block.sizes for block in blocks[kind]])}]"
        for kind in KINDS
    )
    return f'{_to_json({**header, "blocks": named})[:-1]},"items":{{{",".join(items)}}}'.encode()


def _in_shards(lists: Sequence[Sequence[object]]) -> str:
    """All of them as one list in JSON, with a tab where each begins, and at the end."""
    shards = ",\t".join(_to_json(each)[1:-1] for each in lists)
    return f"[\t{shards}\t]" if lists else "[\t]"


def _to_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _decompress(data: bytes, inflate: Callable[[bytes], Unpacked]) -> Unpacked:
    """The line of JSON and the texts; for a value that is damaged, an empty line and no texts."""
    try:
        return inflate(data)
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.error("a snapshot in the store is damaged: %s: %s", type(error).__name__, error)
        return {}, {kind: {} for kind in KINDS}


def _whole(data: bytes) -> Unpacked:
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
    start = data.find(_FLUSHED) + len(_FLUSHED)
    line, _, checksum = zlib.decompressobj().decompress(data[:start]).rpartition(_CHECKSUM)
    deflated = memoryview(data)[start:-_END_BYTES]
    if checksum != b"%d}\n" % zlib.crc32(deflated, zlib.crc32(line)):
        return _whole(data)
    head, *shards = line.split(b"\t")
    header: dict[str, Any] = json.loads(head + b"]]}}")
    each = list(parts(deflated, (length for kind in KINDS for _, _, length in header["blocks"][kind])))
    if any(block[-len(_FLUSHED) :] != _FLUSHED for block in each):
        return _whole(data)
    return header, _texts_in_blocks(header["blocks"], iter(shards), iter(each))


def _texts_in_blocks(named: Mapping[str, Any], shards: Iterator[bytes], deflated: Iterator[memoryview]) -> Texts:
    texts = {}
    for kind in KINDS:
        # Behind the shards of a list comes what leads to the next list.
        *keys, _ = islice(shards, len(named[kind]) + 1)
        *sizes, _ = islice(shards, len(named[kind]) + 1)
        blocks = [
            Block(first_key, count, key_shard, size_shard, texts_of_block)
            for (first_key, count, _), key_shard, size_shard, texts_of_block in zip(
                named[kind], keys, sizes, deflated, strict=False
            )
        ]
        texts[kind] = PackedTexts(blocks, {})
    return texts
