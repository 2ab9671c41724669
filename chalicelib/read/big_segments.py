"""Memberships of contexts in big segments: read from the store when a flag asks for them, and kept for some seconds.

The SDK has this as ``BigSegmentStoreManager``, with a thread that polls. Here whether the store is up to date is read
with each membership, so there is no thread; what an evaluation is told, and by which rules, is the same.
Only an evaluation that meets a big segment imports this module.
"""

from __future__ import annotations

import binascii
import hashlib
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping

from ..errors import FlagsError
from ..launchdarkly.evaluators import KnownMembership, Membership
from ..launchdarkly.sdk import BigSegmentsStatus
from ..patience import Patience
from ..runtime.clock import AgeingClock
from ..stores.port import MembershipReader, StoredMemberships
from ..timing import Timing

logger = logging.getLogger(__name__)

STALE_AFTER_MS = 120_000
"""The SDK's default: whatever fills the store, brings it up to date several times in this time."""

MOST_KEPT = 1_000
"""Of contexts, as in the SDK: more of them are read again."""


class BigSegments:
    """One for each process. Thread-safe."""

    def __init__(
        self,
        open_reader: Callable[[], MembershipReader],
        keep_seconds: float,
        timing: Timing = Timing(),
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``open_reader`` is called at the first read. ``keep_seconds``: how long a membership is taken for current."""
        self._open_reader = open_reader
        self._keep_seconds = keep_seconds
        self._timing = timing
        self._clock = clock or AgeingClock()
        self._lock = threading.Lock()
        self._reader: MembershipReader | None = None
        self._kept: dict[str, tuple[float, Membership]] = {}
        """By context key, the oldest first: when it was read, and the membership."""
        self._status: str = BigSegmentsStatus.STORE_ERROR
        self._retry_at = 0.0
        self._told = ""

    def memberships_of(self, keys: Collection[str], patience: Patience | None = None) -> dict[str, KnownMembership]:
        """What the SDK's evaluator wants to know of each of these context keys.

        ``patience``: how long to wait for the store; None is as long as a request may wait. A membership that
        cannot be read is None, with the status ``STORE_ERROR``. The store is then left alone for a second, so that
        not every evaluation waits for it.
        """
        with self._lock:
            now = self._clock()
            current_since = now - self._keep_seconds
            known = {key: kept[1] for key in keys if (kept := self._kept.get(key)) and kept[0] > current_since}
            missing = [key for key in dict.fromkeys(keys) if key not in known]
            if missing and now >= self._retry_at:
                known |= self._read_all(missing, patience or Patience(self._timing.big_segments_seconds))
            failed = None, BigSegmentsStatus.STORE_ERROR
            return {key: (known[key], self._status) if key in known else failed for key in keys}

    def _read_all(self, keys: list[str], patience: Patience) -> dict[str, Membership]:
        """What can be read, from the store."""
        read: dict[str, Membership] = {}
        try:
            self._reader = reader = self._reader or self._open_reader()
            for start in range(0, len(keys), reader.at_once):
                by_hash = {hash_of(key): key for key in keys[start : start + reader.at_once]}
                with patience.waiting() as seconds:
                    stored = reader.read(by_hash, seconds)
                self._learn(stored)
                read.update((by_hash[each], membership) for each, membership in stored.memberships.items())
        except (FlagsError, TimeoutError) as failure:
            self._status = BigSegmentsStatus.STORE_ERROR
            self._retry_at = self._clock() + self._timing.store_retry_seconds
            self._tell(logging.ERROR, f"big segments cannot be read: {failure}")
        self._keep(read)
        return read

    def _learn(self, stored: StoredMemberships) -> None:
        """Whether the store is up to date, as the SDK's poll finds out."""
        age_ms = math.inf if stored.synchronized_on_ms is None else int(time.time() * 1000) - stored.synchronized_on_ms
        if not stored.is_synchronization_known:
            self._status = BigSegmentsStatus.STORE_ERROR
        else:
            self._status = BigSegmentsStatus.STALE if age_ms >= STALE_AFTER_MS else BigSegmentsStatus.HEALTHY
        if stored.failure is not None:
            self._tell(logging.ERROR, f"some of the big segments cannot be read: {stored.failure}")
        elif self._status == BigSegmentsStatus.STALE:
            self._tell(logging.WARNING, "nobody has brought the store of the big segments up to date for two minutes")
        else:
            self._told = ""

    def _tell(self, level: int, message: str) -> None:
        """Log what is not well, once until it is something else."""
        message = message.replace("flag store", "store")  # it may be another one
        if message != self._told:
            logger.log(level, message)
        self._told = message

    def _keep(self, read: Mapping[str, Membership]) -> None:
        if not self._keep_seconds:
            return
        now = self._clock()
        for key, membership in read.items():
            self._kept.pop(key, None)  # so that it is among the youngest
            self._kept[key] = now, membership
        for key in list(itertools.islice(self._kept, max(0, len(self._kept) - MOST_KEPT))):
            del self._kept[key]


def hash_of(context_key: str) -> str:
    """By what a store of big segments knows a context."""
    return binascii.b2a_base64(hashlib.sha256(context_key.encode()).digest(), newline=False).decode()
