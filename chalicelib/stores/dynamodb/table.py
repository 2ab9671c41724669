"""What is where in a DynamoDB table, and how it is read.

The table has the partition key ``namespace`` and the sort key ``key``, both strings: LaunchDarkly's own
format, so several prefixes can share a table, and so can other applications of LaunchDarkly's SDKs.
Items, for the prefix ``launchdarkly``:

- ``launchdarkly:features``, ``launchdarkly:segments`` / the item's key: ``version`` and the JSON as ``item``.
- ``launchdarkly:$inited`` (twice, as all below): LaunchDarkly's marker of a store that was filled.
- ``launchdarkly:$sync``: our sync record as ``item``, and what has to change with it: ``writing`` while items
  are being replaced, ``writes`` (how often that began, for readers that know no snapshots), the lock, and
  ``superseded``: earlier snapshots that somebody may still be reading.
- ``launchdarkly:$refresh``: the webhooks, ``announced`` each as ``[ticket, announcement]`` in JSON, and of those
  that a refresh has covered the tickets, ``met`` or ``unmet``. All three are sets of strings. A version
  without snapshots counts ``tickets`` here, and ``covered`` in ``$sync``; a rollout may run both.
- ``launchdarkly:$snapshot`` / ``<revision>/<number>``: the data set once more, in the format of
  ``stores/snapshot.py``, in parts of ``PART_BYTES`` as ``data``.
- ``launchdarkly:$current`` (the second part with the key ``1``): the first ``CURRENT_PARTS`` parts of the snapshot that
  was written last, once more, each with its ``revision``. A cold start reads them with the sync record in one request,
  and takes those that are the record's. A version of the app may know the first part alone.
- ``launchdarkly:$changes``: in the same format, what changed since the revision before.
- ``launchdarkly:$events`` / a batch's name: events that evaluations have left, as ``data``. ``expires`` is the Unix
  time at which the table's time to live deletes it.
- ``launchdarkly:$delivery``: what the delivery of events keeps between its runs as ``state``, and its lock.
"""

from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...data_set import KINDS, SyncRecord
from .endpoint import Call, RequestRefused, dynamodbs_shape

PART_BYTES = 380 * 1024
"""An item may have 400 KB, names and keys included."""

CURRENT_PARTS = 2
"""Room for about 9,000 flags; a slow link has time for no more in one answer. One that is not there costs each cold
start a read unit."""

Attributes = dict[str, Any]
"""A DynamoDB item in the types of its protocol: ``{"key": {"S": "..."}}`` (Any: JSON)."""


class Sync(NamedTuple):
    """The item ``$sync`` but for its lock; ``date``, of the answer, says when DynamoDB gave it."""

    record: SyncRecord | None
    writing: str | None
    superseded: str | None
    date: str


class Current(NamedTuple):
    """The sync record, and what there is in ``$current`` of the snapshot that it names: parts by their numbers."""

    record: SyncRecord | None
    parts: Mapping[int, bytes | None]


class Table:
    """What is read of one table under one prefix. Reads are strongly consistent."""

    def __init__(self, call: Call, name: str, prefix: str) -> None:
        self.call = call
        self.name = name
        self._prefix = prefix  # empty is LaunchDarkly's default: no prefix, and no colon

    def get(self, name: str, key: str | None = None) -> Attributes:
        """DynamoDB's answer to GetItem; the key is by default the namespace once more."""
        where = self.key(name, self.namespace(name) if key is None else key)
        return self.call("GetItem", {"TableName": self.name, "Key": where, "ConsistentRead": True})

    def has(self, name: str) -> bool:
        return "Item" in self.get(name)

    @dynamodbs_shape()
    def read_sync(self) -> Sync:
        answer = self.get("$sync")
        item = answer.get("Item", {})
        return Sync(
            record=_record_in(item),
            writing=text_in(item, "writing"),
            superseded=text_in(item, "superseded"),
            date=date_of(answer),
        )

    def read_current(self) -> Current:
        """In one request. The record alone where a policy does not allow that, or DynamoDB did not process its key."""
        copies = [self.key("$current", key) for key in self.current_keys()]
        keys = [self.key("$sync", self.namespace("$sync")), *copies]
        try:
            answer = self.call("BatchGetItem", {"RequestItems": {self.name: {"Keys": keys, "ConsistentRead": True}}})
        except RequestRefused as refusal:
            if refusal.code != "AccessDeniedException":
                raise
            return Current(self.read_sync().record, {})
        return self._current_in(answer) or Current(self.read_sync().record, {})

    @dynamodbs_shape()
    def _current_in(self, answer: Attributes) -> Current | None:
        found = {item["key"]["S"]: item for items in answer["Responses"].values() for item in items}
        sync = found.get(self.namespace("$sync"), {})
        if not sync and answer.get("UnprocessedKeys"):
            return None
        record = _record_in(sync)
        copies = [found.get(key, {}) for key in self.current_keys()]
        parts = {
            number: _data_in(copy)
            for number, copy in enumerate(copies)
            if record is not None and text_in(copy, "revision") == record.revision
        }
        return Current(record, parts)

    def current_keys(self) -> list[str]:
        """The sort keys of the parts in ``$current``."""
        return [self.namespace("$current"), *map(str, range(1, CURRENT_PARTS))]

    @dynamodbs_shape()
    def read_copies(self) -> list[tuple[str | None, bytes | None]]:
        """What is in ``$current``: of each part its revision and its data."""
        items = [self.get("$current", key).get("Item", {}) for key in self.current_keys()]
        return [(text_in(item, "revision"), _data_in(item)) for item in items]

    def read_snapshot(self, revision: str, size: int, held: Mapping[int, bytes | None]) -> bytes | None:
        """The snapshot of this revision, all parts together, but for those that are ``held`` a request for each.

        None where one is missing.
        """
        parts = []
        for number, key in enumerate(part_keys(revision, size)):
            part = held.get(number) or self._read_data("$snapshot", key)
            if part is None:
                return None
            parts.append(part)
        return b"".join(parts)

    def read_changes(self) -> bytes | None:
        return self._read_data("$changes", self.namespace("$changes"))

    @dynamodbs_shape()
    def _read_data(self, name: str, key: str) -> bytes | None:
        return _data_in(self.get(name, key).get("Item", {}))

    @dynamodbs_shape()
    def read_item(self, kind: str, key: str) -> bytes | None:
        """The JSON of one flag or segment, as :meth:`read_texts` gives it for all."""
        text = self.get(kind, key).get("Item", {}).get("item", {}).get("S")
        return None if text is None else str(text).encode()

    @dynamodbs_shape()
    def read_texts(self) -> dict[str, dict[str, bytes]]:
        """By kind, the JSON of every item; one without is left out, as the SDKs do."""
        return {
            kind: {
                item["key"]["S"]: item["item"]["S"].encode()
                for item in self.items(self.query(kind, "item"))
                if "S" in item.get("item", {})
            }
            for kind in KINDS
        }

    def query(self, name: str, attribute: str) -> Attributes:
        """A request for the items of a namespace: their keys, and this attribute."""
        return {
            "TableName": self.name,
            "ConsistentRead": True,
            "KeyConditionExpression": "namespace = :namespace",
            "ProjectionExpression": "#key, #attribute",
            "ExpressionAttributeNames": {"#key": "key", "#attribute": attribute},
            "ExpressionAttributeValues": {":namespace": {"S": self.namespace(name)}},
        }

    def items(self, query: Attributes) -> Iterator[Attributes]:
        """What the query finds, page by page, as it is asked for. To be taken apart in ``dynamodbs_shape``."""
        while True:
            page = self.call("Query", query)
            yield from page["Items"]
            last = page.get("LastEvaluatedKey")
            if not last:
                return
            if last == query.get("ExclusiveStartKey"):
                raise ValueError  # the same page would follow for ever
            query = {**query, "ExclusiveStartKey": last}

    def key(self, name: str, key: str) -> Attributes:
        return {"namespace": {"S": self.namespace(name)}, "key": {"S": key}}

    def namespace(self, name: str) -> str:
        return f"{self._prefix}:{name}" if self._prefix else name


def part_keys(revision: str, size: int) -> list[str]:
    """The sort keys of the parts of a snapshot of this many bytes."""
    return [f"{revision}/{number}" for number in range(-(-size // PART_BYTES))]


def _record_in(sync: Attributes) -> SyncRecord | None:
    """The sync record in the item ``$sync``."""
    text = text_in(sync, "item")
    record = None if text is None else SyncRecord.from_json(text)
    return record if record is None else record._replace(writing=text_in(sync, "writing") is not None)


def _data_in(item: Attributes) -> bytes | None:
    data = item.get("data", {}).get("B")
    return a2b_base64(data) if isinstance(data, str) else data  # AWS's SDK has decoded it already


def date_of(answer: Attributes) -> str:
    """When DynamoDB gave the answer, in HTTP's words; empty where it does not say."""
    date: str = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    return date


def text_in(item: Attributes, name: str) -> str | None:
    """The text that an item holds under this name; None where it holds none, or something else."""
    text: str | None = item.get(name, {}).get("S")
    return text
