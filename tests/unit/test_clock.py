"""What has to age does so while a function is frozen, and whatever becomes of its clocks."""

from __future__ import annotations

import pytest

from chalicelib.runtime.clock import AgeingClock


class Clocks:
    """The two clocks of a process, as the test moves them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic, self.wall = 50.0, 1_700_000_000.0
        monkeypatch.setattr("time.monotonic", lambda: self.monotonic)
        monkeypatch.setattr("time.time", lambda: self.wall)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.mark.parametrize(
    ("monotonic", "wall", "passed"),
    [
        pytest.param(3.0, 3.0, 3.0, id="both go on"),
        pytest.param(0.0, 600.0, 600.0, id="frozen, and the monotonic clock stood still"),
        pytest.param(3.0, -3600.0, 3.0, id="the wall clock was set back"),
        pytest.param(0.0, -3600.0, 0.0, id="nothing but that"),
        pytest.param(600.0, 0.0, 600.0, id="the wall clock stood still"),
    ],
)
def test_the_clock_that_has_gone_further_counts(clocks: Clocks, monotonic: float, wall: float, passed: float) -> None:
    clock = AgeingClock()
    before = clock()
    clocks.monotonic += monotonic
    clocks.wall += wall
    assert clock() - before == passed
    clocks.monotonic += 1
    clocks.wall += 1
    assert clock() - before == passed + 1
