"""What lies in a store, key by key, for tests that lose some of it or bring back old copies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import redis

from tests.support.dynamodb import DynamoDb, Json

Copy = Mapping[str, Any]
"""By name, what lay under it (Any: the store's own format)."""


class Records(Protocol):
    """By name: a key of Redis, a namespace of DynamoDB, without the prefix."""

    def copy(self) -> Copy: ...

    def lose(self, names: Collection[str]) -> None: ...

    def bring_back(self, copy: Copy, names: Collection[str]) -> None:
        """As they were in the copy; what was not in it is lost."""


class RedisRecords:
    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)  # bytes as they are

    def copy(self) -> Copy:
        return {key.decode().partition(":")[2]: self._redis.dump(key) for key in self._redis.scan_iter()}

    def lose(self, names: Collection[str]) -> None:
        self._redis.delete(*(f"launchdarkly:{name}" for name in names))

    def bring_back(self, copy: Copy, names: Collection[str]) -> None:
        self.lose(names)
        for name in names:
            if name in copy:
                self._redis.restore(f"launchdarkly:{name}", 0, copy[name], replace=True)


class DynamoDbRecords:
    def __init__(self, dynamodb: DynamoDb, table: str) -> None:
        self._client = dynamodb.client()
        self._table = table

    def copy(self) -> Copy:
        items: dict[str, list[Json]] = {}
        for item in self._client.scan(TableName=self._table)["Items"]:
            items.setdefault(item["namespace"]["S"].partition(":")[2], []).append(item)
        return items

    def lose(self, names: Collection[str]) -> None:
        copy = self.copy()
        keys = ({key: item[key] for key in ("namespace", "key")} for name in names for item in copy.get(name, ()))
        self._write({"DeleteRequest": {"Key": key}} for key in keys)

    def bring_back(self, copy: Copy, names: Collection[str]) -> None:
        self.lose(names)
        self._write({"PutRequest": {"Item": item}} for name in names for item in copy.get(name, ()))

    def _write(self, requests: Iterable[Json]) -> None:
        pending = list(requests)
        if pending:
            self._client.batch_write_item(RequestItems={self._table: pending})
