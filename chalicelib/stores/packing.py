"""What a refresh writes beside the items, in the format of ``snapshot.py``. Readers do not import it."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from ..data_set import KINDS, SnapshotName, SyncRecord, Texts
from .snapshot import CHECKSUM, FORMAT, LAST_BLOCK, unpack, whole

_LARGEST_CHANGES = 64 * 1024
"""In bytes. Beyond this, changes save a reader too little to be worth a second value."""

_BLOCK_BYTES = 384 * 1024
"""Of texts. Smaller blocks are inflated sooner, and take more room: half as large, 2 % more for 5,000 flags."""


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
        old = unpack(snapshot_before, before.revision, whole)
        if old is not None and before.revision == revision:
            return Packed(before.snapshot, None, None)
    snapshot = _compress({"revision": revision}, texts)
    if old is not None and before is not None:
        changes = _pack_changes(revision, texts, before.revision, old)
        if len(changes) <= min(_LARGEST_CHANGES, len(snapshot)):
            return Packed(SnapshotName(FORMAT, len(snapshot), before.revision), snapshot, changes)
    return Packed(SnapshotName(FORMAT, len(snapshot), None), snapshot, None)


def _pack_changes(revision: str, texts: Texts, old_revision: str, old: Texts) -> bytes:
    changed = {kind: {key: text for key, text in texts[kind].items() if old[kind].get(key) != text} for kind in KINDS}
    gone = {kind: [key for key in old[kind] if key not in texts[kind]] for kind in KINDS}
    return _compress({"revision": revision, "from": old_revision, "gone": gone}, changed)


class _PackedBlock(NamedTuple):
    keys: tuple[str, ...]
    texts: tuple[bytes, ...]
    deflated: bytes


def _compress(header: Mapping[str, Any], texts: Texts) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    blocks = {kind: [_packed(items, compressor) for items in _cut(texts[kind])] for kind in KINDS}
    of_all = [block for kind in KINDS for block in blocks[kind]]
    deflated = b"".join(block.deflated for block in of_all)
    line = _line(header, blocks)
    line += b"%b%d}\n" % (CHECKSUM, zlib.crc32(deflated, zlib.crc32(line)))
    check = zlib.adler32(line)
    for text in chain.from_iterable(block.texts for block in of_all):
        check = zlib.adler32(text, check)
    return b"".join([_flushed(line, zlib.compressobj()), deflated, LAST_BLOCK, check.to_bytes(4, "big")])


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
    return _PackedBlock(keys, texts, _flushed(b"".join(texts), compressor))


def _flushed(data: bytes, compressor: Any) -> bytes:
    """Any: the type of zlib's compressors has no name that can be imported."""
    return bytes(compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH))


def _line(header: Mapping[str, Any], blocks: Mapping[str, Sequence[_PackedBlock]]) -> bytes:
    """The line up to the checksum."""
    named = {kind: [(block.keys[0], len(block.keys), len(block.deflated)) for block in blocks[kind]] for kind in KINDS}
    items = (
        f'"{kind}":[{_in_shards([block.keys for block in blocks[kind]])},'
        f"{_in_shards([list(map(len, block.texts)) for block in blocks[kind]])}]"
        for kind in KINDS
    )
    return f'{_to_json({**header, "blocks": named})[:-1]},"items":{{{",".join(items)}}}'.encode()


def _in_shards(lists: Sequence[Sequence[object]]) -> str:
    """All of them as one list in JSON, with a tab where each begins, and at the end."""
    shards = ",\t".join(_to_json(each)[1:-1] for each in lists)
    return f"[\t{shards}\t]" if lists else "[\t]"


def _to_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
