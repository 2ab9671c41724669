"""What is said to Redis: RESP2 over a connection whose waits are bounded, and nothing else.

Our own, because of cold starts: importing redis-py (with it asyncio, its cluster and observability
modules) takes longer than everything else this app adds to the SDK, and reading a data set takes five
commands. Everything that writes uses redis-py, over connections that are opened here as well.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import _socket
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ConfigurationError, StoreTooSlow, StoreUnavailable
from ...timing import Timing
from ..wire import Addresses, CutOff, ExchangePatience, Line, Peer, Refused, ResolvedAddresses, Stream
from .address import Address, Tls
from .refusals import BY_IAM, NEEDS_NO_PASSWORD, meaning, out_of_reach

if TYPE_CHECKING:
    from ..tls import TlsContext

Reply = Any
"""A bulk string as bytes, an integer, a list of replies, or None (the protocol decides)."""

Command = tuple[str | bytes, ...]

Execute = Callable[[Stream, Address, tuple[Command, ...]], list[Reply]]


class ServerError(Refused):
    """The server answered a command with an error, such as ``NOAUTH Authentication required.``"""


class Server:
    """A Redis server that is asked within the read path's patience. Thread-safe. Connects on first use."""

    def __init__(self, address: Address, timing: Timing) -> None:
        """Raises ConfigurationError when a file that the address names is not what it should be."""
        self._address = address
        self._timing = timing
        self._line = Line(peer_of(address, timing), timing)

    def ask(self, *commands: Command) -> list[Reply]:
        """The replies of the commands, sent as one pipeline.

        Raises StoreUnavailable for no answer in time, and for the first error in the replies, or in an EXEC's.
        """
        return self._ask(execute, commands, math.inf)

    def ask_each(self, commands: Sequence[Command], within_seconds: float) -> list[Reply]:
        """The same for commands that fail each for itself: an error is a reply, unless all are errors."""
        return self._ask(execute_each, tuple(commands), within_seconds)

    def tell(self, *commands: Command) -> list[Reply]:
        """As :meth:`ask`, for what nobody waits for: given up sooner."""
        timing = self._timing
        held_seconds, reconnect_seconds = timing.events_held_seconds, timing.events_reconnect_seconds
        within_seconds = held_seconds + reconnect_seconds if self._line.was_open else math.inf
        return self._ask(execute, commands, within_seconds, reconnect_seconds)

    def _ask(
        self,
        talk: Execute,
        commands: tuple[Command, ...],
        within_seconds: float,
        reconnect_seconds: float | None = None,
    ) -> list[Reply]:
        timing = self._timing
        if reconnect_seconds is None:
            reconnect_seconds = timing.redis_reconnect_seconds
        again = timing.redis_held_seconds + timing.redis_reconnect_seconds
        seconds = again if self._line.was_open else timing.first_exchange_seconds
        patience = ExchangePatience(min(seconds, within_seconds), timing)
        try:
            return self._line.exchange(
                lambda stream: talk(stream, self._address, commands), patience, reconnect_seconds
            )
        except ServerError as error:
            raise StoreUnavailable(meaning(str(error), self._address.variable)) from error
        except CutOff as error:
            raise StoreTooSlow("The flag store did not answer in time.") from error
        except TimeoutError as error:
            raise StoreUnavailable("The flag store did not answer in time.") from error
        except OSError as error:
            raise StoreUnavailable(out_of_reach(error)) from error

    def close(self) -> None:
        self._line.close()


def peer_of(address: Address, timing: Timing) -> Peer:
    """Raises ConfigurationError when a file of ``address.tls`` is not what it should be."""
    if address.path is not None:
        return Peer(Addresses([(_socket.AF_UNIX, address.path)]), timing)
    host = address.host or ""
    addresses = ResolvedAddresses(host, address.port, timing)
    addresses.look_up()
    if address.tls is None:
        return Peer(addresses, timing)
    from ..tls import TlsPeer, amazon_or_other_peer  # only where the URL says rediss://

    if address.tls == Tls(verify=True, check_hostname=True):
        return amazon_or_other_peer(addresses, timing, host, ca_file=lambda: None)
    return TlsPeer(addresses, timing, _context(address.tls, address.variable), host)


def _context(tls: Tls, variable: str) -> TlsContext:
    from ..tls import CERT_NONE, client_context

    try:
        context = client_context(tls.ca_file)
    except OSError:
        raise ConfigurationError(f"{variable} has an ssl_ca_certs that holds no certificates.") from None
    context.check_hostname = tls.check_hostname
    if not tls.verify:
        context.verify_mode = CERT_NONE
    if tls.certificate_file is not None:
        try:
            context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
        except (OSError, ValueError):
            raise ConfigurationError(f"{variable} has an ssl_certfile or ssl_keyfile that cannot be used.") from None
    return context


def execute(stream: Stream, address: Address, commands: tuple[Command, ...]) -> list[Reply]:
    """The replies of the commands; logging in costs no round trip of its own.

    Raises OSError, and ServerError for the first error in the replies, or in an EXEC's.
    """
    replies = execute_each(stream, address, commands)
    for reply in replies:
        _raise_error(*reply if isinstance(reply, list) else (reply,))
    return replies


def execute_each(stream: Stream, address: Address, commands: tuple[Command, ...]) -> list[Reply]:
    """The same, but raises ServerError only where logging in fails, or every command."""
    greeting = _greeting(address) if stream.is_new else ()
    if not (greeting or commands):
        return []
    stream.sendall(b"".join(map(_encoded, (*greeting, *commands))))
    try:
        replies = [_reply(stream) for _ in (*greeting, *commands)]
    except ValueError:
        raise _not_redis() from None
    greeted, replies = replies[: len(greeting)], replies[len(greeting) :]
    _raise_error(*(_told_apart(each, address) for each in greeted if not str(each).startswith(NEEDS_NO_PASSWORD)))
    if all(isinstance(reply, ServerError) for reply in replies):
        _raise_error(*replies)
    return replies


def _raise_error(*replies: Reply) -> None:
    for each in replies:
        if isinstance(each, ServerError):
            raise ServerError(str(each))  # raising one that a list holds would make a circle of them


def _told_apart(greeted: Reply, address: Address) -> Reply:
    """A refused token is another matter than a wrong password."""
    if isinstance(greeted, ServerError) and address.token is not None:
        return ServerError(f"{BY_IAM}{greeted}")
    return greeted


def _greeting(address: Address) -> tuple[Command, ...]:
    """Without a password a user logs in with an empty one, which is for users that need none."""
    commands: list[Command] = []
    if address.username is not None:
        password = address.password if address.token is None else address.token()
        commands.append(("AUTH", address.username, password or ""))
    elif address.password is not None:
        commands.append(("AUTH", address.password))
    if address.database:
        commands.append(("SELECT", str(address.database)))
    return tuple(commands)


def _encoded(command: Command) -> bytes:
    words = [word if isinstance(word, bytes) else word.encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _reply(stream: Stream) -> Reply:
    line = stream.line()
    kind, rest = line[:1], line[1:]
    if kind == b"$":
        return None if rest == b"-1" else stream.exactly(int(rest) + 2)[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [_reply(stream) for _ in range(int(rest))]
    if kind == b":":
        return int(rest)
    if kind == b"+":
        return rest
    if kind == b"-":
        return ServerError(rest.decode(errors="replace"))
    raise _not_redis()


def _not_redis() -> OSError:
    return ConnectionResetError("the server does not speak Redis's protocol")
