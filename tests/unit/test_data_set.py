"""How a fetched data set becomes the next stored one, what names its content, and the record of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.data_set import (
    FEATURES,
    SEGMENTS,
    UNREADABLE,
    Announcement,
    DataSet,
    Item,
    StoredDataSet,
    SyncRecord,
    fetched_item,
    revision_of,
    stored_item,
    texts_of,
)
from chalicelib.refresh.merge import Merge, item_count, merge_never_backwards

STORED, FETCHED = b"as stored", b"as fetched"


def data_set(text: bytes, flags: dict[str, int], segments: dict[str, int] | None = None) -> DataSet:
    """From key -> version."""
    kinds = {FEATURES: flags, SEGMENTS: segments or {}}
    return {kind: {key: Item(version, text) for key, version in items.items()} for kind, items in kinds.items()}


# stored flags and segments, fetched ones, what is kept as stored, what is taken as fetched, held back
MERGES: list[tuple[str, list[dict[str, int]], list[dict[str, int]], list[dict[str, int]], list[dict[str, int]], int]]
MERGES = [
    ("nothing and nothing", [{}, {}], [{}, {}], [{}, {}], [{}, {}], 0),
    ("the first fill", [{}, {}], [{"a": 1}, {"s": 1}], [{}, {}], [{"a": 1}, {"s": 1}], 0),
    ("a higher version", [{"a": 1}, {"s": 1}], [{"a": 2}, {"s": 2}], [{}, {}], [{"a": 2}, {"s": 2}], 0),
    ("an equal version, fetched", [{"a": 1}, {}], [{"a": 1}, {}], [{}, {}], [{"a": 1}, {}], 0),
    ("a lower version", [{"a": 3}, {}], [{"a": 2}, {}], [{"a": 3}, {}], [{}, {}], 1),
    ("a lower version of a segment", [{}, {"s": 3}], [{}, {"s": 2}], [{}, {"s": 3}], [{}, {}], 1),
    ("one lower, one higher", [{"a": 3, "b": 1}, {}], [{"a": 2, "b": 2}, {}], [{"a": 3}, {}], [{"b": 2}, {}], 1),
    ("a deletion", [{"a": 1, "b": 1}, {"s": 1}], [{"a": 1}, {}], [{}, {}], [{"a": 1}, {}], 0),
    (
        "no deletion on the word of an old data set",
        [{"a": 3, "b": 1}, {"s": 1}],
        [{"a": 2}, {}],
        [{"a": 3, "b": 1}, {"s": 1}],
        [{}, {}],
        1,
    ),
    (
        "no deletion of a flag when a segment is old",
        [{"a": 1}, {"s": 9}],
        [{}, {"s": 8}],
        [{"a": 1}, {"s": 9}],
        [{}, {}],
        1,
    ),
    ("an addition from an old data set", [{"a": 3}, {}], [{"a": 2, "b": 1}, {}], [{"a": 3}, {}], [{"b": 1}, {}], 1),
    ("a flag and a segment of one key", [{"x": 5}, {}], [{}, {"x": 1}], [{}, {}], [{}, {"x": 1}], 0),
    ("over an item that cannot be read", [{"a": UNREADABLE}, {}], [{"a": 1}, {}], [{}, {}], [{"a": 1}, {}], 0),
    ("an empty data set", [{"a": 1}, {"s": 1}], [{}, {}], [{}, {}], [{}, {}], 0),
]


@pytest.mark.parametrize(
    ("stored", "fetched", "kept", "taken", "held_back"), [row[1:] for row in MERGES], ids=[row[0] for row in MERGES]
)
def test_the_higher_version_wins_and_an_old_data_set_deletes_nothing(
    stored: list[dict[str, int]],
    fetched: list[dict[str, int]],
    kept: list[dict[str, int]],
    taken: list[dict[str, int]],
    held_back: int,
) -> None:
    from_stored, from_fetched = data_set(STORED, *kept), data_set(FETCHED, *taken)
    expected = {kind: {**from_stored[kind], **from_fetched[kind]} for kind in (FEATURES, SEGMENTS)}
    merge = merge_never_backwards(data_set(STORED, *stored), data_set(FETCHED, *fetched), {})
    assert merge == Merge(expected, held_back, doubted={})


def test_a_merge_changes_neither_side() -> None:
    stored, fetched = data_set(STORED, {"a": 3, "b": 1}), data_set(FETCHED, {"a": 2, "c": 1})
    merge_never_backwards(stored, fetched, {})
    assert stored == data_set(STORED, {"a": 3, "b": 1})
    assert fetched == data_set(FETCHED, {"a": 2, "c": 1})


def test_an_item_keeps_fields_that_nobody_knows_and_the_order_of_all() -> None:
    item = fetched_item({"version": 2, "key": "größe", "futureField": {"z": [1.0, None], "a": True}})
    assert item == Item(2, b'{"version":2,"key":"gr\\u00f6\\u00dfe","futureField":{"z":[1.0,null],"a":true}}')
    assert stored_item(item.text) == item


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe\xff",
        b"null",
        b'"flag"',
        b"[1]",
        b"{}",
        b'{"version": "2"}',
        b'{"version": 2.5}',
        b'{"version": null}',
        b'{"version": true}',
        b"[" * 100_000,
    ],
)
def test_a_stored_item_without_a_readable_version_loses_against_any(text: bytes) -> None:
    assert stored_item(text) == Item(UNREADABLE, text)


def test_items_are_counted_over_both_kinds() -> None:
    assert item_count(data_set(STORED, {"a": 1, "b": 1}, {"s": 1})) == 3


def revision(flags: dict[str, bytes], segments: dict[str, bytes] | None = None) -> str:
    return revision_of({FEATURES: flags, SEGMENTS: segments or {}})


def test_the_same_content_has_the_same_revision_in_any_order() -> None:
    assert revision({"a": b"1", "b": b"2"}) == revision({"b": b"2", "a": b"1"})
    assert revision_of(texts_of(data_set(STORED, {"a": 1}))) == revision_of(texts_of(data_set(STORED, {"a": 2})))


def test_different_content_has_a_different_revision() -> None:
    contents: list[tuple[dict[str, bytes], dict[str, bytes]]] = [
        ({}, {}),
        ({"a": b"1"}, {}),
        ({"a": b"2"}, {}),
        ({"b": b"1"}, {}),
        ({}, {"a": b"1"}),
        ({"a": b"1"}, {"a": b"1"}),
        ({"a": b"", "1": b""}, {}),
        ({"a1": b""}, {}),
        ({"größe\ud800": b"1"}, {}),
    ]
    assert len({revision(*content) for content in contents}) == len(contents)


RECORD = SyncRecord(revision="abc", synced_at_ms=1_750_000_000_123, flags=12, segments=3, source="launchdarkly")


def test_the_sync_record_is_json_with_the_documented_fields() -> None:
    fields = {
        "revision": "abc",
        "synced_at": 1_750_000_000_123,
        "flags": 12,
        "segments": 3,
        "source": "launchdarkly",
    }
    assert json.loads(RECORD.to_json()) == fields
    assert SyncRecord.from_json(RECORD.to_json()) == RECORD
    assert SyncRecord.from_json(json.dumps({**fields, "futureField": 1}).encode()) == RECORD
    named = RECORD._replace(environment="proj/default:env/production")
    assert json.loads(named.to_json()) == {**fields, "environment": "proj/default:env/production"}
    assert SyncRecord.from_json(named.to_json()) == named
    assert SyncRecord.from_json(json.dumps({**fields, "environment": 7})) == RECORD


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"null", b"[]", b'"abc"', b"{}", b'{"revision": "abc"}'])
def test_what_is_no_sync_record_is_none(text: bytes) -> None:
    assert SyncRecord.from_json(text) is None


@pytest.mark.parametrize("field", ["synced_at", "flags", "segments"])
@pytest.mark.parametrize("value", [None, "soon", [], 1e999])
def test_a_sync_record_with_a_field_of_the_wrong_type_is_none(field: str, value: Any) -> None:
    assert SyncRecord.from_json(json.dumps({**json.loads(RECORD.to_json()), field: value})) is None


def test_a_stored_data_set_knows_the_version_of_each_item() -> None:
    stored = StoredDataSet(
        {FEATURES: {"a": b'{"version": 4}', "b": b"garbage"}, SEGMENTS: {"s": b'{"version": 5}'}}, None, True
    )
    assert stored.items() == {
        FEATURES: {"a": Item(4, b'{"version": 4}'), "b": Item(UNREADABLE, b"garbage")},
        SEGMENTS: {"s": Item(5, b'{"version": 5}')},
    }


@pytest.mark.parametrize(
    ("announced", "version", "met"),
    [(5, 4, False), (5, 5, True), (5, 6, True), (5, None, False), (None, None, True), (None, 5, False)],
)
def test_an_announcement_is_met_by_that_version_or_a_newer_one_or_by_absence(
    announced: int | None, version: int | None, met: bool
) -> None:
    assert Announcement(FEATURES, "a", announced).is_met_by(version) is met
