"""Redis or Valkey as the flag store.

Keys, for the prefix ``launchdarkly``:

- ``launchdarkly:features``, ``launchdarkly:segments``: hashes of key to JSON, LaunchDarkly's own format.
- ``launchdarkly:$inited``: LaunchDarkly's marker of a store that was filled.
- ``launchdarkly:$sync``: our sync record.
- ``launchdarkly:$lock``, ``$tickets``, ``$covered``, ``$announced``: what serialises refreshes.

A refresh is one MULTI, conditional (WATCH) on what it was computed from and on its lock. Redis Cluster
and ElastiCache Serverless refuse a MULTI over several slots: there the prefix has to be a hash tag such
as ``{launchdarkly}``.

Two clients, because they promise different things: the reader answers or gives up within a second; the
writer moves a whole data set, is given more time, and never repeats a command by itself.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from chalicelib.data_set import FEATURES, KINDS, SEGMENTS, Announcement, DataSet, StoredDataSet, SyncRecord
from chalicelib.errors import ConfigurationError, RefreshConflict, StoreUnavailable
from chalicelib.stores import Backlog

_READ_TIMEOUT_SECONDS = 0.4
"""Per attempt. The one retry replaces a connection that died while the function was frozen: 0.8 s at most."""

_WRITE_TIMEOUT_SECONDS = 5.0

# Redis's documented way to free a lock that may have expired and been taken by another owner.
_UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class RedisStore:
    kind = "redis"

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix

    # The read path.

    def read_sync_record(self) -> SyncRecord | None:
        with _store_errors():
            text = self._reader.get(self.key("$sync"))
        return None if text is None else SyncRecord.from_json(text)

    def read_data_set(self) -> StoredDataSet:
        with _store_errors(), self._reader.pipeline(transaction=True) as pipeline:
            self._read(pipeline)
            return _stored_data_set(*pipeline.execute())

    # The write path.

    def take_ticket(self, announcement: Announcement | None) -> int:
        text = json.dumps(None if announcement is None else asdict(announcement))
        with _store_errors(), self._writer.pipeline(transaction=True) as pipeline:
            pipeline.rpush(self.key("$announced"), text)
            pipeline.incr(self.key("$tickets"))
            return int(pipeline.execute()[1])

    def read_covered(self) -> int:
        with _store_errors():
            return int(self._writer.get(self.key("$covered")) or 0)

    def read_backlog(self) -> Backlog:
        with _store_errors(), self._writer.pipeline(transaction=True) as pipeline:
            pipeline.get(self.key("$tickets"))
            pipeline.lrange(self.key("$announced"), 0, -1)
            ticket, texts = pipeline.execute()
        return Backlog(int(ticket or 0), tuple(_announcement(text) for text in texts))

    def try_lock(self, owner: str, seconds: float) -> bool:
        with _store_errors():
            return bool(self._writer.set(self.key("$lock"), owner, nx=True, px=int(seconds * 1000)))

    def unlock(self, owner: str) -> None:
        with _store_errors():
            self._writer.eval(_UNLOCK, 1, self.key("$lock"), owner)

    @contextmanager
    def update(self, owner: str) -> Iterator[_RedisUpdate]:
        with _store_errors(), self._writer.pipeline(transaction=True) as pipeline:
            pipeline.watch(*(self.key(name) for name in ("$lock", "$sync", "$inited", FEATURES, SEGMENTS)))
            if pipeline.get(self.key("$lock")) != owner.encode():
                raise RefreshConflict("This refresh took longer than its lock; nothing was written.")
            stored = _stored_data_set(*self._read(pipeline))
            pipeline.multi()
            yield _RedisUpdate(self, pipeline, stored)

    def key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _read(self, pipeline: Pipeline) -> list[Any]:
        """Queue the four reads of a data set, or, on a watching pipeline, run them."""
        return [
            pipeline.get(self.key("$sync")),
            pipeline.exists(self.key("$inited")),
            *(pipeline.hgetall(self.key(kind)) for kind in KINDS),
        ]

    @functools.cached_property
    def _reader(self) -> redis.Redis:
        return self._client(_READ_TIMEOUT_SECONDS, retries=1)

    @functools.cached_property
    def _writer(self) -> redis.Redis:
        return self._client(_WRITE_TIMEOUT_SECONDS, retries=0)

    def _client(self, timeout_seconds: float, retries: int) -> redis.Redis:
        try:
            return redis.Redis.from_url(
                self._url,
                socket_timeout=timeout_seconds,
                socket_connect_timeout=min(timeout_seconds, 1.0),
                retry=Retry(NoBackoff(), retries),
            )
        except ValueError as error:
            # The URL may hold a password, and so may redis-py's message.
            raise ConfigurationError(
                "REDIS_URL cannot be parsed; expected redis://[user:password@]host:port/db."
            ) from error


class _RedisUpdate:
    def __init__(self, store: RedisStore, pipeline: Pipeline, stored: StoredDataSet) -> None:
        self._store = store
        self._pipeline = pipeline
        self.stored = stored

    def commit(self, data_set: DataSet, record: SyncRecord, backlog: Backlog) -> None:
        key = self._store.key
        for kind in KINDS:
            self._queue_changes(kind, data_set)
        self._pipeline.set(key("$inited"), key("$inited"))  # the SDKs store the key's own name
        self._pipeline.set(key("$sync"), record.to_json())
        self._pipeline.set(key("$covered"), backlog.ticket)
        self._pipeline.ltrim(key("$announced"), len(backlog.announcements), -1)
        self._pipeline.execute()

    def _queue_changes(self, kind: str, data_set: DataSet) -> None:
        """Only what differs: an unchanged environment costs no item writes."""
        before, after = self.stored.texts[kind], data_set[kind]
        gone = [item_key for item_key in before if item_key not in after]
        changed: dict[Any, Any] = {
            item_key: item.text for item_key, item in after.items() if before.get(item_key) != item.text
        }
        if gone:
            self._pipeline.hdel(self._store.key(kind), *gone)
        if changed:
            self._pipeline.hset(self._store.key(kind), mapping=changed)


def _stored_data_set(sync: bytes | None, inited: int, *hashes: dict[bytes, bytes]) -> StoredDataSet:
    return StoredDataSet(
        texts={
            kind: {key.decode(errors="replace"): text for key, text in items.items()}
            for kind, items in zip(KINDS, hashes, strict=True)
        },
        record=None if sync is None else SyncRecord.from_json(sync),
        initialized=bool(inited),
    )


def _announcement(text: bytes) -> Announcement | None:
    fields = json.loads(text)
    return None if fields is None else Announcement(**fields)


@contextmanager
def _store_errors() -> Iterator[None]:
    """redis-py's errors in our words: the server's reason for a refusal (OOM, READONLY), never an address."""
    try:
        yield
    except redis.WatchError as error:
        raise RefreshConflict("Another refresh wrote to the store meanwhile; nothing was written.") from error
    except redis.AuthenticationError as error:
        raise StoreUnavailable("The flag store refused the user name or password in REDIS_URL.") from error
    except redis.TimeoutError as error:
        raise StoreUnavailable("The flag store did not answer in time.") from error
    except redis.ConnectionError as error:
        raise StoreUnavailable("The flag store cannot be reached.") from error
    except redis.RedisError as error:
        raise StoreUnavailable(f"The flag store refused a command: {error}") from error
