"""A process that forks after its first flags: what the two must not share."""

from __future__ import annotations

from chalicelib import flags
from tests.read.conftest import ReaderOf
from tests.support.data import boolean_flag
from tests.support.forks import in_a_fork
from tests.support.stores import data_set, refresh_store
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually


def shiny() -> bool:
    return flags.variation("shiny", {"kind": "user", "key": "anna"}, default=False)


def connections(server: ValkeyServer) -> list[str]:
    """Those over which flags were asked for, by their addresses."""
    with server.client() as client:
        return [str(each["addr"]) for each in client.client_list() if each["cmd"] in ("get", "mget")]


def test_a_fork_asks_over_a_connection_of_its_own(reader_of: ReaderOf, server: ValkeyServer) -> None:
    """Over one, each could read the answer to what the other has asked."""
    refresh_store(server.url, data_set([boolean_flag("shiny", 1, value=False)]))
    reader_of(server.url, FLAGS_MAX_AGE_SECONDS="0")
    assert shiny() is False
    (of_parent,) = connections(server)

    refresh_store(server.url, data_set([boolean_flag("shiny", 2, value=True)]))
    value, *known = in_a_fork(lambda: [shiny(), *connections(server)])
    assert value is True
    assert len(known) == 2
    assert of_parent in known
    assert shiny() is True
    eventually(lambda: connections(server) == [of_parent])  # once the server knows that the fork has ended
