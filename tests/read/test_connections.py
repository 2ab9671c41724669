"""Connections die; whoever asks for a flag does not notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.read.conftest import Reader, StartProcess
from tests.support.data import ANNA, boolean_flag
from tests.support.network import Proxy
from tests.support.stores import data_set, refresh_store
from tests.support.valkey import ValkeyServer

OLD = data_set([boolean_flag("shiny", 1, value=False)])
NEW = data_set([boolean_flag("shiny", 2, value=True)])


def _kill(server: ValkeyServer, _proxy: Proxy) -> None:
    assert server.command("CLIENT", "KILL", "TYPE", "normal") >= 1


DEATHS: dict[str, Callable[[ValkeyServer, Proxy], None]] = {
    "killed by the server": _kill,
    "reset by the network": lambda _, proxy: proxy.reset_connections(),
    "forgotten by the network": lambda _, proxy: proxy.forget_connections(),
}


@pytest.mark.parametrize("death", list(DEATHS.values()), ids=list(DEATHS))
@pytest.mark.parametrize("changed", [False, True], ids=["same revision", "new revision"])
def test_a_dead_connection_is_replaced_unseen(
    death: Callable[[ValkeyServer, Proxy], None], changed: bool, reader: Reader, server: ValkeyServer, proxy: Proxy
) -> None:
    refresh_store(server.url, OLD)
    reader.app.evaluate(ANNA)
    revision = refresh_store(server.url, NEW if changed else OLD)
    death(server, proxy)
    answer = reader.app.post("/evaluate/shiny", ANNA)
    assert answer.json_body["value"] is changed
    assert answer.headers["X-Flags-Revision"] == revision
    assert "X-Flags-Stale" not in answer.headers


def test_a_function_thawed_after_its_connections_died_is_fresh(
    start_process: StartProcess, server: ValkeyServer, proxy: Proxy
) -> None:
    refresh_store(server.url, OLD)
    function = start_process(proxy.url)
    assert function.post("/evaluate/shiny", ANNA)["body"]["value"] is False

    function.freeze()
    _kill(server, proxy)
    revision = refresh_store(server.url, NEW)
    function.thaw()

    answer = function.post("/evaluate/shiny", ANNA)
    assert (answer["status"], answer["body"]["value"]) == (200, True)
    assert answer["headers"]["X-Flags-Revision"] == revision
    assert "X-Flags-Stale" not in answer["headers"]
