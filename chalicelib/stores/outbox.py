"""The port of what a store holds on its way to LaunchDarkly: evaluations leave it there, a schedule delivers it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from ..events.batches import Batch, DeliveryReport
from .port import Reader


class Outbox(Protocol):
    """Events on their way to LaunchDarkly, as a reader sees them. Raises as the reader does."""

    def leave_events(self, batches: Sequence[Batch]) -> bool:
        """Add events to the queue, within a short time; False when it is full, and nothing was added."""

    def read_delivery(self) -> DeliveryReport:
        """How the delivery of events is, as a small read."""


class ReaderWithOutbox(Reader, Outbox, Protocol):
    """What a store has for all that evaluations do."""


class EventQueue(Protocol):
    """What the delivery of events needs. Every call raises StoreUnavailable when the store cannot be reached.

    With ``owner``, a call raises DeliveryConflict when that is not who holds the lock.
    """

    def read_report(self) -> DeliveryReport:
        """As of one moment, but for a store that cannot do that."""

    def try_lock(self, owner: str, seconds: float) -> bool:
        """Whether ``owner`` now has the queue for itself, until unlock or for so many seconds."""

    def unlock(self, owner: str) -> None:
        """Free the lock if ``owner`` still holds it."""

    def read_oldest(self, most: int, most_bytes: int) -> list[Batch]:
        """At most so many batches, oldest first, and no more of them than reach so many bytes."""

    def read_named(self, names: Collection[str]) -> list[Batch]:
        """Those of these batches that are there, oldest first."""

    def write_state(self, owner: str, state: str) -> None:
        """Keep ``state`` for the next run."""

    def remove(self, owner: str, batches: Collection[Batch], state: str) -> None:
        """Take batches out of the queue, and then keep ``state``; a run that is killed may have done a part of it."""
