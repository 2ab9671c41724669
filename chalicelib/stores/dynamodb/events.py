"""The queue of events in a DynamoDB table, as its delivery sees it.

IAM actions: ``dynamodb:Query`` and ``dynamodb:DeleteItem`` on the events, ``dynamodb:GetItem`` and
``dynamodb:UpdateItem`` on what the delivery keeps; conditions on the leading key limit it to these.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from ...errors import DeliveryConflict
from ...events.batches import Batch, DeliveryReport
from ...timing import Timing
from .access import write_call
from .queued import batches, read_report
from .writable import WritableTable


class DynamoDbEventQueue:
    def __init__(self, table: str, prefix: str, aws: Mapping[str, str], timing: Timing) -> None:
        """``aws``: as for the reader. Raises ConfigurationError when AWS's SDK is needed and cannot be set up."""
        self._table = WritableTable(write_call(aws, timing), table, prefix)

    def read_report(self) -> DeliveryReport:
        return read_report(self._table)

    def try_lock(self, owner: str, seconds: float) -> bool:
        return self._table.try_lock("$delivery", owner, seconds)

    def unlock(self, owner: str) -> None:
        self._table.unlock("$delivery", owner)

    def read_oldest(self, most: int, most_bytes: int) -> list[Batch]:
        found: list[Batch] = []
        size = 0
        for batch in itertools.islice(batches(self._table), most):
            found.append(batch)
            size += len(batch.data)
            if size >= most_bytes:
                break
        return found

    def read_named(self, names: Collection[str]) -> list[Batch]:
        if not names:
            return []
        return [batch for batch in batches(self._table, min(names), max(names)) if batch.name in names]

    def write_state(self, owner: str, state: str) -> None:
        kept = self._table.update("$delivery", "SET #state = :state", "lock_owner = :owner", owner=owner, state=state)
        if kept is None:
            raise DeliveryConflict("Another delivery of events has begun; this one took longer than its lock.")

    def remove(self, owner: str, batches: Collection[Batch], state: str) -> None:
        """One by one: a policy can allow to delete these, where it could not tell a batch of deletions from writes."""
        for batch in batches:
            key = self._table.key("$events", batch.name)
            self._table.call("DeleteItem", {"TableName": self._table.name, "Key": key})
        self.write_state(owner, state)
