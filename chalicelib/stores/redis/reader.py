"""The reader of Redis or Valkey. Its own connection (``protocol.py``) answers or gives up within a second."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ...data_set import KINDS, StoredDataSet, SyncRecord, Texts
from ...timing import Timing
from ..snapshot import leads_from, open_changes, open_snapshot
from .address import address_of
from .layout import Keys, stored_data_set
from .protocol import Server

if TYPE_CHECKING:
    from ...events.batches import Batch, DeliveryReport
    from ..port import MembershipReader


class RedisReader:
    """Thread-safe: requests at the same time share the connection, one after the other."""

    kind = "redis"

    def __init__(
        self,
        url: str,
        prefix: str,
        timing: Timing,
        variable: str = "REDIS_URL",
        iam: Mapping[str, str] | None = None,
    ) -> None:
        """``iam`` as in :func:`address_of`, whose ConfigurationError is raised. Connects on first use."""
        self._key = Keys(prefix)
        self._server = Server(address_of(url, variable, iam), timing)
        self._is_queue_full = False
        """As far as it is known from the last time that events were left there."""

    def read_sync_record(self) -> SyncRecord | None:
        (text,) = self._server.ask(("GET", self._key("$sync")))
        return None if text is None else SyncRecord.from_json(text)

    def read_snapshot(self, record: SyncRecord | None, held: StoredDataSet | None) -> StoredDataSet | None:
        if held is not None and leads_from(record, held):
            changed = open_changes(*self._read_with_record("$changes"), held)
            if changed is not None:
                return changed
        return open_snapshot(*self._read_with_record("$snapshot"))

    def read_items(self) -> StoredDataSet:
        hashes = [("HGETALL", self._key(kind)) for kind in KINDS]
        *_, replies = self._server.ask(
            ("MULTI",), ("GET", self._key("$sync")), ("EXISTS", self._key("$inited")), *hashes, ("EXEC",)
        )
        sync, inited, *items = replies
        return stored_data_set(sync, inited, [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in items])

    def read_some(self, keys: Mapping[str, Collection[str]]) -> Texts:
        replies = self._server.ask(*(("HMGET", self._key(kind), *wanted) for kind, wanted in keys.items()))
        return {
            kind: {key: text for key, text in zip(keys[kind], texts, strict=True) if text is not None}
            for kind, texts in zip(keys, replies, strict=True)
        }

    def memberships(self, prefix: str) -> MembershipReader:
        from .memberships import RedisMemberships  # only where a flag asks for a big segment

        return RedisMemberships(self._server, prefix)

    def close(self) -> None:
        self._server.close()

    def leave_events(self, batches: Sequence[Batch]) -> bool:
        from ..port import MOST_QUEUED_BYTES

        if self._is_queue_full:
            (size,) = self._server.tell(("GET", self._key("$events_bytes")))
            self._is_queue_full = int(size or 0) > MOST_QUEUED_BYTES
        if self._is_queue_full:
            return False
        from .queued import queued

        values = [queued(batch) for batch in batches]
        *_, (_, size) = self._server.tell(
            ("MULTI",),
            ("RPUSH", self._key("$events"), *values),
            ("INCRBY", self._key("$events_bytes"), str(sum(map(len, values)))),
            ("EXEC",),
        )
        self._is_queue_full = size > MOST_QUEUED_BYTES
        return True

    def read_delivery(self) -> DeliveryReport:
        from .queued import report_of

        return report_of(*self._server.ask(("GET", self._key("$delivery")), ("LINDEX", self._key("$events"), "0")))

    def _read_with_record(self, name: str) -> tuple[bytes | None, SyncRecord | None]:
        """A value, and the sync record of the same moment."""
        ((text, value),) = self._server.ask(("MGET", self._key("$sync"), self._key(name)))
        return value, None if text is None else SyncRecord.from_json(text)
