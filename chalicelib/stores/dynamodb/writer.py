"""The writer of a DynamoDB table.

DynamoDB has no transaction as large as a data set. A write therefore marks ``$sync`` first, moves the
items, writes the snapshot, and sets the record that names it last; both updates of ``$sync`` are conditional
on the lock. Our readers have the previous snapshot until then. A writer that died leaves its mark: the next
refresh compares with what is really there, and finishes the work.

IAM actions: ``dynamodb:GetItem`` and ``dynamodb:Query``, as for the reader, and ``dynamodb:UpdateItem`` and
``dynamodb:BatchWriteItem`` (not PutItem or DeleteItem: BatchWriteItem is authorized by itself).
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from ...data_set import (
    KINDS,
    LARGEST_SNAPSHOT,
    Announcement,
    DataSet,
    Item,
    StoredDataSet,
    SyncRecord,
    Texts,
    changes,
    is_text,
    texts_of,
)
from ...errors import RefreshConflict, StoreUnavailable
from ...timing import Timing
from ..packing import Packed, pack
from ..port import REMEMBERED, Backlog, Covered, new_ticket
from ..snapshot import open_snapshot
from .access import write_call
from .table import PART_BYTES, Attributes, Sync, part_keys
from .writable import WritableTable, read_at, texts_in, value_of

logger = logging.getLogger(__name__)

_BATCH_SIZE = 25
_MAX_ITEM_BYTES = 395 * 1024
"""Of 400 KB: a single item that is larger by DynamoDB's count than by ours would fail every refresh."""

_MAX_KEY_BYTES = 1024
"""Of a sort key: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""

_MAX_NUMBER_BYTES = 21

_LARGEST_NUMBER = 10**38 - 1
"""DynamoDB's numbers have 38 digits."""


class DynamoDbWriter:
    def __init__(self, table: str, prefix: str, aws: Mapping[str, str], timing: Timing) -> None:
        """``aws``: as for the reader. Raises ConfigurationError when AWS's SDK is needed and cannot be set up."""
        self._timing = timing
        self._table = WritableTable(write_call(aws, timing), table, prefix)

    def can_hold(self, kind: str, key: str, item: Item) -> bool:
        """Within about 400 KB: names and values of all attributes count, in UTF-8."""
        if not is_text(key) or abs(item.version) > _LARGEST_NUMBER:
            return False
        names = sum(map(len, ("namespace", "key", "version", "item")))
        values = len(self._table.namespace(kind).encode()) + len(key.encode()) + _MAX_NUMBER_BYTES + len(item.text)
        return 0 < len(key.encode()) <= _MAX_KEY_BYTES and names + values <= _MAX_ITEM_BYTES

    def take_ticket(self, announcement: Announcement | None) -> str:
        ticket = new_ticket()
        entry = [json.dumps([ticket, None if announcement is None else announcement._asdict()])]
        self._table.update("$refresh", "ADD announced :entry", entry=entry)
        return ticket

    def read_covered(self, ticket: str) -> Covered | None:
        item = self._table.get("$refresh").get("Item", {})
        is_met = ticket in texts_in(item, "met")
        if not is_met and ticket not in texts_in(item, "unmet"):
            return None
        record = self._table.read_sync().record
        return Covered(is_met, None if record is None else record.revision)

    def read_backlog(self) -> Backlog:
        item = self._table.get("$refresh").get("Item", {})
        entries = texts_in(item, "announced")
        covered = [*texts_in(item, "met"), *texts_in(item, "unmet")]
        outdated = tuple(covered) if len(covered) > REMEMBERED else ()
        return Backlog(dict(map(_webhook, entries)), tuple(entries), outdated)

    def try_lock(self, owner: str, seconds: float) -> bool:
        return self._table.try_lock("$sync", owner, seconds)

    def unlock(self, owner: str) -> None:
        self._table.unlock("$sync", owner)

    @contextmanager
    def update(self, owner: str, seconds: float) -> Iterator[_DynamoDbUpdate]:
        # No batch begins so late that it could arrive after the lock has expired and was taken by another.
        last_batch_at = time.monotonic() + seconds - self._timing.dynamodb_last_batch_seconds
        sync = self._table.read_sync()
        if not self._table.set_lock("$sync", owner, read_at(sync.date) + math.ceil(seconds), "lock_owner = :owner"):
            raise RefreshConflict("This refresh took longer than its lock; nothing was written.")
        items = StoredDataSet(self._table.read_texts(), sync.record, self._table.has("$inited"))
        snapshot = self._read_snapshot(sync.record)
        # Items that a writer left half written count for nothing: what evaluations have is the snapshot.
        complete = open_snapshot(snapshot, sync.record) if sync.writing else None
        stored = items if complete is None else complete._replace(initialized=items.initialized)
        yield _DynamoDbUpdate(self._table, self._timing, owner, last_batch_at, sync, stored, items.texts, snapshot)

    def _read_snapshot(self, record: SyncRecord | None) -> bytes | None:
        if record is None or record.snapshot is None:
            return None
        return self._table.read_snapshot(record.revision, record.snapshot.size, {})


class _DynamoDbUpdate:
    def __init__(
        self,
        table: WritableTable,
        timing: Timing,
        owner: str,
        last_batch_at: float,
        sync: Sync,
        stored: StoredDataSet,
        items: Texts,
        snapshot: bytes | None,
    ) -> None:
        self._table = table
        self._timing = timing
        self._owner = owner
        self._last_batch_at = last_batch_at
        self._sync = sync
        self._items = items
        self._snapshot = snapshot
        self.stored = stored

    def commit(self, data_set: DataSet, record: SyncRecord, backlog: Backlog, in_vain: Collection[str] = ()) -> None:
        packed = pack(record.revision, texts_of(data_set), self.stored.record, self._snapshot)
        record = record._replace(snapshot=packed.name)
        items = list(self._item_requests(data_set))
        superseded = _Superseded(self._sync)
        if items or packed.snapshot is not None:
            superseded.add(record)  # until the record names it: should this writer die, its parts are not forgotten
            self._update_sync(
                "SET writing = :revision, superseded = :superseded ADD writes :one",
                revision=record.revision,
                superseded=superseded.to_json(),
                one=1,
            )
        self._write(items)
        if not self.stored.initialized:
            self._write([self._table.put_marker_request("$inited")])
        self._write_packed(record.revision, packed)
        superseded.replace(self.stored.record, record)
        for revision, size in superseded.pop_older_than(self._timing.snapshot_grace_seconds):
            self._write([self._table.delete_request("$snapshot", key) for key in part_keys(revision, size)])
        self._update_sync(
            "SET #item = :record, superseded = :superseded REMOVE writing",
            record=record.to_json(),
            superseded=superseded.to_json(),
        )
        self._tell_outcomes(backlog, in_vain)

    def _item_requests(self, data_set: DataSet) -> Iterator[Attributes]:
        """Only what differs. Segments come before the flags that may use them, and go after them."""
        changed, gone = changes(self._items, data_set)
        for kind in reversed(KINDS):
            for key, item in changed[kind].items():
                yield self._table.put_request(kind, key, item)
        for kind in KINDS:
            for key in gone[kind]:
                yield self._table.delete_request(kind, key)

    def _write_packed(self, revision: str, packed: Packed) -> None:
        if packed.snapshot is not None:
            self._write_snapshot(revision, packed.snapshot)
        elif self._snapshot is not None and not self._is_copied(revision, self._snapshot):
            self._write_snapshot(revision, self._snapshot)
        if packed.changes is not None:
            key = self._table.namespace("$changes")
            self._write([self._table.put_data_request("$changes", key, packed.changes)])

    def _is_copied(self, revision: str, snapshot: bytes) -> bool:
        """Whether ``$current`` holds the first parts of this snapshot, and nothing else."""
        copies = self._table.read_copies()
        wanted = [(revision, part) for part in _parts(snapshot)[: len(copies)]]
        return copies == [*wanted, *[(None, None)] * (len(copies) - len(wanted))]

    def _write_snapshot(self, revision: str, snapshot: bytes) -> None:
        """Part by part. In ``$current``, nothing of a larger snapshot stays, which each cold start would read."""
        put_data, current_keys = self._table.put_data_request, self._table.current_keys()
        parts = _parts(snapshot)
        requests = [self._table.delete_request("$current", key) for key in current_keys[len(parts) :]]
        for number, (key, part) in enumerate(zip(part_keys(revision, len(snapshot)), parts, strict=True)):
            requests.append(put_data("$snapshot", key, part))
            if number < len(current_keys):
                requests.append(put_data("$current", current_keys[number], part, revision=value_of(revision)))
            self._write(requests)
            requests = []

    def _write(self, pending: list[Attributes]) -> None:
        """Everything, however often DynamoDB hands some of it back, until the lock is about to expire."""
        first_pause, longest_pause = self._timing.dynamodb_backoff_seconds
        pause = first_pause
        while pending:
            if time.monotonic() >= self._last_batch_at:
                raise StoreUnavailable("DynamoDB did not take all items in time; the next refresh writes the others.")
            unprocessed = self._table.batch_write(pending[:_BATCH_SIZE])
            pending = unprocessed + pending[_BATCH_SIZE:]
            if unprocessed:
                time.sleep(random.SystemRandom().uniform(0, pause))  # the system's, as in refresh/turn.py
            pause = min(2 * pause, longest_pause) if unprocessed else first_pause

    def _update_sync(self, expression: str, **values: str | int) -> None:
        if self._table.update("$sync", expression, "lock_owner = :owner", owner=self._owner, **values) is None:
            raise RefreshConflict(
                "This refresh took longer than its lock; the one that has it now completes the store."
            )

    def _tell_outcomes(self, backlog: Backlog, in_vain: Collection[str]) -> None:
        """The store is as it should be by now; a webhook that does not learn it only refreshes once more."""
        outcomes = {
            "met": [ticket for ticket in backlog.announcements if ticket not in in_vain],
            "unmet": list(in_vain),
        }
        try:
            if backlog.outdated:
                self._table.update("$refresh", "REMOVE met, unmet")
            for name, tickets in outcomes.items():
                if tickets:
                    self._table.update("$refresh", f"ADD {name} :tickets", tickets=tickets)
            if backlog.entries:
                self._table.update("$refresh", "DELETE announced :entries", entries=list(backlog.entries))
        except StoreUnavailable as error:
            logger.warning("covered webhooks not told: %s", error)


class _Superseded:
    """Earlier snapshots that somebody may still be reading: by revision, their size, and since when (Unix time).

    Times are DynamoDB's, so that no two instances' clocks have to agree.
    """

    def __init__(self, sync: Sync) -> None:
        self._now = read_at(sync.date)
        self._snapshots: dict[str, tuple[int, int]] = {}
        try:
            for revision, (size, since) in json.loads(sync.superseded or "{}").items():
                if 0 < int(size) <= LARGEST_SNAPSHOT:
                    self._snapshots[str(revision)] = (int(size), int(since))
        except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
            logger.warning("the list of superseded snapshots cannot be read; they stay in the table")

    def to_json(self) -> str:
        return json.dumps(self._snapshots)

    def add(self, record: SyncRecord) -> None:
        if record.snapshot is not None:
            self._snapshots[record.revision] = (record.snapshot.size, self._now)

    def replace(self, old: SyncRecord | None, new: SyncRecord) -> None:
        """The new record's snapshot is in use from now on, and the old one's no longer."""
        if old is not None:
            self.add(old)
        self._snapshots.pop(new.revision, None)

    def pop_older_than(self, seconds: float) -> list[tuple[str, int]]:
        """Revision and size of those that nobody reads any more."""
        old = [revision for revision, (_, since) in self._snapshots.items() if self._now - since > seconds]
        return [(revision, self._snapshots.pop(revision)[0]) for revision in old]


def _parts(snapshot: bytes) -> list[bytes]:
    return [snapshot[start : start + PART_BYTES] for start in range(0, len(snapshot), PART_BYTES)]


def _webhook(entry: str) -> tuple[str, Announcement | None]:
    """Ticket and announcement; an entry that is something else is one that announces no version."""
    try:
        ticket, fields = json.loads(entry)
    except (ValueError, TypeError, RecursionError):
        return entry, None
    return str(ticket), Announcement.from_json(fields)
