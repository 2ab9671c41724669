"""A TCP proxy before Valkey that loses the connection in the middle of a refresh's write."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable


class RedisProxy:
    """Forwards to ``upstream_port``, and lets ``on_write`` decide what becomes of a refresh's write.

    ``on_write`` gets the bytes of the transaction and returns those that still reach Valkey; no reply
    comes back, because then the connection is closed, after ``after_write``. Without it everything passes.
    """

    def __init__(
        self,
        upstream_port: int,
        on_write: Callable[[bytes], bytes] | None = None,
        after_write: Callable[[], object] = lambda: None,
    ) -> None:
        self.on_write = on_write
        self._after_write = after_write
        self._upstream_port = upstream_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._upstream_port))
        with client, server, contextlib.suppress(OSError):  # one side hung up
            self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        transaction = b""
        while True:
            for source in select.select([client, server], [], [])[0]:
                data = source.recv(1 << 20)
                if not data:
                    return
                if source is server:
                    client.sendall(data)
                    continue
                transaction += data
                if b"MULTI" in transaction and b"EXEC" not in transaction:
                    continue
                if self.on_write is not None and b"$covered" in transaction and b"EXEC" in transaction:
                    _lose(transaction, self.on_write(transaction), server)
                    self._after_write()
                    return
                server.sendall(transaction)
                transaction = b""


def _lose(write: bytes, rest: bytes, server: socket.socket) -> None:
    server.sendall(rest)
    if rest == write:
        server.recv(1 << 20)  # it is done, but nobody is told
