"""The snapshot and the changes in a store: what goes in comes out, and what is damaged is nothing."""

from __future__ import annotations

import json
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldclient.versioned_data_kind import FEATURES

from chalicelib.data_set import KINDS, SnapshotName, StoredDataSet, SyncRecord, Texts, revision_of
from chalicelib.read.feature_stores import SnapshotFeatureStore
from chalicelib.stores import packing
from chalicelib.stores.packing import pack
from chalicelib.stores.snapshot import FORMAT, leads_from, open_changes, open_snapshot
from chalicelib.stores.texts import Block, is_same_text
from tests.support.data import boolean_flag

TEXTS = st.fixed_dictionaries({kind: st.dictionaries(st.text(), st.binary()) for kind in KINDS})
BLOCK_BYTES = st.sampled_from([1, 10, 384 * 1024])


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_BLOCK_BYTES", size)
        yield


def record(texts: Texts, name: SnapshotName | None) -> SyncRecord:
    return SyncRecord(revision_of(texts), 0, 0, 0, "launchdarkly", snapshot=name)


def stored(texts: Texts) -> tuple[bytes, SyncRecord]:
    """A first snapshot of these texts, and the record that names it."""
    packed = pack(revision_of(texts), texts, None, None)
    assert packed.snapshot is not None
    return packed.snapshot, record(texts, packed.name)


def opened(data: bytes, named: SyncRecord) -> StoredDataSet:
    found = open_snapshot(data, named)
    assert found is not None
    return found


@given(TEXTS, BLOCK_BYTES)
def test_a_snapshot_gives_back_what_was_packed(texts: Texts, block_bytes: int) -> None:
    with blocks_of(block_bytes):
        data, named = stored(texts)
    found = opened(data, named)
    assert found == StoredDataSet(texts, named, initialized=True, is_snapshot=True)
    assert {kind: list(found.texts[kind]) for kind in KINDS} == {kind: sorted(texts[kind]) for kind in KINDS}


@given(TEXTS, TEXTS, BLOCK_BYTES)
def test_changes_lead_from_one_revision_to_the_next(old: Texts, new: Texts, block_bytes: int) -> None:
    with blocks_of(block_bytes):
        data, before = stored(old)
        packed = pack(revision_of(new), new, before, data)
    held = opened(data, before)
    after = record(new, packed.name)
    if old == new:
        assert packed == (before.snapshot, None, None), "nothing is written again"
    elif packed.changes is None:
        assert packed.name.changes_from is None
    else:
        assert leads_from(after, held)
        changed = open_changes(packed.changes, after, held)
        assert changed is not None
        assert_holds(changed.texts, new)


def assert_holds(texts: Texts, expected: Texts) -> None:
    """By every way to ask."""
    for kind in KINDS:
        assert dict(texts[kind].items()) == expected[kind]
        assert len(texts[kind]) == len(expected[kind])
        for key in ("", "unknown", *expected[kind]):
            assert (key in texts[kind], texts[kind].get(key)) == (key in expected[kind], expected[kind].get(key))


@given(st.lists(TEXTS, min_size=2, max_size=6), BLOCK_BYTES)
def test_changes_lie_over_changes(revisions: list[dict[str, dict[str, bytes]]], block_bytes: int) -> None:
    revisions[0]["features"]["large"] = bytes(100_000)  # or changes would not be worth writing
    with blocks_of(block_bytes):
        data, before = stored(revisions[0])
        held = opened(data, before)
        for texts in revisions[1:]:
            texts["features"]["large"] = bytes(100_000)
            packed = pack(revision_of(texts), texts, before, data)
            before, data = record(texts, packed.name), packed.snapshot or data
            changed = open_changes(packed.changes, before, held)
            previous, held = held, opened(data, before) if changed is None else changed
            assert_holds(held.texts, texts)
            for kind in KINDS:
                for key in previous.texts[kind]:
                    if is_same_text(key, previous.texts[kind], held.texts[kind]):
                        assert previous.texts[kind][key] == texts[kind][key]


def test_items_that_are_alike_take_a_fraction_of_their_size() -> None:
    texts = {
        "features": {f"flag-{n}": json.dumps({"key": f"flag-{n}", "rules": ["x" * 500]}).encode() for n in range(100)},
        "segments": {},
    }
    data, _ = stored(texts)
    assert len(data) < sum(map(len, texts["features"].values())) / 10


OLD: Texts = {"features": {f"flag-{n}": b'{"version":1}' * n for n in range(20)}, "segments": {"s": b"{}"}}
NEW: Texts = {"features": {**OLD["features"], "flag-3": b"changed"}, "segments": {}}


def test_changes_name_only_what_is_different() -> None:
    data, before = stored(OLD)
    packed = pack(revision_of(NEW), NEW, before, data)
    assert packed.changes is not None
    line, _, texts = zlib.decompress(packed.changes).partition(b"\n")
    header = json.loads(line)
    assert header.keys() == {"revision", "from", "gone", "items", "blocks", "checksum"}
    assert {name: header[name] for name in ("revision", "from", "gone", "items")} == {
        "revision": revision_of(NEW),
        "from": before.revision,
        "gone": {"features": [], "segments": ["s"]},
        "items": {"features": [["flag-3"], [7]], "segments": [[], []]},
    }
    assert texts == b"changed"


def test_changes_that_are_as_large_as_the_snapshot_are_none() -> None:
    data, before = stored({kind: {} for kind in KINDS})
    packed = pack(revision_of(OLD), OLD, before, data)
    assert (packed.name.changes_from, packed.changes) == (None, None)


# Without inflating more than is asked for.

MANY: Texts = {
    "features": {f"flag-{n:03}": json.dumps({"key": f"flag-{n:03}", "salt": n**9}).encode() for n in range(200)},
    "segments": {"of-europe": '{"key":"of-europe","name":"Ελλάδα"}'.encode()},
}


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first keys of the blocks that are inflated, one after the other."""
    inflated: list[str] = []
    inflate = Block._inflate

    def counted(block: Block) -> dict[str, bytes]:
        inflated.append(block.first_key)
        return inflate(block)

    monkeypatch.setattr(Block, "_inflate", counted)
    return inflated


@pytest.fixture
def many() -> tuple[bytes, SyncRecord]:
    """In blocks of some ten items."""
    with blocks_of(500):
        return stored(MANY)


def test_one_item_is_read_by_inflating_one_block(many: tuple[bytes, SyncRecord], inflated: list[str]) -> None:
    features, segments = (opened(*many).texts[kind] for kind in KINDS)
    assert (len(features), list(features), "flag-042" in features) == (200, list(MANY["features"]), True)
    assert ("flag-0420" in features, features.get("unknown"), features.get(""), segments.get("flag-042")) == (
        False,
        None,
        None,
        None,
    )
    assert inflated == []
    assert features["flag-042"] == MANY["features"]["flag-042"]
    assert features["flag-043"] == MANY["features"]["flag-043"]
    assert len(inflated) == 1
    assert segments["of-europe"] == MANY["segments"]["of-europe"]
    assert inflated[1:] == ["of-europe"]


@pytest.mark.parametrize("key", [7, 7.5, None, True])
def test_a_key_that_is_no_text_is_unknown(key: Any, many: tuple[bytes, SyncRecord]) -> None:
    """A clause may name one as a segment; an error here would be one of the flag."""
    features = opened(*many).texts["features"]
    assert (features.get(key), key in features) == (None, False)


def test_all_items_are_read_by_inflating_each_block_once_in_any_order(
    many: tuple[bytes, SyncRecord], inflated: list[str]
) -> None:
    features = opened(*many).texts["features"]
    keys = list(features)
    for times, order in enumerate((keys, keys[::-1], keys[::2] + keys[1::2]), start=1):
        assert {key: features[key] for key in order} == MANY["features"]
        assert len(inflated) == times * len(set(inflated)) > 10 * times
    assert not any(block._texts for block in features.blocks), "kept by nobody"  # type: ignore[attr-defined]


def test_changes_inflate_nothing_of_what_they_lie_over(many: tuple[bytes, SyncRecord], inflated: list[str]) -> None:
    data, before = many
    others = {key: text for key, text in MANY["features"].items() if key != "flag-004"}
    new = {**MANY, "features": {**others, "flag-003": b"changed", "flag-300": b"new"}}
    packed = pack(revision_of(new), new, before, data)
    held = opened(data, before)
    changed = open_changes(packed.changes, record(new, packed.name), held)
    assert changed is not None
    features = changed.texts["features"]
    assert (features["flag-003"], features["flag-300"], features.get("flag-004")) == (b"changed", b"new", None)
    assert (len(features), list(features)) == (200, list(new["features"]))
    same = [key for key in MANY["features"] if is_same_text(key, held.texts["features"], features)]
    assert set(MANY["features"]) - set(same) == {"flag-003", "flag-004"}
    assert inflated == []


def test_the_next_snapshot_takes_over_what_is_decoded_and_inflates_nothing_for_it(inflated: list[str]) -> None:
    flags = {f"flag-{n}": json.dumps(boolean_flag(f"flag-{n}", 1)).encode() for n in range(100)}
    old: Texts = {"features": flags, "segments": {}}
    new: Texts = {**old, "features": {**flags, "flag-3": json.dumps(boolean_flag("flag-3", 2)).encode()}}
    with blocks_of(500):
        data, before = stored(old)
        packed = pack(revision_of(new), new, before, data)
    held = opened(data, before)
    first = SnapshotFeatureStore(held.texts)
    decoded = first.all(FEATURES)
    inflated.clear()
    changed = open_changes(packed.changes, record(new, packed.name), held)
    assert changed is not None
    second = SnapshotFeatureStore(changed.texts, first).all(FEATURES)
    assert [key for key in flags if second[key] is not decoded[key]] == ["flag-3"]
    assert second["flag-3"].version == 2
    assert inflated == []


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Threads that give way to each other at every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_several_threads_may_ask_at_once(many: tuple[bytes, SyncRecord], busy_threads: None) -> None:
    keys, begin = list(MANY["features"]), threading.Barrier(4)

    def walk(order: list[str]) -> dict[str, bytes]:
        begin.wait()
        return {key: features[key] for key in order}

    with ThreadPoolExecutor(4) as threads:
        for _ in range(50):
            features = opened(*many).texts["features"]
            for found in threads.map(walk, [keys, keys[::-1]] * 2):
                assert found == MANY["features"]


def test_threads_that_ask_for_items_of_one_block_inflate_it_once(
    many: tuple[bytes, SyncRecord], inflated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inflate, begin, features = Block._inflate, threading.Barrier(4), opened(*many).texts["features"]

    def slowly(block: Block) -> dict[str, bytes]:
        time.sleep(0.05)
        return inflate(block)

    def ask(key: str) -> bytes:
        begin.wait()
        return features[key]

    monkeypatch.setattr(Block, "_inflate", slowly)
    keys = list(features)[:4]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, keys)) == [MANY["features"][key] for key in keys]
    assert inflated == ["flag-000"]


def test_an_item_that_is_larger_than_a_block_is_one() -> None:
    texts = {"features": {"a": b"{}", "b": bytes(range(256)) * 4096, "c": b"{}"}, "segments": {}}
    data, named = stored(texts)
    assert_holds(opened(data, named).texts, texts)


# Between versions of the app.


def compressed_by_the_older(header: dict[str, Any], texts: Texts) -> bytes:
    """As the version before blocks wrote a snapshot."""
    items = {kind: [list(texts[kind]), list(map(len, texts[kind].values()))] for kind in KINDS}
    line = json.dumps({**header, "items": items}, separators=(",", ":")).encode() + b"\n"
    return zlib.compress(b"".join([line, *(text for kind in KINDS for text in texts[kind].values())]))


def decompressed_by_the_older(data: bytes) -> tuple[dict[str, Any], Texts]:
    """As the version before blocks read one: strictly, so that any damage raises."""
    line, _, texts = zlib.decompress(data).partition(b"\n")
    header = json.loads(line)
    found: dict[str, dict[str, bytes]] = {}
    for kind in KINDS:
        found[kind] = {}
        keys, sizes = header["items"][kind]
        for key, size in zip(keys, sizes, strict=True):
            found[kind][key], texts = texts[:size], texts[size:]
    assert texts == b""
    return header, found


@given(TEXTS, BLOCK_BYTES)
def test_an_older_version_reads_what_this_one_writes(texts: Texts, block_bytes: int) -> None:
    with blocks_of(block_bytes):
        data, named = stored(texts)
    header, found = decompressed_by_the_older(data)
    assert (header["revision"], found) == (named.revision, texts)


@given(TEXTS, TEXTS)
def test_this_version_reads_what_an_older_one_wrote(old: Texts, new: Texts) -> None:
    before, after = (record(texts, SnapshotName(FORMAT, 1, None)) for texts in (old, new))
    held = opened(compressed_by_the_older({"revision": before.revision}, old), before)
    assert_holds(held.texts, old)
    gone = {kind: [key for key in old[kind] if key not in new[kind]] for kind in KINDS}
    header = {"revision": after.revision, "from": before.revision, "gone": gone}
    changed = open_changes(compressed_by_the_older(header, new), after, held)
    assert changed is not None
    assert_holds(changed.texts, new)


def test_what_an_older_version_wrote_is_kept_until_something_changes() -> None:
    before = record(OLD, SnapshotName(FORMAT, 1, None))
    data = compressed_by_the_older({"revision": before.revision}, OLD)
    assert pack(before.revision, OLD, before, data) == (before.snapshot, None, None)
    packed = pack(revision_of(NEW), NEW, before, data)
    changed = open_changes(packed.changes, record(NEW, packed.name), opened(data, before))
    assert changed is not None
    assert_holds(changed.texts, NEW)


# Damage.


def damaged(data: bytes) -> list[bytes | None]:
    line, _, texts = zlib.decompress(data).partition(b"\n")
    return [
        None,
        b"",
        b"garbage",
        data[:-10],
        data[:20] + b"\0" + data[21:],
        zlib.compress(b"no line of JSON"),
        zlib.compress(b"[]\n"),
        zlib.compress(b"{}\n"),
        zlib.compress(b"[" * 100_000),
        zlib.compress(line + b"\n" + texts + b"more"),
        zlib.compress(line + b"\n" + texts[:-1]),
        zlib.compress(line.replace(b'"features"', b'"flags"') + b"\n" + texts),
        zlib.compress(line.replace(b'"items":{', b'"items":{"features":[["a"],["b"]],"x":{', 1) + b"\n" + texts),
        stored(NEW)[0],
    ]


@pytest.mark.parametrize("value", damaged(stored(OLD)[0]))
def test_a_damaged_snapshot_is_none(value: bytes | None) -> None:
    assert open_snapshot(value, stored(OLD)[1]) is None


@pytest.mark.parametrize("value", damaged(stored(OLD)[0]))
def test_damaged_changes_are_none(value: bytes | None) -> None:
    data, before = stored(OLD)
    held = open_snapshot(data, before)
    assert held is not None
    packed = pack(revision_of(NEW), NEW, before, data)
    assert open_changes(value, record(NEW, packed.name), held) is None


@pytest.mark.parametrize("value", damaged(stored(OLD)[0]))
def test_a_damaged_snapshot_is_written_again(value: bytes | None) -> None:
    data, before = stored(OLD)
    again = pack(before.revision, OLD, before, value)
    assert again.snapshot == data


END_BYTES = 6
"""Behind the blocks: deflate's last block, and zlib's check, which only those read who inflate the whole."""


def test_a_damaged_byte_is_noticed_wherever_it_is() -> None:
    with blocks_of(500):
        data, named = stored(OLD)
    for position in range(len(data)):
        for value in (data[position] ^ 1, 255 - data[position]):
            damaged = data[:position] + bytes([value]) + data[position + 1 :]
            is_sound = position >= len(data) - END_BYTES
            assert (open_snapshot(damaged, named) is not None) is is_sound, position
            assert pack(named.revision, OLD, named, damaged).snapshot is not None, "it is healed in any case"


def test_a_truncated_snapshot_is_none() -> None:
    with blocks_of(500):
        data, named = stored(OLD)
    assert [open_snapshot(data[:size], named) for size in range(len(data))] == [None] * len(data)


def with_another_line(data: bytes, old: bytes, new: bytes, checksum: int | None = None) -> bytes:
    """Sound as far as zlib can tell; by default with the right checksum, as if a faulty writer had made it."""
    end = data.index(b"\0\0\xff\xff") + 4
    line = zlib.decompressobj().decompress(data[:end]).rpartition(b',"checksum":')[0]
    assert old in line
    line, blocks, texts = line.replace(old, new, 1), data[end:-END_BYTES], zlib.decompress(data).partition(b"\n")[2]
    line += b',"checksum":%d}\n' % (zlib.crc32(blocks, zlib.crc32(line)) if checksum is None else checksum)
    compressor = zlib.compressobj()
    deflated = compressor.compress(line) + compressor.flush(zlib.Z_FULL_FLUSH)
    return deflated + blocks + b"\3\0" + zlib.adler32(texts, zlib.adler32(line)).to_bytes(4, "big")


def length_in(data: bytes, block: int) -> int:
    """What the line says of the length of a block of flags."""
    length: int = json.loads(zlib.decompress(data).partition(b"\n")[0])["blocks"]["features"][block][2]
    return length


@pytest.mark.parametrize(("first", "second"), [(1, 0), (-1, 0), (1, -1), (-1, 1), (1000, -1000)])
def test_where_the_lengths_of_blocks_are_wrong_the_whole_is_inflated(first: int, second: int) -> None:
    with blocks_of(500):
        data, named = stored(MANY)
    lengths = [length_in(data, block) for block in (0, 1)]
    wrong = data
    for length, by in zip(lengths, (first, second), strict=True):
        wrong = with_another_line(wrong, b",%d]" % length, b",%d]" % (length + by))
    assert_holds(opened(wrong, named).texts, MANY)


def test_a_wrong_checksum_is_no_damage_where_the_whole_can_be_inflated() -> None:
    data, named = stored(OLD)
    assert_holds(opened(with_another_line(data, b"{", b"{", checksum=7), named).texts, OLD)


def test_a_snapshot_in_a_format_of_the_future_is_left_alone() -> None:
    data, named = stored(OLD)
    assert named.snapshot is not None
    assert open_snapshot(data, named._replace(snapshot=named.snapshot._replace(format=FORMAT + 1))) is None
    assert open_snapshot(data, named._replace(snapshot=None)) is None
