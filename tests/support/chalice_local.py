"""`chalice local` as a user starts it: the app over real HTTP, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.data import PROJECT
from tests.support.ports import free_port

_START_SECONDS = 60


@dataclass(frozen=True)
class ChaliceLocal:
    url: str
    output: Path
    """What it has written to stdout: its log lines among them."""


@contextmanager
def chalice_locals(count: int, environment: Mapping[str, str], folder: Path) -> Iterator[list[str]]:
    """The URLs of several processes of the app."""
    with ExitStack() as servers:
        folders = [folder / f"process-{number}" for number in range(count)]
        for each in folders:
            each.mkdir()
        yield [servers.enter_context(chalice_local(environment, each)).url for each in folders]


@contextmanager
def chalice_local(environment: Mapping[str, str], folder: Path) -> Iterator[ChaliceLocal]:
    """Serves with exactly these settings (the stage is one that has none of its own) until the block ends."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("chalice")), "local", "--stage", "test", "--no-autoreload"]
    with (folder / "stdout").open("w+b") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **environment},
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_it_listens(process, port)
            yield ChaliceLocal(f"http://127.0.0.1:{port}", Path(output.name))
        finally:
            process.terminate()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"chalice local does not listen (exit code {process.poll()})")
