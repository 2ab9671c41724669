"""What ``flags`` answers, and how often it asks, over a store in memory."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NoReturn

import pytest
from ldclient.client import LDClient
from ldclient.context import Context
from ldclient.evaluation import EvaluationDetail
from ldclient.migrations import OpTracker, Stage

import chalicelib.wiring
from chalicelib import flags
from chalicelib.config import load_settings
from chalicelib.data_set import StoredDataSet, SyncRecord, Texts, revision_of, texts_of
from chalicelib.errors import StoreUnavailable
from chalicelib.read.recent import RecentFlags
from chalicelib.read.snapshots import Snapshots
from chalicelib.wiring import Wiring
from tests.support.clock import Clock
from tests.support.data import Json, boolean_flag
from tests.support.stores import CountedReads, data_set

ANNA = Context.create("anna")
FALLTHROUGH = {"kind": "FALLTHROUGH"}


class MemoryStore:
    """A store that is a dictionary."""

    kind = "redis"

    def __init__(self) -> None:
        self.texts: Texts | None = None
        self.failure: Exception | None = None

    def put(self, *items: Json) -> None:
        self.texts = texts_of(data_set(items))

    def read_sync_record(self) -> SyncRecord | None:
        if self.failure is not None:
            raise self.failure
        if self.texts is None:
            return None
        return SyncRecord(revision_of(self.texts), 1_700_000_000_000, len(self.texts["features"]), 0, "file")

    def read_snapshot(self, record: SyncRecord | None, held: StoredDataSet | None) -> None:
        return None

    def read_items(self) -> StoredDataSet:
        record = self.read_sync_record()
        return StoredDataSet(self.texts or {"features": {}, "segments": {}}, record, record is not None)

    def read_some(self, keys: object) -> Texts:
        return {}

    def memberships(self, prefix: str) -> NoReturn:
        raise NotImplementedError

    def close(self) -> None: ...


class OwnFunction:
    """A process in which ``flags`` has a store, a clock and the settings of the test."""

    def __init__(self, **settings: str) -> None:
        self.store = MemoryStore()
        self.reads = CountedReads(self.store)
        self.clock = Clock()
        self.wiring = wiring = Wiring()
        wiring.settings = load_settings({"REDIS_URL": "redis://in-memory", **settings})
        wiring.snapshots = Snapshots(self.reads, 15.0, clock=self.clock)
        wiring.recent_flags = RecentFlags(
            wiring.latest_flags, lambda: wiring.settings.flags_max_age_seconds, clock=self.clock
        )


Start = Callable[..., OwnFunction]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts the function, with further settings."""

    def start(**settings: str) -> OwnFunction:
        own_function = OwnFunction(**settings)
        monkeypatch.setattr(chalicelib.wiring, "wiring", own_function.wiring)
        return own_function

    return start


@pytest.fixture
def function(start: Start) -> OwnFunction:
    """One whose store has the flag ``shiny``, which is true."""
    function = start()
    function.store.put(boolean_flag("shiny"))
    return function


@pytest.fixture
def bare_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set, nothing is built."""
    monkeypatch.setattr(chalicelib.wiring, "wiring", Wiring())
    for name in ("REDIS_URL", "DYNAMODB_TABLE", "EVALUATION_MODE"):
        monkeypatch.delenv(name, raising=False)


# Contexts.

CONTEXTS: dict[str, Any] = {
    "the SDK's": ANNA,
    "a context": {"kind": "user", "key": "anna"},
    "a context in another kind of mapping": MappingProxyType({"kind": "user", "key": "anna"}),
    "a legacy user": {"key": "anna", "custom": {"plan": "gold"}},
    "a legacy user with an empty key": {"key": ""},
    "a multi-context": {"kind": "multi", "user": {"key": "anna"}, "organization": {"key": "acme"}},
}

INVALID: dict[str, Any] = {
    "the SDK's": Context.create(""),
    "none": None,
    "a string": "anna",
    "a list": [{"key": "anna"}],
    "without a key": {"kind": "user"},
    "with an empty key": {"kind": "user", "key": ""},
    "of no kind that there is": {"kind": "kind", "key": "anna"},
    "with a kind that is no string": {"kind": 7, "key": "anna"},
    "with a number of DynamoDB's": {"kind": "user", "key": "anna", "age": Decimal(7)},
    "with a set": {"kind": "user", "key": "anna", "groups": {1}},
    "with a name that is no string": {"kind": "user", "key": "anna", 7: 7},
}


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_a_context_may_be_the_sdks_or_json(context: Any, function: OwnFunction) -> None:
    assert flags.variation("shiny", context, default=False) is True
    assert flags.variation_detail("shiny", context, False) == EvaluationDetail(True, 0, FALLTHROUGH)
    assert flags.all_flags_state(context).to_values_map() == {"shiny": True}


@pytest.mark.parametrize("context", INVALID.values(), ids=INVALID)
def test_an_invalid_context_has_the_default_and_a_line_that_holds_none_of_it(
    context: Any, function: OwnFunction, caplog: pytest.LogCaptureFixture
) -> None:
    assert flags.variation("shiny", context, default=False) is False
    reason = {"kind": "ERROR", "errorKind": "USER_NOT_SPECIFIED"}
    assert flags.variation_detail("shiny", context, False) == EvaluationDetail(False, None, reason)
    assert flags.all_flags_state(context).valid is False
    stage, tracker = flags.migration_variation("shiny", context, Stage.LIVE)
    assert (stage, type(tracker)) == (Stage.LIVE, OpTracker)
    assert len(caplog.messages) == 4
    assert not any("anna" in message for message in caplog.messages)


# Answers.


def test_an_unknown_flag_has_the_default(function: OwnFunction) -> None:
    reason = {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}
    assert flags.variation_detail("missing", ANNA, "default") == EvaluationDetail("default", None, reason)
    assert flags.migration_variation("missing", ANNA, Stage.SHADOW)[0] is Stage.SHADOW


@pytest.mark.parametrize("key", [None, 7, ["shiny"]])
def test_a_key_that_is_no_string_has_the_default(key: Any, function: OwnFunction) -> None:
    reason = {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}
    assert flags.variation(key, ANNA, "default") == "default"
    assert flags.variation_detail(key, ANNA, "default") == EvaluationDetail("default", None, reason)
    assert flags.migration_variation(key, ANNA, Stage.SHADOW)[0] is Stage.SHADOW


def test_a_flag_that_cannot_be_read_has_the_default_and_no_other_flag_suffers(function: OwnFunction) -> None:
    assert function.store.texts is not None
    function.store.texts = {**function.store.texts, "features": {**function.store.texts["features"], "broken": b"{"}}
    reason = {"kind": "ERROR", "errorKind": "EXCEPTION"}
    assert flags.variation_detail("broken", ANNA, "default") == EvaluationDetail("default", None, reason)
    assert flags.variation("shiny", ANNA, default=False) is True


def test_what_is_wrong_with_a_flag_is_logged_once_and_without_the_context(
    function: OwnFunction, caplog: pytest.LogCaptureFixture
) -> None:
    clause = {"contextKind": "user", "attribute": "", "op": "in", "values": ["x"]}
    function.store.put(
        {**boolean_flag("nowhere"), "fallthrough": {"variation": 7}},
        boolean_flag("malformed", rules=[{"id": "rule", "variation": 0, "clauses": [clause]}]),
    )
    for _ in range(3):
        for key in ("nowhere", "malformed"):
            reason = flags.variation_detail(key, ANNA, "default").reason
            assert reason == {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}
    assert 1 <= len(caplog.messages) <= 2
    assert len(set(caplog.messages)) == len(caplog.messages)
    assert "anna" not in caplog.text


def test_a_migration_flag_is_evaluated_as_by_the_sdk(function: OwnFunction) -> None:
    migration = {**boolean_flag("move"), "variations": ["off", "dualwrite"], "fallthrough": {"variation": 1}}
    function.store.put(migration, boolean_flag("shiny"))
    stage, tracker = flags.migration_variation("move", ANNA, Stage.OFF)
    assert (stage, type(tracker)) == (Stage.DUALWRITE, OpTracker)
    assert flags.migration_variation("shiny", ANNA, Stage.LIVE)[0] is Stage.LIVE, "a flag of another type"
    not_a_stage: Any = "sideways"
    assert flags.migration_variation("missing", ANNA, not_a_stage)[0] is Stage.OFF


# How often the store is asked.


def test_ten_flags_in_one_invocation_are_one_read(function: OwnFunction) -> None:
    flags.variation("shiny", ANNA, default=False)
    asked = function.reads.count
    function.store.put(boolean_flag("shiny", 2, value=False))
    function.clock.advance(0.99)
    for _ in range(10):
        assert flags.variation("shiny", ANNA, default=False) is True
    assert function.reads.count == asked

    function.clock.advance(0.01)
    assert flags.variation("shiny", ANNA, default=True) is False


def test_with_a_maximum_age_of_zero_each_flag_asks(start: Start) -> None:
    function = start(FLAGS_MAX_AGE_SECONDS="0")
    for version in range(1, 4):
        function.store.put(boolean_flag("shiny", version, value=version % 2 == 0))
        assert flags.variation("shiny", ANNA, default=None) is (version % 2 == 0)


def test_an_answer_is_as_old_as_the_question_to_the_store(
    function: OwnFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_items = function.store.read_items

    def read_slowly() -> StoredDataSet:
        function.clock.advance(0.5)
        return read_items()

    monkeypatch.setattr(function.store, "read_items", read_slowly)
    assert flags.variation("shiny", ANNA, default=False) is True
    function.store.put(boolean_flag("shiny", 2, value=False))
    function.clock.advance(0.5)
    assert flags.variation("shiny", ANNA, default=True) is False


@pytest.mark.parametrize(("max_age_seconds", "again_after_seconds"), [("0", 0.0), ("0.5", 0.5), ("60", 1.0)])
def test_a_store_that_was_never_filled_is_asked_again_after_the_shorter_of_the_maximum_age_and_a_second(
    start: Start, max_age_seconds: str, again_after_seconds: float
) -> None:
    function = start(FLAGS_MAX_AGE_SECONDS=max_age_seconds)
    for _ in range(2):
        asked = function.reads.count
        assert flags.variation("shiny", ANNA, default=None) is None
        assert function.reads.count > asked
        if again_after_seconds:
            asked = function.reads.count
            function.clock.advance(again_after_seconds - 0.01)
            assert flags.variation("shiny", ANNA, default=None) is None
            assert function.reads.count == asked
            function.clock.advance(0.01)


def test_a_store_that_is_back_is_seen_at_once_with_a_maximum_age_of_zero(start: Start) -> None:
    """Somebody else in the process has found out that it was away, so it is asked again a second after that."""
    function = start(FLAGS_MAX_AGE_SECONDS="0")
    function.store.put(boolean_flag("shiny"))
    function.wiring.current_flags()
    function.store.failure = StoreUnavailable("away")
    function.wiring.current_flags()
    function.clock.advance(0.9)
    assert flags.variation("shiny", ANNA, default=False) is True, "of memory"
    function.store.failure = None
    function.store.put(boolean_flag("shiny", 2, value=False))
    function.clock.advance(0.1)
    assert flags.variation("shiny", ANNA, default=True) is False


def test_a_longer_maximum_age_is_for_what_the_store_has_confirmed(start: Start) -> None:
    function = start(FLAGS_MAX_AGE_SECONDS="60")
    function.store.failure = StoreUnavailable("away")
    assert flags.variation("shiny", ANNA, default=False) is False
    function.store.failure = None
    function.store.put(boolean_flag("shiny"))
    function.clock.advance(1.0)
    assert flags.variation("shiny", ANNA, default=False) is True

    asked = function.reads.count
    function.clock.advance(59.9)
    assert flags.variation("shiny", ANNA, default=False) is True
    assert function.reads.count == asked

    function.store.failure = StoreUnavailable("away")
    function.clock.advance(0.1)
    assert flags.variation("shiny", ANNA, default=False) is True, "of memory"
    function.store.failure = None
    function.store.put(boolean_flag("shiny", 2, value=False))
    function.clock.advance(1.0)
    assert flags.variation("shiny", ANNA, default=True) is False


def test_a_route_asks_the_store_however_young_an_answer_of_flags_may_be(start: Start) -> None:
    function = start(FLAGS_MAX_AGE_SECONDS="60")
    function.store.put(boolean_flag("shiny"))
    flags.variation("shiny", ANNA, default=False)
    asked = function.reads.count
    function.wiring.current_flags()
    assert function.reads.count == asked + 1


def test_threads_wait_for_one_read_and_have_one_revision(function: OwnFunction) -> None:
    with ThreadPoolExecutor(8) as threads:
        values = list(threads.map(lambda _: flags.variation("shiny", ANNA, default=False), range(64)))
    assert values == [True] * 64
    assert function.reads.count == 2, "of a snapshot and, because there is none, of the items"


# One revision.


def test_a_block_is_one_check_and_one_revision_whatever_happens_meanwhile(function: OwnFunction) -> None:
    flags.variation("shiny", ANNA, default=False)
    function.store.put(boolean_flag("shiny", 2, value=False))
    asked = function.reads.count
    with flags.one_revision() as client:
        assert isinstance(client, LDClient)
        asked_by_the_block = function.reads.count
        function.store.put(boolean_flag("shiny", 3))
        function.clock.advance(60)
        assert client.variation("shiny", ANNA, True) is False
        assert client.all_flags_state(ANNA).to_values_map() == {"shiny": False}
        assert function.reads.count == asked_by_the_block
    assert asked_by_the_block > asked, "fresh, however young the last answer is"
    assert client.variation("shiny", ANNA, True) is False, "after the block"
    assert flags.variation("shiny", ANNA, default=False) is True


def test_an_item_that_cannot_be_read_is_logged_once_however_often_a_client_meets_it(
    function: OwnFunction, caplog: pytest.LogCaptureFixture
) -> None:
    function.store.texts = {"features": {"bad": b"{"}, "segments": {}}
    with flags.one_revision() as client:
        assert [client.variation("bad", ANNA, "default") for _ in range(3)] == ["default"] * 3
    (record,) = caplog.records
    assert record.getMessage().startswith("stored item features/bad cannot be read: JSONDecodeError")


def test_a_client_that_is_closed_or_changed_is_nobody_elses(function: OwnFunction) -> None:
    with flags.one_revision() as client, client:
        pass
    with flags.one_revision() as another:
        assert another is not client
        assert another.variation("shiny", ANNA, False) is True
    assert flags.variation("shiny", ANNA, default=False) is True


def refreshes(function: OwnFunction, count: int) -> Iterator[bool]:
    """So many new revisions, each a moment after the one before, and the value that the flag then has."""
    for number in range(count):
        value = number % 2 == 0
        function.store.put(boolean_flag("shiny", number, value=value), boolean_flag(f"other-{number}"))
        function.clock.advance(1.0)
        yield value


def traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_flags_and_a_client_are_kept_over_hundreds_of_refreshes(function: OwnFunction) -> None:
    kept = flags.variation
    with flags.one_revision() as client:
        pass
    for value in refreshes(function, 200):
        assert kept("shiny", ANNA, None) is value
    tracemalloc.start()
    before = traced_bytes()
    for value in refreshes(function, 200):
        assert kept("shiny", ANNA, None) is value
        with flags.one_revision() as each:
            assert each.variation("shiny", ANNA, None) is value
    grown = traced_bytes() - before
    tracemalloc.stop()
    assert grown < 100_000, "a revision that stayed would be a few kilobytes, a client more"
    assert client.variation("shiny", ANNA, False) is True


def test_a_data_set_goes_with_its_last_client_and_without_the_collector(function: OwnFunction) -> None:
    flags.variation("shiny", ANNA, default=False)
    with flags.one_revision() as client:
        kept = weakref.ref(function.wiring.snapshots.current().feature_store)
    gc.disable()
    try:
        function.store.put(boolean_flag("shiny", 2))
        function.clock.advance(1.0)
        flags.variation("shiny", ANNA, default=False)
        assert client.variation("shiny", ANNA, False) is True
        assert kept() is not None
        del client
        assert kept() is None
    finally:
        gc.enable()


# What goes wrong.


def test_a_wrong_setting_gives_defaults_and_one_line_that_names_it(
    bare_process: None, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert flags.variation("shiny", ANNA, default="default") == "default"
    with flags.one_revision() as client:
        assert client.variation("shiny", ANNA, "default") == "default"
    (message,) = caplog.messages
    assert message == (
        "flags have their default values: ConfigurationError: Neither REDIS_URL nor DYNAMODB_TABLE is set; daemon mode "
        "needs exactly one of them."
    )


def test_what_nobody_expected_gives_defaults_and_is_logged_once_in_full(
    function: OwnFunction, caplog: pytest.LogCaptureFixture
) -> None:
    function.store.failure = RuntimeError("surprise")
    reason = {"kind": "ERROR", "errorKind": "EXCEPTION"}
    assert flags.variation_detail("shiny", ANNA, "default") == EvaluationDetail("default", None, reason)
    asked = function.reads.count
    assert flags.variation_detail("shiny", ANNA, "default") == EvaluationDetail("default", None, reason)
    assert function.reads.count == asked
    (record,) = caplog.records
    assert (record.getMessage(), record.exc_info is not None) == (
        "flags have their default values: RuntimeError: surprise",
        True,
    )


def test_each_outage_is_a_line_and_every_default_is_counted(
    function: OwnFunction,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")

    def counted() -> list[int]:
        lines = capsys.readouterr().out.splitlines()
        return [int(line.rpartition('"DefaultsServed": ')[2].rstrip("}")) for line in lines]

    for _ in range(2):
        function.store.failure = StoreUnavailable("away")
        for _ in range(10):
            flags.variation("shiny", ANNA, default=False)
        assert flags.all_flags_state(ANNA).valid is False
        assert counted() == [1]
        function.clock.advance(1.0)
        flags.variation("shiny", ANNA, default=False)
        assert counted() == [10, 1]
        function.store.failure = None
        function.clock.advance(1.0)
        assert flags.variation("shiny", ANNA, default=False) is True
        assert counted() == []
        function.wiring.snapshots = Snapshots(function.reads, 15.0, clock=function.clock)  # as another process
        function.clock.advance(1.0)
    assert caplog.messages == ["flags have their default values: StoreUnavailable: away"] * 2
