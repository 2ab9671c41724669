"""How long may still be waited for the network. What is done between the waits is free."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Patience:
    """A budget for waiting, in seconds, that every wait of an exchange is taken from.

    A time-out for each wait would let a server that trickles its answer hold its caller for any time; a
    deadline alone would keep a slow function from ever reading a large data set. ``ends_at``
    (``time.monotonic()``) is a deadline all the same, further away: work must end some time, too.
    """

    def __init__(self, seconds: float, ends_at: float = math.inf) -> None:
        self._seconds = seconds
        self._ends_at = ends_at

    def renew(self, seconds: float) -> None:
        """From now on there are so many seconds to wait; the deadline stays."""
        self._seconds = seconds

    @property
    def seconds_left(self) -> float:
        """0.0 when there is nothing left."""
        return max(0.0, min(self._seconds, self._ends_at - time.monotonic()))

    @contextmanager
    def waiting(self, at_most: float = math.inf) -> Iterator[float]:
        """How long the block may wait, in seconds; what it takes is gone. Raises TimeoutError when nothing is left.

        A block that took longer than it was given did not run meanwhile, which costs no more than it was given.
        """
        given = min(self.seconds_left, at_most)
        if given <= 0:
            raise TimeoutError
        started = time.monotonic()
        try:
            yield given
        finally:
            self._seconds -= min(given, time.monotonic() - started)

    def pause(self, seconds: float) -> None:
        """Sleep for so long, or for as long as there is."""
        pause = min(seconds, self.seconds_left)
        self._seconds -= pause
        time.sleep(pause)
