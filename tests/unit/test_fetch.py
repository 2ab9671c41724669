"""How long a fetch keeps the stream open once the data set is there, over a clock that jumps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple, cast

import pytest

from chalicelib.data_set import Announcement
from chalicelib.launchdarkly.received import ReceivedDataSet
from chalicelib.launchdarkly.stream import FetchStream
from chalicelib.patience import Patience
from chalicelib.refresh import fetch
from chalicelib.timing import Timing
from tests.support.clock import Clock
from tests.support.data import boolean_flag

TIMING = Timing(settle_seconds=1.0, announced_seconds=3.0)
STEP_SECONDS = 0.5
SHINY = Announcement("features", "shiny", 2)
CALM = Announcement("features", "calm", 7)


class Time(NamedTuple):
    monotonic: Clock


class Stream:
    """Something comes every half a second, at the latest a heartbeat."""

    def __init__(self, clock: Clock, received: ReceivedDataSet, patience: Patience) -> None:
        self.advances = 0
        self.patience_seconds: list[float] = []
        self.arrivals: dict[int, Announcement] = {}
        self._clock = clock
        self._received = received
        self._patience = patience

    def advance(self) -> None:
        self.patience_seconds.append(self._patience.seconds_left)
        self.advances += 1
        self._clock.advance(STEP_SECONDS)
        if (arrived := self.arrivals.get(self.advances)) is not None:
            path, flag = f"/flags/{arrived.key}", boolean_flag(arrived.key, arrived.version or 0)
            self._received.take("patch", json.dumps({"path": path, "data": flag}))


Wait = Callable[..., Stream]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Waits for what was announced, of a data set that has the flag ``shiny`` at version 1; the stream after that."""

    def wait(*announced: Announcement | None, **arrivals: Announcement) -> Stream:
        clock = Clock()
        monkeypatch.setattr(fetch, "time", Time(clock))
        received, patience = ReceivedDataSet(), Patience(0.1)
        received.take("put", json.dumps({"data": {"flags": {"shiny": boolean_flag("shiny", 1)}, "segments": {}}}))
        stream = Stream(clock, received, patience)
        stream.arrivals = {int(name.removeprefix("at_")): each for name, each in arrivals.items()}
        fetch._wait_for_announced(cast(FetchStream, stream), received, announced, patience, TIMING)
        return stream

    return wait


def test_what_is_there_already_is_not_waited_for(wait: Wait) -> None:
    assert wait(SHINY._replace(version=1)).advances == 0
    assert wait().advances == 0


def test_the_stream_is_read_until_the_last_announced_version_has_come(wait: Wait) -> None:
    assert wait(SHINY, CALM, at_2=CALM, at_4=SHINY).advances == 4


def test_a_version_that_does_not_come_is_given_up(wait: Wait) -> None:
    assert wait(SHINY).advances == TIMING.announced_seconds / STEP_SECONDS


def test_what_announces_no_version_has_a_while_to_come(wait: Wait) -> None:
    assert wait(None).advances == TIMING.settle_seconds / STEP_SECONDS
    assert wait(None, SHINY, at_1=SHINY).advances == TIMING.settle_seconds / STEP_SECONDS
    assert wait(None, SHINY, at_4=SHINY).advances == 4


def test_there_is_time_for_it_however_long_the_data_set_took(wait: Wait) -> None:
    assert wait(SHINY, at_3=SHINY).patience_seconds == [3.0, 2.5, 2.0]
