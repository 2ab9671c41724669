"""What a budget of waits is taken from, and what is free."""

from __future__ import annotations

import time

import pytest

from chalicelib.patience import Patience


def test_what_a_wait_takes_is_gone_and_work_between_waits_is_free() -> None:
    patience = Patience(1.0)
    with patience.waiting() as seconds:
        assert seconds == 1.0
        time.sleep(0.1)
    left = patience.seconds_left
    time.sleep(0.1)
    assert 0.8 < left == patience.seconds_left <= 0.9


def test_a_wait_that_took_longer_than_it_was_given_costs_what_it_was_given() -> None:
    patience = Patience(1.0)
    with patience.waiting(at_most=0.01) as seconds:
        assert seconds == 0.01
        time.sleep(0.1)
    assert patience.seconds_left == pytest.approx(0.99)


def test_a_wait_that_fails_is_taken_as_well() -> None:
    patience = Patience(0.05)

    def fail_late() -> None:
        time.sleep(0.1)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError), patience.waiting():
        fail_late()
    assert patience.seconds_left == 0.0
    with pytest.raises(TimeoutError), patience.waiting():
        pytest.fail("nothing is left")


def test_work_has_an_end_too() -> None:
    patience = Patience(1.0, ends_at=time.monotonic() + 0.05)
    time.sleep(0.1)
    assert patience.seconds_left == 0.0
    patience.renew(1.0)
    assert patience.seconds_left == 0.0


def test_a_pause_is_as_long_as_there_is() -> None:
    patience = Patience(0.05)
    patience.pause(10)
    assert patience.seconds_left == 0.0
