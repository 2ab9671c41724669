"""A DynamoDB table as the flag store.

The table has the partition key ``namespace`` and the sort key ``key``, both strings: LaunchDarkly's own
format, so several prefixes can share a table, and so can other applications of LaunchDarkly's SDKs.
Items, for the prefix ``launchdarkly``:

- ``launchdarkly:features``, ``launchdarkly:segments`` / the item's key: ``version`` and the JSON as ``item``.
- ``launchdarkly:$inited`` (twice, as all below): LaunchDarkly's marker of a store that was filled.
- ``launchdarkly:$sync``: our sync record as ``item``, and what has to change with it: ``writing`` while its
  data set is being replaced, ``writes`` (how often that began), ``covered``, and the lock.
- ``launchdarkly:$refresh``: ``tickets`` and what the webhooks ``announced``.

DynamoDB has no transaction as large as a data set. A write therefore marks ``$sync`` first, moves the
items, and sets the new record last; both updates of ``$sync`` are conditional on the lock. Readers that
see the mark keep what they have. A writer that died leaves its mark: the next refresh compares with what
is really there, and finishes the work.

IAM actions. Reading needs ``dynamodb:GetItem`` and ``dynamodb:Query``; a refresh needs
``dynamodb:UpdateItem`` and ``dynamodb:BatchWriteItem`` as well (not PutItem or DeleteItem: BatchWriteItem
is authorized by itself).

Two ways to ask, because they promise different things: what reads answers or gives up within a second and
costs a cold start next to nothing (``aws_http.py``); what writes moves a whole data set (``aws_sdk.py``).
"""

from __future__ import annotations

import functools
import json
import logging
import math
import random
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

from ...data_set import (
    FEATURES,
    KINDS,
    SEGMENTS,
    Announcement,
    DataSet,
    Item,
    StoredDataSet,
    SyncRecord,
    changes,
    revision_of,
)
from ...errors import RefreshConflict, StoreUnavailable
from ..port import Backlog, Covered
from .access import THROTTLED, Call, RequestRefused, plain_access

logger = logging.getLogger(__name__)

_LAST_BATCH_SECONDS = 4.0
"""Two attempts of the writer: no batch is begun so late that it could arrive after the lock has expired."""

_BACKOFF_SECONDS = (0.05, 1.0)
"""The first and the longest pause before DynamoDB is asked again to take what it did not process."""

_SETTLE_SECONDS = 0.5
"""How long a reader waits for a write in progress, in all."""

_POLL_SECONDS = 0.05

_BATCH_SIZE = 25
_MAX_ITEM_BYTES = 395 * 1024
"""Of 400 KB: a single item that is larger by DynamoDB's count than by ours would fail every refresh."""

_MAX_KEY_BYTES = 1024
"""Of a sort key: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""

_MAX_NUMBER_BYTES = 21

Attributes = dict[str, Any]
"""A DynamoDB item in the types of its protocol: ``{"key": {"S": "..."}}`` (Any: JSON)."""


class DynamoDbStore:
    kind = "dynamodb"

    def __init__(self, table: str, prefix: str, aws: Mapping[str, str]) -> None:
        """``aws``: the environment variables of AWS's SDK, which also has other ways to be configured."""
        self._aws = aws
        self._table = table
        self._prefix = prefix
        self._lock_expires: dict[str, float] = {}
        """By owner, on this process's monotonic clock; never later than DynamoDB sees it."""

    def can_hold(self, kind: str, key: str, item: Item) -> bool:
        """Within about 400 KB: names and values of all attributes count, in UTF-8."""
        names = sum(map(len, ("namespace", "key", "version", "item")))
        values = len(f"{self._prefix}:{kind}".encode()) + len(key.encode()) + _MAX_NUMBER_BYTES + len(item.text)
        return 0 < len(key.encode()) <= _MAX_KEY_BYTES and names + values <= _MAX_ITEM_BYTES

    # The read path.

    def read_sync_record(self) -> SyncRecord | None:
        return self._reader.read_sync().record

    def read_data_set(self) -> StoredDataSet:
        sync, texts, is_whole = self._read_settled()
        record = sync.record
        if record is not None and not is_whole:
            flags, segments = len(texts[FEATURES]), len(texts[SEGMENTS])
            record = replace(record, revision=revision_of(texts), flags=flags, segments=segments, writing=True)
        return StoredDataSet(texts, record, initialized=record is not None or self._reader.has("$inited"))

    def _read_settled(self) -> tuple[_Sync, dict[str, dict[str, bytes]], bool]:
        """Whether no write touched the items while they were read; if not, what is there after a short wait."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            before = self._reader.read_sync()
            is_late = time.monotonic() >= deadline
            if before.writing and not is_late:
                time.sleep(_POLL_SECONDS)
                continue
            texts = self._reader.read_texts()
            after = self._reader.read_sync()
            is_whole = not before.writing and before.writes == after.writes
            if is_whole or is_late:
                return after, texts, is_whole

    # The write path.

    def take_ticket(self, announcement: Announcement | None) -> int:
        # A name of its own, so that a repeated request announces once, and exactly this one can be forgotten.
        text = json.dumps([uuid.uuid4().hex, None if announcement is None else asdict(announcement)])
        updated = self._writer.update("$refresh", "ADD tickets :one, announced :announced", one=1, announced=[text])
        assert updated is not None  # there is no condition
        return _number(updated, "tickets")

    def read_covered(self) -> Covered:
        sync = self._writer.read_sync()
        return Covered(sync.covered, None if sync.record is None else sync.record.revision)

    def read_backlog(self) -> Backlog:
        item = self._writer.get("$refresh").get("Item", {})
        entries = sorted(item.get("announced", {}).get("SS", ()))
        return Backlog(_number(item, "tickets"), tuple(map(_announcement, entries)), tuple(entries))

    def try_lock(self, owner: str, seconds: float) -> bool:
        expires = time.monotonic() + seconds
        sync = self._writer.read_sync()
        if sync.is_locked:
            return False
        locked = self._writer.update(
            "$sync",
            "SET lock_owner = :owner, lock_expires = :expires",
            "attribute_not_exists(lock_owner) OR lock_owner IN (:owner, :dead)",
            owner=owner,
            dead=sync.lock_owner or owner,
            expires=sync.read_at + math.ceil(seconds),
        )
        if locked is not None:
            self._lock_expires = {owner: expires}
        return locked is not None

    def unlock(self, owner: str) -> None:
        self._writer.update("$sync", "REMOVE lock_owner, lock_expires", "lock_owner = :owner", owner=owner)

    @contextmanager
    def update(self, owner: str) -> Iterator[_DynamoDbUpdate]:
        last_batch_at = self._lock_expires.get(owner, 0.0) - _LAST_BATCH_SECONDS
        sync = self._writer.read_sync()
        if sync.lock_owner != owner or time.monotonic() >= last_batch_at:
            raise RefreshConflict("This refresh took longer than its lock; nothing was written.")
        stored = StoredDataSet(self._writer.read_texts(), sync.record, self._writer.has("$inited"))
        yield _DynamoDbUpdate(self._writer, owner, last_batch_at, stored)

    @functools.cached_property
    def _reader(self) -> _Table:
        access = plain_access(self._aws)
        if access is not None:
            from .protocol import http_call

            return _Table(http_call(access), self._table, self._prefix)
        from .sdk import sdk_read_call

        return _Table(sdk_read_call(), self._table, self._prefix)

    @functools.cached_property
    def _writer(self) -> _Table:
        from .sdk import sdk_call

        return _Table(sdk_call(), self._table, self._prefix)


class _DynamoDbUpdate:
    def __init__(self, table: _Table, owner: str, last_batch_at: float, stored: StoredDataSet) -> None:
        self._table = table
        self._owner = owner
        self._last_batch_at = last_batch_at
        self.stored = stored

    def commit(self, data_set: DataSet, record: SyncRecord, backlog: Backlog) -> None:
        requests = list(self._requests(data_set))
        if requests:
            self._update_sync("SET writing = :revision ADD writes :one", revision=record.revision, one=1)
            self._write(requests)
        if not self.stored.initialized:
            self._write([self._table.put_marker_request("$inited")])
        self._update_sync(
            "SET #item = :record, covered = :ticket REMOVE writing", record=record.to_json(), ticket=backlog.ticket
        )
        self._forget(backlog)

    def _requests(self, data_set: DataSet) -> Iterator[Attributes]:
        """Only what differs. Segments come before the flags that may use them, and go after them."""
        changed, gone = changes(self.stored.texts, data_set)
        for kind in reversed(KINDS):
            for key, item in changed[kind].items():
                yield self._table.put_request(kind, key, item)
        for kind in KINDS:
            for key in gone[kind]:
                yield self._table.delete_request(kind, key)

    def _write(self, pending: list[Attributes]) -> None:
        """Everything, however often DynamoDB hands some of it back, until the lock is about to expire."""
        pause, longest_pause = _BACKOFF_SECONDS
        while pending:
            if time.monotonic() >= self._last_batch_at:
                raise StoreUnavailable("DynamoDB did not take all items in time; the next refresh writes the others.")
            unprocessed = self._table.batch_write(pending[:_BATCH_SIZE])
            pending = unprocessed + pending[_BATCH_SIZE:]
            if unprocessed:
                time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, longest_pause) if unprocessed else _BACKOFF_SECONDS[0]

    def _update_sync(self, expression: str, **values: str | int) -> None:
        if self._table.update("$sync", expression, "lock_owner = :owner", owner=self._owner, **values) is None:
            raise RefreshConflict(
                "This refresh took longer than its lock; the one that has it now completes the store."
            )

    def _forget(self, backlog: Backlog) -> None:
        """The store is as it should be by now; what is not forgotten is only waited for once more."""
        try:
            if backlog.entries:
                self._table.update("$refresh", "DELETE announced :entries", entries=list(backlog.entries))
        except StoreUnavailable as error:
            logger.warning("covered webhooks not forgotten: %s", error)


@dataclass(frozen=True)
class _Sync:
    """The item ``$sync``. ``lock_expires`` is a Unix time in whole seconds by DynamoDB's clock; ``date`` tells that."""

    record: SyncRecord | None
    writing: bool
    writes: int
    covered: int
    lock_owner: str | None
    lock_expires: int
    date: str

    @property
    def read_at(self) -> int:
        """By the Date of the answer, so that no two instances' clocks have to agree."""
        return int(parsedate_to_datetime(self.date).timestamp())

    @property
    def is_locked(self) -> bool:
        """Whole seconds free a lock up to one second early, which the last batch leaves room for."""
        return self.lock_owner is not None and self.read_at < self.lock_expires


class _Table:
    """The requests that the store is made of, for one table and prefix. Reads are strongly consistent."""

    def __init__(self, call: Call, name: str, prefix: str) -> None:
        self._call = call
        self._name = name
        self._prefix = prefix

    def get(self, name: str) -> Attributes:
        """DynamoDB's answer to GetItem."""
        key = self._key(name, self._namespace(name))
        return self._call("GetItem", {"TableName": self._name, "Key": key, "ConsistentRead": True})

    def has(self, name: str) -> bool:
        return "Item" in self.get(name)

    def read_sync(self) -> _Sync:
        answer = self.get("$sync")
        item = answer.get("Item", {})
        text = item.get("item", {}).get("S")
        record = None if text is None else SyncRecord.from_json(text)
        writing = "writing" in item
        return _Sync(
            record=record if record is None else replace(record, writing=writing),
            writing=writing,
            writes=_number(item, "writes"),
            covered=_number(item, "covered"),
            lock_owner=item.get("lock_owner", {}).get("S"),
            lock_expires=_number(item, "lock_expires"),
            date=answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""),
        )

    def read_texts(self) -> dict[str, dict[str, bytes]]:
        return {kind: dict(self._query(kind)) for kind in KINDS}

    def _query(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Key and JSON of every item; one without JSON is left out, as the SDKs do."""
        request = {
            "TableName": self._name,
            "ConsistentRead": True,
            "KeyConditionExpression": "namespace = :namespace",
            "ProjectionExpression": "#key, #item",
            "ExpressionAttributeNames": {"#key": "key", "#item": "item"},
            "ExpressionAttributeValues": {":namespace": {"S": self._namespace(kind)}},
        }
        while True:
            page = self._call("Query", request)
            for item in page["Items"]:
                if "S" in item.get("item", {}):
                    yield item["key"]["S"], item["item"]["S"].encode()
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def update(
        self, name: str, expression: str, condition: str | None = None, **values: str | int | list[str]
    ) -> Attributes | None:
        """The attributes that were updated, or None when the condition does not hold.

        ``:name`` in the expressions is the value of that name, ``#name`` an attribute whose name is a
        reserved word.
        """
        request = {
            "TableName": self._name,
            "Key": self._key(name, self._namespace(name)),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": {f":{name}": _value(value) for name, value in values.items()},
            "ReturnValues": "UPDATED_NEW",
        }
        if names := re.findall(r"#(\w+)", expression):
            request["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
        if condition is not None:
            request["ConditionExpression"] = condition
        try:
            updated: Attributes = self._call("UpdateItem", request).get("Attributes", {})
        except RequestRefused as refusal:
            if refusal.code != "ConditionalCheckFailedException":
                raise
            return None
        return updated

    def batch_write(self, requests: list[Attributes]) -> list[Attributes]:
        """What DynamoDB did not process of at most 25 requests."""
        try:
            answer = self._call("BatchWriteItem", {"RequestItems": {self._name: requests}})
        except RequestRefused as refusal:
            if refusal.code not in THROTTLED:
                raise
            return requests
        unprocessed: list[Attributes] = answer.get("UnprocessedItems", {}).get(self._name, [])
        return unprocessed

    def put_request(self, kind: str, key: str, item: Item) -> Attributes:
        attributes = {"version": _value(item.version), "item": _value(item.text.decode())}
        return {"PutRequest": {"Item": {**self._key(kind, key), **attributes}}}

    def put_marker_request(self, name: str) -> Attributes:
        return {"PutRequest": {"Item": self._key(name, self._namespace(name))}}

    def delete_request(self, kind: str, key: str) -> Attributes:
        return {"DeleteRequest": {"Key": self._key(kind, key)}}

    def _key(self, name: str, key: str) -> Attributes:
        return {"namespace": {"S": self._namespace(name)}, "key": {"S": key}}

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}:{name}"


def _value(value: str | int | list[str]) -> Attributes:
    if isinstance(value, list):
        return {"SS": value}
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def _number(item: Attributes, name: str) -> int:
    return int(item.get(name, {}).get("N", 0))


def _announcement(entry: str) -> Announcement | None:
    _, fields = json.loads(entry)
    return None if fields is None else Announcement(**fields)
