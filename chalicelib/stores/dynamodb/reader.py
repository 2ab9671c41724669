"""The reader of a DynamoDB table: GetItem and Query, over a connection of its own where access is plain.

IAM actions: ``dynamodb:GetItem`` and ``dynamodb:Query``; ``dynamodb:BatchGetItem`` for memberships in big segments, and
for a cold start in one request less; where ``EVENTS`` is on, ``dynamodb:PutItem``, which a condition on the leading key
limits to the queue of events.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ...data_set import StoredDataSet, SyncRecord, Texts
from ...timing import Timing
from ..snapshot import leads_from, open_changes, open_snapshot
from .access import read_call
from .endpoint import Call, Json
from .table import Table

if TYPE_CHECKING:
    from ...events.batches import Batch, DeliveryReport
    from ..port import MembershipReader


class DynamoDbReader:
    kind = "dynamodb"

    def __init__(
        self, table: str, prefix: str, aws: Mapping[str, str], timing: Timing, first_call: Call | None = None
    ) -> None:
        """``aws``: the environment variables of AWS's SDK, which also has other ways to be configured.

        ``first_call`` sends requests until the reader is closed, if somebody has made it already.
        """
        self._name = table
        self._prefix = prefix
        self._aws = aws
        self._timing = timing
        self._first_call = first_call

    def read_sync_record(self) -> SyncRecord | None:
        return self._table.read_sync().record

    def read_snapshot(self, record: SyncRecord | None, held: StoredDataSet | None) -> StoredDataSet | None:
        current: Mapping[int, bytes | None] = {}
        if record is None:
            record, current = self._table.read_current()
        if record is None or record.snapshot is None:
            return None
        if held is not None and leads_from(record, held):
            changed = open_changes(self._table.read_changes(), record, held)
            if changed is not None:
                return changed
        revision, size = record.revision, record.snapshot.size
        opened = open_snapshot(self._table.read_snapshot(revision, size, current), record)
        if opened is None and current:
            return open_snapshot(self._table.read_snapshot(revision, size, {}), record)
        return opened

    def read_items(self) -> StoredDataSet:
        record = self.read_sync_record()
        texts = self._table.read_texts()
        return StoredDataSet(texts, record, initialized=record is not None or self._table.has("$inited"))

    def read_some(self, keys: Mapping[str, Collection[str]]) -> Texts:
        found = {kind: {key: self._table.read_item(kind, key) for key in wanted} for kind, wanted in keys.items()}
        return {kind: {key: text for key, text in items.items() if text is not None} for kind, items in found.items()}

    def leave_events(self, batches: Sequence[Batch]) -> bool:
        """Always True: there is room, and what nobody delivers expires."""
        from ..port import QUEUED_SECONDS

        expires = str(int(time.time()) + QUEUED_SECONDS)
        for batch in batches:
            item = {**self._table.key("$events", batch.name), "data": {"B": batch.data}, "expires": {"N": expires}}
            self._table.call("PutItem", {"TableName": self._table.name, "Item": item})
        return True

    def read_delivery(self) -> DeliveryReport:
        from .queued import read_report

        return read_report(self._table)

    def memberships(self, prefix: str) -> MembershipReader:
        from .memberships import DynamoDbMemberships  # only where a flag asks for a big segment

        return DynamoDbMemberships(self._call, self._name, prefix, self._timing)

    def close(self) -> None:
        self._first_call = None
        vars(self).pop("_table", None)  # which holds the connection, or AWS's client

    def _call(self, operation: str, request: Json, within_seconds: float) -> Json:
        """Over the connection that there is: another one after it was closed."""
        return self._table.call(operation, request, within_seconds)

    @functools.cached_property
    def _table(self) -> Table:
        return Table(self._first_call or read_call(self._aws, self._timing), self._name, self._prefix)
