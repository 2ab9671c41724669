"""Every wait for a server ends, and one that makes progress goes on: shown by what is tried, never by a clock."""

from __future__ import annotations

import _socket
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from chalicelib.stores.wire import Addresses, ExchangePatience, Line, Peer, Refused, ResolvedAddresses, Stream
from chalicelib.timing import Timing
from tests.support.network import Listener
from tests.support.ports import free_port
from tests.support.waiting import eventually

TIMING = Timing()


Serve = Callable[[socket.socket], None]


def say_hello(connection: socket.socket) -> None:
    with connection.makefile("rb") as lines:
        for line in lines:
            connection.sendall(b"hello " + line)


class Server:
    """Does this with each connection, in a thread of its own, and then closes it."""

    def __init__(self, serve: Serve) -> None:
        self.connections: list[socket.socket] = []
        self._serve = serve
        self._listener = Listener(self._accept)
        self.port = self._listener.port

    def close(self) -> None:
        self._listener.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, connection: socket.socket) -> None:
        self.connections.append(connection)
        threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._serve(connection)


Listen = Callable[..., Server]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """A server that answers each line, or does with a connection what else it is told."""
    with ExitStack() as running:

        def listen(serve: Serve = say_hello) -> Server:
            server = Server(serve)
            running.callback(server.close)
            return server

        yield listen


def say_nothing(connection: socket.socket) -> None:
    """And read nothing."""
    time.sleep(60)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that neither accepts a connection nor refuses it: those that wait for it to accept are too many."""
    with socket.socket() as server, ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def address(port: int) -> tuple[int, tuple[str, int]]:
    return socket.AF_INET, ("127.0.0.1", port)


def patience(seconds: float = 20.0, timing: Timing = TIMING) -> ExchangePatience:
    return ExchangePatience(seconds, timing)


def ask(stream: Stream) -> bytes:
    stream.sendall(b"anna\r\n")
    return stream.line()


def line_to(*ports: int, timing: Timing = TIMING) -> Line:
    return Line(Peer(Addresses([address(port) for port in ports]), timing), timing)


# Addresses.


def test_the_next_address_is_tried_when_one_is_silent_and_the_one_that_worked_is_the_first_from_then_on(
    listen: Listen, silent_port: int
) -> None:
    server = listen()
    addresses = Addresses([address(silent_port), address(free_port()), address(server.port)])
    line = Line(Peer(addresses, TIMING), TIMING)
    assert line.exchange(ask, patience(), 0.0) == b"hello anna"
    assert addresses.known(patience())[0] == address(server.port)


def test_addresses_that_are_all_silent_are_given_up(silent_port: int) -> None:
    with pytest.raises(TimeoutError):
        line_to(silent_port, silent_port).exchange(ask, patience(0.2), 0.0)


def test_nothing_is_begun_that_nobody_would_wait_for(listen: Listen) -> None:
    server = listen()
    line = line_to(server.port)
    with pytest.raises(TimeoutError):
        line.exchange(ask, patience(0.0), 0.0)
    assert line.exchange(ask, patience(), 0.0) == b"hello anna"
    assert len(server.connections) == 1


def test_addresses_that_all_refuse_are_out_of_reach() -> None:
    with pytest.raises(ConnectionRefusedError):
        line_to(free_port(), free_port()).exchange(ask, patience(), 0.0)


def test_an_address_that_connects_and_then_says_nothing_is_not_the_first_the_next_time(
    listen: Listen,
) -> None:
    line = line_to(listen(say_nothing).port, listen().port)
    with pytest.raises(TimeoutError):
        line.exchange(ask, patience(0.2), 0.0)
    assert line.exchange(ask, patience(), 0.0) == b"hello anna"


class Resolver:
    """Stands for the operating system's, which may not answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, port: int, name: str = "store.test") -> None:
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()
        self.knows = True
        self._name = name.encode()
        self.port = port
        self._real = _socket.getaddrinfo
        monkeypatch.setattr(_socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *others: Any, **options: Any) -> object:  # Any: as the real one
        if options.get("flags") or host != self._name:
            return self._real(host, port, *others, **options)
        self.asked += 1
        self.answers.wait(60)
        if not self.knows:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return self._real(b"127.0.0.1", self.port, **options)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch, listen: Listen) -> Iterator[Resolver]:
    resolver = Resolver(monkeypatch, listen().port)
    yield resolver
    resolver.answers.set()


def peer_named(timing: Timing = TIMING) -> Peer:
    return Peer(ResolvedAddresses("store.test", 1, timing), timing)


def test_a_resolver_that_does_not_answer_is_given_up_and_asked_by_one_thread_only(resolver: Resolver) -> None:
    resolver.answers.clear()
    peer, threads = peer_named(), set(threading.enumerate())
    for _ in range(5):
        with pytest.raises(TimeoutError):
            peer.connect(patience(0.05))
    assert resolver.asked == 1
    assert len(set(threading.enumerate()) - threads) == 1
    resolver.answers.set()
    peer.connect(patience()).close()
    assert resolver.asked == 1


def test_addresses_are_remembered_and_outlive_a_resolver_that_is_away(resolver: Resolver) -> None:
    peer = peer_named()
    for _ in range(3):
        peer.connect(patience()).close()
    assert resolver.asked == 1

    forgetful = peer_named(Timing(addresses_seconds=0.0))
    forgetful.connect(patience()).close()
    resolver.answers.clear()
    for _ in range(3):
        forgetful.connect(patience()).close()
    assert resolver.asked == 3, "the last question is still open"


def test_a_question_that_another_thread_has_done_with_is_answered_all_the_same(resolver: Resolver) -> None:
    class Shared(ResolvedAddresses):
        def look_up(self, *, connects: bool = False) -> Any:  # Any: a class of the module's own
            lookup = super().look_up(connects=connects)
            self._lookup = None  # by a thread that has just taken the answer
            return lookup

    Peer(Shared("store.test", 1, TIMING), TIMING).connect(patience()).close()
    assert resolver.asked == 1


@pytest.mark.parametrize("host", ["store.test", "a..b"])
def test_a_name_that_nobody_knows_is_out_of_reach(resolver: Resolver, host: str) -> None:
    resolver.knows = False
    with pytest.raises(OSError, match=r".") as raised:
        Peer(ResolvedAddresses(host, 1, TIMING), TIMING).connect(patience())
    assert not isinstance(raised.value, TimeoutError)


# A connection that is begun with the lookup.


@pytest.mark.parametrize("host", ["127.0.0.1", "store.test"])
@pytest.mark.parametrize(("seconds", "connections"), [(60.0, 1), (0.0, 2)], ids=["in time", "too late"])
def test_a_connection_that_is_begun_with_the_lookup_is_the_one_that_is_used_if_that_is_soon(
    resolver: Resolver, listen: Listen, host: str, seconds: float, connections: int
) -> None:
    timing = Timing(first_exchange_seconds=seconds)
    server = listen()
    resolver.port = server.port
    addresses = ResolvedAddresses(host, server.port, timing)
    addresses.look_up(connects=True)
    eventually(lambda: len(server.connections) == 1)

    line = Line(Peer(addresses, timing), timing)
    assert line.exchange(ask, patience(), 0.0) == b"hello anna"
    assert len(server.connections) == connections


def test_a_connection_that_is_begun_and_never_used_is_closed(resolver: Resolver, listen: Listen) -> None:
    server = listen()
    resolver.port = server.port
    addresses = ResolvedAddresses("store.test", server.port, TIMING)
    addresses.look_up(connects=True).done.wait()
    eventually(lambda: len(server.connections) == 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del addresses
        eventually(lambda: server.connections[0].fileno() == -1)
    assert caught == [], "of a socket that nobody has closed"


def test_where_nobody_listens_a_connection_that_is_begun_fails_when_it_is_used() -> None:
    addresses = ResolvedAddresses("127.0.0.1", free_port(), TIMING)
    addresses.look_up(connects=True)
    with pytest.raises(ConnectionRefusedError):
        Peer(addresses, TIMING).connect(patience())


# Patience.


def trickle(pause_seconds: float, count: int, piece: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        for _ in range(count):
            connection.sendall(piece)
            time.sleep(pause_seconds)
        connection.sendall(b"\r\n")

    return serve


def test_an_answer_that_keeps_coming_is_waited_for_longer_than_one_that_does_not(
    listen: Listen,
) -> None:
    timing = Timing(slowest_bytes_per_second=100.0, silence_seconds=60.0)
    slow = listen(trickle(0.02, 100, b"x" * 100)).port
    assert line_to(slow, timing=timing).exchange(ask, patience(1.0, timing), 0.0) == b"x" * 10_000


def test_a_byte_at_a_time_is_no_progress(listen: Listen) -> None:
    with pytest.raises(TimeoutError):
        line_to(listen(trickle(0.02, 10_000, b"x")).port).exchange(ask, patience(0.2), 0.0)


def test_an_answer_without_an_end_is_given_up(listen: Listen) -> None:
    timing = Timing(exchange_seconds=0.3, slowest_bytes_per_second=1.0)
    with pytest.raises(TimeoutError):
        line_to(listen(trickle(0.02, 10_000, b"x")).port).exchange(ask, patience(0.2, timing), 0.0)


def test_a_server_that_reads_nothing_is_given_up(listen: Listen) -> None:
    with pytest.raises(TimeoutError):
        line_to(listen(say_nothing).port).exchange(lambda stream: stream.sendall(bytes(1 << 25)), patience(0.2), 0.0)


def test_time_without_waiting_and_time_frozen_in_a_wait_are_free() -> None:
    short = patience(0.2)
    time.sleep(0.3)
    with short.waiting() as seconds:
        time.sleep(seconds + 0.3)  # no wait takes longer than it may, unless the function does not run
    short.has_progressed(TIMING.slowest_bytes_per_second)  # type: ignore[arg-type]
    with short.waiting() as seconds:
        assert seconds == TIMING.silence_seconds


# Connections that are kept.


def test_a_connection_is_kept_for_a_minute_and_no_longer(listen: Listen) -> None:
    for timing, opened in ((TIMING, 1), (Timing(connection_seconds=0.0), 3)):
        server = listen()
        line = line_to(server.port, timing=timing)
        for _ in range(3):
            assert line.exchange(ask, patience(), 0.0) == b"hello anna"
        assert len(server.connections) == opened


def test_a_connection_that_opened_too_late_for_this_exchange_is_there_for_the_next(listen: Listen) -> None:
    server = listen()
    line = line_to(server.port, timing=Timing(shortest_exchange_seconds=1e9))
    with pytest.raises(TimeoutError):
        line.exchange(ask, patience(), 0.0)
    assert line.exchange(ask, patience(), 0.0) == b"hello anna"
    assert len(server.connections) == 1


def answer_once_and_then_half(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"whole\r\n")
    if connection.recv(100):
        connection.sendall(b"half")


def test_half_an_answer_is_not_asked_for_again_at_once(listen: Listen) -> None:
    server = listen(answer_once_and_then_half)
    line = line_to(server.port)
    assert line.exchange(ask, patience(), 0.0) == b"whole"
    with pytest.raises(ConnectionResetError):
        line.exchange(ask, patience(), 0.0)
    assert len(server.connections) == 1
    assert line.exchange(ask, patience(), 0.0) == b"whole"


def test_a_dead_connection_is_replaced(listen: Listen) -> None:
    server = listen()
    line = line_to(server.port)
    line.exchange(ask, patience(), 0.0)
    server.connections[0].shutdown(socket.SHUT_RDWR)
    assert line.exchange(ask, patience(), 0.0) == b"hello anna"
    assert len(server.connections) == 2


def refuse(stream: Stream) -> None:
    ask(stream)
    raise Refused


def test_what_is_refused_is_asked_again_once_over_a_new_connection(listen: Listen) -> None:
    server = listen()
    line = line_to(server.port)
    line.exchange(ask, patience(), 0.0)
    with pytest.raises(Refused):
        line.exchange(refuse, patience(), 0.0)
    assert len(server.connections) == 2
    assert line.exchange(ask, patience(), 0.0) == b"hello anna"
    assert len(server.connections) == 3


def test_what_a_server_says_before_it_hangs_up_is_heard(listen: Listen) -> None:
    line = line_to(listen(lambda connection: connection.sendall(b"too many\r\n")).port)

    def ask_late(stream: Stream) -> bytes:
        for _ in range(3):
            time.sleep(0.05)
            stream.sendall(b"anna\r\n")
        return stream.line()

    assert line.exchange(ask_late, patience(), 0.0) == b"too many"
