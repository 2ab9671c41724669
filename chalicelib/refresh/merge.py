"""How a fetched data set becomes the next stored one. Pure: no I/O, no SDK."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from ..data_set import DOUBTED_BY_NAME, KINDS, UNREADABLE, DataSet, Doubts, Item


class Merge(NamedTuple):
    """The data set to store, how many stored items it keeps against the fetched ones, and what is now doubted."""

    data_set: DataSet
    held_back: int
    doubted: Doubts


def merge_as_fetched(_stored: DataSet, fetched: DataSet, _doubted: Doubts) -> Merge:
    """What was fetched, whatever is stored: of a flag file, or where somebody has forced it."""
    return Merge(fetched, held_back=0, doubted={})


def merge_never_backwards(stored: DataSet, fetched: DataSet, doubted: Doubts) -> Merge:
    """The higher version of every item; on equal versions what was fetched.

    An item without a readable version is taken as it came. An item that was not fetched is deleted, unless
    the fetched data set is provably old, which is to say that the store holds a higher version of some item
    that is in both. What was doubted stays so where the item stays as it was.
    """
    held_back = _lower_versions(stored, fetched)
    merged = _hold_back(stored, fetched, held_back)
    still_doubted = {(kind, key): version for (kind, key), version in doubted.items() if (kind, key) in held_back}
    return Merge(merged, len(held_back), still_doubted)


def merge_reconciled(stored: DataSet, fetched: DataSet, doubted: Doubts) -> Merge:
    """As merge_never_backwards, but that a lower version wins which an earlier reconcile has doubted.

    LaunchDarkly's caches may lag once; what it says again five minutes later, it means. Doubts that the sync
    record has no room for go by those that it has.
    """
    lower = _lower_versions(stored, fetched)
    confirmed = {name for name, version in lower.items() if name in doubted and doubted[name] <= version}
    if len(doubted) == DOUBTED_BY_NAME and confirmed == set(doubted):
        confirmed = set(lower)
    held_back = {name: version for name, version in lower.items() if name not in confirmed}
    return Merge(_hold_back(stored, fetched, held_back), len(held_back), held_back)


def _lower_versions(stored: DataSet, fetched: DataSet) -> Doubts:
    """What was fetched in a lower version than the stored one."""
    return {
        (kind, key): item.version
        for kind, key, item in _each(fetched)
        if key in stored[kind] and UNREADABLE < item.version < stored[kind][key].version
    }


def _hold_back(stored: DataSet, fetched: DataSet, held_back: Collection[tuple[str, str]]) -> DataSet:
    # Starting from nothing deletes what was not fetched; starting from what is stored keeps it.
    merged = {kind: dict(stored[kind]) if held_back else {} for kind in KINDS}
    for kind, key, item in _each(fetched):
        if (kind, key) not in held_back:
            merged[kind][key] = item
    return merged


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
    """How many flags and segments there are together."""
    return sum(len(data_set[kind]) for kind in KINDS)


def _each(data_set: DataSet) -> Iterator[tuple[str, str, Item]]:
    for kind in KINDS:
        for key, item in data_set[kind].items():
            yield kind, key, item
