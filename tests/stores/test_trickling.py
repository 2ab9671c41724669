"""A server that answers a byte at a time, or accepts and says nothing, holds no caller: over each way to a store."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from chalicelib.errors import StoreUnavailable
from chalicelib.stores.dynamodb.reader import DynamoDbReader
from chalicelib.stores.dynamodb.writer import DynamoDbWriter
from chalicelib.stores.redis.reader import RedisReader
from chalicelib.stores.redis.writer import RedisWriter
from chalicelib.timing import Timing
from tests.support.network import Listener

BRIEF = Timing(
    first_exchange_seconds=0.2,
    redis_connect_seconds=0.2,
    redis_command_seconds=0.2,
    dynamodb_request_seconds=0.1,
)


def redis_reader(port: int, scheme: str) -> Callable[[], object]:
    return RedisReader(f"{scheme}://127.0.0.1:{port}", "launchdarkly", BRIEF).read_sync_record


def redis_writer(port: int, scheme: str) -> Callable[[], object]:
    return RedisWriter(f"{scheme}://127.0.0.1:{port}", "launchdarkly", BRIEF).read_backlog


def dynamodb_reader(port: int, scheme: str) -> Callable[[], object]:
    return DynamoDbReader("flags", "launchdarkly", aws_at(port, scheme), BRIEF).read_sync_record


def dynamodb_writer(port: int, scheme: str) -> Callable[[], object]:
    return DynamoDbWriter("flags", "launchdarkly", aws_at(port, scheme), BRIEF).read_backlog


def aws_at(port: int, scheme: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"{scheme}://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }


WAYS = {
    "Redis' reader": (redis_reader, "redis", b"$500\r\n"),
    "Redis' writer": (redis_writer, "redis", b"*2\r\n$500\r\n"),
    "DynamoDB's reader, in the headers": (dynamodb_reader, "http", b"HTTP/1.1 200 OK\r\nDate: "),
    "DynamoDB's reader, in the body": (dynamodb_reader, "http", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
    "DynamoDB's writer": (dynamodb_writer, "http", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
}
TLS_WAYS = {
    "Redis' reader": (redis_reader, "rediss"),
    "Redis' writer": (redis_writer, "rediss"),
    "DynamoDB's reader": (dynamodb_reader, "https"),
    "DynamoDB's writer": (dynamodb_writer, "https"),
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where nobody has configured AWS


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], int]]:
    """A server that begins its answer at once, and goes on for ever, a byte at a time; its port."""
    stopped = threading.Event()
    listeners: list[Listener] = []

    def serve(beginning: bytes) -> int:
        def trickle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.sendall(beginning)
                while not stopped.wait(0.02):
                    connection.sendall(b"x")

        listeners.append(Listener(lambda connection: threading.Thread(target=trickle, args=(connection,)).start()))
        port: int = listeners[-1].port
        return port

    yield serve
    stopped.set()
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_byte_at_a_time_is_given_up(way: str, serve: Callable[[bytes], int]) -> None:
    open_store, scheme, beginning = WAYS[way]
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        open_store(serve(beginning), scheme)()


@pytest.mark.parametrize("way", TLS_WAYS)
def test_a_handshake_that_does_not_come_is_given_up(way: str) -> None:
    open_store, scheme = TLS_WAYS[way]
    accepted: list[socket.socket] = []
    with closing(Listener(accepted.append)) as listener:
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            open_store(listener.port, scheme)()
        listener.catch_up()
    assert accepted
