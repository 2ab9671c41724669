"""How a fetched data set becomes the next stored one. Pure: no I/O, no SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..data_set import KINDS, DataSet, Item


class Merge(NamedTuple):
    """The data set to store, and how many stored items it keeps against the fetched ones."""

    data_set: DataSet
    held_back: int


def merge_never_backwards(stored: DataSet, fetched: DataSet) -> Merge:
    """The higher version of every item; on equal versions what was fetched.

    An item that was not fetched is deleted, unless the fetched data set is provably old, which is to
    say that the store holds a higher version of some item that is in both.
    """
    held_back = {
        (kind, key)
        for kind, key, item in _each(fetched)
        if key in stored[kind] and stored[kind][key].version > item.version
    }
    # Starting from nothing deletes what was not fetched; starting from what is stored keeps it.
    merged = {kind: dict(stored[kind]) if held_back else {} for kind in KINDS}
    for kind, key, item in _each(fetched):
        if (kind, key) not in held_back:
            merged[kind][key] = item
    return Merge(merged, held_back=len(held_back))


def leave_out(data_set: DataSet, can_hold: Callable[[str, str, Item], bool]) -> tuple[DataSet, list[str]]:
    """The data set without the items that the store (kind, key, item) cannot hold, and the names of these.

    They are left out whole: an older version that did fit would mix two revisions, unnoticed.
    """
    left_out = {(kind, key) for kind, key, item in _each(data_set) if not can_hold(kind, key, item)}
    if not left_out:
        return data_set, []
    held = {kind: {key: item for key, item in data_set[kind].items() if (kind, key) not in left_out} for kind in KINDS}
    return held, sorted(f"{kind}/{key}" for kind, key in left_out)


def item_count(data_set: DataSet) -> int:
    return sum(len(data_set[kind]) for kind in KINDS)


def _each(data_set: DataSet) -> Iterator[tuple[str, str, Item]]:
    for kind in KINDS:
        for key, item in data_set[kind].items():
            yield kind, key, item
