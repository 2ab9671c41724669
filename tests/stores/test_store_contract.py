"""What every store promises to the refresh and to the read path, over a real server each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.data_set import (
    FEATURES,
    SEGMENTS,
    Announcement,
    DataSet,
    StoredDataSet,
    SyncRecord,
    fetched_item,
    revision_of,
    texts_of,
)
from chalicelib.errors import RefreshConflict
from chalicelib.stores.port import REMEMBERED, Backlog
from tests.stores.conftest import OpenStore
from tests.support.data import boolean_flag, segment
from tests.support.stores import Store, content_of, without_snapshot
from tests.support.timings import PATIENT
from tests.support.waiting import eventually

NOTHING = Backlog({})
LOCK_SECONDS = 60.0
FOR_A_CROWD = PATIENT._replace(dynamodb_request_seconds=60)
"""moto serves one request after the other, and a request that is sent again counts twice."""


def data_set(*flags: Mapping[str, Any], segments: tuple[Mapping[str, Any], ...] = ()) -> DataSet:
    return {
        FEATURES: {flag["key"]: fetched_item(flag) for flag in flags},
        SEGMENTS: {each["key"]: fetched_item(each) for each in segments},
    }


def record_of(data: DataSet, **fields: Any) -> SyncRecord:
    return SyncRecord(
        **{
            "revision": revision_of(texts_of(data)),
            "synced_at_ms": 1_700_000_000_000,
            "flags": len(data[FEATURES]),
            "segments": len(data[SEGMENTS]),
            "source": "launchdarkly",
            **fields,
        }
    )


def write(store: Store, data: DataSet, backlog: Backlog = NOTHING, in_vain: Collection[str] = ()) -> StoredDataSet:
    """Replace what is stored, as a refresh does; what a read finds afterwards."""
    assert store.writer.try_lock("writer", LOCK_SECONDS)
    with store.writer.update("writer", LOCK_SECONDS) as update:
        update.commit(data, record_of(data), backlog, in_vain)
    store.writer.unlock("writer")
    return content_of(store)


def whole(data: DataSet) -> StoredDataSet:
    return StoredDataSet(texts_of(data), record_of(data), initialized=True)


EMPTY = data_set()
OLD = data_set(boolean_flag("kept"), boolean_flag("changed"), boolean_flag("gone"), segments=(segment("s", 1, "anna"),))
NEW = data_set(boolean_flag("kept"), boolean_flag("changed", 2), boolean_flag("added"), segments=(segment("t"),))


# Reading and writing.


def test_a_store_that_was_never_filled_is_empty_and_says_so(store: Store) -> None:
    assert store.reader.read_sync_record() is None
    assert content_of(store) == StoredDataSet(texts_of(EMPTY), None, initialized=False)
    assert store.writer.read_backlog() == NOTHING
    assert store.writer.read_covered("a ticket") is None


def test_what_was_written_is_read_in_every_instance(store: Store, open_another: OpenStore) -> None:
    assert write(store, OLD) == whole(OLD)
    assert content_of(open_another()) == whole(OLD)
    found = open_another().reader.read_sync_record()
    assert found is not None
    assert found._replace(snapshot=None) == record_of(OLD)


def test_a_write_replaces_adds_and_deletes(store: Store) -> None:
    write(store, OLD)
    assert write(store, NEW) == whole(NEW)


def test_an_empty_data_set_is_a_filled_store(store: Store) -> None:
    assert write(store, EMPTY) == whole(EMPTY)


def test_keys_texts_and_unknown_fields_survive_unchanged(store: Store) -> None:
    odd = data_set(
        boolean_flag("größe/✓ 旗", note='"\\ \u0000 😀', unknown={"deep": [1, None, 2.5]}), boolean_flag("x" * 256)
    )
    assert write(store, odd) == whole(odd)


def test_the_sync_record_counts_what_was_left_out(store: Store) -> None:
    record = record_of(OLD, left_out=2)
    assert store.writer.try_lock("writer", LOCK_SECONDS)
    with store.writer.update("writer", LOCK_SECONDS) as update:
        update.commit(OLD, record, NOTHING)
    found = store.reader.read_sync_record()
    assert found is not None
    assert found._replace(snapshot=None) == record


def test_an_update_sees_what_is_stored(store: Store) -> None:
    write(store, OLD)
    assert store.writer.try_lock("writer", LOCK_SECONDS)
    with store.writer.update("writer", LOCK_SECONDS) as update:
        assert without_snapshot(update.stored) == whole(OLD)


def test_an_update_that_is_not_committed_changes_nothing(store: Store) -> None:
    write(store, OLD)
    assert store.writer.try_lock("writer", LOCK_SECONDS)
    with pytest.raises(ZeroDivisionError), store.writer.update("writer", LOCK_SECONDS):
        raise ZeroDivisionError
    assert content_of(store) == whole(OLD)


def test_prefixes_share_a_store_and_see_nothing_of_each_other(open_another: OpenStore) -> None:
    one, other = open_another("one"), open_another("{other}")
    write(one, OLD)
    assert content_of(other) == StoredDataSet(texts_of(EMPTY), None, initialized=False)
    write(other, NEW)
    other.writer.take_ticket(None)
    assert content_of(one) == whole(OLD)
    assert one.writer.read_backlog() == NOTHING
    assert content_of(other) == whole(NEW)


# Tickets.


def test_the_backlog_holds_what_was_announced_by_its_ticket(store: Store, open_another: OpenStore) -> None:
    announced = [Announcement(FEATURES, "größe", 7), None, Announcement(SEGMENTS, "s", None), None]
    tickets = [each.writer.take_ticket(what) for each, what in zip([store, open_another()] * 2, announced, strict=True)]
    assert store.writer.read_backlog().announcements == dict(zip(tickets, announced, strict=True))


def test_tickets_taken_at_the_same_time_are_all_different(open_another: OpenStore) -> None:
    stores = [open_another(timing=FOR_A_CROWD) for _ in range(4)]
    with ThreadPoolExecutor(8) as threads:
        tickets = list(
            threads.map(lambda i: stores[i % 4].writer.take_ticket(Announcement(FEATURES, "same", 1)), range(40))
        )
    assert len(set(tickets)) == 40
    assert stores[0].writer.read_backlog().announcements == dict.fromkeys(tickets, Announcement(FEATURES, "same", 1))


def test_a_write_covers_the_tickets_that_it_knew_and_no_others(store: Store, open_another: OpenStore) -> None:
    early, late = Announcement(FEATURES, "early", 1), Announcement(FEATURES, "late", 2)
    known = store.writer.take_ticket(early)
    backlog = store.writer.read_backlog()
    unknown = open_another().writer.take_ticket(late)
    write(store, OLD, backlog)
    assert open_another().writer.read_covered(known) == (True, record_of(OLD).revision)
    assert open_another().writer.read_covered(unknown) is None
    assert open_another().writer.read_backlog().announcements == {unknown: late}


def test_a_write_says_of_each_ticket_whether_it_met_what_was_announced(store: Store, open_another: OpenStore) -> None:
    met, unmet = (store.writer.take_ticket(Announcement(FEATURES, "kept", version)) for version in (1, 9))
    write(store, OLD, store.writer.read_backlog(), in_vain=[unmet])
    assert open_another().writer.read_covered(met) == (True, record_of(OLD).revision)
    assert open_another().writer.read_covered(unmet) == (False, record_of(OLD).revision)
    assert open_another().writer.read_backlog().announcements == {}


def test_covered_webhooks_are_remembered_for_a_while_and_do_not_pile_up(store: Store) -> None:
    def cover(number: int) -> list[str]:
        tickets = [f"{number}-{each}" for each in range(REMEMBERED // 2 + 1)]
        backlog = store.writer.read_backlog()
        write(store, OLD, backlog._replace(announcements=dict.fromkeys(tickets)))
        return tickets

    first, second = cover(1), cover(2)
    assert all(store.writer.read_covered(ticket) for ticket in (first[0], second[0]))
    third = cover(3)
    assert [bool(store.writer.read_covered(tickets[0])) for tickets in (first, second, third)] == [False, False, True]


# The lock.


def test_one_instance_holds_the_lock_until_it_unlocks(store: Store, open_another: OpenStore) -> None:
    other = open_another()
    assert store.writer.try_lock("a", LOCK_SECONDS)
    assert not other.writer.try_lock("b", LOCK_SECONDS)
    assert not store.writer.try_lock("a", LOCK_SECONDS)
    other.writer.unlock("b")
    assert not other.writer.try_lock("b", LOCK_SECONDS)
    store.writer.unlock("a")
    assert other.writer.try_lock("b", LOCK_SECONDS)


def test_of_many_that_want_the_lock_one_gets_it(open_another: OpenStore) -> None:
    stores = [open_another(timing=FOR_A_CROWD) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        locked = list(threads.map(lambda i: stores[i].writer.try_lock(f"owner-{i}", LOCK_SECONDS), range(8)))
    assert sorted(locked) == [False] * 7 + [True]


def test_the_lock_of_a_dead_instance_expires_for_an_instance_that_never_saw_it(
    store: Store, open_another: OpenStore
) -> None:
    write(store, OLD)
    assert store.writer.try_lock("dead", 1.0)
    eventually(lambda: open_another().writer.try_lock("next", LOCK_SECONDS))
    with pytest.raises(RefreshConflict), store.writer.update("dead", LOCK_SECONDS):
        pytest.fail("the lock is another's")
    store.writer.unlock("dead")  # frees nothing
    assert not open_another().writer.try_lock("third", LOCK_SECONDS)
    assert content_of(store) == whole(OLD)


def test_an_update_without_the_lock_is_refused(store: Store, open_another: OpenStore) -> None:
    assert open_another().writer.try_lock("somebody", LOCK_SECONDS)
    with pytest.raises(RefreshConflict), store.writer.update("nobody", LOCK_SECONDS):
        pytest.fail("there is nothing to update")


def test_a_refresh_that_lost_its_lock_writes_nothing(store: Store, open_another: OpenStore) -> None:
    write(store, OLD)
    assert store.writer.try_lock("slow", LOCK_SECONDS)
    other = open_another()

    def write_slowly() -> None:
        with store.writer.update("slow", LOCK_SECONDS) as update:
            other.writer.unlock("slow")
            assert other.writer.try_lock("quick", LOCK_SECONDS)
            update.commit(NEW, record_of(NEW), NOTHING)

    with pytest.raises(RefreshConflict):
        write_slowly()
    assert content_of(other) == whole(OLD)
    with other.writer.update("quick", LOCK_SECONDS) as update:
        update.commit(NEW, record_of(NEW), NOTHING)
    assert content_of(other) == whole(NEW)
