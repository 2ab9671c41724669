"""What one function instance has evaluated, from the evaluation to the store. One for the whole process.

Nothing here fails an evaluation, or makes one wait but for the short time in which a batch is left in the store. Until
the first batch is due, events are only kept as they come: a cold start imports nothing of the SDK's pipeline.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import StoreUnavailable
from ..launchdarkly.sdk import Context, EventFactory
from ..runtime.clock import AgeingClock
from ..timing import Timing
from .batches import Batch, pack, unpack, weight

if TYPE_CHECKING:
    from ..launchdarkly.events import EventPipeline

logger = logging.getLogger(__name__)

_MANY = 100
"""So many events are not kept as they come."""
_MOST = 10_000
"""Events that are kept while another thread is busy with earlier ones."""


class EventRules(NamedTuple):
    """What is recorded. ``private_attributes``: attribute references; None: every attribute is private."""

    summaries_only: bool = False
    private_attributes: tuple[str, ...] | None = ()
    omit_anonymous: bool = False
    flush_seconds: float = 10.0


class Recorder:
    """Thread-safe. Called wherever flags are evaluated, and at the end of each invocation."""

    def __init__(
        self,
        leave: Callable[[Sequence[Batch]], bool],
        rules: EventRules,
        timing: Timing = Timing(),
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``leave`` puts batches into the store: False when it is full; raises StoreUnavailable."""
        self._leave = leave
        self._rules = rules
        self._timing = timing
        self._clock = clock or AgeingClock()
        self._events = EventFactory(with_reasons=False)
        self._begin()

    def _begin(self) -> None:
        """With nothing. A fork does so too: what was recorded before it is left in the store by the other process."""
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        """Of all below but ``_waiting``. Nobody waits for it."""
        self._waiting: deque[Any] = deque()
        """Events of the SDK's, which exports no type."""
        self._overflow = 0
        self._pipeline: EventPipeline | None = None
        self._batches: list[Batch] = []
        """Packed, and not yet known to be in the store."""
        self._left_at = self._contexts_at = self._clock()
        self._retry_at = 0.0

    def record(self, event: Any) -> None:
        """Keep an event of the SDK's (which exports no type)."""
        if self._process_id != os.getpid():
            self._begin()
        if len(self._waiting) >= _MOST:
            self._overflow += 1
            return
        self._waiting.append(event)
        if len(self._waiting) >= _MANY:
            self._unless_busy(self._process)

    def track(self, context: Context, name: str, data: Any = None, metric_value: float | None = None) -> None:
        """Keep a custom event (Any: JSON)."""
        self.record(self._events.new_custom_event(name, context, data, metric_value))

    def end_invocation(self, *, is_store_away: bool = False) -> None:
        """Leave in the store what is there, if that is due; not in a store that has just failed this request."""
        if self._process_id != os.getpid():
            self._begin()
        self._unless_busy(self._leave_what_is_due, is_store_away)

    def _unless_busy(self, work: Callable[..., None], *arguments: object) -> None:
        """Does the work, unless another thread is at it. Whatever goes wrong costs events, and nothing else."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            work(*arguments)
        except Exception as error:  # without its message, which may hold a context
            logger.error("analytics events were lost: %s", type(error).__name__)
        finally:
            self._lock.release()

    def _leave_what_is_due(self, is_store_away: bool) -> None:
        now = self._clock()
        is_due = now - self._left_at >= self._rules.flush_seconds
        if self._pipeline is None and not is_due:
            return
        self._process()
        assert self._pipeline is not None
        if (is_due or self._pipeline.is_filling) and now >= self._retry_at and not is_store_away:
            self._leave_all(self._pipeline, now)

    def _process(self) -> None:
        if self._pipeline is None:
            from ..launchdarkly.events import EventPipeline

            rules = self._rules
            self._pipeline = EventPipeline(
                rules.private_attributes, omit_anonymous=rules.omit_anonymous, summaries_only=rules.summaries_only
            )
        now = self._clock()
        if now - self._contexts_at >= self._timing.known_contexts_seconds:
            self._pipeline.forget_contexts()
            self._contexts_at = now
        while self._waiting:
            self._pipeline.process(self._waiting.popleft())

    def _leave_all(self, pipeline: EventPipeline, now: float) -> None:
        """Batches that an earlier attempt did not bring into the store go first, under the names that they had."""
        if not self._batches:
            events, dropped = pipeline.take()
            overflow, self._overflow = self._overflow, 0
            self._batches = pack(events, dropped + overflow, int(time.time() * 1000))
        if self._batches:
            try:
                is_left = self._leave(self._batches)
            except StoreUnavailable as error:
                logger.warning("analytics events stay in memory: %s", error)
                self._retry_at = now + max(self._rules.flush_seconds, self._timing.store_retry_seconds)
                return
            if not is_left:  # the store holds as many as it may; how many are dropped is noted in a later batch
                unpacked = [unpack(batch) for batch in self._batches]
                dropped = sum(weight(each.events) + each.dropped for each in unpacked)
                self._overflow += dropped
                logger.warning("analytics events were dropped: the store has no room for them until some are delivered")
        self._batches = []
        self._left_at = now
