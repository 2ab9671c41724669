"""A network between the app and a store: one TCP proxy that counts connections and breaks them."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum


class Listener:
    """Listens on a free port and hands every connection to ``serve``, in a thread."""

    def __init__(self, serve: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        self._serve = serve
        self._host = host
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=self._family, backlog=64)
        self._socket.settimeout(0.05)
        self._closing = False
        self._latest: object = None
        """The address of a connection that ``catch_up`` opens."""
        self._caught_up = threading.Event()
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._socket.close()

    def catch_up(self) -> None:
        """Returns when every connection that there is by now was handed to ``serve``: one more comes after them."""
        with socket.socket(self._family) as latest:
            latest.bind((self._host, 0))
            self._latest = latest.getsockname()
            self._caught_up.clear()
            latest.connect((self._host, self.port))
            assert self._caught_up.wait(60)

    def _accept(self) -> None:
        while not self._closing:
            with suppress(TimeoutError):
                connection, address = self._socket.accept()
                if address == self._latest:
                    connection.close()
                    self._caught_up.set()
                else:
                    self._serve(connection)


class Mode(Enum):
    FORWARD = "everything passes"
    SILENT = "connections are accepted, and nothing passes any more"
    RESET = "connections are accepted and reset"
    GARBAGE = "connections are answered in another protocol"


class Proxy:
    """Forwards to ``port``, in the mode of the moment.

    ``on_write`` decides what becomes of a refresh's write to Redis: it gets the bytes of the transaction and
    returns those that still reach the store; no reply comes back, because then the connection ends, after
    ``after_write``.
    """

    def __init__(self, port: int) -> None:
        self.mode = Mode.FORWARD
        self.on_write: Callable[[bytes], bytes] | None = None
        self.after_write: Callable[[], object] = lambda: None
        self._accepted = 0
        self._target = port
        self._open: list[_Passage] = []
        self._listener = Listener(self._serve)
        self.port = self._listener.port
        self.url = f"redis://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many there have been, those that nobody has answered yet among them."""
        self._listener.catch_up()
        return self._accepted

    def lead_to(self, port: int) -> None:
        """New connections lead there, as after a failover; open ones stay where they are."""
        self._target = port

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
        self._accepted += 1
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
            for pump in (self._pump_requests, self._pump_answers):
                threading.Thread(target=pump, args=(passage,), daemon=True).start()

    def _pump_requests(self, passage: _Passage) -> None:
        unsent = b""
        with suppress(OSError):
            while data := passage.client.recv(65536):
                unsent += data
                if b"MULTI" in unsent and b"EXEC" not in unsent:
                    continue  # a transaction is judged as a whole
                if self.on_write is not None and b"$inited" in unsent and b"EXEC" in unsent:
                    passage.lose(unsent, self.on_write(unsent))
                    self.after_write()
                    passage.reset()
                    return
                if self._passes(passage):
                    passage.server.sendall(unsent)
                unsent = b""
            if not passage.is_silent:
                passage.server.shutdown(socket.SHUT_WR)

    def _pump_answers(self, passage: _Passage) -> None:
        with suppress(OSError):
            while data := passage.server.recv(65536):
                passage.answered.set()
                if self._passes(passage):
                    passage.client.sendall(data)
            if not passage.is_silent:
                passage.client.shutdown(socket.SHUT_WR)

    def _passes(self, passage: _Passage) -> bool:
        return self.mode is Mode.FORWARD and not passage.is_silent


class _Passage:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.is_silent = False
        self.answered = threading.Event()

    def lose(self, write: bytes, rest: bytes) -> None:
        """Send the ``rest`` of a write; when that is all of it, it is done, but nobody is told."""
        self.is_silent = True
        self.answered.clear()
        self.server.sendall(rest)
        if rest == write:
            self.answered.wait(60)

    def reset(self) -> None:
        _reset(self.client)
        _reset(self.server)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
    connection.close()


class TlsProxy:
    """Speaks TLS with the app, and plainly with the store at ``port``."""

    def __init__(self, port: int, certificate: str, key: str, host: str = "127.0.0.1") -> None:
        self._target = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listener = Listener(self._serve, host)
        self.port = self._listener.port

    def close(self) -> None:
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            self._context.wrap_socket(client, server_side=True) as secured,
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            while True:
                ready = [secured] if secured.pending() else select.select([secured, server], [], [])[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is secured else secured).sendall(data)


class SlowLink:
    """A link to ``port`` over which the answers of all connections together come no faster than this, in turns."""

    def __init__(self, port: int, bytes_per_second: float) -> None:
        self.connections = 0
        self.carried = 0
        """Bytes of answers."""
        self._target = port
        self._bytes_per_second = bytes_per_second
        self._closing = threading.Event()
        self._open: dict[socket.socket, socket.socket] = {}
        self._listener = Listener(self._serve)
        self.port = self._listener.port
        self.url = f"redis://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._closing.set()
        self._thread.join()
        for each in (*self._open, *self._open.values()):
            each.close()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        client.setblocking(False)
        self.connections += 1
        self._open = {**self._open, server: client}
        threading.Thread(target=self._send_requests, args=(client, server), daemon=True).start()

    def _send_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while select.select([client], [], [])[0] and (data := client.recv(65536)):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _carry(self) -> None:
        began, carried = time.monotonic(), 0
        while not self._closing.wait(max(0.0, began + carried / self._bytes_per_second - time.monotonic())):
            both = list(self._open.items())
            ready = set(select.select([server for server, _ in both], [], [], 0.01)[0])
            if not ready:
                began, carried = time.monotonic(), 0
            for server, client in both:
                if server in ready and select.select([], [client], [], 0)[1]:
                    carried += self._carry_some(server, client)

    def _carry_some(self, server: socket.socket, client: socket.socket) -> int:
        count = 0
        with suppress(OSError):
            count = client.send(server.recv(2048))
            self.carried += count
        if not count:
            self._open = {each: other for each, other in self._open.items() if each is not server}
            client.close()
            server.close()
        return count
