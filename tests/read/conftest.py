"""Fixtures of the read path's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from chalicelib.read.snapshots import Snapshots
from chalicelib.timing import Timing
from tests.support.app import QUICK, App, LoadApp
from tests.support.app_process import ForkedApp
from tests.support.clock import Clock
from tests.support.network import Proxy
from tests.support.stores import CountedReads
from tests.support.valkey import ValkeyServer


@pytest.fixture
def server(own_valkey: ValkeyServer) -> ValkeyServer:
    """A Valkey server of the test's own, to be broken."""
    return own_valkey


@pytest.fixture
def proxy(server: ValkeyServer) -> Iterator[Proxy]:
    """What stands between the reader and that server."""
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Reader:
    """An app in daemon mode, the clock of its snapshots, and how often they ask the store."""

    def __init__(self, app: App, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        wiring = app.module.wiring
        self.reads = CountedReads(wiring.reader)
        wiring.snapshots = Snapshots(self.reads, wiring.settings.store_cache_seconds, clock=clock)


ReaderOf = Callable[..., Reader]


@pytest.fixture
def reader_of(load_app: LoadApp, clock: Clock) -> ReaderOf:
    """A reader of the store at this URL, with further settings and another ``timing``, if given."""

    def reader_of(redis_url: str, timing: Timing = QUICK, **settings: str) -> Reader:
        return Reader(load_app({"REDIS_URL": redis_url, "EVALUATE_AUTH": "none", **settings}, timing), clock)

    return reader_of


@pytest.fixture
def reader(reader_of: ReaderOf, proxy: Proxy) -> Reader:
    """A reader behind the proxy, with the patience that an evaluation has."""
    return reader_of(proxy.url, Timing())


StartProcess = Callable[[str], ForkedApp]


@pytest.fixture
def start_process() -> Iterator[StartProcess]:
    """Starts an app in a process of its own over the store at this URL."""
    started: list[ForkedApp] = []

    def start(redis_url: str) -> ForkedApp:
        started.append(ForkedApp({"REDIS_URL": redis_url}))
        return started[-1]

    yield start
    for each in started:
        each.kill()
