"""The store goes away in every way there is: a warm function keeps answering, a cold one says 503."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.read.conftest import Reader, ReaderOf
from tests.support.app import logged
from tests.support.data import ANNA, boolean_flag, segment
from tests.support.network import Mode, Proxy
from tests.support.stores import data_set, refresh_store
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

OLD = data_set([boolean_flag("shiny", 1, value=False)], [segment("beta", 1, "anna")])
NEW = data_set([boolean_flag("shiny", 2, value=True)], [segment("beta", 2, "anna")])

Act = Callable[[ValkeyServer, Proxy], object]


def _network(mode: Mode) -> Act:
    def change(_server: ValkeyServer, proxy: Proxy) -> None:
        proxy.mode = mode
        if mode is not Mode.SILENT:
            proxy.reset_connections()

    return change


def _change_password(server: ValkeyServer, proxy: Proxy) -> None:
    server.command("CONFIG", "SET", "requirepass", "changed")
    proxy.reset_connections()


def _lose_items(server: ValkeyServer, _proxy: Proxy) -> None:
    refresh_store(server.url, NEW)
    server.command("DEL", "launchdarkly:features", "launchdarkly:$snapshot", "launchdarkly:$changes")


def _fail_over_to_an_empty_one(server: ValkeyServer, _proxy: Proxy) -> None:
    server.stop()
    server.start_empty()


OUTAGES: dict[str, tuple[Act, Act]] = {
    "stopped": (lambda server, _: server.stop(), lambda server, _: server.start()),
    "frozen": (lambda server, _: server.freeze(), lambda server, _: server.thaw()),
    "swallowed by the network": (_network(Mode.SILENT), _network(Mode.FORWARD)),
    "reset by the network": (_network(Mode.RESET), _network(Mode.FORWARD)),
    "speaking another protocol": (_network(Mode.GARBAGE), _network(Mode.FORWARD)),
    "asking for another password": (
        _change_password,
        lambda server, _: server.command("CONFIG", "SET", "requirepass", "", password="changed"),
    ),
    "flushed": (lambda server, _: server.command("FLUSHALL"), lambda *_: None),
    "evicting keys": (_lose_items, lambda *_: None),
    "replaced by an empty one": (_fail_over_to_an_empty_one, lambda *_: None),
}


@pytest.fixture(params=list(OUTAGES.values()), ids=list(OUTAGES))
def outage(request: pytest.FixtureRequest) -> tuple[Act, Act]:
    """How the store goes away, and how it comes back."""
    acts: tuple[Act, Act] = request.param
    return acts


def test_a_warm_function_answers_from_its_snapshot_until_the_store_is_back(
    outage: tuple[Act, Act], reader: Reader, server: ValkeyServer, proxy: Proxy
) -> None:
    break_store, mend_store = outage
    refresh_store(server.url, OLD)
    fresh = reader.app.post("/evaluate", ANNA)
    assert fresh.json_body == {"shiny": {"value": False, "variation": 1, "version": 1}}
    assert "X-Flags-Stale" not in fresh.headers

    break_store(server, proxy)
    stale = reader.app.post("/evaluate", ANNA)
    assert (stale.status_code, stale.json_body) == (200, fresh.json_body)
    assert stale.headers == {**fresh.headers, "X-Flags-Stale": "true"}
    event = reader.app.invoke("on_event", ANNA)
    assert event == {
        "flags": fresh.json_body,
        "revision": fresh.headers["X-Flags-Revision"],
        "syncedAt": fresh.headers["X-Flags-Synced-At"],
        "stale": True,
    }

    mend_store(server, proxy)
    revision = refresh_store(server.url, NEW)
    reader.clock.advance(1.0)
    back = reader.app.post("/evaluate", ANNA)
    assert back.json_body == {"shiny": {"value": True, "variation": 0, "version": 2}}
    assert back.headers["X-Flags-Revision"] == revision
    assert "X-Flags-Stale" not in back.headers


def test_while_the_store_is_away_it_is_asked_once_a_second(
    outage: tuple[Act, Act], reader: Reader, server: ValkeyServer, proxy: Proxy
) -> None:
    break_store, _ = outage
    refresh_store(server.url, OLD)
    reader.app.evaluate(ANNA)
    break_store(server, proxy)
    reader.app.evaluate(ANNA)

    asked = reader.reads.count
    reader.clock.advance(0.99)
    for _ in range(10):
        assert reader.app.post("/evaluate/shiny", ANNA).headers["X-Flags-Stale"] == "true"
    assert reader.reads.count == asked

    reader.clock.advance(0.01)
    assert reader.app.post("/evaluate/shiny", ANNA).headers["X-Flags-Stale"] == "true"
    assert reader.reads.count > asked


def test_of_requests_at_the_same_time_one_waits_for_the_store(
    reader: Reader, server: ValkeyServer, proxy: Proxy
) -> None:
    refresh_store(server.url, OLD)
    reader.app.evaluate(ANNA)
    server.freeze()
    asked = reader.reads.count
    on_event = reader.app.module.on_event  # Chalice's client for tests would mix up the environments of its threads
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: on_event(ANNA, None), range(8)))
    assert reader.reads.count == asked + 1
    assert all(answer["stale"] for answer in answers)


UNREACHABLE = ["stopped", "frozen", "swallowed by the network", "reset by the network", "speaking another protocol"]


@pytest.mark.parametrize("how", UNREACHABLE)
def test_a_cold_function_says_503_until_the_store_is_back(
    how: str, reader: Reader, server: ValkeyServer, proxy: Proxy
) -> None:
    break_store, mend_store = OUTAGES[how]
    refresh_store(server.url, OLD)
    break_store(server, proxy)
    for path in ("/evaluate", "/evaluate/shiny"):
        answer = reader.app.post(path, ANNA)
        assert answer.status_code == 503
        assert answer.json_body["Code"] == "ServiceUnavailableError"
        assert answer.json_body["Message"].startswith("The flag store ")
        assert str(server.port) not in answer.json_body["Message"]
        assert answer.headers["Retry-After"] == "5"
    assert reader.reads.count == 1

    mend_store(server, proxy)
    refresh_store(server.url, NEW)
    reader.clock.advance(1.0)
    assert reader.app.evaluate(ANNA) == {"shiny": {"value": True, "variation": 0, "version": 2}}


def test_a_refused_connection_is_a_503(server: ValkeyServer, reader_of: ReaderOf) -> None:
    server.kill()
    answer = reader_of(server.url).app.post("/evaluate", ANNA)
    refused = os.strerror(errno.ECONNREFUSED)
    assert (answer.status_code, answer.json_body) == (
        503,
        {"Code": "ServiceUnavailableError", "Message": f"The flag store cannot be reached ({refused})."},
    )


def test_a_cold_function_does_not_answer_from_a_store_that_lost_its_flags(
    reader: Reader, server: ValkeyServer, proxy: Proxy
) -> None:
    _lose_items(server, proxy)
    answer = reader.app.post("/evaluate/shiny", ANNA)
    assert (answer.status_code, answer.json_body) == (
        503,
        {
            "Code": "ServiceUnavailableError",
            "Message": "The flag store has lost its flags or segments; it may be evicting keys.",
        },
    )


def test_a_store_that_is_loading_its_data_counts_as_away(reader: Reader, server: ValkeyServer) -> None:
    refresh_store(server.url, OLD)
    reader.app.evaluate(ANNA)
    server.command("MSET", *(word for number in range(500) for word in (f"other:{number}", os.urandom(500).hex())))
    server.stop()
    server.start(key_load_delay="100000", loading_process_events_interval_bytes="1024")

    assert server.command("INFO", "persistence")["loading"] == 1
    stale = reader.app.post("/evaluate/shiny", ANNA)
    assert stale.json_body["value"] is False
    assert stale.headers["X-Flags-Stale"] == "true"

    server.command("CONFIG", "SET", "key-load-delay", "0")
    eventually(lambda: server.command("INFO", "persistence")["loading"] == 0)
    reader.clock.advance(1.0)
    assert "X-Flags-Stale" not in reader.app.post("/evaluate/shiny", ANNA).headers


def test_the_outage_is_logged_once(
    reader: Reader, server: ValkeyServer, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    refresh_store(server.url, OLD)
    reader.app.evaluate(ANNA)
    proxy.mode = Mode.RESET
    proxy.reset_connections()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            reader.clock.advance(1.0)
            reader.app.evaluate(ANNA)
    assert [record.getMessage() for record in logged(caplog)] == [
        f"serving without the store: The flag store cannot be reached ({os.strerror(errno.ECONNRESET)})."
    ]
