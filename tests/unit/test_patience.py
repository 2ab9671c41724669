"""What a budget of waits is taken from, and what is free."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from chalicelib.patience import Patience
from tests.support.clock import Clock


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which all waits are counted."""
    clock = Clock()
    monkeypatch.setattr("chalicelib.patience.time", SimpleNamespace(monotonic=clock, sleep=clock.advance))
    return clock


def test_what_a_wait_takes_is_gone_and_work_between_waits_is_free(clock: Clock) -> None:
    patience = Patience(1.0)
    with patience.waiting() as seconds:
        assert seconds == 1.0
        clock.advance(0.25)
    assert patience.seconds_left == 0.75
    clock.advance(0.25)
    assert patience.seconds_left == 0.75


def test_a_wait_that_took_longer_than_it_was_given_costs_what_it_was_given(clock: Clock) -> None:
    patience = Patience(1.0)
    with patience.waiting(at_most=0.25) as seconds:
        assert seconds == 0.25
        clock.advance(10)
    assert patience.seconds_left == 0.75


def test_a_wait_that_fails_is_taken_as_well(clock: Clock) -> None:
    patience = Patience(0.5)

    def fail_late() -> None:
        clock.advance(1)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError), patience.waiting():
        fail_late()
    assert patience.seconds_left == 0.0
    with pytest.raises(TimeoutError), patience.waiting():
        pytest.fail("nothing is left")


def test_work_has_an_end_too(clock: Clock) -> None:
    patience = Patience(1.0, ends_at=clock() + 0.5)
    clock.advance(1)
    assert patience.seconds_left == 0.0
    patience.renew(1.0)
    assert patience.seconds_left == 0.0


def test_a_pause_is_as_long_as_there_is(clock: Clock) -> None:
    patience, begun = Patience(0.5), clock()
    patience.pause(10)
    assert patience.seconds_left == 0.0
    assert clock() - begun == 0.5
