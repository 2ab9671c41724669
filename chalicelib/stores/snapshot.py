"""The whole data set of one revision as one compressed value, and what changed since the revision before it.

A reader gets all of a revision, or nothing of it, in one small read, whoever else writes to the items
meanwhile. LaunchDarkly's own items stay beside it, for every other reader.

The format, version 1: zlib over a line of JSON and the items' texts, one after the other. The line is
``{"revision", "items": {kind: [[key, ...], [bytes, ...]]}}``; that of changes has ``from``, the revision that
they lead from, and ``gone``: ``{kind: [key, ...]}``.
"""

import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from ..data_set import KINDS, SnapshotName, StoredDataSet, SyncRecord, Texts

logger = logging.getLogger(__name__)

FORMAT = 1

_LARGEST_CHANGES = 64 * 1024
"""In bytes. Beyond this, changes save a reader too little to be worth a second value."""


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
        old = _unpack(snapshot_before, before.revision)
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
    texts = _unpack(data, record.revision)
    return None if texts is None else StoredDataSet(texts, record, initialized=True, is_snapshot=True)


def open_changes(data: bytes | None, record: SyncRecord | None, held: StoredDataSet) -> StoredDataSet | None:
    """The data set of the record, from the changes that were read with it and what is held; None where it is not."""
    if data is None or not _is_readable(record) or held.record is None:
        return None
    header, changed = _decompress(data)
    if (header.get("revision"), header.get("from")) != (record.revision, held.record.revision):
        return None
    texts = {}
    for kind in KINDS:
        gone = set(header["gone"][kind])
        texts[kind] = {key: text for key, text in {**held.texts[kind], **changed[kind]}.items() if key not in gone}
    return StoredDataSet(texts, record, initialized=True, is_snapshot=True)


def _is_readable(record: SyncRecord | None) -> TypeGuard[SyncRecord]:
    return record is not None and record.snapshot is not None and record.snapshot.format == FORMAT


def _unpack(data: bytes, revision: str) -> Texts | None:
    """The texts of the revision's items; None for a value that is not their snapshot."""
    header, texts = _decompress(data)
    return texts if header.get("revision") == revision else None


def _compress(header: Mapping[str, Any], texts: Texts) -> bytes:
    items = {kind: [list(texts[kind]), list(map(len, texts[kind].values()))] for kind in KINDS}
    line = json.dumps({**header, "items": items}, separators=(",", ":")).encode() + b"\n"
    return zlib.compress(b"".join([line, *(text for kind in KINDS for text in texts[kind].values())]))


def _decompress(data: bytes) -> tuple[dict[str, Any], Texts]:
    """The line of JSON and the texts; for a value that is damaged, an empty line and no texts."""
    try:
        line, _, texts = zlib.decompress(data).partition(b"\n")
        header: dict[str, Any] = json.loads(line)
        items = {kind: header["items"][kind] for kind in KINDS}
        parts = _parts(texts, (length for _, lengths in items.values() for length in lengths))
        unpacked = {kind: dict(zip(keys, parts, strict=False)) for kind, (keys, _) in items.items()}
        if sum(sum(lengths) for _, lengths in items.values()) != len(texts):
            raise ValueError("The texts are not as long as the line says.")
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.error("a snapshot in the store is damaged: %s: %s", type(error).__name__, error)
        return {}, {kind: {} for kind in KINDS}
    return header, unpacked


def _parts(data: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    """The parts of ``data`` of these lengths, one after the other."""
    start = 0
    for length in lengths:
        yield data[start : start + length]
        start += length
