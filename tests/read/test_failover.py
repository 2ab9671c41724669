"""The address of the store leads to another server, and the old one keeps its connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from chalicelib.errors import StoreUnavailable
from tests.read.conftest import ReaderOf
from tests.support.data import ANNA, boolean_flag
from tests.support.network import Proxy
from tests.support.stores import data_set, open_store, refresh_store
from tests.support.timings import PATIENT
from tests.support.valkey import ValkeyServer, running_valkey
from tests.support.waiting import eventually

OLD = data_set([boolean_flag("shiny", 1, value=False)])
NEW = data_set([boolean_flag("shiny", 2, value=True)])


@pytest.fixture
def second() -> Iterator[ValkeyServer]:
    """The server that takes over."""
    with running_valkey() as server:
        yield server


def fail_over(first: ValkeyServer, second: ValkeyServer, proxy: Proxy) -> None:
    """The first becomes a replica of the second, to which the address leads from now on."""
    second.command("REPLICAOF", "127.0.0.1", str(first.port))
    eventually(lambda: second.command("INFO", "replication")["master_link_status"] == "up")
    second.command("REPLICAOF", "NO", "ONE")
    proxy.lead_to(second.port)
    first.command("REPLICAOF", "127.0.0.1", str(second.port))


def test_a_writer_finds_the_new_primary_after_one_refusal(
    server: ValkeyServer, second: ValkeyServer, proxy: Proxy
) -> None:
    writer = open_store({"REDIS_URL": proxy.url}).writer
    writer.take_ticket(None)
    fail_over(server, second, proxy)
    with pytest.raises(StoreUnavailable, match="read-only replica"):
        writer.take_ticket(None)
    writer.take_ticket(None)
    assert len(writer.read_backlog().announcements) == 2


def test_a_writer_that_rests_notices_within_a_minute(server: ValkeyServer, second: ValkeyServer, proxy: Proxy) -> None:
    writer = open_store({"REDIS_URL": proxy.url}, PATIENT._replace(connection_seconds=0.0)).writer
    writer.take_ticket(None)
    fail_over(server, second, proxy)
    writer.take_ticket(None)
    assert len(writer.read_backlog().announcements) == 2


def _serve_nothing_stale(first: ValkeyServer) -> None:
    first.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    first.command("REPLICAOF", "127.0.0.1", "1")


REFUSALS: dict[str, Callable[[ValkeyServer], object]] = {
    "MASTERDOWN": _serve_nothing_stale,
    "NOPERM": lambda first: first.command("ACL", "SETUSER", "default", "-get", "-mget"),
}


@pytest.mark.parametrize("becomes", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("changed", [False, True], ids=["same revision", "new revision"])
def test_a_reader_leaves_a_node_that_no_longer_serves_unseen(
    becomes: Callable[[ValkeyServer], None],
    changed: bool,
    server: ValkeyServer,
    second: ValkeyServer,
    proxy: Proxy,
    reader_of: ReaderOf,
) -> None:
    revision = refresh_store(server.url, OLD)
    reader = reader_of(proxy.url)
    reader.app.evaluate(ANNA)
    fail_over(server, second, proxy)
    if changed:
        revision = refresh_store(second.url, NEW)
    becomes(server)

    answer = reader.app.post("/evaluate/shiny", ANNA)
    assert answer.json_body["value"] is changed
    assert answer.headers["X-Flags-Revision"] == revision
    assert "X-Flags-Stale" not in answer.headers


def test_a_reader_notices_within_a_minute_that_its_node_is_left_behind(
    server: ValkeyServer, second: ValkeyServer, proxy: Proxy
) -> None:
    refresh_store(server.url, OLD)
    patient = open_store({"REDIS_URL": proxy.url}).reader
    forgetful = open_store({"REDIS_URL": proxy.url}, PATIENT._replace(connection_seconds=0.0)).reader
    before = patient.read_sync_record()
    assert forgetful.read_sync_record() == before
    fail_over(server, second, proxy)
    server.command("REPLICAOF", "NO", "ONE")  # on its own: whatever is written now, it does not see
    refresh_store(second.url, NEW)
    assert patient.read_sync_record() == before
    assert forgetful.read_sync_record() != before
