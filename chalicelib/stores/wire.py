"""Connections whose waits, all together, have an end. The stores' own protocols stand on them.

A time-out of the standard library is for one wait: each address of a host, each byte of an answer that
trickles and each half of a handshake has its own, and the resolver has none. Here every wait is taken out
of one :class:`ExchangePatience`. What is said over a connection is not known here.
"""

from __future__ import annotations

import _socket
import errno
import io
import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ..patience import Patience
from ..timing import Timing

if TYPE_CHECKING:
    from .tls import TlsSocket

Result = TypeVar("Result")


_MOST_BYTES = 1 << 29
"""Of one value: Redis' limit, and far more than DynamoDB answers with."""


_MOST_RESERVED = 2 / 3
"""Of a patience that is shorter than usual, for a second attempt: the kept connection gets its share."""


class ExchangePatience(Patience):
    """For how long an exchange may still wait.

    Bytes that pass are progress. Each is worth the time that it takes at the slowest useful rate, so a large
    answer over a slow link is waited for, and one that trickles or stops is not.
    """

    def __init__(self, seconds: float, timing: Timing) -> None:
        super().__init__(seconds, time.monotonic() + timing.exchange_seconds)
        self._most = max(seconds, timing.silence_seconds)
        self._bytes_per_second = timing.slowest_bytes_per_second
        self._reserved = 0.0

    @property
    def seconds_left(self) -> float:
        return max(0.0, super().seconds_left - self._reserved)

    @contextmanager
    def reserving(self, seconds: float) -> Iterator[None]:
        """The block may use all but so much of what is left."""
        self._reserved = seconds
        try:
            yield
        finally:
            self._reserved = 0.0

    def has_progressed(self, count: int) -> None:
        """So many bytes have passed."""
        self._seconds = min(self._most, self._seconds + count / self._bytes_per_second)


class Stream:
    """An open connection. Each exchange over it sets ``patience``, by which sending and receiving wait."""

    def __init__(self, connected: Socket | TlsSocket, patience: ExchangePatience) -> None:
        self._socket = connected
        self._raw = _RawStream(connected, patience)
        self._buffered = io.BufferedReader(self._raw, buffer_size=1 << 18)
        self._opened_at = time.time()
        self._opened_by = os.getpid()
        self.is_new = True
        """Nothing was sent yet."""
        self.is_spent = False
        """An exchange sets this when no other one may follow it."""

    @property
    def patience(self) -> ExchangePatience:
        return self._raw.patience

    @patience.setter
    def patience(self, patience: ExchangePatience) -> None:
        self._raw.patience = patience

    @property
    def received(self) -> int:
        """How many bytes have come."""
        return self._raw.received

    def is_older_than(self, seconds: float) -> bool:
        """By the wall clock, which goes on while a function is frozen. One that was set back makes it old."""
        return not 0 <= time.time() - self._opened_at < seconds

    @property
    def is_shared(self) -> bool:
        """Whether this process is a fork of the one that opened it, and may read what the other one has asked for."""
        return self._opened_by != os.getpid()

    def sendall(self, data: bytes) -> None:
        """Of a server that has hung up, reading tells: it may have said why."""
        rest = memoryview(data)
        try:
            while rest:
                with self.patience.waiting() as seconds:
                    self._socket.settimeout(seconds)
                    sent = self._socket.send(rest)
                self.is_new = False
                self.patience.has_progressed(sent)
                rest = rest[sent:]
        except ConnectionError:
            return

    def line(self) -> bytes:
        """The next line, without its end. Raises ConnectionResetError where the connection ends."""
        line = self._buffered.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server closed the connection")
        return line[:-2]

    def exactly(self, count: int) -> bytes:
        """So many bytes. Raises ConnectionResetError where the connection ends, and ValueError for an absurd count."""
        if not 0 <= count <= _MOST_BYTES:
            raise ValueError
        data = self._buffered.read(count)
        if len(data) < count:
            raise ConnectionResetError("the server closed the connection")
        return data

    def some(self, at_most: int) -> bytes:
        """What comes next; nothing where the connection ends."""
        return self._buffered.read1(at_most)

    def poll(self) -> bytes:
        """What has come unasked; nothing where the connection has ended, and an OSError while it is quiet."""
        self._socket.settimeout(0)
        return self._socket.recv(1)

    def close(self) -> None:
        self._buffered.close()


class _RawStream(io.RawIOBase):
    """What a BufferedReader reads from. Not the Stream itself: nobody would free two objects that hold each other."""

    def __init__(self, connected: Socket | TlsSocket, patience: ExchangePatience) -> None:
        self._socket = connected
        self.patience = patience
        self.received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # Any: the type of a buffer has a name from Python 3.12 on
        with self.patience.waiting() as seconds:
            self._socket.settimeout(seconds)
            count = self._socket.recv_into(buffer)
        self.received += count
        self.patience.has_progressed(count)
        return count

    def close(self) -> None:
        self._socket.close()
        super().close()


class Peer:
    """Where a server is: its addresses, the one that worked first."""

    def __init__(self, addresses: Addresses, timing: Timing) -> None:
        self._addresses = addresses
        self._next_address_seconds = timing.next_address_seconds

    def connect(self, patience: ExchangePatience) -> Stream:
        """Raises OSError, TimeoutError among them."""
        connected, address = _first_to_connect(self._addresses, self._next_address_seconds, patience)
        self._addresses.prefer(address)
        try:
            return Stream(self._agreed(connected, patience), patience)
        except OSError:
            connected.close()
            self.avoid_address()
            raise

    def _agreed(self, connected: Socket, patience: ExchangePatience) -> Socket | TlsSocket:
        """The connection once both sides have agreed upon how to talk over it."""
        return connected

    def avoid_address(self) -> None:
        """The address that was connected to last has nobody who answers: begin with another one."""
        self._addresses.rotate()


class CutOff(TimeoutError):
    """Patience has ended in the middle of an answer."""


class Refused(Exception):
    """A server has answered that it does not do what it was asked."""


class Line:
    """A connection that the first exchange opens, and that is kept for the next ones. Thread-safe: one at a time.

    Whatever goes wrong ends the connection, a refusal too: perhaps another node can do what this one cannot.
    """

    def __init__(self, peer: Peer, timing: Timing) -> None:
        self._peer = peer
        self._timing = timing
        self._stream: Stream | None = None
        self._lock = threading.Lock()
        self.was_open = False

    def exchange(
        self, talk: Callable[[Stream], Result], patience: ExchangePatience, reconnect_seconds: float
    ) -> Result:
        """What ``talk`` returns, which asks over an open connection and reads the answer.

        The kept connection may have died while the function was frozen, or lead to a node that no longer serves. So
        ``reconnect_seconds`` are left to ask once more over a new one, but not after half an answer, which may be
        long. Raises OSError, TimeoutError and CutOff among them, and Refused.
        """
        with self._lock:
            if (kept := self._kept()) is not None:
                received = kept.received
                try:
                    with patience.reserving(min(reconnect_seconds, patience.seconds_left * _MOST_RESERVED)):
                        return self._talk(talk, kept, patience)
                except Refused:
                    pass
                except OSError:
                    if kept.received > received:
                        raise
            return self._talk(talk, self._kept() or self._open(patience), patience)

    def open(self, patience: ExchangePatience) -> None:
        """For an exchange that will come. Raises OSError, TimeoutError among them."""
        with self._lock:
            if self._stream is None:
                self._open(patience)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _kept(self) -> Stream | None:
        stream = self._stream
        if stream is not None and (
            stream.is_spent or stream.is_shared or stream.is_older_than(self._timing.connection_seconds)
        ):
            self.close()
        return self._stream

    def _open(self, patience: ExchangePatience) -> Stream:
        self._stream = self._peer.connect(patience)
        self.was_open = True
        if patience.seconds_left < self._timing.shortest_exchange_seconds:
            raise TimeoutError  # a connection that took so long to open is there for the next exchange
        return self._stream

    def _talk(self, talk: Callable[[Stream], Result], stream: Stream, patience: ExchangePatience) -> Result:
        stream.patience = patience
        received = stream.received
        try:
            return talk(stream)
        except BaseException as failure:
            if not (stream.is_new and isinstance(failure, TimeoutError)):
                self.close()
            if not stream.received:
                self._peer.avoid_address()
            if isinstance(failure, TimeoutError) and stream.received > received:
                raise CutOff from failure
            raise


Address = tuple[int, Any]
"""The family of a socket, and its address (Any: each family has its own)."""


class Addresses:
    """The addresses of a host, in the order in which they are tried, and how each is."""

    def __init__(self, addresses: list[Address] | None = None) -> None:
        self._known = addresses or []

    def known(self, patience: ExchangePatience) -> list[Address]:
        return list(self._known)

    def prefer(self, address: Address) -> None:
        self._known = [address, *(each for each in self._known if each != address)]

    def rotate(self) -> None:
        self._known = self._known[1:] + self._known[:1]

    def begin_to_connect(self, address: Address) -> Socket:
        """Raises OSError."""
        return _begin_to_connect(address)


class ResolvedAddresses(Addresses):
    """The addresses of a host name, remembered for a while, and for longer while the resolver does not answer.

    The resolver cannot be interrupted. A thread asks it, one at a time, and waiting for that thread can.
    """

    def __init__(self, host: str, port: int, timing: Timing) -> None:
        super().__init__()
        self._host = host
        self._port = port
        self._timing = timing
        self._resolved_at = -math.inf
        self._lookup: _Lookup | None = None
        self._begun: _Begun | None = None

    def look_up(self, *, connects: bool = False) -> _Lookup:
        """Begin to ask, if nobody has: there is something to do until the answer is needed.

        ``connects``: begin to connect as well, as soon as there is an address, for the connection that is needed soon.
        """
        lookup = self._lookup
        if lookup is None or (lookup.done.is_set() and not self._is_recent(lookup.begun_at)):
            lookup = self._lookup = _Lookup(self._host, self._port, connects)
        return lookup

    def known(self, patience: ExchangePatience) -> list[Address]:
        """Raises TimeoutError or OSError when nothing is known of this host."""
        if not self._is_recent(self._resolved_at):
            self._ask_again(patience)
        return super().known(patience)

    def begin_to_connect(self, address: Address) -> Socket:
        """Or go on with what was begun with the lookup, unless that has waited for so long that nobody would."""
        begun, self._begun = self._begun, None
        if begun is not None:
            connecting, where, begun_at = begun
            if where == address and 0 <= time.time() - begun_at < self._timing.first_exchange_seconds:
                return connecting
            connecting.close()
        return super().begin_to_connect(address)

    def _is_recent(self, moment: float) -> bool:
        return 0 <= time.time() - moment < self._timing.addresses_seconds

    def _ask_again(self, patience: ExchangePatience) -> None:
        lookup = self.look_up()  # and not self._lookup, which another thread may have done with by now
        with patience.waiting(self._timing.next_address_seconds if self._known else math.inf) as seconds:
            lookup.done.wait(seconds)
        if lookup.done.is_set():
            self._lookup = None
            self._begun, lookup.begun = lookup.begun, None
        if lookup.found:
            preferred = self._known[:1]
            self._known = sorted(lookup.found, key=lambda address: address not in preferred)
            self._resolved_at = lookup.begun_at
        elif not self._known:
            raise TimeoutError if lookup.failure is None else OSError(*lookup.failure)


class _Lookup:
    """One question to the resolver."""

    def __init__(self, host: str, port: int, connects: bool) -> None:
        self.found: list[Address] = []
        self.begun: _Begun | None = None
        """Until somebody takes it over."""
        self.failure: tuple[Any, ...] | None = None
        """The arguments of an OSError (Any: Python's). An error that is kept would keep all that raised it."""
        self.done = threading.Event()
        self.begun_at = time.time()
        self._connects = connects
        self._name = host.encode(), port  # bytes, because text would load the codec of international names
        try:
            self._ask(_socket.AI_NUMERICHOST)
            self.done.set()
        except _socket.gaierror:
            threading.Thread(target=self._run, daemon=True).start()

    def __del__(self) -> None:
        if self.begun is not None:  # the answer came too late for whoever had asked
            self.begun[0].close()

    def _run(self) -> None:
        try:
            self._ask()
        except OSError as failure:
            self.failure = failure.args
        finally:
            self.done.set()

    def _ask(self, flags: int = 0) -> None:
        answers = _socket.getaddrinfo(*self._name, type=_socket.SOCK_STREAM, flags=flags)
        self.found = [(family, address) for family, _, _, _, address in answers]
        if self._connects:
            with suppress(OSError):  # whoever needs the connection meets it again
                self.begun = _begin_to_connect(self.found[0]), self.found[0], time.time()


def _first_to_connect(host: Addresses, head_start_seconds: float, patience: ExchangePatience) -> tuple[Socket, Address]:
    """Each address gets a head start before the next one, and goes on trying beside it."""
    addresses = host.known(patience)
    begun: dict[int, tuple[Socket, Address]] = {}
    poll = select.poll()
    failure = errno.EHOSTUNREACH
    try:
        while addresses or begun:
            if addresses:
                if not patience.seconds_left:
                    raise TimeoutError  # nobody would wait for what is begun now
                address = addresses.pop(0)
                try:
                    connecting = host.begin_to_connect(address)
                except OSError as error:
                    failure = error.errno or failure
                    continue
                begun[connecting.fileno()] = connecting, address
                poll.register(connecting, select.POLLOUT)
            with patience.waiting(head_start_seconds if addresses else math.inf) as seconds:
                ready = poll.poll(seconds * 1000)
            for descriptor, _ in ready:
                connecting, address = begun.pop(descriptor)
                poll.unregister(descriptor)
                failure = connecting.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
                if not failure:
                    return connecting, address
                connecting.close()
        raise OSError(failure, os.strerror(failure))
    finally:
        for connecting, _ in begun.values():
            connecting.close()


class Socket(_socket.socket):
    """Can be referred to weakly, as TLS does."""

    __slots__ = ("__weakref__",)


_Begun = tuple[Socket, Address, float]
"""A connection that is being opened, to where, and since when (Unix time)."""


def _begin_to_connect(address: Address) -> Socket:
    family, where = address
    connecting = Socket(family, _socket.SOCK_STREAM)
    connecting.setblocking(False)
    if family != _socket.AF_UNIX:
        connecting.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    code = connecting.connect_ex(where)
    if code not in (0, errno.EINPROGRESS):
        connecting.close()
        raise OSError(code, os.strerror(code))
    return connecting
