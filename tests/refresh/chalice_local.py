"""Several processes of the app, served over HTTP by ``chalice local``."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Environment
from tests.data import PROJECT
from tests.refresh.conftest import free_port, wait_until


@contextmanager
def app_processes(count: int, environment: Environment, folder: Path) -> Iterator[list[str]]:
    """The base URLs of ``count`` app processes with this environment; ``folder`` gets their output."""
    chalice = shutil.which("chalice", path=str(Path(sys.executable).parent))
    assert chalice is not None
    ports = [free_port() for _ in range(count)]
    processes = []
    try:
        for port in ports:
            with (folder / f"{port}.log").open("wb") as output:
                command = [chalice, "local", "--no-autoreload", "--stage", "test", "--port", str(port)]
                environ = {"PATH": os.environ["PATH"], **environment}
                processes.append(subprocess.Popen(command, cwd=PROJECT, env=environ, stdout=output, stderr=output))
        for port in ports:
            wait_until(functools.partial(_is_open, port), seconds=60)
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(timeout=30)


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
