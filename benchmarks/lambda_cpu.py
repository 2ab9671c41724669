"""The CPU that Lambda gives to a function: a whole one until the first event, then the share of its memory.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html (1,769 MB are one CPU). Lambda's
limit is the kernel's: so much CPU time in each period, and a halt until the next one. So is this one, but from
outside, by SIGSTOP and SIGCONT, which needs no rights. What the function takes too much before it is halted, it
lacks in the next periods.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

MEGABYTES_OF_A_CPU = 1769
_PERIOD_SECONDS = 0.02
_LOOK_SECONDS = 0.0005


def cpu_seconds(process_id: int) -> float:
    """What a process has taken so far, all its threads together."""
    return time.clock_gettime(_clock_of(process_id))


def _clock_of(process_id: int) -> int:
    """See clock_getcpuclockid(3)."""
    return (~process_id << 3) | 2


class CpuLimit(threading.Thread):
    """Limits a process, all its threads together, from ``start`` until the process ends."""

    def __init__(self, process_id: int, memory_mb: int) -> None:
        super().__init__(daemon=True)
        self._process = os.pidfd_open(process_id)
        self._quota = _PERIOD_SECONDS * min(1.0, memory_mb / MEGABYTES_OF_A_CPU)
        self._clock = _clock_of(process_id)

    def run(self) -> None:
        with suppress(OSError):  # the process has ended
            self._limit()
        os.close(self._process)

    def _limit(self) -> None:
        left, is_halted = self._quota, False
        used = time.clock_gettime(self._clock)
        period_ends = time.monotonic() + _PERIOD_SECONDS
        while True:
            time.sleep(_LOOK_SECONDS)
            used, before = time.clock_gettime(self._clock), used
            left -= used - before
            while time.monotonic() >= period_ends:
                period_ends += _PERIOD_SECONDS
                left = min(self._quota, left + self._quota)
            if is_halted != (left <= 0):
                is_halted = not is_halted
                signal.pidfd_send_signal(self._process, signal.SIGSTOP if is_halted else signal.SIGCONT)
