"""The turn of one refresh: when it begins, whom it covers, and how long it may write, over a clock that jumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

import pytest

from chalicelib.data_set import Announcement
from chalicelib.errors import RefreshBusy, StoreUnavailable
from chalicelib.refresh import turn as turn_module
from chalicelib.refresh.refresher import Coalesced, Refresher
from chalicelib.refresh.turn import Turn
from chalicelib.stores.port import Backlog, Covered, Writer
from chalicelib.timing import Timing
from tests.support.clock import Clock

TIMING = Timing()
SHINY = Announcement("features", "shiny", 2)
OTHER = Announcement("features", "calm", 7)


class Time:
    """What ``time`` is to the turn: sleeping costs nothing, and the test sees how often it happened."""

    def __init__(self) -> None:
        self.monotonic = Clock()
        self.begun = self.monotonic()
        self.pauses = 0

    @property
    def passed_seconds(self) -> float:
        return self.monotonic() - self.begun

    def sleep(self, seconds: float) -> None:
        self.pauses += 1
        self.monotonic.advance(seconds)


class Store:
    """The store of one webhook: who holds the lock, which webhooks wait, and what came of this one."""

    def __init__(self) -> None:
        self.is_locked = False
        self.asked_for_the_lock = 0
        self.arrivals: list[dict[str, Announcement | None]] = [{}]
        """What each reading of the backlog finds; the last one for ever."""
        self.tickets: list[str] = []
        self.covered: Callable[[str], Covered | None] = lambda ticket: None

    def take_ticket(self, announcement: Announcement | None) -> str:
        self.tickets.append(f"ticket {len(self.tickets) + 1}")
        return self.tickets[-1]

    def read_covered(self, ticket: str) -> Covered | None:
        return self.covered(ticket)

    def read_backlog(self) -> Backlog:
        return Backlog(self.arrivals.pop(0) if len(self.arrivals) > 1 else self.arrivals[0])

    def try_lock(self, owner: str, seconds: float) -> bool:
        self.asked_for_the_lock += 1
        return not self.is_locked

    def unlock(self, owner: str) -> None: ...


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(turn_module, "time", time)
    return time


@pytest.fixture
def store() -> Store:
    return Store()


def turn_at(store: Store, within_seconds: float = TIMING.answer_seconds) -> Turn:
    return Turn(cast(Writer, store), TIMING, within_seconds)


def no_fetch(announcements: object) -> NoReturn:
    raise AssertionError("it is covered")


# Whom a refresh covers.


def test_a_webhook_that_is_alone_is_not_kept_waiting(time: Time, store: Store) -> None:
    store.arrivals = [{"mine": SHINY}]
    assert turn_at(store).gather_backlog("mine", SHINY).announcements == {"mine": SHINY}
    assert time.pauses == 0


def test_a_burst_is_gathered_until_no_further_webhook_comes(time: Time, store: Store) -> None:
    first: dict[str, Announcement | None] = {"mine": SHINY, "another": OTHER}
    store.arrivals = [first, {**first, "third": None}, {**first, "third": None}, {**first, "too late": None}]
    backlog = turn_at(store).gather_backlog("mine", SHINY)
    assert backlog.announcements == {**first, "third": None}
    assert time.pauses == 2


def test_a_burst_without_an_end_is_gathered_for_so_long_and_no_longer(time: Time, store: Store) -> None:
    store.arrivals = [{"mine": SHINY, **{f"another {n}": None for n in range(count)}} for count in range(1, 100)]
    turn_at(store).gather_backlog("mine", SHINY)
    assert TIMING.gather_seconds <= time.passed_seconds < TIMING.gather_seconds + TIMING.quiet_seconds


@pytest.mark.parametrize("held", [{}, {"mine": None}], ids=["lost", "announces nothing"])
def test_a_webhook_is_covered_by_its_own_refresh_whatever_the_store_holds_of_it(
    time: Time, store: Store, held: dict[str, Announcement | None]
) -> None:
    store.arrivals = [held]
    assert turn_at(store).gather_backlog("mine", SHINY).announcements == {"mine": SHINY}


# Whose turn it is.


def test_a_webhook_waits_for_its_turn_until_its_time_is_over(time: Time, store: Store) -> None:
    store.is_locked = True
    with pytest.raises(RefreshBusy, match=r"under way for 20 seconds\."):
        turn_at(store, 20.0).wait("mine")
    assert 20.0 <= time.passed_seconds <= 20.0 + TIMING.lock_poll_seconds[1]


def test_who_has_no_time_left_for_a_refresh_only_waits_to_be_covered(time: Time, store: Store) -> None:
    store.is_locked = True
    covered = Covered(is_met=True, revision="r")
    store.covered = lambda ticket: covered if time.passed_seconds > 1.0 else None
    assert turn_at(store, TIMING.turn_seconds).wait("mine") == covered
    assert store.asked_for_the_lock == 1


def test_who_has_the_lock_refreshes_for_itself_what_another_has_covered_in_vain(time: Time, store: Store) -> None:
    store.covered = lambda ticket: Covered(is_met=False, revision="r")
    assert turn_at(store).wait("mine") is None


def test_who_gets_the_lock_once_it_is_covered_does_not_refresh(time: Time, store: Store) -> None:
    covered = Covered(is_met=True, revision="r")
    store.covered = lambda ticket: covered
    assert turn_at(store).wait("mine") == covered
    assert store.asked_for_the_lock == 1


@pytest.mark.parametrize("second_is_met", [True, False])
def test_a_webhook_that_was_covered_in_vain_asks_once_more(time: Time, store: Store, second_is_met: bool) -> None:
    store.is_locked = True
    store.covered = lambda ticket: Covered(is_met=second_is_met and ticket == "ticket 2", revision=ticket)
    refresher = Refresher(cast(Writer, store), no_fetch, "launchdarkly")
    assert refresher.refresh(SHINY) == Coalesced("ticket 2", second_is_met)
    assert store.tickets == ["ticket 1", "ticket 2"]


# How long it may write.


@pytest.mark.parametrize(
    ("passed_seconds", "lock_seconds"),
    [
        (0.0, TIMING.lock_seconds),
        (TIMING.answer_seconds - 10.0, 10.0),
        (TIMING.answer_seconds - 1.0, TIMING.write_lock_seconds),
    ],
)
def test_the_write_has_the_time_that_is_left_within_bounds(
    time: Time, store: Store, passed_seconds: float, lock_seconds: float
) -> None:
    turn = turn_at(store)
    time.monotonic.advance(passed_seconds)
    assert turn.write_lock_seconds == lock_seconds


def test_a_lock_that_cannot_be_freed_is_logged_and_changes_nothing_of_what_happened(
    time: Time, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unlock(owner: str) -> Any:
        raise StoreUnavailable("The flag store is away.")

    monkeypatch.setattr(store, "unlock", unlock)
    with turn_at(store) as turn:
        assert turn.wait() is None
    with pytest.raises(RefreshBusy, match="another"), turn_at(store):
        raise RefreshBusy("another error")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["refresh lock not released: The flag store is away."] * 2
