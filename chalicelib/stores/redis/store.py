"""Redis or Valkey as the flag store.

Keys, for the prefix ``launchdarkly``:

- ``launchdarkly:features``, ``launchdarkly:segments``: hashes of key to JSON, LaunchDarkly's own format.
- ``launchdarkly:$inited``: LaunchDarkly's marker of a store that was filled.
- ``launchdarkly:$sync``: our sync record.
- ``launchdarkly:$lock``, ``$tickets``, ``$covered``, ``$announced``: what serialises refreshes.

A refresh is one MULTI, conditional (WATCH) on what it was computed from and on its lock. Redis Cluster
and ElastiCache Serverless refuse a MULTI over several slots: there the prefix has to be a hash tag such
as ``{launchdarkly}``.

The read path has a connection of its own (``resp.py``), which answers or gives up within a second; what
writes uses redis-py, which is imported when the first refresh begins.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

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
)
from ...errors import RefreshConflict, StoreUnavailable
from ..port import Backlog, Covered
from .protocol import Connection, Reply, ServerError, parse_address

if TYPE_CHECKING:
    import redis
    from redis.client import Pipeline

HELD_WAIT_SECONDS = 0.2
"""For a connection that is already open: it may have died unnoticed while the function was frozen."""

NEW_WAIT_SECONDS = 0.25
"""For the new connection that replaces it. A request reads twice at most: 0.9 s in all."""

FIRST_WAIT_SECONDS = 0.9
"""For the first connection of a cold function, which reads once, and may have a name to resolve and TLS to begin."""

WRITE_TIMEOUT_SECONDS = 2.0
"""For one command, or for the transaction with a whole data set."""

# Redis's documented way to free a lock that may have expired and been taken by another owner.
_UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class RedisStore:
    kind = "redis"

    def __init__(self, url: str, prefix: str) -> None:
        """Raises ConfigurationError when the URL cannot be parsed."""
        self._url = url
        self._prefix = prefix
        self._connection = Connection(parse_address(url))
        self._connection_lock = threading.Lock()

    def can_hold(self, kind: str, key: str, item: Item) -> bool:
        return True  # up to 512 MB a value

    # The read path.

    def read_sync_record(self) -> SyncRecord | None:
        (text,) = self._ask(("GET", self.key("$sync")))
        return None if text is None else SyncRecord.from_json(text)

    def read_data_set(self) -> StoredDataSet:
        hashes = [("HGETALL", self.key(kind)) for kind in KINDS]
        *_, replies = self._ask(
            ("MULTI",), ("GET", self.key("$sync")), ("EXISTS", self.key("$inited")), *hashes, ("EXEC",)
        )
        sync, inited, *items = replies
        return _stored_data_set(sync, inited, [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in items])

    def _ask(self, *commands: tuple[str, ...]) -> list[Reply]:
        with self._connection_lock:
            try:
                if self._connection.is_open:
                    with suppress(OSError):
                        return self._connection.execute(*commands, wait_seconds=HELD_WAIT_SECONDS)
                wait_seconds = NEW_WAIT_SECONDS if self._connection.was_open else FIRST_WAIT_SECONDS
                return self._connection.execute(*commands, wait_seconds=wait_seconds)
            except ServerError as error:
                raise StoreUnavailable(f"The flag store refused a command: {error}") from error
            except OSError as error:
                raise StoreUnavailable(_out_of_reach(error)) from error

    # The write path.

    def take_ticket(self, announcement: Announcement | None) -> int:
        text = json.dumps(None if announcement is None else asdict(announcement))
        with _write_errors(), self._writer.pipeline(transaction=True) as pipeline:
            pipeline.rpush(self.key("$announced"), text)
            pipeline.incr(self.key("$tickets"))
            return int(pipeline.execute()[1])

    def read_covered(self) -> Covered:
        with _write_errors():
            ticket, sync = self._writer.mget(self.key("$covered"), self.key("$sync"))
        record = None if sync is None else SyncRecord.from_json(sync)
        return Covered(int(ticket or 0), None if record is None else record.revision)

    def read_backlog(self) -> Backlog:
        with _write_errors(), self._writer.pipeline(transaction=True) as pipeline:
            pipeline.get(self.key("$tickets"))
            pipeline.lrange(self.key("$announced"), 0, -1)
            ticket, texts = pipeline.execute()
        return Backlog(int(ticket or 0), tuple(_announcement(text) for text in texts))

    def try_lock(self, owner: str, seconds: float) -> bool:
        with _write_errors():
            return bool(self._writer.set(self.key("$lock"), owner, nx=True, px=int(seconds * 1000)))

    def unlock(self, owner: str) -> None:
        with _write_errors():
            self._writer.eval(_UNLOCK, 1, self.key("$lock"), owner)

    @contextmanager
    def update(self, owner: str) -> Iterator[_RedisUpdate]:
        with _write_errors(), self._writer.pipeline(transaction=True) as pipeline:
            pipeline.watch(*(self.key(name) for name in ("$lock", "$sync", "$inited", FEATURES, SEGMENTS)))
            if pipeline.get(self.key("$lock")) != owner.encode():
                raise RefreshConflict("This refresh took longer than its lock; nothing was written.")
            stored = _stored_data_set(
                pipeline.get(self.key("$sync")),
                pipeline.exists(self.key("$inited")),
                [pipeline.hgetall(self.key(kind)) for kind in KINDS],
            )
            pipeline.multi()
            yield _RedisUpdate(self, pipeline, stored)

    def key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    @functools.cached_property
    def _writer(self) -> redis.Redis:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return redis.Redis.from_url(
            self._url,
            socket_timeout=WRITE_TIMEOUT_SECONDS,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),  # a write is never repeated blindly
        )


class _RedisUpdate:
    def __init__(self, store: RedisStore, pipeline: Pipeline, stored: StoredDataSet) -> None:
        self._store = store
        self._pipeline = pipeline
        self.stored = stored

    def commit(self, data_set: DataSet, record: SyncRecord, backlog: Backlog) -> None:
        key = self._store.key
        self._queue_changes(data_set)
        self._pipeline.set(key("$inited"), key("$inited"))  # the SDKs store the key's own name
        self._pipeline.set(key("$sync"), record.to_json())
        self._pipeline.set(key("$covered"), backlog.ticket)
        self._pipeline.ltrim(key("$announced"), len(backlog.announcements), -1)
        with _write_errors():
            self._execute(record)

    def _execute(self, record: SyncRecord) -> None:
        import redis

        try:
            self._pipeline.execute()
        except redis.RedisError as error:
            # The reply may be lost, but was the write? The store knows.
            is_lost = isinstance(_cause(error), (redis.ConnectionError, redis.TimeoutError))
            if not is_lost or self._store.read_sync_record() != record:
                raise

    def _queue_changes(self, data_set: DataSet) -> None:
        """Only what differs: an unchanged environment costs no item writes."""
        changed, gone = changes(self.stored.texts, data_set)
        for kind in KINDS:
            mapping: dict[Any, Any] = {key: item.text for key, item in changed[kind].items()}
            if gone[kind]:
                self._pipeline.hdel(self._store.key(kind), *gone[kind])
            if mapping:
                self._pipeline.hset(self._store.key(kind), mapping=mapping)


def _stored_data_set(sync: Any, inited: Any, hashes: Iterable[Mapping[Any, Any]]) -> StoredDataSet:
    """From GET, EXISTS and HGETALL replies (Any: redis-py's types allow text, which it returns only on demand)."""
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
def _write_errors() -> Iterator[None]:
    """redis-py's errors in our words."""
    import redis

    try:
        yield
    except redis.RedisError as error:
        cause = _cause(error)
        if isinstance(cause, redis.WatchError):
            raise RefreshConflict("Another refresh wrote to the store meanwhile; nothing was written.") from error
        raise StoreUnavailable(_what_is_wrong(cause)) from error


def _cause(error: redis.RedisError) -> BaseException:
    """Of a connection that is lost while watching redis-py makes a WatchError too, with the cause as its context."""
    import redis

    return error.__context__ or error if isinstance(error, redis.WatchError) else error


_CLUSTER = (
    "The flag store is a Redis Cluster: STORE_PREFIX must be a hash tag such as {launchdarkly}, and REDIS_URL "
    "must name the node that holds its slot."
)


def _what_is_wrong(error: BaseException) -> str:
    """One of the usual conditions (the nearest class first), or else the server's own words; never an address."""
    import redis

    conditions: dict[type[Exception], str] = {
        redis.AuthenticationError: "The flag store refused the user name or password in REDIS_URL.",
        redis.BusyLoadingError: "The flag store is still loading its data.",
        redis.ConnectionError: "The flag store cannot be reached.",
        redis.TimeoutError: "The flag store did not answer in time.",
        redis.ReadOnlyError: "The flag store is a read-only replica; REDIS_URL must name the primary.",
        redis.OutOfMemoryError: "The flag store is out of memory (OOM command not allowed).",
        redis.exceptions.ClusterCrossSlotError: _CLUSTER,
        redis.exceptions.AskError: _CLUSTER,
    }
    for condition, message in conditions.items():
        if isinstance(error, condition):
            return message
    # In a pipeline redis-py puts the command before the server's words, and so the beginning of a flag.
    return f"The flag store refused a command: {str(error).rpartition('of pipeline caused error: ')[2]}"


def _out_of_reach(error: OSError) -> str:
    did_not_answer = isinstance(error, TimeoutError)
    return "The flag store did not answer in time." if did_not_answer else "The flag store cannot be reached."
