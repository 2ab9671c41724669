"""The stream of a fetch, over real sockets: whatever answers, it ends in time, says why, and leaves nothing behind."""

from __future__ import annotations

import socket
import threading
import time
from types import SimpleNamespace

import pytest
from ldclient.client import LDClient
from ldclient.config import Config

from chalicelib.data_set import FEATURES, Announcement
from chalicelib.errors import (
    FetchTimedOut,
    LaunchDarklyUnavailable,
    LaunchDarklyUnreachable,
    SdkKeyRejected,
)
from chalicelib.launchdarkly.received import ReceivedDataSet
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly, sse
from tests.support.streams import (
    BRIEF,
    CANNOT_BE_READ,
    DATA_SET,
    FLAG,
    HEAD,
    NOT_IN_TIME,
    OUT_OF_REACH,
    PUT,
    SDK_KEY,
    TIMING,
    TOO_LONG_SECONDS,
    Answer,
    Serve,
    chunk,
    closing,
    failure,
    fetch,
    resetting,
    sending,
    status,
    trickling,
)

pytestmark = pytest.mark.usefixtures("nothing_left_behind", "nothing_private_is_logged")

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


def test_the_request_is_the_sdks(serve: Serve) -> None:
    put = sse("put", {"path": "/", "data": {"flags": by_key(boolean_flag("shiny")), "segments": {}}})
    server = serve(sending(HEAD, chunk(put)))
    fetch(server.port)
    config = Config(SDK_KEY, stream_uri=f"http://127.0.0.1:{server.port}", send_events=False, diagnostic_opt_out=True)
    LDClient(config, start_wait=60).close()
    ours, the_sdks = ({line for line in request.splitlines() if line} for request in server.requests)
    others = the_sdks ^ ours
    assert [line.partition(":")[0] for line in others] == ["X-LaunchDarkly-Instance-Id"], "a new one for each client"


@pytest.mark.parametrize(("answer", "error", "message"), ANSWERS.values(), ids=ANSWERS.keys())
def test_whatever_answers_the_fetch_ends_in_time_and_says_why(
    serve: Serve, answer: Answer, error: type[LaunchDarklyUnavailable], message: str
) -> None:
    timing = BRIEF if error is FetchTimedOut else TIMING
    assert failure(serve(answer).port, timing) == (error, message)


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
    timing = TIMING._replace(announced_seconds=0.5)
    started = time.monotonic()
    assert fetch(server.port, Announcement(FEATURES, "shiny", 4), None, timing=timing) == DATA_SET
    assert timing.announced_seconds <= time.monotonic() - started < TOO_LONG_SECONDS


def test_twenty_megabytes_are_read(serve: Serve) -> None:
    flags = b",".join(b'"flag-%d":%s' % (i, FLAG[:-1] + b',"x":"' + b"x" * 2000 + b'"}') for i in range(10_000))
    put = PUT.replace(b'{"shiny":' + FLAG + b"}", b"{" + flags + b"}")
    assert len(put) > 20_000_000
    data_set = fetch(serve(sending(HEAD, chunk(put))).port)
    assert len(data_set[FEATURES]) == 10_000


def test_only_waiting_counts(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small function is busy with each event for longer than a fetch may wait; then it goes on waiting."""
    worked_seconds, taken = 0.0, threading.Semaphore(0)
    take = ReceivedDataSet.take

    def take_slowly(received: ReceivedDataSet, event: str, data: str) -> None:
        nonlocal worked_seconds
        worked_seconds += 2 * TIMING.data_set_seconds
        take(received, event, data)
        taken.release()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        for event in (sse("unknown", {}), PUT, sse("patch", {"path": "/flags/late", "data": {"version": 1}})):
            connection.sendall(chunk(event))
            taken.acquire(timeout=60)  # so that there is something to wait for, each time

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + worked_seconds, sleep=time.sleep)
    for module in ("chalicelib.patience", "chalicelib.refresh.fetch"):
        monkeypatch.setattr(f"{module}.time", clock)
    monkeypatch.setattr(ReceivedDataSet, "take", take_slowly)
    timing = TIMING._replace(fetch_limit_seconds=3600)
    data_set = fetch(serve(answer).port, Announcement(FEATURES, "late", 1), timing=timing)
    assert set(data_set[FEATURES]) == {"shiny", "late"}
    assert worked_seconds == 3 * 2 * TIMING.data_set_seconds


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
