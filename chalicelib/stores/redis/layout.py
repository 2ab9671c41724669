"""What is where in Redis.

Keys, for the prefix ``launchdarkly``:

- ``launchdarkly:features``, ``launchdarkly:segments``: hashes of key to JSON, LaunchDarkly's own format.
- ``launchdarkly:$inited``: LaunchDarkly's marker of a store that was filled.
- ``launchdarkly:$sync``: our sync record.
- ``launchdarkly:$snapshot``, ``$changes``: the data set once more, in the format of ``stores/snapshot.py``.
- ``launchdarkly:$lock``: who refreshes; it expires.
- ``launchdarkly:$queue``: a hash of webhooks' tickets to what they announce, as JSON, and, once a refresh has
  covered them, to ``"met"`` or ``"unmet"``.
- ``launchdarkly:$events``: a list of the batches of events that evaluations have left, each its name, a space, and its
  data. ``launchdarkly:$events_bytes`` counts their bytes.
- ``launchdarkly:$delivery``: what the delivery of events keeps between its runs. ``$delivery_lock``: who delivers.

A version without snapshots uses ``$tickets``, ``$covered`` and ``$announced`` instead; a rollout may run both.

Redis Cluster and ElastiCache Serverless refuse a MULTI over several slots: there the prefix has to be a
hash tag such as ``{launchdarkly}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...data_set import KINDS, StoredDataSet, SyncRecord


class Keys:
    """The names of a store's keys, under its prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix or "launchdarkly"  # as LaunchDarkly's SDKs do where they are given none

    def __call__(self, name: str) -> str:
        return f"{self._prefix}:{name}"


def stored_data_set(sync: Any, inited: Any, hashes: Iterable[Mapping[Any, Any]]) -> StoredDataSet:
    """From the replies to GET, EXISTS and one HGETALL a kind (Any: redis-py's types allow text as well)."""
    return StoredDataSet(
        texts={
            kind: {key.decode(errors="replace"): text for key, text in items.items()}
            for kind, items in zip(KINDS, hashes, strict=True)
        },
        record=None if sync is None else SyncRecord.from_json(sync),
        initialized=bool(inited),
    )
