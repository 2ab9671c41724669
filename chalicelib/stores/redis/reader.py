"""The reader of Redis or Valkey. Its own connection (``protocol.py``) answers or gives up within a second."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import suppress

from ...data_set import KINDS, StoredDataSet, SyncRecord, Texts
from ...errors import StoreUnavailable
from ...timing import Timing
from ..snapshot import leads_from, open_changes, open_snapshot
from .layout import Keys, stored_data_set
from .protocol import Connection, Reply, ServerError, parse_address


class RedisReader:
    """Thread-safe: requests at the same time share the connection, one after the other."""

    kind = "redis"

    def __init__(self, url: str, prefix: str, timing: Timing) -> None:
        """Raises ConfigurationError when the URL cannot be parsed. Connects on first use."""
        self._key = Keys(prefix)
        self._timing = timing
        self._connection = Connection(parse_address(url))
        self._connection_lock = threading.Lock()

    def read_sync_record(self) -> SyncRecord | None:
        (text,) = self._ask(("GET", self._key("$sync")))
        return None if text is None else SyncRecord.from_json(text)

    def read_snapshot(self, record: SyncRecord | None, held: StoredDataSet | None) -> StoredDataSet | None:
        if held is not None and leads_from(record, held):
            changed = open_changes(*self._read_with_record("$changes"), held)
            if changed is not None:
                return changed
        return open_snapshot(*self._read_with_record("$snapshot"))

    def read_items(self) -> StoredDataSet:
        hashes = [("HGETALL", self._key(kind)) for kind in KINDS]
        *_, replies = self._ask(
            ("MULTI",), ("GET", self._key("$sync")), ("EXISTS", self._key("$inited")), *hashes, ("EXEC",)
        )
        sync, inited, *items = replies
        return stored_data_set(sync, inited, [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in items])

    def read_some(self, keys: Mapping[str, Collection[str]]) -> Texts:
        replies = self._ask(*(("HMGET", self._key(kind), *wanted) for kind, wanted in keys.items()))
        return {
            kind: {key: text for key, text in zip(keys[kind], texts, strict=True) if text is not None}
            for kind, texts in zip(keys, replies, strict=True)
        }

    def _read_with_record(self, name: str) -> tuple[bytes | None, SyncRecord | None]:
        """A value, and the sync record of the same moment."""
        ((text, value),) = self._ask(("MGET", self._key("$sync"), self._key(name)))
        return value, None if text is None else SyncRecord.from_json(text)

    def _ask(self, *commands: tuple[str, ...]) -> list[Reply]:
        timing = self._timing
        with self._connection_lock:
            try:
                if self._connection.is_open:
                    with suppress(OSError):
                        return self._connection.execute(*commands, wait_seconds=timing.redis_held_seconds)
                was_open = self._connection.was_open
                wait_seconds = timing.redis_reconnect_seconds if was_open else timing.redis_first_seconds
                return self._connection.execute(*commands, wait_seconds=wait_seconds)
            except ServerError as error:
                raise StoreUnavailable(f"The flag store refused a command: {error}") from error
            except TimeoutError as error:
                raise StoreUnavailable("The flag store did not answer in time.") from error
            except OSError as error:
                raise StoreUnavailable("The flag store cannot be reached.") from error
