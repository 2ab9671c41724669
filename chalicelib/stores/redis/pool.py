"""redis-py for what writes, over the connections that the reader has: one URL, one way to connect, one budget of waits,
and the same words for what goes wrong.

redis-py's own time-outs are for each wait, so a server that trickles its reply could hold a refresh for ever.
``connection_class`` is redis-py's way to bring one's own connection, of which ``_connect`` and ``_host_error``
are the abstract methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.connection import AbstractConnection
from redis.retry import Retry

from ...errors import FlagsError, StoreUnavailable
from ...timing import Timing
from ..wire import ExchangePatience, Peer, Stream
from .address import Address
from .protocol import ServerError, execute, peer_of
from .refusals import meaning, out_of_reach


def redis_client(address: Address, timing: Timing) -> redis.Redis:
    """A client that connects on first use and repeats nothing by itself. Raises ConfigurationError as the reader."""
    pool = redis.ConnectionPool(
        connection_class=_Connection,
        address=address,
        peer=peer_of(address, timing),
        timing=timing,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,  # or else two more round trips, to give the connection a name
    )
    return redis.Redis.from_pool(pool)


class _Connection(AbstractConnection):
    """A connection of the pool. A login that is refused is a ServerError of ours, in the reader's words."""

    host = "the flag store"  # redis-py counts errors by host and port
    port = 0

    def __init__(self, address: Address, peer: Peer, timing: Timing, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._address = address
        self._peer = peer
        self._timing = timing
        self._is_spent = False

    def _connect(self) -> _Socket:
        stream = self._peer.connect(ExchangePatience(self._timing.redis_connect_seconds, self._timing))
        try:
            execute(stream, self._address, ())
        except BaseException:
            stream.close()
            raise
        self._is_spent = False
        return _Socket(stream, self._timing)

    def _host_error(self) -> str:
        return self.host

    def can_read(self, timeout: float = 0) -> bool:
        """Whether the pool has to replace this connection, which it asks before each use.

        Not a new one, whatever has come already: that is why the server refuses us, and the first command's reply.
        """
        if self._sock is None or not self._sock.is_used:
            return False
        return self._is_spent or self._sock.is_old() or super().can_read(timeout)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._sock is not None:
            self._sock.begin_command()
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """A refusal is the connection's last answer: perhaps another node can do what this one cannot."""
        try:
            return super().read_response(*args, **kwargs)
        except redis.RedisError:
            self._is_spent = True
            raise


class _Socket:
    """As much of a socket as redis-py asks for. Each command, or pipeline, has the writer's patience, in all."""

    def __init__(self, stream: Stream, timing: Timing) -> None:
        self._stream = stream
        self._timing = timing
        self._polls = False
        self.is_used = False
        self.begin_command()

    def begin_command(self) -> None:
        self._stream.patience = ExchangePatience(self._timing.redis_command_seconds, self._timing)

    def is_old(self) -> bool:
        return self._stream.is_older_than(self._timing.connection_seconds)

    def settimeout(self, seconds: float | None) -> None:
        self._polls = seconds == 0

    def sendall(self, data: bytes) -> None:
        self.is_used = True
        self._stream.sendall(data)

    def recv(self, at_most: int) -> bytes:
        return self._stream.poll() if self._polls else self._stream.some(at_most)

    def shutdown(self, how: int) -> None:
        """Closing does it."""

    def close(self) -> None:
        self._stream.close()


@contextmanager
def transaction(client: redis.Redis, conflict: FlagsError) -> Iterator[Pipeline]:
    """A pipeline to watch keys with and then to queue commands in; raises as :func:`errors_in_our_words`."""
    with errors_in_our_words(conflict), client.pipeline(transaction=True) as pipeline:
        yield pipeline


@contextmanager
def errors_in_our_words(conflict: FlagsError | None = None) -> Iterator[None]:
    """``conflict`` is raised where a watched key has changed; all else is a StoreUnavailable."""
    try:
        yield
    except (redis.RedisError, ServerError) as error:
        cause = cause_of(error)
        if conflict is not None and isinstance(cause, redis.WatchError):
            raise conflict from error
        raise StoreUnavailable(_what_is_wrong(cause)) from error


def cause_of(error: Exception) -> BaseException:
    """Of a connection that is lost while watching redis-py makes a WatchError too, with the cause as its context."""
    return error.__context__ or error if isinstance(error, redis.WatchError) else error


def _what_is_wrong(error: BaseException) -> str:
    """In the reader's words."""
    if isinstance(error, ServerError):
        return meaning(str(error))
    # In a pipeline redis-py puts the command before the server's words, and so the beginning of a flag.
    words = str(error).rpartition("of pipeline caused error: ")[2]
    code = getattr(error, "status_code", None)
    if code is not None or isinstance(error, redis.ResponseError):
        return meaning(words if code is None else f"{code} {words}")
    if isinstance(error, redis.TimeoutError):
        return "The flag store did not answer in time."
    return out_of_reach(error.__cause__ or error.__context__)
