"""What the merge of a webhook's refresh never does, over random histories that are delivered in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.data_set import FEATURES, KINDS, SEGMENTS, DataSet, Item, fetched_item
from chalicelib.refresh.merge import merge_never_backwards

Versions = dict[tuple[str, str], int]
"""(kind, key) -> version: all of a data set that the merge looks at."""

EMPTY: DataSet = {FEATURES: {}, SEGMENTS: {}}
PLACES = [(kind, key) for kind in KINDS for key in ("a", "b", "c")]

steps = st.tuples(st.sampled_from(PLACES), st.sampled_from(["change", "change", "delete"]))


@st.composite
def histories(draw: st.DrawFn) -> list[Versions]:
    """What LaunchDarkly held after each of some changes. Versions only ever rise, across deletions too."""
    states: list[Versions] = [{}]
    for version, (place, step) in enumerate(draw(st.lists(steps, min_size=1, max_size=20)), start=1):
        state = dict(states[-1])
        if step == "delete":
            state.pop(place, None)
        else:
            state[place] = version
        states.append(state)
    return states


def data_set(versions: Versions) -> DataSet:
    items: dict[str, dict[str, Item]] = {kind: {} for kind in KINDS}
    for (kind, key), version in versions.items():
        items[kind][key] = fetched_item({"key": key, "version": version})
    return items


def versions(items: DataSet) -> Versions:
    return {(kind, key): item.version for kind in KINDS for key, item in items[kind].items()}


def in_order(stored: DataSet, deliveries: list[Versions]) -> DataSet:
    for each in deliveries:
        stored = merge_never_backwards(stored, data_set(each), {}).data_set
    return stored


@given(histories(), st.data())
def test_no_version_in_the_store_ever_falls(history: list[Versions], data: st.DataObject) -> None:
    stored = EMPTY
    for delivered in data.draw(st.lists(st.sampled_from(history), max_size=20)):
        merged = merge_never_backwards(stored, data_set(delivered), {}).data_set
        before, after = versions(stored), versions(merged)
        assert all(after[place] >= before[place] for place in before.keys() & after.keys())
        stored = merged


@given(histories(), st.data())
def test_when_the_last_delivery_is_fresh_the_store_equals_it(history: list[Versions], data: st.DataObject) -> None:
    deliveries = data.draw(st.lists(st.sampled_from(history), max_size=20))
    assert in_order(EMPTY, [*deliveries, history[-1]]) == data_set(history[-1])


@given(histories(), st.data())
def test_nothing_is_deleted_on_the_word_of_a_provably_old_data_set(
    history: list[Versions], data: st.DataObject
) -> None:
    stored = in_order(EMPTY, data.draw(st.lists(st.sampled_from(history), max_size=20)))
    delivered = data.draw(st.sampled_from(history))
    merge = merge_never_backwards(stored, data_set(delivered), {})
    before = versions(stored)
    newer_in_store = {place for place in before.keys() & delivered.keys() if before[place] > delivered[place]}
    assert merge.held_back == len(newer_in_store)
    if newer_in_store:
        assert before.keys() <= versions(merge.data_set).keys()
    else:
        assert merge.data_set == data_set(delivered)


@given(histories(), st.data())
def test_the_same_delivery_twice_changes_nothing_more(history: list[Versions], data: st.DataObject) -> None:
    stored = in_order(EMPTY, data.draw(st.lists(st.sampled_from(history), max_size=20)))
    delivered = data.draw(st.sampled_from(history))
    once = in_order(stored, [delivered])
    assert in_order(once, [delivered]) == once


@given(histories(), st.data())
def test_every_item_is_one_that_was_stored_or_delivered(history: list[Versions], data: st.DataObject) -> None:
    stored = in_order(EMPTY, data.draw(st.lists(st.sampled_from(history), max_size=20)))
    delivered = data.draw(st.sampled_from(history))
    known = versions(stored).items() | delivered.items()
    assert versions(in_order(stored, [delivered])).items() <= known
