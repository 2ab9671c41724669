"""A clock for what has to age while Lambda has frozen the function."""

from __future__ import annotations

import time


class AgeingClock:
    """Seconds since some moment, never fewer than before. Not thread-safe.

    While a function is frozen, its monotonic clock may stand still; its wall clock goes on, but may be set
    back. Whichever has gone further counts: what is looked at too early does no harm.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._monotonic, self._wall = time.monotonic(), time.time()

    def __call__(self) -> float:
        monotonic, wall = time.monotonic(), time.time()
        self._now += max(monotonic - self._monotonic, wall - self._wall, 0.0)
        self._monotonic, self._wall = monotonic, wall
        return self._now
