"""The reader of a DynamoDB table: GetItem and Query, over a connection of its own where access is plain.

IAM actions: ``dynamodb:GetItem`` and ``dynamodb:Query``.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping

from ...data_set import FEATURES, SEGMENTS, StoredDataSet, SyncRecord, revision_of
from ...timing import Timing
from .endpoint import Call, plain_endpoint
from .table import Sync, Table


class DynamoDbReader:
    kind = "dynamodb"

    def __init__(self, table: str, prefix: str, aws: Mapping[str, str], timing: Timing) -> None:
        """``aws``: the environment variables of AWS's SDK, which also has other ways to be configured."""
        self._name = table
        self._prefix = prefix
        self._aws = aws
        self._timing = timing

    def read_sync_record(self) -> SyncRecord | None:
        return self._table.read_sync().record

    def read_data_set(self) -> StoredDataSet:
        sync, texts, is_whole = self._read_settled()
        record = sync.record
        if record is not None and not is_whole:
            flags, segments = len(texts[FEATURES]), len(texts[SEGMENTS])
            record = record._replace(revision=revision_of(texts), flags=flags, segments=segments, writing=True)
        return StoredDataSet(texts, record, initialized=record is not None or self._table.has("$inited"))

    def _read_settled(self) -> tuple[Sync, dict[str, dict[str, bytes]], bool]:
        """Whether no write touched the items while they were read; if not, what is there after a short wait."""
        deadline = time.monotonic() + self._timing.dynamodb_settle_seconds
        while True:
            before = self._table.read_sync()
            is_late = time.monotonic() >= deadline
            if before.writing and not is_late:
                time.sleep(self._timing.dynamodb_settle_poll_seconds)
                continue
            texts = self._table.read_texts()
            after = self._table.read_sync()
            is_whole = not before.writing and before.writes == after.writes
            if is_whole or is_late:
                return after, texts, is_whole

    @functools.cached_property
    def _table(self) -> Table:
        return Table(_call(self._aws, self._timing), self._name, self._prefix)


def _call(aws: Mapping[str, str], timing: Timing) -> Call:
    """Our own requests where the access is plain; AWS's SDK, which loads slowly, where it has to find out more."""
    endpoint = plain_endpoint(aws)
    if endpoint is not None:
        from .protocol import http_call

        return http_call(endpoint, timing)
    from .sdk import sdk_read_call

    return sdk_read_call(timing)
