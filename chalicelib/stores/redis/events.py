"""The queue of events in Redis or Valkey, with redis-py, as its delivery sees it.

Functions add at one end of a list; only who holds the lock takes away at the other, and keeps a count of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from redis.client import Pipeline

from ...errors import DeliveryConflict
from ...events.batches import Batch, DeliveryReport
from ...timing import Timing
from .address import address_of
from .layout import Keys
from .pool import errors_in_our_words, redis_client, transaction
from .queued import batch_of, queued, report_of

_PAGE = 100
"""So many batches are read at once."""


class RedisEventQueue:
    def __init__(self, url: str, prefix: str, timing: Timing, iam: Mapping[str, str] | None = None) -> None:
        """``iam`` as in :func:`address_of`, whose ConfigurationError is raised. Connects on first use."""
        self._key = Keys(prefix)
        self._redis = redis_client(address_of(url, "REDIS_URL", iam), timing)

    def read_report(self) -> DeliveryReport:
        with errors_in_our_words(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.mget(self._key("$delivery"))
            pipeline.lindex(self._key("$events"), 0)
            (state,), oldest = pipeline.execute()
        return report_of(state, oldest)

    def try_lock(self, owner: str, seconds: float) -> bool:
        with errors_in_our_words():
            return bool(self._redis.set(self._key("$delivery_lock"), owner, nx=True, px=int(seconds * 1000)))

    def unlock(self, owner: str) -> None:
        with suppress(DeliveryConflict):
            self._as_owner(owner, lambda pipeline: pipeline.delete(self._key("$delivery_lock")))

    def read_oldest(self, most: int, most_bytes: int) -> list[Batch]:
        batches: list[Batch] = []
        while len(batches) < most and sum(len(batch.data) for batch in batches) < most_bytes:
            page = self._range(len(batches), min(_PAGE, most - len(batches)))
            if not page:
                break
            batches += page
        return batches

    def read_named(self, names: Collection[str]) -> list[Batch]:
        return [batch for batch in self._range(0, len(names)) if batch.name in names]

    def write_state(self, owner: str, state: str) -> None:
        self._as_owner(owner, lambda pipeline: pipeline.set(self._key("$delivery"), state))

    def remove(self, owner: str, batches: Collection[Batch], state: str) -> None:
        events, size, values = self._key("$events"), self._key("$events_bytes"), list(map(queued, batches))

        def remove(pipeline: Pipeline) -> None:
            for value in values:  # of one that is there twice the second: the first keeps its place in a plan
                pipeline.lrem(events, -1, value)  # type: ignore[arg-type]  # redis-py's types know of text only
                if value.endswith(b" "):  # no batch of ours, and perhaps without the space
                    pipeline.lrem(events, -1, value[:-1])  # type: ignore[arg-type]
            pipeline.decrby(size, sum(map(len, values)))
            pipeline.set(self._key("$delivery"), state)

        self._as_owner(owner, remove)
        self._reset_count()

    def _range(self, start: int, count: int) -> list[Batch]:
        with errors_in_our_words():
            values: Any = self._redis.lrange(self._key("$events"), start, start + count - 1)
        return [batch_of(value) for value in values]

    def _as_owner(self, owner: str, queue: Callable[[Pipeline], object]) -> None:
        """What ``queue`` adds to a transaction, which does nothing if the lock has another owner by then."""
        with transaction(self._redis, DeliveryConflict(_CONFLICT)) as pipeline:
            pipeline.watch(self._key("$delivery_lock"))
            (holder,) = pipeline.mget(self._key("$delivery_lock"))
            if holder != owner.encode():
                raise DeliveryConflict(_CONFLICT)
            pipeline.multi()
            queue(pipeline)
            pipeline.execute()

    def _reset_count(self) -> None:
        """An empty list has no bytes, whatever has become of it: a count that was wrong would not let it fill again."""
        events, size = self._key("$events"), self._key("$events_bytes")
        changed = DeliveryConflict("Events were added meanwhile.")
        with suppress(DeliveryConflict), transaction(self._redis, changed) as pipeline:
            pipeline.watch(events)
            if pipeline.exists(events):
                return
            pipeline.multi()
            pipeline.delete(size)
            pipeline.execute()


_CONFLICT = "Another delivery of events has begun; this one took longer than its lock."
