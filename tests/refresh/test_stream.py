"""The stream of a fetch, over real sockets: whatever answers, it ends in time, says why, and leaves nothing behind."""

from __future__ import annotations

import base64
import gc
import logging
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest
from ldclient.client import LDClient
from ldclient.config import Config

from chalicelib.config import load_settings
from chalicelib.data_set import FEATURES, SEGMENTS, Announcement, DataSet, Item
from chalicelib.errors import (
    ConfigurationError,
    FetchTimedOut,
    LaunchDarklyUnavailable,
    LaunchDarklyUnreachable,
    SdkKeyRejected,
)
from chalicelib.refresh.fetch import fetch_data_set
from chalicelib.timing import Timing
from tests.support.data import PROJECT, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly, sse
from tests.support.waiting import eventually

TIMING = Timing(stream_retry_seconds=0.1)
BRIEF = Timing(
    data_set_seconds=0.5,
    announced_seconds=0.5,
    settle_seconds=0.1,
    stream_connect_seconds=0.3,
    stream_retry_seconds=0.1,
)
TOO_LONG_SECONDS = 2.0
"""What a fetch with brief timing must not take; half of it is for a busy machine."""

SDK_KEY = "sdk-private-key"
OUT_OF_REACH = "LaunchDarkly cannot be reached, or the connection to it broke."
NOT_IN_TIME = "LaunchDarkly did not deliver the data set in time."
CANNOT_BE_READ = "LaunchDarkly sent a data set that cannot be read."

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FLAG = b'{"z":1,"version":3,"a":{"c":1.0,"b":2}}'
PUT = b'event: put\ndata: {"path":"/","data":{"flags":{"shiny":' + FLAG + b'},"segments":{}}}\n\n'
DATA_SET: DataSet = {FEATURES: {"shiny": Item(3, FLAG)}, SEGMENTS: {}}

Answer = Callable[[socket.socket], object]
"""What a server does with a connection whose request has come; it is closed afterwards."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """Speaks as a test tells it to; ``requests`` are the heads of what it was asked."""

    def __init__(self, answer: Answer, listener: socket.socket | None = None, *, reads: bool = True) -> None:
        self.requests: list[str] = []
        self._answer = answer
        self._reads = reads
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._reads:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(4096)
                self.requests.append(head.decode())
            self._answer(connection)


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(answer: Answer, *arguments: Any, **options: Any) -> Server:
        servers.append(Server(answer, *arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Neither a thread nor a connection, while the garbage collector, which would close it, is off."""
    gc.disable()
    try:
        threads, connections = _threads(), _connections()
        yield
        eventually(lambda: _threads() <= threads, seconds=5)
        eventually(lambda: _connections() <= connections, seconds=5)
    finally:
        gc.enable()


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("launchdarkly")}


def _connections() -> set[tuple[Any, Any]]:
    """Of this process: the fetch's and the servers' ends."""
    return {(each.laddr, each.raddr) for each in psutil.Process().net_connections() if each.raddr}


@pytest.fixture(autouse=True)
def nothing_private_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    yield
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("ldclient"))
    for private in (SDK_KEY, "127.0.0.1", "localhost", "/all"):
        assert private not in ours


def fetch(
    port: int,
    *announcements: Announcement | None,
    uri: str = "http://127.0.0.1:{}",
    timing: Timing = TIMING,
    **more: str,
) -> DataSet:
    environment = {
        "REDIS_URL": "redis://unused",
        "LAUNCHDARKLY_SDK_KEY": SDK_KEY,
        "LAUNCHDARKLY_STREAM_URI": uri.format(port),
        **more,
    }
    return fetch_data_set(load_settings(environment), announcements, timing)


def failure(port: int, **more: Any) -> tuple[type[LaunchDarklyUnavailable], str]:
    """What the fetch raises; it must not take longer than it may."""
    started = time.monotonic()
    with pytest.raises(LaunchDarklyUnavailable) as raised:
        fetch(port, timing=BRIEF, **more)
    assert time.monotonic() - started < TOO_LONG_SECONDS
    return type(raised.value), str(raised.value)


def sending(*parts: bytes, then: Answer = lambda connection: connection.recv(1)) -> Answer:
    """Sends that and, unless told otherwise, keeps the connection open until the other side closes it."""

    def answer(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
        then(connection)

    return answer


def trickling(fast: bytes, slow: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(fast)
        for byte in slow:
            time.sleep(0.1)
            connection.sendall(bytes((byte,)))

    return answer


def resetting(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closing(_: socket.socket) -> None:
    pass


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join(
        (f"HTTP/1.1 {code} Whatever", "Content-Length: 0", "Connection: close", *headers, "", "")
    ).encode()


ANSWERS: dict[str, tuple[Answer, type[LaunchDarklyUnavailable], str]] = {
    "nothing": (sending(), FetchTimedOut, NOT_IN_TIME),
    "headers, a byte at a time": (trickling(b"", HEAD), FetchTimedOut, NOT_IN_TIME),
    "an endless header": (trickling(HEAD[:-2] + b"X-Long: ", b"x" * 100), FetchTimedOut, NOT_IN_TIME),
    "headers, and then nothing": (sending(HEAD), FetchTimedOut, NOT_IN_TIME),
    "heartbeats": (trickling(HEAD, chunk(b":\n\n") * 100), FetchTimedOut, NOT_IN_TIME),
    "a body, a byte at a time": (trickling(HEAD, chunk(PUT)), FetchTimedOut, NOT_IN_TIME),
    "the length of a chunk, a byte at a time": (trickling(HEAD, b"0" * 100), FetchTimedOut, NOT_IN_TIME),
    "half a put, and then nothing": (sending(HEAD, chunk(PUT[:50])), FetchTimedOut, NOT_IN_TIME),
    "half a chunk, and then the end": (
        sending(HEAD, chunk(PUT)[:50], then=closing),
        LaunchDarklyUnreachable,
        OUT_OF_REACH,
    ),
    "half a put, and then the end": (
        sending(HEAD, chunk(PUT[:50]), chunk(b""), then=closing),
        LaunchDarklyUnreachable,
        OUT_OF_REACH,
    ),
    "half a put, and then a reset": (
        sending(HEAD, chunk(PUT[:50]), then=resetting),
        LaunchDarklyUnreachable,
        OUT_OF_REACH,
    ),
    "an end": (closing, LaunchDarklyUnreachable, OUT_OF_REACH),
    "a reset": (resetting, LaunchDarklyUnreachable, OUT_OF_REACH),
    "no HTTP": (sending(b"220 mail.example.com ESMTP\r\n"), LaunchDarklyUnreachable, OUT_OF_REACH),
    "a put that is no JSON": (
        sending(HEAD, chunk(b"event: put\ndata: {garbage\n\n")),
        LaunchDarklyUnreachable,
        CANNOT_BE_READ,
    ),
    "bytes that are no UTF-8": (
        sending(HEAD, chunk(b"event: put\ndata: \xff\n\n")),
        LaunchDarklyUnreachable,
        CANNOT_BE_READ,
    ),
    "a page": (
        sending(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<html"),
        LaunchDarklyUnreachable,
        "LaunchDarkly answered with something else than an event stream.",
    ),
    "redirects without an end": (
        sending(status(307, "Location: /all")),
        LaunchDarklyUnreachable,
        OUT_OF_REACH,
    ),
    **{
        f"HTTP {code}": (sending(status(code)), SdkKeyRejected, f"LaunchDarkly rejected the SDK key (HTTP {code}).")
        for code in (401, 403)
    },
    **{
        f"HTTP {code}": (sending(status(code)), LaunchDarklyUnreachable, f"LaunchDarkly answered HTTP {code}.")
        for code in (204, 400, 404, 429, 500, 503)
    },
    "HTTP 503, and when to ask again": (
        sending(status(503, "Retry-After: 60")),
        LaunchDarklyUnreachable,
        "LaunchDarkly answered HTTP 503.",
    ),
}


@pytest.mark.parametrize(("answer", "error", "message"), ANSWERS.values(), ids=ANSWERS.keys())
def test_whatever_answers_the_fetch_ends_in_time_and_says_why(
    serve: Serve, answer: Answer, error: type[LaunchDarklyUnavailable], message: str
) -> None:
    assert failure(serve(answer).port) == (error, message)


@pytest.mark.parametrize("code", [401, 403, 404, 405, 410])
def test_what_a_person_has_to_mend_is_not_asked_for_again(serve: Serve, code: int) -> None:
    server = serve(sending(status(code)))
    failure(server.port)
    assert len(server.requests) == 1


@pytest.mark.parametrize("first", [status(503), status(429), HEAD + chunk(b"event: put\ndata: {\n\n"), HEAD, b""])
def test_what_may_pass_is_asked_for_again(serve: Serve, first: bytes) -> None:
    answers = iter([sending(first, then=closing), sending(HEAD, chunk(PUT))])
    server = serve(lambda connection: next(answers)(connection))
    assert fetch(server.port) == DATA_SET
    assert len(server.requests) == 2


def test_items_come_as_they_were_sent(serve: Serve) -> None:
    assert fetch(serve(sending(HEAD, chunk(PUT))).port) == DATA_SET


@pytest.mark.parametrize("size", [1, 7, 100])
def test_events_may_come_in_pieces(serve: Serve, size: int) -> None:
    pieces = [chunk(PUT[at : at + size]) for at in range(0, len(PUT), size)]
    assert fetch(serve(sending(HEAD, *pieces)).port) == DATA_SET


@pytest.mark.parametrize("after", [closing, resetting], ids=["closed", "reset"])
def test_a_stream_that_ends_after_its_put_has_done_its_work(serve: Serve, after: Answer) -> None:
    patch = b'event: patch\ndata: {"path":"/flags/shiny","data":{"version":4}}\n\n'
    server = serve(sending(HEAD, chunk(PUT + patch), then=after))
    assert fetch(server.port, Announcement(FEATURES, "shiny", 4))[FEATURES]["shiny"].version == 4


def test_a_stream_that_breaks_while_a_version_is_awaited_is_opened_again(serve: Serve) -> None:
    newer = PUT.replace(b'"version":3', b'"version":4')
    answers = iter([sending(HEAD, chunk(PUT), then=closing), sending(HEAD, chunk(newer))])
    server = serve(lambda connection: next(answers)(connection))
    assert fetch(server.port, Announcement(FEATURES, "shiny", 4))[FEATURES]["shiny"].version == 4


@pytest.mark.parametrize("then", [closing, lambda connection: connection.recv(1)], ids=["closed", "silent"])
def test_a_version_that_never_comes_costs_no_more_than_it_may(serve: Serve, then: Answer) -> None:
    server = serve(sending(HEAD, chunk(PUT), then=then))
    started = time.monotonic()
    assert fetch(server.port, Announcement(FEATURES, "shiny", 4), None, timing=BRIEF) == DATA_SET
    assert BRIEF.announced_seconds <= time.monotonic() - started < TOO_LONG_SECONDS


def test_twenty_megabytes_are_read(serve: Serve) -> None:
    flags = b",".join(b'"flag-%d":%s' % (i, FLAG[:-1] + b',"x":"' + b"x" * 2000 + b'"}') for i in range(10_000))
    put = PUT.replace(b'{"shiny":' + FLAG + b"}", b"{" + flags + b"}")
    assert len(put) > 20_000_000
    data_set = fetch(serve(sending(HEAD, chunk(put))).port, timing=Timing())
    assert len(data_set[FEATURES]) == 10_000


def test_a_refused_connection_is_out_of_reach() -> None:
    with socket.socket() as unused:  # bound but not listening
        unused.bind(("127.0.0.1", 0))
        assert failure(unused.getsockname()[1]) == (LaunchDarklyUnreachable, OUT_OF_REACH)


def test_an_address_that_does_not_answer_is_out_of_reach() -> None:
    with _full_listener() as port:
        assert failure(port) == (LaunchDarklyUnreachable, OUT_OF_REACH)


@contextmanager
def _full_listener() -> Iterator[int]:
    """A port where no connection is accepted any more: further ones get no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for each in waiting:
            each.close()


def test_a_name_that_is_not_resolved_is_out_of_reach_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but a patch makes a resolver hang that the test has not configured."""
    resolved = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: resolved.wait(30) and [])
    assert failure(1, uri="http://stream.invalid:{}") == (LaunchDarklyUnreachable, OUT_OF_REACH)
    resolved.set()


def test_of_several_addresses_the_silent_ones_do_not_get_the_whole_time_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with _full_listener() as port:
        silent = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [silent] * 8)
        assert failure(port, uri="http://stream.invalid:{}") == (LaunchDarklyUnreachable, OUT_OF_REACH)


@pytest.mark.parametrize("answer", [sending(), closing, sending(HEAD)], ids=["silent", "closed", "plain"])
def test_tls_to_what_does_not_speak_it(serve: Serve, answer: Answer) -> None:
    server = serve(answer, reads=False)
    assert failure(server.port, uri="https://127.0.0.1:{}") == (LaunchDarklyUnreachable, OUT_OF_REACH)


def test_a_certificate_that_nobody_vouches_for(serve: Serve, tmp_path: Any) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject)
    subprocess.run([*new, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            secured.sendall(HEAD + chunk(PUT))
            secured.recv(1)

    server = serve(answer, reads=False)
    assert failure(server.port, uri="https://127.0.0.1:{}") == (LaunchDarklyUnreachable, OUT_OF_REACH)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_followed(serve: Serve, code: int) -> None:
    answers = iter([sending(status(code, "Location: /elsewhere")), sending(HEAD, chunk(PUT))])
    server = serve(lambda connection: next(answers)(connection))
    assert fetch(server.port) == DATA_SET
    assert [request.split()[1] for request in server.requests] == ["/all", "/elsewhere"]
    assert all(f"Authorization: {SDK_KEY}" in request for request in server.requests)


def test_a_redirect_to_another_host_does_not_carry_the_key(serve: Serve) -> None:
    elsewhere = serve(sending(HEAD, chunk(PUT)))
    server = serve(sending(status(307, f"Location: http://localhost:{elsewhere.port}/all")))
    assert fetch(server.port) == DATA_SET
    assert SDK_KEY not in elsewhere.requests[0]


def test_the_request_is_the_sdks(serve: Serve) -> None:
    put = sse("put", {"path": "/", "data": {"flags": by_key(boolean_flag("shiny")), "segments": {}}})
    server = serve(sending(HEAD, chunk(put)))
    fetch(server.port)
    config = Config(SDK_KEY, stream_uri=f"http://127.0.0.1:{server.port}", send_events=False, diagnostic_opt_out=True)
    LDClient(config, start_wait=5).close()
    ours, the_sdks = ({line for line in request.splitlines() if line} for request in server.requests)
    others = the_sdks ^ ours
    assert [line.partition(":")[0] for line in others] == ["X-LaunchDarkly-Instance-Id"], "a new one for each client"


def test_a_uri_may_end_with_a_slash_and_have_a_path(serve: Serve) -> None:
    server = serve(sending(HEAD, chunk(PUT)))
    fetch(server.port, uri="http://127.0.0.1:{}/relay/")
    assert server.requests[0].startswith("GET /relay/all HTTP/1.1\r\n")


def test_a_proxy_is_asked_for_a_plain_stream(serve: Serve) -> None:
    proxy = serve(sending(HEAD, chunk(PUT)))
    assert fetch(0, uri="http://stream.invalid", http_proxy=f"http://user:hunter2@127.0.0.1:{proxy.port}") == DATA_SET
    assert proxy.requests[0].startswith("GET http://stream.invalid/all HTTP/1.1\r\n")
    credentials = base64.b64encode(b"user:hunter2").decode()
    assert f"proxy-authorization: basic {credentials}".lower() in proxy.requests[0].lower()


def test_a_proxy_is_asked_for_a_tunnel_to_a_secure_stream(serve: Serve) -> None:
    proxy = serve(sending(status(407), then=closing))
    more = {"https_proxy": f"http://127.0.0.1:{proxy.port}", "uri": "https://stream.invalid"}
    assert failure(0, **more) == (LaunchDarklyUnreachable, OUT_OF_REACH)
    assert proxy.requests[0].startswith("CONNECT stream.invalid:443 HTTP/1.")


@pytest.mark.parametrize("answer", [sending(), trickling(b"", HEAD)], ids=["silent", "a byte at a time"])
def test_a_proxy_has_no_more_time_than_launchdarkly(serve: Serve, answer: Answer) -> None:
    more = {"https_proxy": f"http://127.0.0.1:{serve(answer).port}", "uri": "https://stream.invalid"}
    assert failure(0, **more) == (LaunchDarklyUnreachable, OUT_OF_REACH)


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "*", "example.com, 0.0.1"])
def test_no_proxy_is_asked_where_none_is_wanted(serve: Serve, no_proxy: str) -> None:
    server = serve(sending(HEAD, chunk(PUT)))
    assert fetch(server.port, http_proxy="http://127.0.0.1:9", no_proxy=no_proxy) == DATA_SET


def test_a_proxy_that_is_no_url_is_a_setting_to_mend() -> None:
    with pytest.raises(ConfigurationError) as raised:
        fetch(1, http_proxy="user:hunter2@proxy:3128")
    assert str(raised.value) == "http_proxy or https_proxy is malformed; expected a URL."


SLOW_FETCH = """
import sys, time
from chalicelib.config import load_settings
from chalicelib.data_set import Announcement
from chalicelib.refresh.fetch import fetch_data_set
from chalicelib.timing import Timing
timing = Timing(data_set_seconds=float(sys.argv[1]), fetch_limit_seconds=60)
settings = load_settings()
print(flush=True)
started = time.monotonic()
features = fetch_data_set(settings, [Announcement("features", "late", 1)], timing)["features"]
print(len(features), "late" in features, time.monotonic() - started)
"""


def test_only_waiting_counts(serve: Serve) -> None:
    """With three tenths of a processor, 20,000 flags take longer than a fetch may wait; then it goes on waiting."""

    def patch_later(connection: socket.socket) -> None:
        time.sleep(0.2)
        connection.sendall(chunk(sse("patch", {"path": "/flags/late", "data": {"version": 1}})))
        connection.recv(1)

    items = (b'"flag-%d":%s' % (i, FLAG[:-1] + b',"x":[' + b'{"y":[1,2,3]},' * 50 + b"0]}") for i in range(20_000))
    put = PUT.replace(b'{"shiny":' + FLAG + b"}", b"{" + b",".join(items) + b"}")
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": "redis://unused",
        "LAUNCHDARKLY_SDK_KEY": SDK_KEY,
        "LAUNCHDARKLY_STREAM_URI": f"http://127.0.0.1:{serve(sending(HEAD, chunk(put), then=patch_later)).port}",
    }
    may_wait_seconds = 1.0
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_FETCH, str(may_wait_seconds)],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            time.sleep(0.029)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.071)
            process.send_signal(signal.SIGCONT)
        count, came_late, seconds = process.stdout.read().split()
    assert (count, came_late) == ("20001", "True")
    assert float(seconds) > may_wait_seconds


def test_work_must_end_some_time_too(launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    launchdarkly.delay_seconds = 0.3
    timing = BRIEF._replace(fetch_limit_seconds=0.1)
    with pytest.raises(FetchTimedOut):
        fetch(0, uri=launchdarkly.uri, timing=timing)


def test_heartbeats_do_not_end_the_wait_for_an_announcement(serve: Serve) -> None:
    late = sse("patch", {"path": "/flags/shiny", "data": {"version": 4}})

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + chunk(PUT))
        for _ in range(3):
            time.sleep(0.05)
            connection.sendall(chunk(b":\n\n"))
        connection.sendall(chunk(late))
        connection.recv(1)

    assert fetch(serve(answer).port, Announcement(FEATURES, "shiny", 4))[FEATURES]["shiny"].version == 4
