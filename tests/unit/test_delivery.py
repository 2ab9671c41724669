"""A run of the delivery of events, over a queue in memory and a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext

import pytest

from chalicelib.events.batches import Batch, DeliveryReport, pack
from chalicelib.events.delivery import Delivered, Delivery
from chalicelib.events.state import Part, Plan, State
from chalicelib.launchdarkly.bulk import Reply, Verdict
from chalicelib.timing import Timing
from tests.support.clock import Clock

TIMING = Timing()
NOW_SECONDS = 1_700_000_000.0
ACCEPTED = Reply(Verdict.ACCEPTED, "LaunchDarkly answered HTTP 202.")
AWAY = Reply(Verdict.LATER, "LaunchDarkly answered HTTP 503.")
UNCLEAR = Reply(Verdict.REFUSED, "LaunchDarkly answered HTTP 422.", may_be_payload=True)
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = TIMING.delivery_retry_seconds


class Queue:
    """The queue that a store has, without its lock."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.state: str | None = None

    def leave(self, *sizes: int) -> None:
        """A batch of one event for each of these sizes, in bytes."""
        for number, size in enumerate(sizes):
            event = {"kind": "custom", "creationDate": 1, "key": f"event {number}", "data": "x" * size}
            self.batches += pack([event], 0, int(NOW_SECONDS * 1000) + number)

    @property
    def kept(self) -> State:
        return State.from_json(self.state)

    def read_report(self) -> DeliveryReport:
        return DeliveryReport(self.state, self.batches[0].name if self.batches else None)

    def try_lock(self, owner: str, seconds: float) -> bool:
        return True

    def unlock(self, owner: str) -> None: ...

    def read_oldest(self, most: int, most_bytes: int) -> list[Batch]:
        return self.batches[:most]

    def read_named(self, names: Collection[str]) -> list[Batch]:
        return [batch for batch in self.batches if batch.name in names]

    def write_state(self, owner: str, state: str) -> None:
        self.state = state

    def remove(self, owner: str, batches: Collection[Batch], state: str) -> None:
        self.batches = [batch for batch in self.batches if batch not in batches]
        self.state = state


class Sender:
    """LaunchDarkly, which takes ``takes_seconds`` for each payload."""

    def __init__(self, clock: Clock) -> None:
        self.replies = [ACCEPTED]
        """The last one for ever."""
        self.takes_seconds = 0.0
        self.sent: list[str] = []
        self._clock = clock

    def send(self, payload_id: str, body: bytes) -> Reply:
        self.sent.append(payload_id)
        self._clock.advance(self.takes_seconds)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = NOW_SECONDS
    return clock


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def sender(clock: Clock) -> Sender:
    return Sender(clock)


Deliver = Callable[..., Delivered]


@pytest.fixture
def deliver(queue: Queue, sender: Sender, clock: Clock) -> Deliver:
    def open_sender() -> AbstractContextManager[Sender]:
        return nullcontext(sender)

    return Delivery(queue, open_sender, TIMING, clock).deliver


def test_a_plan_whose_batches_are_gone_is_over(queue: Queue, sender: Sender, deliver: Deliver) -> None:
    """Whoever has made it was killed after the batches were deleted, and before it could say so."""
    queue.state = State(plan=Plan(("0000000000001-abcdef01",), (Part("id", 0, 1),))).to_json()
    assert deliver(30.0) == Delivered("delivered", 0, 0, 0)
    assert queue.kept.plan is None
    assert sender.sent == []


@pytest.mark.parametrize(
    ("within_seconds", "payloads"), [(25.0, 3), (1e9, TIMING.delivery_seconds / 10)], ids=["the function's", "its own"]
)
def test_no_payload_is_sent_once_the_time_of_the_run_is_over(
    queue: Queue, sender: Sender, deliver: Deliver, within_seconds: float, payloads: int
) -> None:
    queue.leave(*[900_000] * 9)
    sender.takes_seconds = 10.0
    assert deliver(within_seconds).delivered == payloads
    assert len(queue.batches) == 9 - payloads
    sender.takes_seconds = 0.0
    assert deliver(within_seconds).delivered == 9 - payloads
    assert queue.batches == []
    assert queue.kept.delivered == 9


def test_a_plan_that_is_sent_in_parts_goes_on_where_time_was_over(
    queue: Queue, sender: Sender, deliver: Deliver
) -> None:
    large = [{"kind": "custom", "creationDate": 1, "key": str(number), "data": "x" * 600_000} for number in range(3)]
    queue.batches = pack(large, 0, int(NOW_SECONDS * 1000))
    assert len(queue.batches) == 1
    sender.takes_seconds = 10.0
    assert deliver(15.0) == Delivered("delivered", 2, 0, 20)
    assert deliver(15.0) == Delivered("delivered", 1, 0, 0)
    assert len(set(sender.sent)) == len(sender.sent) == 3


def test_whose_fault_a_refusal_is_the_next_run_asks_where_time_was_over(
    queue: Queue, sender: Sender, deliver: Deliver
) -> None:
    queue.leave(1)
    sender.replies = [UNCLEAR]
    sender.takes_seconds = 10.0
    assert deliver(5.0) == Delivered("delivered", 0, 0, 10)
    assert (queue.kept.failures, queue.kept.retry_at_ms, queue.kept.refused) == (0, 0, None)
    sender.replies = [UNCLEAR, ACCEPTED]
    assert deliver(30.0) == Delivered("postponed", 0, 0, 30, UNCLEAR.words)
    first, again, other = sender.sent
    assert first == again != other


def test_a_payload_at_fault_is_not_waited_for_longer_because_launchdarkly_was_away_before(
    queue: Queue, sender: Sender, clock: Clock, deliver: Deliver
) -> None:
    queue.leave(1)
    queue.state = State(failures=20).to_json()
    sender.replies = [UNCLEAR, ACCEPTED]
    assert deliver(30.0).status == "postponed"
    assert queue.kept.retry_at_ms == int((clock.now + FIRST_PAUSE_SECONDS) * 1000)


def test_what_launchdarkly_refuses_counts_for_nothing_once_it_refuses_everything(
    queue: Queue, sender: Sender, deliver: Deliver
) -> None:
    def try_again(*replies: Reply) -> Delivered:
        sender.replies = list(replies)
        return deliver(30.0, force=True)

    queue.leave(1)
    assert [try_again(UNCLEAR, ACCEPTED).dropped for _ in range(3)] == [0, 0, 0]
    assert try_again(UNCLEAR).status == "refused"
    assert [try_again(UNCLEAR, ACCEPTED).dropped for _ in range(4)] == [0, 0, 0, 1]
    assert queue.batches == []


def test_each_pause_is_twice_the_one_before_until_launchdarkly_takes_something(
    queue: Queue, sender: Sender, clock: Clock, deliver: Deliver
) -> None:
    def pause_seconds() -> float:
        return round(queue.kept.retry_at_ms / 1000 - clock.now, 1)

    queue.leave(900_000, 900_000)
    sender.replies = [AWAY]
    pauses = []
    for _ in range(6):
        assert deliver(30.0, force=True).status == "postponed"
        pauses.append(pause_seconds())
    assert pauses == [50.0, 100.0, 200.0, 400.0, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]

    sender.replies = [ACCEPTED, AWAY]
    assert deliver(30.0, force=True).delivered == 1
    assert pause_seconds() == FIRST_PAUSE_SECONDS


def test_any_number_of_failures_has_the_longest_pause(
    queue: Queue, sender: Sender, clock: Clock, deliver: Deliver
) -> None:
    queue.leave(1)
    queue.state = State(failures=1_000_000).to_json()
    sender.replies = [AWAY]
    assert deliver(30.0).status == "postponed"
    assert queue.kept.retry_at_ms == int((clock.now + LONGEST_PAUSE_SECONDS) * 1000)
