"""A Redis connection for the read path: RESP2 over a socket, and nothing else.

Our own, because of cold starts: importing redis-py (with it asyncio, its cluster and observability
modules) takes longer than everything else this app adds to the SDK, and reading a data set takes five
commands. Everything that writes uses redis-py.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ...errors import ConfigurationError

Reply = Any
"""A bulk string as bytes, an integer, a list of replies, or None (the protocol decides)."""

_OPTIONS = ("db", "ssl_cert_reqs", "ssl_ca_certs")


class ServerError(Exception):
    """The server answered a command with an error, such as ``NOAUTH Authentication required.``"""


@dataclass(frozen=True)
class Address:
    """Where the server listens and how to log in, from a ``redis://``, ``rediss://`` or ``unix://`` URL."""

    host: str | None
    port: int
    path: str | None
    tls: bool
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    database: int
    verify: bool
    ca_file: str | None


def parse_address(url: str) -> Address:
    """The address in a URL. Raises ConfigurationError, which never shows the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        local = parts.scheme == "unix"
        database = options.get("db", "0") if local or len(parts.path) <= 1 else parts.path.strip("/")
        address = Address(
            host=None if local else parts.hostname or "localhost",
            port=parts.port or 6379,
            path=unquote(parts.path) if local else None,
            tls=parts.scheme == "rediss",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            database=int(database),
            verify=options.get("ssl_cert_reqs", "required") != "none",
            ca_file=options.get("ssl_ca_certs"),
        )
    except ValueError:
        raise ConfigurationError(
            "REDIS_URL cannot be parsed; expected redis://[user:password@]host:port/database."
        ) from None
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise ConfigurationError(f"REDIS_URL has the unknown option {unknown[0]!r}; known are {', '.join(_OPTIONS)}.")
    return address


class Connection:
    """A connection that is opened by its first command. Not thread-safe.

    Commands raise OSError (TimeoutError among them) when the server cannot be reached, hangs up or does
    not speak the protocol, and ServerError when it refuses. After an OSError the next command connects anew.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._wire: _Wire | None = None
        self.was_open = False

    @property
    def is_open(self) -> bool:
        return self._wire is not None

    def execute(self, *commands: tuple[str, ...], wait_seconds: float) -> list[Reply]:
        """The replies of the commands, sent as one pipeline. Raises the first ServerError in them, or in an EXEC's.

        ``wait_seconds`` is for all waits together, that for the connection included.
        """
        try:
            replies = self._exchange(commands, wait_seconds)
        except OSError:
            self.close()
            raise
        except ValueError:
            self.close()
            raise _not_redis() from None
        for reply in replies:
            for each in reply if isinstance(reply, list) else (reply,):
                if isinstance(each, ServerError):
                    raise each
        return replies

    def close(self) -> None:
        if self._wire is not None:
            self._stream.close()
            self._wire = None

    def _exchange(self, commands: tuple[tuple[str, ...], ...], wait_seconds: float) -> list[Reply]:
        greeting: tuple[tuple[str, ...], ...] = ()
        patience = _Patience(wait_seconds)
        if self._wire is None:
            with patience.waiting() as seconds_left:
                self._wire = _Wire(_connect(self._address, seconds_left), patience)
            self.was_open = True
            self._stream = io.BufferedReader(self._wire, buffer_size=1 << 18)
            greeting = _greeting(self._address)
        self._wire.patience = patience
        # Logging in costs no round trip of its own.
        self._wire.sendall(b"".join(_encode(command) for command in (*greeting, *commands)))
        replies = [self._read() for _ in (*greeting, *commands)]
        refused = next((reply for reply in replies[: len(greeting)] if isinstance(reply, ServerError)), None)
        if refused is not None:
            self.close()
            raise refused
        return replies[len(greeting) :]

    def _read(self) -> Reply:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self._read_bulk(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"-":
            return ServerError(rest.decode(errors="replace"))
        raise _not_redis()

    def _read_bulk(self, length: int) -> bytes:
        data: bytes = self._stream.read(length + 2)
        if len(data) < length + 2:
            raise ConnectionResetError("the server closed the connection")
        return data[:-2]


class _Patience:
    """For how long an exchange may still wait for the network. What it does between the waits is free.

    A time-out for each wait would let a server that trickles its answer hold a request for any time; a
    deadline would keep a slow function from ever reading a large data set.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds_left = seconds

    @contextmanager
    def waiting(self) -> Iterator[float]:
        """What is left, in seconds; what the block takes of it is gone. Raises TimeoutError when nothing is."""
        if self._seconds_left <= 0:
            raise TimeoutError
        started = time.monotonic()
        try:
            yield self._seconds_left
        finally:
            self._seconds_left -= time.monotonic() - started


class _Wire(io.RawIOBase):
    """A socket as a stream that waits no longer than ``patience`` has left."""

    def __init__(self, connected: socket.socket, patience: _Patience) -> None:
        self._socket = connected
        self.patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self.patience.waiting() as seconds_left:
            self._socket.settimeout(seconds_left)
            return self._socket.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        with self.patience.waiting() as seconds_left:
            self._socket.settimeout(seconds_left)
            self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()
        super().close()


def _not_redis() -> OSError:
    return ConnectionResetError("the server does not speak Redis's protocol")


def _connect(address: Address, timeout_seconds: float) -> socket.socket:
    if address.path is not None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_seconds)
        connection.connect(address.path)
        return connection
    connection = socket.create_connection((address.host, address.port), timeout_seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _secured(connection, address) if address.tls else connection


def _secured(connection: socket.socket, address: Address) -> socket.socket:
    import ssl  # only where the URL says rediss://

    context = ssl.create_default_context(cafile=address.ca_file)
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=address.host)


def _greeting(address: Address) -> tuple[tuple[str, ...], ...]:
    commands: list[tuple[str, ...]] = []
    if address.password is not None:
        commands.append(("AUTH", *((address.username,) if address.username else ()), address.password))
    if address.database:
        commands.append(("SELECT", str(address.database)))
    return tuple(commands)


def _encode(command: tuple[str, ...]) -> bytes:
    words = [word.encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
