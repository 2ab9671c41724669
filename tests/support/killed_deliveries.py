"""Deliveries that are killed at one stage after the other: before and after each request to the store, and before and
after each payload."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from chalicelib.config import load_settings
from chalicelib.events.delivery import Delivery
from chalicelib.launchdarkly.bulk import BulkSender
from chalicelib.wiring import Wiring
from tests.support.forks import ForkedProcess
from tests.support.timings import PATIENT


def delivery_killed_at(stage: int, environment: Mapping[str, str], lock_seconds: float) -> int:
    """The exit code: -9 for a run that was killed, 0 for one that came to its end; at stage 0 nobody kills it."""
    with ForkedProcess(_deliver, environment, stage, lock_seconds) as process:
        return process.wait()


class _Stages:
    """Calls that go to ``part``, and the end of this process at one of their stages."""

    def __init__(self, part: Any, counter: _Counter) -> None:
        self._part = part
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self._counter.reach()
            result = getattr(self._part, name)(*arguments)
            self._counter.reach()
            return result

        return call

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Counter:
    def __init__(self, stage: int) -> None:
        self._left = stage

    def reach(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _deliver(stage: int, lock_seconds: float) -> None:
    timing = PATIENT._replace(delivery_lock_seconds=lock_seconds)
    wiring = Wiring(timing)
    wiring.settings = load_settings()
    counter = _Counter(stage)
    queue: Any = _Stages(wiring._event_queue, counter)
    sender: Any = _Stages(BulkSender(wiring.settings, timing), counter)
    Delivery(queue, lambda: sender, timing).deliver(30, force=True)
