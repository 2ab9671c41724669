"""A server that answers a fetch's request for the stream as a test tells it to, and the fetch that asks it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.config import load_settings
from chalicelib.data_set import FEATURES, SEGMENTS, Announcement, DataSet, Item
from chalicelib.errors import LaunchDarklyUnavailable
from chalicelib.patience import Patience
from chalicelib.refresh.fetch import fetch_data_set
from chalicelib.timing import Timing

TIMING = Timing(
    data_set_seconds=60,
    fetch_limit_seconds=120,
    announced_seconds=60,
    stream_connect_seconds=60,
    stream_retry_seconds=0.1,
)
"""Whatever is to come may come late, on a machine that is very busy."""

BRIEF = TIMING._replace(data_set_seconds=0.5)
"""For what never comes. No single wait ends before all patience does, so that it is always the same that fails."""

BRIEF_CONNECTION = TIMING._replace(stream_connect_seconds=0.3)
"""For what never can be connected to."""

TOO_LONG_SECONDS = 60.0
"""What a fetch that waits for half a second must not take. The rest is for a machine that is very busy."""

SDK_KEY = "sdk-private-key"
OUT_OF_REACH = "LaunchDarkly cannot be reached, or the connection to it broke."
NOT_IN_TIME = "LaunchDarkly did not deliver the data set in time."
CANNOT_BE_READ = "LaunchDarkly sent a data set that cannot be read."

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FLAG = b'{"z":1,"version":3,"a":{"c":1.0,"b":2}}'
PUT = b'event: put\ndata: {"path":"/","data":{"flags":{"shiny":' + FLAG + b'},"segments":{}}}\n\n'
DATA_SET: DataSet = {FEATURES: {"shiny": Item(3, FLAG)}, SEGMENTS: {}}

Answer = Callable[[socket.socket], object]
"""What a server does with a connection whose request has come; it is closed afterwards."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """Speaks as a test tells it to; ``requests`` are the heads of what it was asked."""

    def __init__(self, answer: Answer, listener: socket.socket | None = None, *, reads: bool = True) -> None:
        self.requests: list[str] = []
        self._answer = answer
        self._reads = reads
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._reads:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(4096)
                self.requests.append(head.decode())
            self._answer(connection)


Serve = Callable[..., Server]


def fetch(
    port: int,
    *announcements: Announcement | None,
    uri: str = "http://127.0.0.1:{}",
    timing: Timing = TIMING,
    **more: str,
) -> DataSet:
    environment = {
        "REDIS_URL": "redis://unused",
        "LAUNCHDARKLY_SDK_KEY": SDK_KEY,
        "LAUNCHDARKLY_STREAM_URI": uri.format(port),
        **more,
    }
    return fetch_data_set(load_settings(environment), announcements, timing)


def failure(port: int, timing: Timing = TIMING, **more: Any) -> tuple[type[LaunchDarklyUnavailable], str]:
    """What the fetch raises, which tries three times at most; it must not take longer than it may."""
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Patience, "pause", spend)
        with pytest.raises(LaunchDarklyUnavailable) as raised:
            fetch(port, timing=timing._replace(stream_retry_seconds=20), **more)
    assert time.monotonic() - started < TOO_LONG_SECONDS
    return type(raised.value), str(raised.value)


def spend(patience: Patience, seconds: float) -> None:
    """A pause that takes no time."""
    patience.renew(max(0.0, patience.seconds_left - seconds))


def sending(*parts: bytes, then: Answer = lambda connection: connection.recv(1)) -> Answer:
    """Sends that and, unless told otherwise, keeps the connection open until the other side closes it."""

    def answer(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
        then(connection)

    return answer


def trickling(fast: bytes, slow: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(fast)
        for byte in slow:
            time.sleep(0.1)
            connection.sendall(bytes((byte,)))

    return answer


def resetting(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closing(_: socket.socket) -> None:
    pass


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join(
        (f"HTTP/1.1 {code} Whatever", "Content-Length: 0", "Connection: close", *headers, "", "")
    ).encode()
