"""Run as a process: the app as SnapStart keeps it, an image after its imports, and copies that go on from there.

A copy is a fork whose ``random`` goes on from the image, as it does where Python does not know of a fork. Each line of
standard input, the seconds that have passed since the image, makes one copy; what it prints is JSON. Its wall clock has
gone on by these seconds, and its monotonic clock has stood still.
"""

from __future__ import annotations

import json
import os
import random
import stat
import sys
import time
from typing import Any, cast

import app
from chalicelib.stores.port import Writer, new_ticket
from chalicelib.timing import Timing

USER = {"kind": "user", "key": "anna"}
EVENT: dict[str, Any] = {
    "requestContext": {"httpMethod": "POST", "resourcePath": "/evaluate", "identity": {}},
    "headers": {"content-type": "application/json"},
    "pathParameters": None,
    "multiValueQueryStringParameters": None,
    "stageVariables": None,
    "body": json.dumps(USER),
}
STATE = random.getstate()


def main() -> None:
    print(json.dumps({"sockets": _open_sockets()}), file=sys.__stdout__, flush=True)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            _go_on(float(line))
            os._exit(0)
        os.waitpid(process, 0)


def _go_on(seconds: float) -> None:
    random.setstate(STATE)
    wall, stood_still = time.time, time.monotonic()
    time.time = lambda: wall() + seconds
    begun = time.perf_counter()
    time.monotonic = lambda: stood_still + time.perf_counter() - begun
    print(json.dumps(_restored()), file=sys.__stdout__, flush=True)


def _restored() -> dict[str, Any]:
    request_context = {**EVENT["requestContext"], "requestTimeEpoch": int(time.time() * 1000)}
    answer = app.app({**EVENT, "requestContext": request_context}, None)
    return {
        "status": answer["statusCode"],
        "body": json.loads(answer["body"]),
        "stale": answer["headers"].get("X-Flags-Stale"),
        "ids": [new_ticket(), *_owner_and_pauses()],
    }


def _owner_and_pauses() -> list[str]:
    """Of a refresh whose turn does not come at once."""
    from chalicelib.refresh.turn import Turn

    pauses: list[float] = []
    time.sleep = lambda seconds: pauses.append(float(seconds))
    with Turn(cast(Writer, _BusyStore(pauses)), Timing(), 30.0) as turn:
        turn.wait()
    return [turn.owner, str(pauses)]


class _BusyStore:
    """As much of a store as a turn asks for; its lock is free after two pauses."""

    def __init__(self, pauses: list[float]) -> None:
        self._pauses = pauses

    def try_lock(self, owner: str, seconds: float) -> bool:
        return len(self._pauses) == 2

    def unlock(self, owner: str) -> None:
        pass


def _open_sockets() -> int:
    return sum(stat.S_ISSOCK(os.fstat(int(name)).st_mode) for name in os.listdir("/proc/self/fd") if _is_open(name))


def _is_open(name: str) -> bool:
    try:
        os.fstat(int(name))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
