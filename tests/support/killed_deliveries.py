"""Deliveries that are killed, each in a process of its own, at one stage after the other.

``python -m tests.support.killed_deliveries``; the environment is that of the app. Each line of JSON that comes in,
``{"stage", "lock_seconds"}``, is a run that is killed by SIGKILL at that stage: before and after each request to the
store, and before and after each payload. 0 is a run that nobody kills. What goes out is how the process ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from chalicelib.config import load_settings
from chalicelib.events.delivery import Delivery
from chalicelib.launchdarkly.bulk import BulkSender
from chalicelib.timing import Timing
from chalicelib.wiring import Wiring
from tests.support.processes import PYTHON, OwnProcess


class KilledDeliveries(OwnProcess):
    """Runs of the delivery with these settings, killed as it is asked for."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(
            [PYTHON, "-m", "tests.support.killed_deliveries"],
            environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
        )

    def run(self, stage: int = 0, lock_seconds: float = 0.3) -> int:
        """The exit code: -9 for a run that was killed, 0 for one that came to its end."""
        self.write_line(json.dumps({"stage": stage, "lock_seconds": lock_seconds}))
        return int(self.read_line())


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


def deliver(stage: int, lock_seconds: float) -> None:
    """Until the run is not kept waiting by the lock of one that was killed."""
    timing = Timing(delivery_lock_seconds=lock_seconds)
    wiring = Wiring(timing)
    wiring.settings = load_settings()
    counter = _Counter(stage)
    queue: Any = _Stages(wiring._event_queue, counter)
    sender: Any = _Stages(BulkSender(wiring.settings, timing), counter)
    delivery = Delivery(queue, lambda: sender, timing)
    while delivery.deliver(30, force=True).status == "busy":
        counter._left = stage
        time.sleep(0.02)


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            deliver(**json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
