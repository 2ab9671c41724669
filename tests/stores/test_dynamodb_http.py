"""What may come back from DynamoDB, byte by byte: read as HTTP/1.1 says, or the store is out of reach."""

from __future__ import annotations

import binascii
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import certifi
import pytest

from chalicelib.errors import StoreUnavailable
from chalicelib.stores import tls
from chalicelib.stores.dynamodb.access import connecting_call
from chalicelib.stores.dynamodb.connection import Connection
from chalicelib.stores.dynamodb.endpoint import Endpoint
from chalicelib.stores.dynamodb.reader import DynamoDbReader
from chalicelib.timing import Timing
from tests.stores.test_wire import Resolver
from tests.support.app import Environment
from tests.support.certificates import Certificates, make_certificates
from tests.support.dynamodb import DynamoDb
from tests.support.network import Listener, TlsProxy
from tests.support.timings import PATIENT
from tests.support.waiting import eventually

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Script:
    """Sends these bytes for each request, whatever it asks for."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections = 0
        self.requests = 0
        self._listener = Listener(self._accept)
        self.port = self._listener.port

    def close(self) -> None:
        self._listener.close()

    def _accept(self, connection: socket.socket) -> None:
        self.connections += 1
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as requests:
            while head := _head(requests.readline):
                requests.read(int(head["content-length"]))
                self.requests += 1
                connection.sendall(self.answer)
                if b"close" in self.answer or b"HTTP/1.1" not in self.answer:
                    return


def _head(readline: Callable[[], bytes]) -> dict[str, str]:
    lines = list(iter(lambda: readline().strip().decode(), ""))
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}


@pytest.fixture
def script() -> Iterator[Script]:
    with closing(Script(EMPTY)) as script:
        yield script


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where nobody has configured AWS


def aws_at(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }


def reader_at(url: str, table: str = "flags") -> DynamoDbReader:
    return DynamoDbReader(table, "launchdarkly", aws_at(url), PATIENT)


def connecting_reader(url: str, timing: Timing) -> DynamoDbReader:
    return DynamoDbReader("flags", "launchdarkly", aws_at(url), timing, connecting_call(aws_at(url), timing))


def answer_with(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


GOOD = {
    "an empty answer": EMPTY,
    "another answer before it": b"HTTP/1.1 100 Continue\r\n\r\n" + EMPTY,
    "headers in capitals, white space": b"HTTP/1.1 200\r\nCONTENT-LENGTH:\t2 \r\nDate: x:y\r\n\r\n{}",
    "in pieces": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n",
    "in pieces, and headers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\n",
    "a checksum": answer_with(b"{}", f"x-amz-crc32: {binascii.crc32(b'{}')}"),
}

NOT_HTTP = {
    "another protocol": b"-ERR unknown command\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\nContent-Length: 2\r\n\r\n{}",
    "a header without a name": b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n{}",
    "headers without an end": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101,
    "no length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "an absurd length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{}",
    "a piece of another length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n{}",
}

NOT_DYNAMODBS = [
    "[]",
    "null",
    '"Log in"',
    "Log in",
    '{"Item": null}',
    '{"Item": []}',
    '{"Item": {"item": null}}',
]
NO_PAGES = [
    "{}",
    '{"Items": null}',
    '{"Items": [1]}',
    '{"Items": [{"item": {"S": "{}"}}]}',
    '{"Items": [], "LastEvaluatedKey": {"key": {"S": "the same again and again"}}}',
]


@pytest.mark.parametrize("answer", GOOD.values(), ids=GOOD)
def test_an_answer_is_read_and_its_connection_kept(answer: bytes, script: Script) -> None:
    script.answer = answer
    reader = reader_at(f"http://127.0.0.1:{script.port}")
    assert [reader.read_sync_record() for _ in range(3)] == [None] * 3
    assert (script.connections, script.requests) == (1, 3)


def test_a_connection_that_the_server_ends_is_not_used_again(script: Script) -> None:
    script.answer = answer_with(b"{}", "Connection: close")
    reader = reader_at(f"http://127.0.0.1:{script.port}")
    assert [reader.read_sync_record() for _ in range(3)] == [None] * 3
    assert (script.connections, script.requests) == (3, 3)


@pytest.mark.parametrize("answer", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_not_http_is_a_store_out_of_reach(answer: bytes, script: Script) -> None:
    script.answer = answer
    with pytest.raises(StoreUnavailable, match=r"^DynamoDB cannot be reached \(ConnectionResetError\)\.$"):
        reader_at(f"http://127.0.0.1:{script.port}").read_sync_record()
    assert script.connections == 1


def test_a_damaged_answer_is_not_taken(script: Script) -> None:
    script.answer = answer_with(b"{}", "x-amz-crc32: 1")
    with pytest.raises(StoreUnavailable, match="is not DynamoDB's"):
        reader_at(f"http://127.0.0.1:{script.port}").read_sync_record()


@pytest.mark.parametrize("body", NOT_DYNAMODBS)
def test_another_shape_is_not_taken(body: str, script: Script) -> None:
    script.answer = answer_with(body.encode())
    with pytest.raises(StoreUnavailable, match="is not DynamoDB's"):
        reader_at(f"http://127.0.0.1:{script.port}").read_sync_record()


@pytest.mark.parametrize("body", NO_PAGES)
def test_another_shape_of_a_page_is_not_taken(body: str, script: Script) -> None:
    page = answer_with(body.encode())

    class Pages(Script):
        def _serve(self, connection: socket.socket) -> None:
            with connection, suppress(OSError), connection.makefile("rb") as requests:
                while head := _head(requests.readline):
                    requests.read(int(head["content-length"]))
                    connection.sendall(page if head["x-amz-target"].endswith("Query") else EMPTY)

    with closing(Pages(page)) as pages, pytest.raises(StoreUnavailable, match="is not DynamoDB's"):
        reader_at(f"http://127.0.0.1:{pages.port}").read_items()


@pytest.mark.parametrize(("status", "code"), [("400 Bad", "HTTP 400"), ("503 Slow", "HTTP 503")])
def test_an_error_ends_a_connection_only_when_it_is_the_servers(status: str, code: str, script: Script) -> None:
    script.answer = answer_with(b"<html>", status=status)
    reader = reader_at(f"http://127.0.0.1:{script.port}")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=code):
            reader.read_sync_record()
    assert (script.connections, script.requests) == ((1, 2) if code == "HTTP 400" else (4, 4))


# A connection that is opened before it is asked.


def test_a_connection_is_opened_before_anybody_asks_and_the_first_request_goes_over_it(script: Script) -> None:
    reader = connecting_reader(f"http://127.0.0.1:{script.port}", PATIENT)
    eventually(lambda: script.connections == 1)
    assert script.requests == 0
    assert reader.read_sync_record() is None
    assert (script.connections, script.requests) == (1, 1)
    reader.close()
    assert reader.read_sync_record() is None
    assert (script.connections, script.requests) == (2, 2)


def test_a_server_that_does_not_agree_upon_tls_is_waited_for_once(silent: Listener, accepted: list[object]) -> None:
    """The first request has what is left of the time that the connection was given."""
    reader = connecting_reader(f"https://127.0.0.1:{silent.port}", Timing(first_exchange_seconds=3.0))
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        reader.read_sync_record()
    silent.catch_up()
    assert len(accepted) == 1


@pytest.fixture
def accepted() -> list[object]:
    return []


@pytest.fixture
def silent(accepted: list[object]) -> Iterator[Listener]:
    """Accepts connections, and says nothing."""
    with closing(Listener(accepted.append)) as listener:
        yield listener


# TLS.

AMAZON = "dynamodb.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("amazon"), AMAZON)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def tls_port(amazon: Certificates, dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """DynamoDB with TLS, to which Amazon's host name leads."""
    with closing(TlsProxy(dynamodb.port, amazon.certificate, amazon.key)) as proxy:
        Resolver(monkeypatch, proxy.port, AMAZON)
        yield proxy.port


def trust(monkeypatch: pytest.MonkeyPatch, amazons: str | None, all_others: str | None) -> list[str]:
    """Amazon's roots are in this folder, and certifi's in this file; what was asked of certifi."""
    asked: list[str] = []

    def where() -> str:
        assert all_others is not None, "certifi's roots are not to be read"
        asked.append(all_others)
        return all_others

    monkeypatch.setattr(tls, "AMAZON_ROOTS", amazons or "/nowhere")
    monkeypatch.setattr(certifi, "where", where)
    return asked


@pytest.fixture
def table(dynamodb: DynamoDb, dynamodb_environment: Environment) -> str:
    return dynamodb_environment["DYNAMODB_TABLE"]


def test_amazons_roots_are_all_that_is_read_for_amazon(
    tls_port: int, table: str, amazon: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, amazons=amazon.authorities(), all_others=None)
    reader = reader_at(f"https://{AMAZON}:{tls_port}", table)
    assert reader.read_sync_record() is None
    assert reader.read_sync_record() is None


@pytest.mark.parametrize("has_file", [True, False], ids=["another root", "no file of roots"])
def test_all_roots_are_read_where_amazons_do_not_do(
    has_file: bool,
    tls_port: int,
    table: str,
    amazon: Certificates,
    stranger: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = trust(monkeypatch, amazons=stranger.authorities() if has_file else None, all_others=amazon.authority)
    reader = reader_at(f"https://{AMAZON}:{tls_port}", table)
    assert reader.read_sync_record() is None
    assert reader.read_sync_record() is None
    assert len(asked) == 1


def test_all_roots_are_read_for_another_host(
    dynamodb: DynamoDb, table: str, amazon: Certificates, stranger: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = trust(monkeypatch, amazons=amazon.authorities(), all_others=stranger.authority)
    with closing(TlsProxy(dynamodb.port, stranger.certificate, stranger.key)) as proxy:
        assert reader_at(f"https://localhost:{proxy.port}", table).read_sync_record() is None
    assert len(asked) == 1


def test_a_server_that_no_root_vouches_for_is_out_of_reach(
    tls_port: int, table: str, stranger: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, amazons=stranger.authorities(), all_others=stranger.authority)
    with pytest.raises(StoreUnavailable, match=r"cannot be reached \(SSLCertVerificationError\)"):
        reader_at(f"https://{AMAZON}:{tls_port}", table).read_sync_record()


def test_a_request_long_after_its_connection_was_begun_has_a_patience_of_its_own() -> None:
    nowhere = Endpoint(False, "127.0.0.1:1", "127.0.0.1", 1, "us-east-1", "key", "secret", None)
    at_once = Connection(nowhere, Timing(), at_once=True)
    assert at_once.begun_patience() is not None
    assert at_once.begun_patience() is None, "it is the first request's alone"
    long_ago = Connection(nowhere, Timing(first_exchange_seconds=0.01), at_once=True)
    time.sleep(0.05)
    assert long_ago.begun_patience() is None
