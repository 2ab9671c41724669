"""The merge of a webhook's refresh, as a table."""

from __future__ import annotations

import json

import pytest

from chalicelib.data_set import (
    DOUBTED_BY_NAME,
    FEATURES,
    SEGMENTS,
    DataSet,
    Doubts,
    fetched_item,
    name_doubts,
    stored_item,
)
from chalicelib.refresh.merge import Merge, merge_never_backwards, merge_reconciled

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
    merge = merge_never_backwards(flags(stored), flags(fetched), {})
    assert merge.data_set == flags(merged)
    assert merge.held_back == held_back


def test_an_old_flag_protects_segments_too() -> None:
    stored = {FEATURES: {"a": fetched_item({"version": 2})}, SEGMENTS: {"s": fetched_item({"version": 1})}}
    merge = merge_never_backwards(stored, flags({"a": 1}), {})
    assert merge.data_set == stored


def test_equal_versions_take_what_was_fetched() -> None:
    """The same version in another SDK's spelling becomes ours, so that equal content has one revision."""
    stored = {FEATURES: {"a": stored_item(b'{ "version": 1 }')}, SEGMENTS: {}}
    assert merge_never_backwards(stored, flags({"a": 1}), {}).data_set == flags({"a": 1})


@pytest.mark.parametrize("text", [b"{", b"[]", b"7", b"{}", b'{"version": "9"}', b'{"version": null}', b"\xff"])
def test_a_stored_item_that_cannot_be_read_gives_way(text: bytes) -> None:
    stored = {FEATURES: {"a": stored_item(text)}, SEGMENTS: {}}
    merge = merge_never_backwards(stored, flags({"a": 1}), {})
    assert (merge.data_set, merge.held_back) == (flags({"a": 1}), 0)


def test_a_fetched_item_without_a_readable_version_is_taken_as_it_came() -> None:
    broken = {FEATURES: {"a": stored_item(b'{"version": "3"}')}, SEGMENTS: {}}
    assert merge_never_backwards(flags({"a": 5, "b": 1}), broken, {}) == Merge(broken, 0, {})


A, B = (FEATURES, "a"), (FEATURES, "b")
RECONCILED: list[tuple[str, Versions, Versions, Doubts, Versions, Doubts]] = [
    # what happens, stored, fetched, doubted before, merged, doubted now
    ("a higher version wins", {"a": 1}, {"a": 2}, {}, {"a": 2}, {}),
    ("a lower version is doubted", {"a": 5, "b": 1}, {"a": 4}, {}, {"a": 5, "b": 1}, {A: 4}),
    ("it wins when it is there again", {"a": 5, "b": 1}, {"a": 4}, {A: 4}, {"a": 4}, {}),
    ("it has risen meanwhile, but is still lower", {"a": 5}, {"a": 4}, {A: 2}, {"a": 4}, {}),
    ("a still lower one is another doubt", {"a": 5}, {"a": 3}, {A: 4}, {"a": 5}, {A: 3}),
    ("a doubt concerns one item", {"a": 5, "b": 5}, {"a": 4, "b": 4}, {A: 4}, {"a": 4, "b": 5}, {B: 4}),
    ("a cache that has caught up ends the doubt", {"a": 5}, {"a": 5}, {A: 4}, {"a": 5}, {}),
    ("what is gone is deleted at once", {"a": 5, "b": 1}, {"b": 1}, {}, {"b": 1}, {}),
]


@pytest.mark.parametrize(
    ("stored", "fetched", "doubted", "merged", "doubted_now"),
    [c[1:] for c in RECONCILED],
    ids=[c[0] for c in RECONCILED],
)
def test_the_merge_of_a_reconcile(
    stored: Versions, fetched: Versions, doubted: Doubts, merged: Versions, doubted_now: Doubts
) -> None:
    merge = merge_reconciled(flags(stored), flags(fetched), doubted)
    assert merge == Merge(flags(merged), len(doubted_now), doubted_now)


def test_a_webhook_leaves_a_doubt_as_it_is_unless_it_is_settled() -> None:
    doubted = {A: 4, B: 4}
    merge = merge_never_backwards(flags({"a": 5, "b": 5}), flags({"a": 5, "b": 3}), doubted)
    assert merge == Merge(flags({"a": 5, "b": 5}), 1, {B: 4})


def test_so_many_doubts_as_the_sync_record_names_stand_for_the_others() -> None:
    keys = [f"flag-{number:03}" for number in range(3 * DOUBTED_BY_NAME)]
    stored, fetched = flags(dict.fromkeys(keys, 50)), flags(dict.fromkeys(keys, 1))
    first = merge_reconciled(stored, fetched, {})
    assert (first.data_set, first.held_back) == (stored, len(keys))
    named = {(doubt.kind, doubt.key): doubt.version for doubt in name_doubts(first.doubted)}
    assert len(named) == DOUBTED_BY_NAME
    assert merge_reconciled(stored, fetched, named) == Merge(fetched, 0, {})
    lagging_no_more = {**fetched, FEATURES: {**fetched[FEATURES], keys[0]: stored[FEATURES][keys[0]]}}
    assert merge_reconciled(stored, lagging_no_more, named).held_back == 2 * DOUBTED_BY_NAME


def test_the_tombstone_of_another_sdk_outlives_an_older_flag() -> None:
    tombstone = stored_item(json.dumps({"version": 5, "deleted": True}).encode())
    stored = {FEATURES: {"a": tombstone}, SEGMENTS: {}}
    assert merge_never_backwards(stored, flags({"a": 4}), {}).data_set == stored
    assert merge_never_backwards(stored, flags({"a": 6}), {}).data_set == flags({"a": 6})
