"""The store port: what the two paths need of Redis or DynamoDB, and nothing else.

A store is two things. Its *reader* answers an evaluation within a second, over a connection of its own and
without an import worth naming; its *writer* serves a refresh, which has seconds, with the store's library.

A store keeps LaunchDarkly's own keys in LaunchDarkly's own format, so that any LaunchDarkly SDK in
daemon mode or a Relay Proxy can share it, and beside them a sync record and what serialises refreshes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from ..data_set import Announcement, DataSet, Item, StoredDataSet, SyncRecord, Texts


class Reader(Protocol):
    """What evaluations need. A call raises StoreUnavailable when the store does not answer in time or refuses it."""

    kind: str
    """``redis`` or ``dynamodb``."""

    def read_sync_record(self) -> SyncRecord | None:
        """One small read; None when the store holds no sync record."""

    def read_snapshot(self, record: SyncRecord | None, held: StoredDataSet | None) -> StoredDataSet | None:
        """All of the revision that the sync record names; None when there is no such snapshot, or it is damaged.

        ``record`` is the record if it was read just now. From ``held``, an earlier snapshot, the changes may
        do, which are smaller.
        """

    def read_items(self) -> StoredDataSet:
        """The sync record, and LaunchDarkly's own items one by one, as every SDK reads them.

        DynamoDB cannot read them as of one moment: while somebody writes they may be of two revisions.
        """

    def close(self) -> None:
        """Let go of the connection. The next read opens another."""

    def read_some(self, keys: Mapping[str, Collection[str]]) -> Texts:
        """Those of the items of these keys, by kind, that there are; a small read."""

    def memberships(self, prefix: str) -> MembershipReader:
        """What reads memberships in big segments over the same connection; their keys begin with ``prefix``."""


class StoredMemberships(NamedTuple):
    """One read of memberships in big segments.

    ``memberships``: by the hash of a context key, and in it by the segment's reference
    (``<segment key>.g<generation>``) whether the context is included or excluded. What could not be read is left
    out, and ``failure`` says why, in words for the log.
    ``synchronized_on_ms``: when LaunchDarkly or a Relay Proxy last brought the store up to date, in Unix time; None
    if never. It means nothing unless ``is_synchronization_known``.
    """

    memberships: Mapping[str, dict[str, bool]]
    synchronized_on_ms: int | None
    is_synchronization_known: bool
    failure: str | None


class MembershipReader(Protocol):
    """Memberships in big segments, in the layout of LaunchDarkly's own stores of them. Thread-safe."""

    at_once: int
    """Of so many contexts at most one read is made."""

    def read(self, hashes: Collection[str], within_seconds: float) -> StoredMemberships:
        """What the store says of these hashes, in one round trip; of none, whether it is up to date.

        ``hashes`` are the base64 of the SHA-256 of context keys, each once, and not more than ``at_once``.
        Raises StoreUnavailable when nothing could be read in this time.
        """


MOST_QUEUED_BYTES = 64 * 1024 * 1024
"""Of events in Redis, whose memory holds the flags as well. Whoever evaluates leaves no more there."""

QUEUED_SECONDS = 8 * 86_400
"""After which DynamoDB deletes events by itself, where nobody delivers them."""

REMEMBERED = 500
"""How many covered webhooks a store remembers, at least, for those that have not asked yet."""


class Backlog(NamedTuple):
    """The webhooks that a refresh covers when it starts to fetch now.

    ``announcements``: what each announces, by its ticket; None for a webhook that announces no version.
    ``entries`` are the store's own names for these webhooks, and ``outdated`` for what it remembers of
    earlier ones, once that is enough: what a refresh has to forget.
    """

    announcements: Mapping[str, Announcement | None]
    entries: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()


def new_ticket() -> str:
    """Never the same twice, so that whatever happens to the store's records, no other webhook's can be taken for it."""
    return os.urandom(8).hex()


class Covered(NamedTuple):
    """A refresh has covered a webhook: whether it met what was announced, and what is stored (None: no sync record)."""

    is_met: bool
    revision: str | None


class Update(Protocol):
    """A refresh's one write: what is stored now, and the chance to replace it while it still is."""

    stored: StoredDataSet

    def commit(self, data_set: DataSet, record: SyncRecord, backlog: Backlog, in_vain: Collection[str] = ()) -> None:
        """Make ``data_set`` and ``record`` the content of the store, and ``backlog`` covered, as one step.

        ``in_vain``: the tickets of the backlog whose announcement the data set does not meet.

        Readers see the previous snapshot until the new record names the new one. A store that cannot replace
        the items in one step marks it: ``SyncRecord.writing``. Raises RefreshConflict when the lock was lost
        or the store is no longer as ``stored`` says.
        """


class Writer(Protocol):
    """What a refresh needs. Every call raises StoreUnavailable when the store cannot be reached or refuses it."""

    def can_hold(self, kind: str, key: str, item: Item) -> bool:
        """Whether the item is within the store's limits. No I/O."""

    def take_ticket(self, announcement: Announcement | None) -> str:
        """Queue a webhook: a name that nobody else has. Its announcement is in the backlog from then on."""

    def read_covered(self, ticket: str) -> Covered | None:
        """Whether a refresh has covered this webhook, as a small read; None as well when the store has forgotten."""

    def read_backlog(self) -> Backlog:
        """The webhooks that no refresh has covered yet, as of one moment."""

    def try_lock(self, owner: str, seconds: float) -> bool:
        """Whether ``owner`` now holds the refresh lock; it is freed by unlock, or after ``seconds``."""

    def unlock(self, owner: str) -> None:
        """Free the lock if ``owner`` still holds it."""

    def update(self, owner: str, seconds: float) -> AbstractContextManager[Update]:
        """The write of the refresh that holds the lock as ``owner``; the lock is renewed for ``seconds``.

        Raises RefreshConflict when the owner no longer holds it.
        """
