"""The writer of Redis or Valkey, with redis-py.

A refresh is one MULTI, conditional (WATCH) on what it was computed from and on its lock. A write is never
repeated blindly: when the reply to EXEC is lost, the store itself says whether it was carried out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import redis
from redis.client import Pipeline

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
    is_text,
    texts_of,
)
from ...errors import RefreshConflict
from ...timing import Timing
from ..packing import Packed, pack
from ..port import REMEMBERED, Backlog, Covered, new_ticket
from .address import address_of
from .layout import Keys, stored_data_set
from .pool import cause_of, errors_in_our_words, redis_client, transaction

_CONFLICT = "Another refresh wrote to the store meanwhile; nothing was written."

_NEVER = -1
"""Redis' reply for when a key expires that does not."""

_OUTCOMES = {b'"met"': True, b'"unmet"': False}
"""What the queue holds of a webhook that was covered: whether what it announced was met."""

Reply = TypeVar("Reply")


class RedisWriter:
    def __init__(self, url: str, prefix: str, timing: Timing, iam: Mapping[str, str] | None = None) -> None:
        """``iam`` as in :func:`address_of`, whose ConfigurationError is raised. Connects on first use."""
        self._key = Keys(prefix)
        self._redis = redis_client(address_of(url, "REDIS_URL", iam), timing)

    def can_hold(self, kind: str, key: str, item: Item) -> bool:
        return is_text(key)  # up to 512 MB a value

    def take_ticket(self, announcement: Announcement | None) -> str:
        ticket, text = new_ticket(), json.dumps(None if announcement is None else announcement._asdict())
        self._ask_queue(lambda: self._redis.hset(self._key("$queue"), ticket, text))
        return ticket

    def read_covered(self, ticket: str) -> Covered | None:
        outcome: Any = self._ask_queue(lambda: self._redis.hget(self._key("$queue"), ticket))
        if outcome not in _OUTCOMES:
            return None
        with errors_in_our_words():
            (sync,) = self._redis.mget(self._key("$sync"))
        record = None if sync is None else SyncRecord.from_json(sync)
        return Covered(_OUTCOMES[outcome], None if record is None else record.revision)

    def read_backlog(self) -> Backlog:
        queue: Any = self._ask_queue(lambda: self._redis.hgetall(self._key("$queue")))
        fields = {ticket.decode(errors="replace"): text for ticket, text in queue.items()}
        waiting = {ticket: _announcement(text) for ticket, text in fields.items() if text not in _OUTCOMES}
        covered = tuple(ticket for ticket in fields if ticket not in waiting)
        return Backlog(waiting, tuple(waiting), covered if len(covered) > REMEMBERED else ())

    def _ask_queue(self, command: Callable[[], Reply]) -> Reply:
        """The reply to a command about the queue. A queue of another type, whoever left it, gives way."""
        with errors_in_our_words():
            try:
                return command()
            except redis.ResponseError as error:
                if not str(error).startswith("WRONGTYPE"):
                    raise
            self._redis.delete(self._key("$queue"))
            return command()

    def try_lock(self, owner: str, seconds: float) -> bool:
        milliseconds = int(seconds * 1000)
        with errors_in_our_words():
            if self._redis.set(self._key("$lock"), owner, nx=True, px=milliseconds):
                return True
            if self._redis.pttl(self._key("$lock")) == _NEVER:
                # No lock of ours: somebody has put it there, or back there. Nobody would ever free it.
                self._redis.pexpire(self._key("$lock"), milliseconds)
            return False

    def unlock(self, owner: str) -> None:
        # A conflict says that the lock is no longer the owner's.
        with suppress(RefreshConflict), transaction(self._redis, RefreshConflict(_CONFLICT)) as pipeline:
            if self._watch_lock(pipeline, owner):
                pipeline.multi()
                pipeline.delete(self._key("$lock"))
                pipeline.execute()

    @contextmanager
    def update(self, owner: str, seconds: float) -> Iterator[_RedisUpdate]:
        with transaction(self._redis, RefreshConflict(_CONFLICT)) as pipeline:
            if self._watch_lock(pipeline, owner):
                pipeline.multi()
                pipeline.pexpire(self._key("$lock"), int(seconds * 1000))
                pipeline.execute()
            # From here on, whatever changes one of these keys, the end of the lock among them, makes EXEC fail.
            pipeline.watch(*map(self._key, ("$sync", "$inited", FEATURES, SEGMENTS)))
            if not self._watch_lock(pipeline, owner):
                raise RefreshConflict("This refresh took longer than its lock; nothing was written.")
            # MGET takes a value of another type, whoever left it, for none, where GET would fail.
            (sync,) = pipeline.mget(self._key("$sync"))
            stored = stored_data_set(
                sync,
                pipeline.exists(self._key("$inited")),
                [pipeline.hgetall(self._key(kind)) for kind in KINDS],
            )
            snapshot: Any = pipeline.mget(self._key("$snapshot"))[0]  # Any: redis-py's types allow text as well
            pipeline.multi()
            yield _RedisUpdate(self._redis, self._key, pipeline, stored, snapshot)

    def _watch_lock(self, pipeline: Pipeline, owner: str) -> bool:
        """Whether ``owner`` holds the lock; if that changes, the transaction that follows does nothing."""
        pipeline.watch(self._key("$lock"))
        (holder,) = pipeline.mget(self._key("$lock"))
        return bool(holder == owner.encode())


class _RedisUpdate:
    def __init__(
        self, client: redis.Redis, key: Keys, pipeline: Pipeline, stored: StoredDataSet, snapshot: bytes | None
    ) -> None:
        self._redis = client
        self._key = key
        self._pipeline = pipeline
        self.stored = stored
        self._snapshot = snapshot

    def commit(self, data_set: DataSet, record: SyncRecord, backlog: Backlog, in_vain: Collection[str] = ()) -> None:
        key = self._key
        packed = pack(record.revision, texts_of(data_set), self.stored.record, self._snapshot)
        record = record._replace(snapshot=packed.name)
        self._queue_items(data_set)
        self._queue_snapshot(packed)
        self._pipeline.set(key("$inited"), key("$inited"))  # the SDKs store the key's own name
        self._pipeline.set(key("$sync"), record.to_json())
        self._queue_outcomes(backlog, in_vain)
        with errors_in_our_words(RefreshConflict(_CONFLICT)):
            self._execute(record)

    def _queue_snapshot(self, packed: Packed) -> None:
        if packed.snapshot is None:
            return
        self._pipeline.set(self._key("$snapshot"), packed.snapshot)
        if packed.changes is None:
            self._pipeline.delete(self._key("$changes"))
        else:
            self._pipeline.set(self._key("$changes"), packed.changes)

    def _queue_outcomes(self, backlog: Backlog, in_vain: Collection[str]) -> None:
        outcomes: dict[Any, Any] = {
            ticket: '"unmet"' if ticket in in_vain else '"met"' for ticket in backlog.announcements
        }
        if backlog.outdated:
            self._pipeline.hdel(self._key("$queue"), *backlog.outdated)
        if outcomes:
            self._pipeline.hset(self._key("$queue"), mapping=outcomes)

    def _queue_items(self, data_set: DataSet) -> None:
        """Only what differs: an unchanged environment costs no item writes."""
        changed, gone = changes(self.stored.texts, data_set)
        for kind in KINDS:
            mapping: dict[Any, Any] = {key: item.text for key, item in changed[kind].items()}
            if gone[kind]:
                self._pipeline.hdel(self._key(kind), *gone[kind])
            if mapping:
                self._pipeline.hset(self._key(kind), mapping=mapping)

    def _execute(self, record: SyncRecord) -> None:
        try:
            self._pipeline.execute()
        except redis.RedisError as error:
            # The reply may be lost, but was the write? The store knows.
            if not isinstance(cause_of(error), (redis.ConnectionError, redis.TimeoutError)):
                raise
            (text,) = self._redis.mget(self._key("$sync"))
            if text is None or SyncRecord.from_json(text) != record:
                raise


def _announcement(text: bytes) -> Announcement | None:
    try:
        return Announcement.from_json(json.loads(text))
    except (ValueError, RecursionError):
        return None
