"""The merge of a webhook's refresh, as a table."""

from __future__ import annotations

import json

import pytest

from chalicelib.data_set import FEATURES, SEGMENTS, DataSet, fetched_item, stored_item
from chalicelib.refresh.merge import merge_never_backwards

Versions = dict[str, int]

CASES: list[tuple[str, Versions, Versions, Versions, int]] = [
    # what happens, stored, fetched, merged, held back
    ("the first data set is stored", {}, {"a": 1, "b": 2}, {"a": 1, "b": 2}, 0),
    ("a higher version replaces a lower one", {"a": 1}, {"a": 2}, {"a": 2}, 0),
    ("a new item is added", {"a": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 1}, 0),
    ("an item that is gone is deleted", {"a": 1, "b": 1}, {"a": 1}, {"a": 1}, 0),
    ("a lower version is held back", {"a": 2}, {"a": 1}, {"a": 2}, 1),
    ("beside one that is held back others move on", {"a": 2, "b": 1}, {"a": 1, "b": 5}, {"a": 2, "b": 5}, 1),
    ("an old data set deletes nothing", {"a": 2, "b": 1}, {"a": 1}, {"a": 2, "b": 1}, 1),
    ("an old data set still adds", {"a": 2}, {"a": 1, "b": 1}, {"a": 2, "b": 1}, 1),
    ("all of an old data set is held back", {"a": 9, "b": 9}, {"a": 1, "b": 1}, {"a": 9, "b": 9}, 2),
    ("the same again changes nothing", {"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1, "b": 2}, 0),
]


def flags(versions: Versions) -> DataSet:
    return {FEATURES: {key: fetched_item({"version": version}) for key, version in versions.items()}, SEGMENTS: {}}


@pytest.mark.parametrize(
    ("stored", "fetched", "merged", "held_back"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_merge(stored: Versions, fetched: Versions, merged: Versions, held_back: int) -> None:
    merge = merge_never_backwards(flags(stored), flags(fetched))
    assert merge.data_set == flags(merged)
    assert merge.held_back == held_back


def test_an_old_flag_protects_segments_too() -> None:
    stored = {FEATURES: {"a": fetched_item({"version": 2})}, SEGMENTS: {"s": fetched_item({"version": 1})}}
    merge = merge_never_backwards(stored, flags({"a": 1}))
    assert merge.data_set == stored


def test_equal_versions_take_what_was_fetched() -> None:
    """The same version in another SDK's spelling becomes ours, so that equal content has one revision."""
    stored = {FEATURES: {"a": stored_item(b'{ "version": 1 }')}, SEGMENTS: {}}
    assert merge_never_backwards(stored, flags({"a": 1})).data_set == flags({"a": 1})


@pytest.mark.parametrize("text", [b"{", b"[]", b"7", b"{}", b'{"version": "9"}', b'{"version": null}', b"\xff"])
def test_a_stored_item_that_cannot_be_read_gives_way(text: bytes) -> None:
    stored = {FEATURES: {"a": stored_item(text)}, SEGMENTS: {}}
    merge = merge_never_backwards(stored, flags({"a": 1}))
    assert (merge.data_set, merge.held_back) == (flags({"a": 1}), 0)


def test_the_tombstone_of_another_sdk_outlives_an_older_flag() -> None:
    tombstone = stored_item(json.dumps({"version": 5, "deleted": True}).encode())
    stored = {FEATURES: {"a": tombstone}, SEGMENTS: {}}
    assert merge_never_backwards(stored, flags({"a": 4})).data_set == stored
    assert merge_never_backwards(stored, flags({"a": 6})).data_set == flags({"a": 6})
