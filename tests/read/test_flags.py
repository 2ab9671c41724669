"""``flags`` in a user's own function, while the store is there, is away, and is back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ldclient.context import Context
from ldclient.evaluation import EvaluationDetail

from chalicelib import flags
from chalicelib.read.recent import RecentFlags
from tests.read.conftest import Reader
from tests.read.test_outages import NEW, OLD, OUTAGES, UNREACHABLE
from tests.support.app import logged
from tests.support.network import Proxy
from tests.support.stores import refresh_store
from tests.support.valkey import ValkeyServer

ANNA = Context.create("anna")
FALLTHROUGH = {"kind": "FALLTHROUGH"}
NOT_READY = {"kind": "ERROR", "errorKind": "CLIENT_NOT_READY"}

Handler = Callable[[], list[EvaluationDetail]]


def ten_flags() -> list[EvaluationDetail]:
    """An invocation that asks for ten flags, one by one."""
    return [flags.variation_detail("shiny", ANNA, "default") for _ in range(10)]


def ten_flags_of_one_revision() -> list[EvaluationDetail]:
    with flags.one_revision() as client:
        return [client.variation_detail("shiny", ANNA, "default") for _ in range(10)]


@pytest.fixture(params=[ten_flags, ten_flags_of_one_revision])
def handler(request: pytest.FixtureRequest) -> Handler:
    function: Handler = request.param
    return function


def own(reader: Reader) -> Reader:
    """The reader, whose ``flags`` too have the clock of the test."""
    wiring = reader.app.module.wiring
    wiring.recent_flags = RecentFlags(
        wiring.current_flags, lambda: wiring.settings.flags_max_age_seconds, clock=reader.clock
    )
    return reader


@pytest.fixture
def own_function(reader: Reader) -> Reader:
    return own(reader)


@pytest.fixture(autouse=True)
def on_lambda(monkeypatch: pytest.MonkeyPatch, reader: Reader) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "serverless-flags-test")


def served(value: bool, times: int = 10) -> list[EvaluationDetail]:
    return [EvaluationDetail(value, 0 if value else 1, FALLTHROUGH)] * times


def defaults(times: int = 10) -> list[EvaluationDetail]:
    return [EvaluationDetail("default", None, NOT_READY)] * times


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in logged(caplog)]


@pytest.mark.parametrize("how", UNREACHABLE)
def test_a_cold_function_has_defaults_and_waits_for_the_store_once(
    how: str,
    handler: Handler,
    own_function: Reader,
    server: ValkeyServer,
    proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_store, mend_store = OUTAGES[how]
    refresh_store(server.url, OLD)
    break_store(server, proxy)

    assert handler() == defaults()
    assert own_function.reads.count == 1
    (message,) = messages(caplog)
    assert message.startswith("flags have their default values: StoreUnavailable: The flag store ")
    assert capsys.readouterr().out.count('"DefaultsServed": 1}') == 1

    own_function.clock.advance(0.99)
    assert handler() == defaults()
    assert own_function.reads.count == 1

    mend_store(server, proxy)
    refresh_store(server.url, NEW)
    own_function.clock.advance(0.01)
    assert handler() == served(True)
    assert len(messages(caplog)) == 1


@pytest.mark.parametrize("how", OUTAGES)
def test_a_warm_function_answers_from_memory_and_waits_for_the_store_once(
    how: str, handler: Handler, own_function: Reader, server: ValkeyServer, proxy: Proxy
) -> None:
    break_store, mend_store = OUTAGES[how]
    refresh_store(server.url, OLD)
    assert handler() == served(False)

    break_store(server, proxy)
    own_function.clock.advance(1.0)
    assert handler() == served(False)
    asked = own_function.reads.count
    own_function.clock.advance(0.99)
    assert handler() == served(False)
    assert own_function.reads.count == asked

    mend_store(server, proxy)
    refresh_store(server.url, NEW)
    own_function.clock.advance(1.0)
    assert handler() == served(True)


def test_a_store_that_was_never_filled_gives_defaults_and_one_clear_line(
    handler: Handler, own_function: Reader, server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert handler() == defaults()
    own_function.clock.advance(1.0)
    assert handler() == defaults()
    (message,) = messages(caplog)
    assert message == (
        "flags have their default values: StoreNotInitialized: The flag store was never filled; POST a webhook or "
        "invoke reconcile to fill it."
    )
    refresh_store(server.url, NEW)
    own_function.clock.advance(1.0)
    assert handler() == served(True)


def test_flags_that_were_read_ahead_answer_the_first_event_without_asking_the_store(
    own_function: Reader, server: ValkeyServer
) -> None:
    refresh_store(server.url, OLD)
    flags.read_ahead()
    reads = own_function.reads.count
    assert reads > 0
    assert ten_flags() == served(False)
    assert own_function.reads.count == reads
    own_function.clock.advance(1.0)
    assert ten_flags() == served(False)
    assert own_function.reads.count == reads + 1


@pytest.mark.parametrize("how", UNREACHABLE)
def test_what_fails_while_it_is_read_ahead_is_left_to_the_first_flag(
    how: str, own_function: Reader, server: ValkeyServer, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    break_store, mend_store = OUTAGES[how]
    refresh_store(server.url, OLD)
    break_store(server, proxy)
    flags.read_ahead()
    assert messages(caplog) == []
    mend_store(server, proxy)
    assert ten_flags() == served(False)


def test_outside_lambda_nothing_is_read_ahead(own_function: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME")
    flags.read_ahead()
    assert own_function.reads.count == 0
