"""A process that a test owns: it ends with the block that started it, however that came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import psutil

from tests.support.data import PROJECT

PYTHON = sys.executable
BIN = Path(sys.executable).parent
"""Where the programs of this Python's environment are, `chalice` among them."""


Own = TypeVar("Own", bound="EndsWithItsBlock")


class EndsWithItsBlock(ABC):
    """A process that is killed at the end of a ``with`` block."""

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @abstractmethod
    def kill(self) -> None:
        """Returns when it has ended."""


def heed_interrupts() -> None:
    """A suite that was started in the background ignores Ctrl-C, and what it starts would do so, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class OwnProcess(EndsWithItsBlock):
    """A command that starts at once in the project folder, with PATH and this environment; use it in ``with``."""

    def __init__(
        self,
        command: Sequence[object],
        environment: Mapping[str, str] | None = None,
        *,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.DEVNULL,
        stderr: int | IO[Any] | None = subprocess.DEVNULL,
    ) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in command],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], **(environment or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            preexec_fn=heed_interrupts,
        )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def processor_seconds(self) -> float:
        """What it has had of the processor, to a hundredth."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def wait(self, timeout_seconds: float = 60.0) -> int:
        """The exit code, negative for a signal."""
        return self._process.wait(timeout_seconds)

    def write_line(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def read_line(self) -> str:
        """Waits for it; empty once the process has ended."""
        assert self._process.stdout is not None
        return str(self._process.stdout.readline())

    def freeze(self) -> None:
        """As Lambda does with a function between two requests."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
