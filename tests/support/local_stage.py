"""`make run` without the installation: the local stage in a process of its own, until the block ends."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support.ports import free_port
from tests.support.processes import PYTHON, OwnProcess


class LocalStage:
    """A server that answers at ``url``. ``said``: the lines with which it has begun."""

    def __init__(self, url: str, said: list[str], process: OwnProcess) -> None:
        self.url = url
        self.said = said
        self.process = process


@contextmanager
def local_stage(environment: Mapping[str, str]) -> Iterator[LocalStage]:
    """With these variables in its shell."""
    port = free_port()
    command = [PYTHON, "-m", "tools.run_local", "--port", port]
    variables = {"PYTHONUNBUFFERED": "1", **environment}
    with OwnProcess(command, variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        said: list[str] = []
        while not said or not said[-1].startswith("Serving on "):
            line = process.read_line()
            assert line, f"it has ended: {said}"
            said.append(line.rstrip())
        yield LocalStage(f"http://127.0.0.1:{port}/", said, process)
