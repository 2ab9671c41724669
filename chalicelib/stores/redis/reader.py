"""The reader of Redis or Valkey. Its own connection (``protocol.py``) answers or gives up within a second."""

from __future__ import annotations

from ...data_set import KINDS, StoredDataSet, SyncRecord
from ...timing import Timing
from .address import parse_address
from .layout import Keys, stored_data_set
from .protocol import Server


class RedisReader:
    """Thread-safe: requests at the same time share the connection, one after the other."""

    kind = "redis"

    def __init__(self, url: str, prefix: str, timing: Timing) -> None:
        """Raises ConfigurationError when the URL is wrong. Connects on first use."""
        self._key = Keys(prefix)
        self._server = Server(parse_address(url), timing)

    def read_sync_record(self) -> SyncRecord | None:
        (text,) = self._server.ask(("GET", self._key("$sync")))
        return None if text is None else SyncRecord.from_json(text)

    def read_data_set(self) -> StoredDataSet:
        hashes = [("HGETALL", self._key(kind)) for kind in KINDS]
        *_, replies = self._server.ask(
            ("MULTI",), ("GET", self._key("$sync")), ("EXISTS", self._key("$inited")), *hashes, ("EXEC",)
        )
        sync, inited, *items = replies
        return stored_data_set(sync, inited, [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in items])
