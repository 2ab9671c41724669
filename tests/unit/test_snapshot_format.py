"""The snapshot and the changes in a store: what goes in comes out, and what is damaged is nothing."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.data_set import KINDS, SnapshotName, StoredDataSet, SyncRecord, Texts, revision_of
from chalicelib.stores.snapshot import FORMAT, leads_from, open_changes, open_snapshot, pack

TEXTS = st.fixed_dictionaries({kind: st.dictionaries(st.text(), st.binary()) for kind in KINDS})


def record(texts: Texts, name: SnapshotName | None) -> SyncRecord:
    return SyncRecord(revision_of(texts), 0, 0, 0, "launchdarkly", snapshot=name)


def stored(texts: Texts) -> tuple[bytes, SyncRecord]:
    """A first snapshot of these texts, and the record that names it."""
    packed = pack(revision_of(texts), texts, None, None)
    assert packed.snapshot is not None
    return packed.snapshot, record(texts, packed.name)


@given(TEXTS)
def test_a_snapshot_gives_back_what_was_packed(texts: Texts) -> None:
    data, named = stored(texts)
    assert open_snapshot(data, named) == StoredDataSet(texts, named, initialized=True, is_snapshot=True)


@given(TEXTS, TEXTS)
def test_changes_lead_from_one_revision_to_the_next(old: Texts, new: Texts) -> None:
    data, before = stored(old)
    held = open_snapshot(data, before)
    assert held is not None
    packed = pack(revision_of(new), new, before, data)
    after = record(new, packed.name)
    if old == new:
        assert packed == (before.snapshot, None, None), "nothing is written again"
    elif packed.changes is None:
        assert packed.name.changes_from is None
    else:
        assert leads_from(after, held)
        changed = open_changes(packed.changes, after, held)
        assert changed is not None
        assert changed.texts == new


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
    assert json.loads(line) == {
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


def test_a_snapshot_in_a_format_of_the_future_is_left_alone() -> None:
    data, named = stored(OLD)
    assert named.snapshot is not None
    assert open_snapshot(data, named._replace(snapshot=named.snapshot._replace(format=FORMAT + 1))) is None
    assert open_snapshot(data, named._replace(snapshot=None)) is None
