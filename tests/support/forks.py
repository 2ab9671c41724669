"""Processes that tests kill by the dozen, each forked in milliseconds from one that has imported the app."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.processes import EndsWithItsBlock

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "tests.support.app_process",
        "tests.support.killed_deliveries",
        "tests.support.refreshing",
        "tests.support.writer",
        # What the app imports when it needs it.
        "chalicelib.api.flags_app",
        "chalicelib.launchdarkly.stream",
        "chalicelib.refresh.fetch",
        "chalicelib.stores.dynamodb.events",
        "chalicelib.stores.dynamodb.writer",
        "chalicelib.stores.redis.events",
        "chalicelib.stores.redis.writer",
    ]
)


class ForkedProcess(EndsWithItsBlock):
    """``run(*arguments)`` in a process of its own, with exactly this environment; use it in ``with``."""

    def __init__(self, run: Callable[..., object], environment: Mapping[str, str], *arguments: object) -> None:
        self._process = FORKS.Process(target=_run, args=(run, dict(environment), arguments), daemon=True)
        self._process.start()
        self._ending = threading.Lock()
        """Who waits for the end: a process tells its exit code once."""

    @property
    def is_running(self) -> bool:
        with self._ending:
            return self._process.is_alive()

    def wait(self, timeout_seconds: float = 60.0) -> int:
        """The exit code, negative for a signal."""
        with self._ending:
            self._process.join(timeout_seconds)
            assert self._process.exitcode is not None, "it goes on"
            return self._process.exitcode

    def freeze(self) -> None:
        """As Lambda does with a function between two requests."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def _send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def _run(run: Callable[..., object], environment: dict[str, str], arguments: tuple[object, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    run(*arguments)


def in_a_fork(work: Callable[[], object]) -> Any:
    """What it returns (Any: JSON) in a fork of this process, with all that this one has in memory."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        signal.alarm(60)  # it has no thread of this process, but what these had locked at that moment
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    os.waitpid(process, 0)
    return json.loads(text)
