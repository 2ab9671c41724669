"""Events from the store to LaunchDarkly, at least once, oldest first: one run of ``deliver_events``.

What is sent is planned first, and the plan is in the store before anything leaves: a run that is killed, at whatever
point, is followed by one that sends the same payloads under the same payload ids, of which LaunchDarkly drops what it
has. Batches go once LaunchDarkly has accepted them.

A payload that LaunchDarkly refuses again and again, while it takes another one, is divided until the event that is the
cause is alone; that one is dropped, and what is behind it goes on.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from ..launchdarkly.bulk import Reply, Verdict
from ..stores.outbox import EventQueue
from ..stores.port import QUEUED_SECONDS, new_ticket
from ..timing import Timing
from .batches import Batch, Json, unpack, weight
from .payloads import MOST_BYTES, cut, merged, nothing, to_json
from .state import Part, Plan, State, oldest_seconds

logger = logging.getLogger(__name__)

_MOST_BATCHES = 500
"""Of one plan."""
_REMEMBERED = 100
"""Names of batches that were delivered: the same batch may come again soon."""
_OLDEST_SECONDS = QUEUED_SECONDS - 86_400
"""What is older is dropped, a day before DynamoDB would do it unseen."""
_OLD = "they are a week old"
_REFUSALS = 4
"""After so many a payload is at fault, minutes after the first: a trouble of LaunchDarkly's may look like one."""


class Sender(Protocol):
    """LaunchDarkly's events service."""

    def send(self, payload_id: str, body: bytes) -> Reply: ...


class Delivered(NamedTuple):
    """``delivered`` and ``dropped``, in this run: evaluations that are counted, and full events.

    ``status``: ``delivered``; ``postponed``, because LaunchDarkly does not take events for a while; ``refused``, until
    a person has done something; ``busy``, because another run is at it. ``oldest_seconds``: how old the oldest batch
    is that is still there; 0 when there is none.
    """

    status: str
    delivered: int
    dropped: int
    oldest_seconds: int
    reason: str | None = None

    def to_json(self) -> Json:
        reason = {} if self.reason is None else {"reason": self.reason}
        return {
            "status": self.status,
            "delivered": self.delivered,
            "dropped": self.dropped,
            "oldestUndeliveredSeconds": self.oldest_seconds,
            **reason,
        }

    def metrics(self) -> dict[str, float]:
        return {
            "EventsDelivered": self.delivered,
            "EventsDropped": self.dropped,
            "EventsRefused": int(self.status == "refused"),
            "OldestEventSeconds": self.oldest_seconds,
        }


class Delivery:
    """Of one store's events. Not thread-safe."""

    def __init__(
        self,
        queue: EventQueue,
        open_sender: Callable[[], AbstractContextManager[Sender]],
        timing: Timing = Timing(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` tells Unix time."""
        self._queue = queue
        self._open_sender = open_sender
        self._timing = timing
        self._clock = clock

    def deliver(self, within_seconds: float, *, force: bool = False) -> Delivered:
        """Send what is queued, for as long as there is time; ``force``: although that has just failed.

        Raises StoreUnavailable, DeliveryConflict, and ConfigurationError without an SDK key.
        """
        report = self._queue.read_report()
        state = State.from_json(report.state)
        if report.oldest is None and state.plan is None:
            return Delivered("delivered", 0, 0, 0)
        age_seconds = oldest_seconds(report.oldest, self._clock())
        if not force and self._is_to_wait(state):
            status = "postponed" if state.refused is None else "refused"
            return Delivered(status, 0, 0, age_seconds, state.refused or "LaunchDarkly did not take events just now.")
        owner = new_ticket()
        if not self._queue.try_lock(owner, self._timing.delivery_lock_seconds):
            return Delivered("busy", 0, 0, age_seconds, "Another delivery is under way.")
        try:
            return self._deliver(owner, min(within_seconds, self._timing.delivery_seconds))
        finally:
            self._queue.unlock(owner)

    def _is_to_wait(self, state: State) -> bool:
        """Not if the time is further away than any pause lasts: then some clock was wrong."""
        seconds = state.retry_at_ms / 1000 - self._clock()
        return 0 < seconds <= self._timing.delivery_retry_seconds[1]

    def _deliver(self, owner: str, within_seconds: float) -> Delivered:
        run = _Run(self._queue, owner, self._timing, self._clock, within_seconds)
        with self._open_sender() as sender:
            reply = run.send_all(sender)
        age_seconds = oldest_seconds(self._queue.read_report().oldest, self._clock())
        if reply is None:
            return Delivered("delivered", run.delivered, run.dropped, age_seconds)
        logger.warning("events were not delivered and stay in the store: %s", reply.words)
        status = "refused" if reply.verdict is Verdict.REFUSED else "postponed"
        return Delivered(status, run.delivered, run.dropped, age_seconds, reply.words)


class _Run:
    """One run, by the owner of the lock."""

    def __init__(
        self, queue: EventQueue, owner: str, timing: Timing, clock: Callable[[], float], within_seconds: float
    ) -> None:
        self._queue = queue
        self._owner = owner
        self._timing = timing
        self._clock = clock
        self._ends_at = clock() + within_seconds
        self._state = State.from_json(queue.read_report().state)  # once more: as it is under the lock
        self.delivered = 0
        self.dropped = 0

    def send_all(self, sender: Sender) -> Reply | None:
        """None when all was sent, or time is over; or else why LaunchDarkly does not take the next payload."""
        batches = self._planned()
        while batches:
            reply = self._send_plan(sender, batches)
            if reply is not None or self._is_over():
                return reply
            batches = self._plan_next()
        return None

    def _is_over(self) -> bool:
        return self._clock() >= self._ends_at

    # The plan.

    def _planned(self) -> list[Batch]:
        """What an earlier run has planned and not finished, or what is planned now; empty when there is nothing."""
        plan = self._state.plan
        if plan is None:
            return self._plan_next()
        batches = self._queue.read_named(plan.names)
        if {batch.name for batch in batches} == set(plan.names):
            if not all(self._is_old(batch) for batch in batches):
                return batches
            events = _events(batches)
            self._drop(sum(weight(events[part.start : part.end]) for part in plan.parts), _OLD)
        self._finish(batches)  # or some are gone: LaunchDarkly has accepted all, or the store has lost them
        return self._plan_next()

    def _plan_next(self) -> list[Batch]:
        """The oldest batches, as a plan that is in the store."""
        while batches := self._queue.read_oldest(_MOST_BATCHES, MOST_BYTES):
            useful = self._without_useless(batches)
            chosen = _as_many_as_fit(useful)
            events = _events(chosen)
            if events:
                parts = tuple(Part(str(uuid.uuid4()), start, end) for start, end in cut(events))
                self._keep(plan=Plan(tuple(batch.name for batch in chosen), parts))
                return chosen
            if chosen:
                self._finish(chosen)  # they hold nothing but the word of events that were dropped
        return []

    def _without_useless(self, batches: Sequence[Batch]) -> list[Batch]:
        """Those that are worth sending: not too old, and not there for a second time. The others are deleted."""
        useful: dict[str, Batch] = {}
        useless = []
        for batch in batches:
            is_old = self._is_old(batch)
            if is_old:
                self._drop(weight(unpack(batch).events), _OLD)
            if is_old or batch.name in useful or batch.name in self._state.recent:
                useless.append(batch)
            else:
                useful[batch.name] = batch
        if useless:
            self._queue.remove(self._owner, useless, self._state.to_json())
        return list(useful.values())

    def _is_old(self, batch: Batch) -> bool:
        return self._clock() - batch.packed_at_ms / 1000 > _OLDEST_SECONDS

    def _finish(self, batches: Sequence[Batch]) -> None:
        """Delete what was sent, and with it the plan."""
        lost = sum(unpack(batch).dropped for batch in batches)
        if lost:
            self._drop(lost, "whoever has recorded them had no room for them, or they are no JSON")
        recent = (*self._state.recent, *(batch.name for batch in batches))[-_REMEMBERED:]
        refusals = max(0, self._state.refusals - 1)
        self._state = self._state._replace(plan=None, recent=recent, refusals=refusals)
        self._queue.remove(self._owner, batches, self._state.to_json())

    # Sending it.

    def _send_plan(self, sender: Sender, batches: Sequence[Batch]) -> Reply | None:
        """None when all of it was sent, or time is over; or else why LaunchDarkly does not take the next part."""
        events = _events(batches)
        while self._parts:
            if self._is_over():
                return None
            part = self._parts[0]
            of_part = events[part.start : part.end]
            reply = sender.send(part.payload_id, to_json(of_part))
            if reply.may_be_payload:
                if self._is_over():
                    return None  # the next run has the time to ask whose fault it is
                reply = self._judged(sender, reply)
            if reply.verdict is Verdict.ACCEPTED:
                self._accepted(weight(of_part))
            elif reply.verdict in (Verdict.TOO_LARGE, Verdict.UNFIT):
                self._divide(part, of_part, reply.words)
            else:
                self._failed(reply)
                return reply
        self._finish(batches)
        return None

    def _judged(self, sender: Sender, reply: Reply) -> Reply:
        """The same, unless LaunchDarkly refuses this payload alone: it is asked to take one that counts nothing."""
        other = sender.send(str(uuid.uuid4()), to_json(nothing(int(self._clock() * 1000))))
        if other.verdict is not Verdict.ACCEPTED:
            self._state = self._state._replace(refusals=0)
            return reply
        refusals = min(self._state.refusals + 1, _REFUSALS)  # the pauses are by these, whatever has failed before
        self._state = self._state._replace(refusals=refusals, failures=refusals - 1, retry_at_ms=0, refused=None)
        return reply._replace(verdict=Verdict.UNFIT if refusals == _REFUSALS else Verdict.LATER)

    @property
    def _parts(self) -> tuple[Part, ...]:
        return () if self._state.plan is None else self._state.plan.parts

    def _accepted(self, count: int) -> None:
        self.delivered += count
        self._state = self._state._replace(
            delivered=self._state.delivered + count,
            delivered_at_ms=int(self._clock() * 1000),
            failures=0,
            retry_at_ms=0,
            refused=None,
        )
        self._replace_first_part()

    def _divide(self, part: Part, events: Sequence[Json], words: str) -> None:
        """Two halves, under ids of their own; of one event there are none, and LaunchDarkly will never take it."""
        if len(events) == 1:
            self._drop(weight(events), f"in one event of kind {events[0]['kind']!r}, which is not taken. {words}")
            self._replace_first_part()
            return
        middle = (part.start + part.end) // 2
        halves = ((part.start, middle), (middle, part.end))
        self._replace_first_part(*(Part(str(uuid.uuid4()), start, end) for start, end in halves))

    def _replace_first_part(self, *parts: Part) -> None:
        """What is left to be sent is in the store before it is sent; nothing is left once the batches are gone."""
        assert self._state.plan is not None
        plan = self._state.plan._replace(parts=(*parts, *self._parts[1:]))
        if plan.parts:
            self._keep(plan=plan)
        else:
            self._state = self._state._replace(plan=plan)

    def _failed(self, reply: Reply) -> None:
        first, longest = self._timing.delivery_retry_seconds
        pause_seconds = min(first * 2 ** min(self._state.failures, 20), longest)
        self._keep(
            failures=self._state.failures + 1,
            retry_at_ms=int((self._clock() + pause_seconds) * 1000),
            refused=reply.words if reply.verdict is Verdict.REFUSED else None,
        )

    def _drop(self, count: int, because: str) -> None:
        logger.warning("%d analytics events were dropped: %s", count, because)
        self.dropped += count
        self._state = self._state._replace(dropped=self._state.dropped + count)

    def _keep(self, **changes: Any) -> None:
        """Change the state (Any: fields of several types), in the store as well."""
        self._state = self._state._replace(**changes)
        self._queue.write_state(self._owner, self._state.to_json())


def _events(batches: Sequence[Batch]) -> list[Json]:
    """What is sent of these batches: the same whenever it is asked for."""
    return merged(event for batch in batches for event in unpack(batch).events)


def _as_many_as_fit(batches: Sequence[Batch]) -> list[Batch]:
    """So many of the first that they have about the size of a payload; one at least, if there is one."""
    size, chosen = 0, list[Batch]()
    for batch in batches:
        size += len(to_json(unpack(batch).events))
        if chosen and size > MOST_BYTES:
            break
        chosen.append(batch)
    return chosen
