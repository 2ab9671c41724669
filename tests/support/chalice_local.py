"""`chalice local` as a user starts it: the app over real HTTP, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import accepts_connections, free_port
from tests.support.processes import BIN, OwnProcess
from tests.support.waiting import eventually


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
    command = [BIN / "chalice", "local", "--stage", "test", "--no-autoreload", "--port", str(port)]
    with (
        (folder / "stdout").open("w+b") as output,
        OwnProcess(command, {"PYTHONUNBUFFERED": "1", **environment}, stdout=output) as process,
    ):
        eventually(lambda: accepts_connections(port) or not process.is_running)
        assert process.is_running, "chalice local has ended"
        yield ChaliceLocal(f"http://127.0.0.1:{port}", Path(output.name))
