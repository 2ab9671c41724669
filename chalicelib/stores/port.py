"""The store port: what the refresh and the read path need of Redis or DynamoDB, and nothing else.

A store keeps LaunchDarkly's own keys in LaunchDarkly's own format, so that any LaunchDarkly SDK in
daemon mode or a Relay Proxy can share it, and beside them a sync record and what serialises refreshes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ..config import Settings
from ..data_set import Announcement, DataSet, Item, StoredDataSet, SyncRecord


@dataclass(frozen=True)
class Backlog:
    """The webhooks that a refresh covers when it starts to fetch now.

    ``ticket`` is the highest one handed out. ``announcements`` holds one entry for each webhook since the
    last refresh; None for a webhook that announces no version. ``entries`` are the store's own names for
    these webhooks, where it needs them to forget them.
    """

    ticket: int
    announcements: tuple[Announcement | None, ...]
    entries: tuple[str, ...] = field(default=(), compare=False)


class Covered(NamedTuple):
    """The highest ticket that a refresh has covered, and the revision that is stored (None: no sync record)."""

    ticket: int
    revision: str | None


class Update(Protocol):
    """A refresh's one write: what is stored now, and the chance to replace it while it still is."""

    stored: StoredDataSet

    def commit(self, data_set: DataSet, record: SyncRecord, backlog: Backlog) -> None:
        """Make ``data_set`` and ``record`` the content of the store, and ``backlog`` covered, as one step.

        A store that cannot do that in one step marks it, so that readers see ``SyncRecord.writing``
        until all is done. Raises RefreshConflict when the lock was lost or the store is no longer as
        ``stored`` says.
        """


class Store(Protocol):
    """Every operation raises StoreUnavailable when the store cannot be reached in time or refuses it."""

    kind: str
    """``redis`` or ``dynamodb``."""

    def can_hold(self, kind: str, key: str, item: Item) -> bool:
        """Whether the item is within the store's limits. No I/O."""

    def read_sync_record(self) -> SyncRecord | None:
        """One small read; None when the store holds no sync record."""

    def read_data_set(self) -> StoredDataSet:
        """Sync record, flags and segments of one moment.

        Where a write in progress does not let them be: what is there, each item whole, under a revision
        of its own and with ``record.writing``.
        """

    def take_ticket(self, announcement: Announcement | None) -> int:
        """Queue a webhook: a number higher than every earlier one. Its announcement is in the backlog from then on."""

    def read_covered(self) -> Covered:
        """How far the refreshes have come; one small read, with the patience of the write path."""

    def read_backlog(self) -> Backlog:
        """Tickets and announcements of one moment."""

    def try_lock(self, owner: str, seconds: float) -> bool:
        """Whether ``owner`` now holds the refresh lock; it is freed by unlock, or after ``seconds``."""

    def unlock(self, owner: str) -> None:
        """Free the lock if ``owner`` still holds it."""

    def update(self, owner: str) -> AbstractContextManager[Update]:
        """The write of the refresh that holds the lock as ``owner``. Raises RefreshConflict when it no longer does."""


def open_store(settings: Settings, embedded_url: str | None = None) -> Store:
    """The store that the settings name. Connects on first use, not here.

    ``embedded_url`` is where the embedded server listens, for ``REDIS_URL=embedded``.
    """
    # Imported where used: each loads a client library that the other store's users never need.
    if settings.dynamodb_table is not None:
        from .dynamodb.store import DynamoDbStore

        return DynamoDbStore(settings.dynamodb_table, settings.store_prefix, settings.aws)
    from .redis.store import RedisStore

    url = embedded_url or settings.redis_url
    assert url is not None  # the settings name exactly one store in daemon mode
    return RedisStore(url, settings.store_prefix)
