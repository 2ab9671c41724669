"""What is where in a DynamoDB table, and how it is read.

The table has the partition key ``namespace`` and the sort key ``key``, both strings: LaunchDarkly's own
format, so several prefixes can share a table, and so can other applications of LaunchDarkly's SDKs.
Items, for the prefix ``launchdarkly``:

- ``launchdarkly:features``, ``launchdarkly:segments`` / the item's key: ``version`` and the JSON as ``item``.
- ``launchdarkly:$inited`` (twice, as all below): LaunchDarkly's marker of a store that was filled.
- ``launchdarkly:$sync``: our sync record as ``item``, and what has to change with it: ``writing`` while its
  data set is being replaced, ``writes`` (how often that began), ``covered``, and the lock.
- ``launchdarkly:$refresh``: ``tickets`` and what the webhooks ``announced``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ...data_set import KINDS, SyncRecord
from .endpoint import Call, dynamodbs_shape

Attributes = dict[str, Any]
"""A DynamoDB item in the types of its protocol: ``{"key": {"S": "..."}}`` (Any: JSON)."""


class Sync(NamedTuple):
    """The item ``$sync``.

    ``lock_expires`` is a Unix time in whole seconds by DynamoDB's clock; ``date``, of the answer, tells that.
    """

    record: SyncRecord | None
    writing: bool
    writes: int
    covered: int
    lock_owner: str | None
    lock_expires: int
    date: str


class Table:
    """What is read of one table under one prefix. Reads are strongly consistent."""

    def __init__(self, call: Call, name: str, prefix: str) -> None:
        self.call = call
        self.name = name
        self._prefix = prefix

    def get(self, name: str) -> Attributes:
        """DynamoDB's answer to GetItem."""
        key = self.key(name, self.namespace(name))
        return self.call("GetItem", {"TableName": self.name, "Key": key, "ConsistentRead": True})

    def has(self, name: str) -> bool:
        return "Item" in self.get(name)

    def read_sync(self) -> Sync:
        with dynamodbs_shape():
            return self._sync_in(self.get("$sync"))

    def _sync_in(self, answer: Attributes) -> Sync:
        item = answer.get("Item", {})
        text = item.get("item", {}).get("S")
        record = None if text is None else SyncRecord.from_json(text)
        writing = "writing" in item
        return Sync(
            record=record if record is None else record._replace(writing=writing),
            writing=writing,
            writes=number_in(item, "writes"),
            covered=number_in(item, "covered"),
            lock_owner=item.get("lock_owner", {}).get("S"),
            lock_expires=number_in(item, "lock_expires"),
            date=answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""),
        )

    def read_texts(self) -> dict[str, dict[str, bytes]]:
        with dynamodbs_shape():
            return {kind: dict(self._query(kind)) for kind in KINDS}

    def _query(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Key and JSON of every item; one without JSON is left out, as the SDKs do."""
        request = {
            "TableName": self.name,
            "ConsistentRead": True,
            "KeyConditionExpression": "namespace = :namespace",
            "ProjectionExpression": "#key, #item",
            "ExpressionAttributeNames": {"#key": "key", "#item": "item"},
            "ExpressionAttributeValues": {":namespace": {"S": self.namespace(kind)}},
        }
        while True:
            page = self.call("Query", request)
            for item in page["Items"]:
                if "S" in item.get("item", {}):
                    yield item["key"]["S"], item["item"]["S"].encode()
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def key(self, name: str, key: str) -> Attributes:
        return {"namespace": {"S": self.namespace(name)}, "key": {"S": key}}

    def namespace(self, name: str) -> str:
        return f"{self._prefix}:{name}"


def number_in(item: Attributes, name: str) -> int:
    """The number that an item holds under this name; 0 where it holds none."""
    return int(item.get(name, {}).get("N", 0))
