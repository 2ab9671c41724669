"""No request waits a second for the store: shown by what each of its waits may take, never by a clock."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from chalicelib.errors import StoreUnavailable
from chalicelib.read.snapshots import Snapshots
from chalicelib.stores.redis.reader import RedisReader
from chalicelib.timing import Timing
from tests.read.conftest import Reader
from tests.support.clock import Clock
from tests.support.data import ANNA, boolean_flag
from tests.support.network import Listener, Mode, Proxy
from tests.support.stores import data_set, open_store, refresh_store
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually


def test_a_warm_request_reads_the_store_twice_at_most(reader: Reader, server: ValkeyServer) -> None:
    refresh_store(server.url, data_set([boolean_flag("shiny", 1)]))
    reader.app.evaluate(ANNA)
    assert reader.reads.count == 1
    reader.app.evaluate(ANNA)
    assert reader.reads.count == 2
    refresh_store(server.url, data_set([boolean_flag("shiny", 2)]))
    reader.app.evaluate(ANNA)
    assert reader.reads.count == 4


def reader_at(redis_url: str) -> RedisReader:
    return RedisReader(redis_url, "launchdarkly", Timing())


def read_snapshot(reader: RedisReader) -> object:
    return reader.read_snapshot(None, None)


READS = pytest.mark.parametrize("read", [RedisReader.read_sync_record, RedisReader.read_items, read_snapshot])
Read = Callable[[RedisReader], object]


@READS
def test_a_read_tries_the_connection_it_holds_and_one_new_one(read: Read, server: ValkeyServer, proxy: Proxy) -> None:
    store = reader_at(proxy.url)
    store.read_sync_record()
    proxy.mode = Mode.SILENT
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        read(store)
    assert proxy.connections == 2


@READS
def test_a_read_without_a_connection_tries_one_new_one(read: Read, server: ValkeyServer, proxy: Proxy) -> None:
    store = reader_at(proxy.url)
    proxy.mode = Mode.SILENT
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        read(store)
    assert proxy.connections == 1


@pytest.fixture
def trickling_port() -> Iterator[int]:
    """A server whose answers are correct, and take 10 seconds of many small steps."""
    stopped = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"$500\r\n")
            while not stopped.wait(0.02):
                connection.sendall(b"x")

    listener = Listener(trickle)
    yield listener.port
    stopped.set()
    listener.close()


def test_a_store_that_trickles_its_answer_is_given_up(trickling_port: int) -> None:
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        reader_at(f"redis://127.0.0.1:{trickling_port}").read_sync_record()


def test_a_store_that_stays_away_is_a_new_error_for_every_request(server: ValkeyServer) -> None:
    """One error raised again and again would gather a traceback of every request, contexts included."""
    server.kill()
    snapshots = Snapshots(reader_at(server.url), 15.0, clock=Clock())
    errors = []
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as raised:
            snapshots.current()
        errors.append(raised.value)
    assert len({id(error) for error in errors}) == len(errors)
    assert {str(error) for error in errors} == {
        f"The flag store cannot be reached ({os.strerror(errno.ECONNREFUSED)})."
    }


def test_memberships_are_asked_over_the_connection_that_is_held_however_little_time_is_left(
    server: ValkeyServer, proxy: Proxy
) -> None:
    store = reader_at(proxy.url)
    store.read_sync_record()
    impatient = Timing().big_segments_least_seconds
    assert impatient < Timing().redis_reconnect_seconds
    assert store.memberships("launchdarkly").read(["hash"], impatient).memberships == {"hash": {}}
    assert proxy.connections == 1


@pytest.mark.parametrize("store", ["redis", "dynamodb"])
def test_memberships_in_big_segments_are_waited_for_no_longer_than_the_request_may(
    store: str, server: ValkeyServer, proxy: Proxy
) -> None:
    """However long this store may be waited for otherwise."""
    patient = Timing(first_exchange_seconds=3600.0)
    aws = {f"AWS_{name}": "testing" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")}
    environment = {
        "redis": {"REDIS_URL": proxy.url},
        "dynamodb": {
            "DYNAMODB_TABLE": "flags",
            "AWS_ENDPOINT_URL": proxy.url.replace("redis:", "http:"),
            "AWS_DEFAULT_REGION": "us-east-1",
            **aws,
        },
    }[store]
    proxy.mode = Mode.SILENT
    memberships = open_store(environment, patient).reader.memberships("launchdarkly")
    told: list[str] = []

    def read() -> None:
        try:
            memberships.read(["hash"], 0.1)
        except StoreUnavailable as failure:
            told.append(str(failure))

    threading.Thread(target=read, daemon=True).start()
    eventually(lambda: told)
    assert "did not answer in time" in told[0]
