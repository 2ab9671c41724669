"""Refreshes of one store take turns: the lock, the tickets, and the time that each may take.

A refresh holds the lock in the store. A webhook that waits for it may find that another's refresh has
covered it. Tickets decide that, not clocks: a webhook takes one and leaves what it announces; a refresh
covers the tickets that it finds before it begins to fetch, and says so of each by its name. Nothing is
counted or compared: whatever the store loses, and whatever comes back from an old copy of it, a webhook is
at worst covered by a refresh too many.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from types import TracebackType

from ..data_set import Announcement
from ..errors import RefreshBusy, StoreUnavailable
from ..stores.port import Backlog, Covered, Writer
from ..timing import Timing

logger = logging.getLogger(__name__)

_random = random.SystemRandom()
"""The system's: copies of an image of a process (SnapStart) would wait alike by Python's own."""


class Turn:
    """The turn of one refresh. The lock is freed when the ``with`` block ends, if it was taken."""

    def __init__(self, store: Writer, timing: Timing, within_seconds: float) -> None:
        """``within_seconds``: in which the refresh has to be over."""
        self.owner = uuid.uuid4().hex
        self._store = store
        self._timing = timing
        self._within_seconds = within_seconds
        self._begun = time.monotonic()

    def __enter__(self) -> Turn:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._store.unlock(self.owner)
        except StoreUnavailable as failure:  # the lock expires by itself; what happened before matters more
            logger.warning("refresh lock not released: %s", failure)

    def wait(self, ticket: str | None = None) -> Covered | None:
        """None when this refresh holds the lock; what came of it when another one has covered ``ticket`` meanwhile.

        Raises RefreshBusy when neither comes about in time.
        """
        may_start = True
        while True:
            has_lock = may_start and self._store.try_lock(self.owner, self._timing.lock_seconds)
            covered = None if ticket is None else self._store.read_covered(ticket)
            if covered is not None and (covered.is_met or not has_lock):
                return covered
            if has_lock:
                return None
            if self._seconds_left <= 0:
                raise RefreshBusy(f"Other refreshes were under way for {self._within_seconds:.0f} seconds.")
            # Too late for a refresh of its own, a webhook can still be covered by the one under way.
            may_start = self._seconds_left > self._timing.turn_seconds
            time.sleep(_random.uniform(*self._timing.lock_poll_seconds))

    def gather_backlog(self, ticket: str, announcement: Announcement | None) -> Backlog:
        """The webhooks to cover: at once when this one is alone; in a burst, when no more come in.

        The fetch of the first one is soon followed by another for those that came meanwhile; gathering
        them, for ``gather_seconds`` at most, keeps it at that. This one is among them in any case, if the
        store has lost it.
        """
        deadline = time.monotonic() + self._timing.gather_seconds
        backlog = self._read_backlog(ticket, announcement)
        if len(backlog.announcements) == 1:
            return backlog
        while time.monotonic() < deadline:
            time.sleep(self._timing.quiet_seconds)
            previous, backlog = backlog, self._read_backlog(ticket, announcement)
            if backlog.announcements == previous.announcements:
                break
        return backlog

    def _read_backlog(self, ticket: str, announcement: Announcement | None) -> Backlog:
        backlog = self._store.read_backlog()
        return backlog._replace(announcements={**backlog.announcements, ticket: announcement})

    @property
    def write_lock_seconds(self) -> float:
        """For how long the write needs the lock: for all the time that is left, unless others would wait too long."""
        return min(self._timing.lock_seconds, max(self._timing.write_lock_seconds, self._seconds_left))

    @property
    def _seconds_left(self) -> float:
        return self._begun + self._within_seconds - time.monotonic()
