"""LaunchDarkly's event stream, for a fetch that lasts seconds: it waits as long as it may, and then it is gone.

It is read in the thread of whoever fetches. The SDK's own stream is made to live as long as its process: it
reads in a thread, waits five minutes for a byte, and forgets a connection attempt that is under way when it
is closed. Nothing here belongs to the SDK but the version that we send; the parts are its event source
library and urllib3, by their public names.

Neither the stream's address nor the SDK key is logged: both may be secrets.
"""

from __future__ import annotations

import functools
import http.client
import io
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy
from ld_eventsource.errors import HTTPContentTypeError, HTTPStatusError
from ldclient.version import VERSION
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationValueError

from ..config import Settings
from ..errors import (
    ConfigurationError,
    FetchTimedOut,
    LaunchDarklyUnavailable,
    LaunchDarklyUnreachable,
    SdkKeyRejected,
)
from ..patience import Patience
from ..timing import Timing

logger = logging.getLogger(__name__)

_QUIET = logging.getLogger(f"{__name__}.quiet")
_QUIET.setLevel(logging.CRITICAL)
logging.getLogger("urllib3.poolmanager").setLevel(logging.WARNING)
"""The event source library logs the address of a stream at INFO, and urllib3 that of a redirect."""

_LAUNCHDARKLY = "https://stream.launchdarkly.com"
_WORTH_ANOTHER_TRY = (204, 400, 408, 429)
"""Beside every 5xx. The SDK takes every other status for one that a person has to do something about."""

_BUFFER_SIZE = 1 << 16


class FetchStream:
    """Hands the events of one environment to ``take`` (event, data), waiting no longer than ``patience`` allows.

    Data for which ``take`` raises ValueError cannot be read. Not thread-safe. Closing it leaves no socket;
    a thread only where a name or an address of LaunchDarkly's does not answer, until that attempt ends.
    """

    def __init__(
        self,
        settings: Settings,
        sdk_key: str,
        take: Callable[[str, str], None],
        patience: Patience,
        timing: Timing,
    ) -> None:
        self._take = take
        self._patience = patience
        self._retry_seconds = timing.stream_retry_seconds
        self._failure: LaunchDarklyUnavailable = FetchTimedOut("LaunchDarkly did not deliver the data set in time.")
        url = (settings.stream_uri or _LAUNCHDARKLY).rstrip("/") + "/all"
        self._sse = SSEClient(
            connect=ConnectStrategy.http(
                url=url,
                headers={"Authorization": sdk_key, "User-Agent": f"PythonClient/{VERSION}"},
                pool=pool_manager(proxy_for(url, settings.proxies), patience),
                urllib3_request_options={"timeout": urllib3.Timeout(connect=timing.stream_connect_seconds)},
            ),
            # What an error means, and how long to wait, is decided below.
            error_strategy=ErrorStrategy.always_continue(),
            initial_retry_delay=0,
            retry_delay_strategy=RetryDelayStrategy(),
            retry_delay_reset_threshold=0,
            logger=_QUIET,
        )
        self._actions = iter(self._sse.all)

    def advance(self) -> None:
        """Hand over the next event, or none: a heartbeat, or a failure after which a new connection is worth a try.

        Raises the LaunchDarklyUnavailable that says why when there is nothing to wait for, or no patience left.
        """
        action = next(self._actions)
        if isinstance(action, Event):
            try:
                self._take(action.event, action.data)
            except ValueError as error:
                self._sse.interrupt()
                next(self._actions)  # which says that the stream was interrupted
                self._failed(error)
        elif isinstance(action, Fault):
            self._failed(action.error)

    def close(self) -> None:
        self._sse.close()
        self._actions.close()

    def _failed(self, error: Exception | None) -> None:
        name = _name(error)
        if error is not None:
            # Its frames hold the response, and that a socket, until the garbage collector comes by.
            error.__traceback__ = error.__cause__ = error.__context__ = None
        if self._patience.seconds_left <= 0:
            raise self._failure
        logger.warning("LaunchDarkly's stream failed: %s", name)
        self._failure = _failure(error)
        if _is_final(error):
            raise self._failure
        self._patience.pause(self._retry_seconds)


def _failure(error: Exception | None) -> LaunchDarklyUnavailable:
    """None stands for a connection that LaunchDarkly closed."""
    if isinstance(error, HTTPStatusError):
        if error.status in (401, 403):
            return SdkKeyRejected(f"LaunchDarkly rejected the SDK key (HTTP {error.status}).")
        return LaunchDarklyUnreachable(f"LaunchDarkly answered HTTP {error.status}.")
    if isinstance(error, HTTPContentTypeError):
        return LaunchDarklyUnreachable("LaunchDarkly answered with something else than an event stream.")
    if isinstance(error, ValueError) and not isinstance(error, LocationValueError):
        return LaunchDarklyUnreachable("LaunchDarkly sent a data set that cannot be read.")
    return LaunchDarklyUnreachable("LaunchDarkly cannot be reached, or the connection to it broke.")


def _is_final(error: Exception | None) -> bool:
    return isinstance(error, HTTPStatusError) and error.status < 500 and error.status not in _WORTH_ANOTHER_TRY


def _name(error: Exception | None) -> str:
    """Of the error and of its cause. Their messages hold addresses."""
    if error is None:
        return "the connection was closed"
    cause = error.__cause__
    return type(error).__name__ if cause is None else f"{type(error).__name__} ({type(cause).__name__})"


def proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    """The proxy through which the SDK would ask for this URL; ``proxies`` are the variables that it looks at."""
    target = urlsplit(url)
    host, port = target.hostname or "", target.port or {"https": 443}.get(target.scheme, 80)
    for entry in proxies.get("no_proxy", "").split(","):
        name, _, its_port = entry.strip().partition(":")
        if name == "*" or (name and host.endswith(name) and its_port in ("", str(port))):
            return None
    return proxies.get(f"{target.scheme}_proxy")


def pool_manager(proxy: str | None, patience: Patience) -> urllib3.PoolManager:
    """Connections that wait no longer than ``patience`` allows, through ``proxy`` if there is one (its URL).

    Raises ConfigurationError for a proxy that is no URL.
    """
    options: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED", "ca_certs": certifi.where()}
    if proxy is None:
        manager = urllib3.PoolManager(**options)
    else:
        try:
            credentials = urllib3.util.parse_url(proxy).auth
            headers = None if credentials is None else urllib3.util.make_headers(proxy_basic_auth=credentials)
            manager = urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
        except (urllib3.exceptions.HTTPError, AssertionError):
            # Not echoed: it may hold a password.
            raise ConfigurationError("http_proxy or https_proxy is malformed; expected a URL.") from None
    pools: dict[str, Any] = {
        "http": functools.partial(_pool, urllib3.HTTPConnectionPool, functools.partial(_Connection, patience)),
        "https": functools.partial(_pool, urllib3.HTTPSConnectionPool, functools.partial(_TlsConnection, patience)),
    }
    manager.pool_classes_by_scheme = pools
    return manager


def _pool(
    pool_class: type[urllib3.HTTPConnectionPool], connection: Any, host: str, port: int, **options: Any
) -> urllib3.HTTPConnectionPool:
    """A pool of urllib3's with connections of ours (``Any``: urllib3 types neither)."""
    pool = pool_class(host, port, **options)
    pool.ConnectionCls = connection
    return pool


class _Connection(HTTPConnection):
    """Connects and reads within ``patience``, while urllib3's time-outs are for each address and each byte."""

    def __init__(self, patience: Patience, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience = patience
        self.response_class: Any = http.client.HTTPResponse

    def connect(self) -> None:
        """In a thread of its own: resolving a name has no time-out, and each of its addresses gets the whole one."""
        with self._patience.waiting() as seconds_left:
            self.timeout = min(seconds_left, self.timeout or seconds_left)
            _Attempt(super().connect, self._hang_up).wait(self.timeout)
        self.response_class = functools.partial(_Response, self._patience)

    def _hang_up(self) -> None:
        """Wakes a thread that waits for an answer; closing alone does not."""
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        self.close()


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Attempt:
    """A connection attempt that can be given up; it then hangs up, as soon as it can."""

    def __init__(self, connect: Callable[[], None], hang_up: Callable[[], None]) -> None:
        self._connect = connect
        self._hang_up = hang_up
        self._given_up = False
        self._error: BaseException | None = None

    def wait(self, seconds: float) -> None:
        """Raises what connecting raises, or TimeoutError."""
        thread = threading.Thread(target=self._run, name="launchdarkly-connect", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            self._given_up = True
            self._hang_up()
            raise TimeoutError
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self._connect()
        except BaseException as error:
            self._error = error
        if self._given_up:
            self._hang_up()


class _Response(http.client.HTTPResponse):
    """Reads its headers and its body within ``patience``."""

    def __init__(self, patience: Patience, connected: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(connected, *arguments, **options)
        self.fp = io.BufferedReader(_Wire(self.fp.detach(), connected, patience), _BUFFER_SIZE)


class _Wire(io.RawIOBase):
    """What comes in over a socket, read no longer than ``patience`` allows."""

    def __init__(self, incoming: io.RawIOBase, connected: socket.socket, patience: Patience) -> None:
        self._incoming = incoming
        self._socket = connected
        self._patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        with self._patience.waiting() as seconds_left:
            self._socket.settimeout(seconds_left)
            return self._incoming.readinto(buffer)

    def close(self) -> None:
        self._incoming.close()
        super().close()
