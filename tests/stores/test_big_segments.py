"""Big segments: whatever an SDK with its own store of them says, the app says, over each store and entry point."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ldclient.client import LDClient

from chalicelib import flags
from chalicelib.errors import StoreUnavailable
from chalicelib.launchdarkly.clients import daemon_client
from chalicelib.read.big_segments import BigSegments
from chalicelib.read.contexts import parse_context
from chalicelib.stores.dynamodb import protocol
from chalicelib.stores.dynamodb.memberships import DynamoDbMemberships
from chalicelib.timing import Timing
from tests.stores.conftest import over_store
from tests.support.app import App, Environment, LoadApp, logged
from tests.support.big_segments import (
    CONTEXTS_OF_BIG,
    FLAGS_OF_BIG,
    MEMBERS,
    SEGMENTS_OF_BIG,
    DynamoDbMembers,
    Members,
    RedisMembers,
    fill,
    hash_of,
    judge,
    now_ms,
)
from tests.support.clock import Clock
from tests.support.data import EXAMPLE_CONTEXTS, Json, by_key, example_data
from tests.support.dynamodb import DynamoDb, error
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.parity import MATCH
from tests.support.stores import open_store
from tests.support.valkey import recorded_commands

RecordReads = Callable[[], AbstractContextManager[list[str]]]


QUICK_STORES = pytest.mark.parametrize("store_environment", ["redis", "dynamodb"], indirect=True)
"""What moto would say as well, and slowly."""

ON_REDIS = pytest.mark.parametrize("store_environment", ["redis"], indirect=True)
"""What is the same over every store."""


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    """What is read is not kept, so that a test sees its own changes at once."""
    return {
        **over_store(environment, store_environment),
        "BIG_SEGMENTS_CACHE_SECONDS": "0",
        "FLAGS_MAX_AGE_SECONDS": "60",
    }


@pytest.fixture
def members(request: pytest.FixtureRequest, store_environment: Environment) -> Members:
    """The members in the flag store, filled and up to date."""
    members = members_in(request, store_environment)
    fill(members)
    return members


def members_in(request: pytest.FixtureRequest, environment: Environment, prefix: str = "launchdarkly") -> Members:
    if "REDIS_URL" in environment:
        return RedisMembers(environment["REDIS_URL"], prefix)
    return DynamoDbMembers(server_of(request).client(), environment["DYNAMODB_TABLE"], prefix)


def server_of(request: pytest.FixtureRequest) -> DynamoDb:
    name = request.node.callspec.params["store_environment"]
    server: DynamoDb = request.getfixturevalue("dynamodb" if name == "dynamodb" else "moto_server")
    return server


@pytest.fixture
def big_app(app: App, launchdarkly: FakeLaunchDarkly) -> App:
    launchdarkly.replace(by_key(*FLAGS_OF_BIG), by_key(*SEGMENTS_OF_BIG))
    app.invoke("reconcile", {})
    return app


@pytest.fixture
def sdk(members: Members) -> Iterator[LDClient]:
    with judge(members.sdks_store()) as client:
        yield client


def state_of(client: LDClient, context: Json) -> dict[str, Json]:
    state = client.all_flags_state(parse_context(copy.deepcopy(context)), with_reasons=True).to_json_dict()
    return {key: {"value": state[key], **meta} for key, meta in state["$flagsState"].items()}


def state_of_the_sdk(client: LDClient, context: Json) -> dict[str, Json]:
    """With the status of the store as it is now: the SDK itself looks every five seconds."""
    client._LDClient__big_segment_store_manager.poll_store_and_update_status()  # type: ignore[attr-defined]
    return state_of(client, context)


def assert_equal_everywhere(app: App, sdk: LDClient, contexts: list[Json] = CONTEXTS_OF_BIG) -> None:
    """Every entry point says what the SDK says, with reasons and without."""
    expected = [state_of_the_sdk(sdk, context) for context in contexts]
    bare = [{key: _without_reason(each) for key, each in answer.items()} for answer in expected]
    assert [app.evaluate(each, "?withReasons=true") for each in contexts] == expected
    assert [app.evaluate(each) for each in contexts] == bare
    batch = app.invoke("on_event", {"contexts": contexts, "withReasons": True})
    assert batch["results"] == [{"flags": each} for each in expected]
    snapshot = app.module.wiring.snapshots.current()
    client = daemon_client(snapshot.feature_store)
    assert [state_of(client, each) for each in contexts] == expected
    for context, answer in zip(contexts[-2:], expected[-2:], strict=True):
        assert app.invoke("on_event", {"context": context, "withReasons": True})["flags"] == answer
        for key in ("in big", "needs what needs big", "in two"):
            one = app.post("/evaluate/" + quote(key), context).json_body
            assert one == {"key": key, **{name: answer[key].get(name) for name in ("value", "variation")}} | {
                name: answer[key][name] for name in ("version", "reason")
            }
            assert app.invoke("on_event", {"context": context, "flag": key})["flag"] == one
            ofrep = app.post("/ofrep/v1/evaluate/flags/" + quote(key), {"context": _by_ofrep(context)}).json_body
            assert (ofrep["value"], ofrep["variant"]) == (one["value"], str(one["variation"]))
            assert ofrep["metadata"].get("bigSegmentsStatus") == one["reason"].get("bigSegmentsStatus")


def _without_reason(answer: Json) -> Json:
    return {name: value for name, value in answer.items() if name != "reason"}


def _by_ofrep(context: Json) -> Json:
    return context if context["kind"] == "multi" else {**context, "targetingKey": context["key"]}


@QUICK_STORES
def test_members_are_those_that_the_table_says(big_app: App, members: Members) -> None:
    """Inclusion, exclusion, both, neither, rules, kinds: each case is what its name says."""

    def matched_by(flag: str) -> list[int]:
        answers = [big_app.evaluate(context, f"?flags={quote(flag)}") for context in CONTEXTS_OF_BIG]
        return [number for number, answer in enumerate(answers) if answer[flag]["value"] == MATCH]

    assert matched_by("in big") == [0, 2, 8, 9, 12]
    assert matched_by("in around") == matched_by("in big")
    assert matched_by("in with rules") == [0, 2, 4, 9, 12]
    assert matched_by("in of organizations") == [10, 12, 14]
    assert matched_by("in without generation") == []
    assert matched_by("in two") == [12]


def test_every_entry_point_says_what_the_sdk_says(big_app: App, members: Members, sdk: LDClient) -> None:
    assert_equal_everywhere(big_app, sdk)


SYNCHRONIZED: list[tuple[int | None, str]] = [
    (0, "HEALTHY"),
    (-3_600_000, "HEALTHY"),
    (100_000, "HEALTHY"),
    (120_000, "STALE"),
    (10**12, "STALE"),
    (None, "STALE"),
]
"""How many milliseconds ago it was brought up to date (None: never), and the status."""


@QUICK_STORES
def test_the_status_says_when_the_store_was_brought_up_to_date(big_app: App, members: Members, sdk: LDClient) -> None:
    for age_ms, status in SYNCHRONIZED:
        members.synchronize(None if age_ms is None else now_ms() - age_ms)
        answer = big_app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true")
        assert answer == state_of_the_sdk(sdk, CONTEXTS_OF_BIG[0])
        statuses = {key: each["reason"].get("bigSegmentsStatus") for key, each in answer.items()}
        assert statuses["in big"] == statuses["needs what needs big"] == status
        assert statuses["in without generation"] == "NOT_CONFIGURED"
        assert statuses["in small"] == statuses["off"] == statuses["for everybody"] is None
        assert answer["in big"]["value"] == MATCH, "old memberships are used"


@QUICK_STORES
def test_a_time_that_is_no_whole_number_is_a_store_error_whose_memberships_are_used(
    big_app: App, members: Members, sdk: LDClient, caplog: pytest.LogCaptureFixture
) -> None:
    members.synchronize("0.5")
    answer = big_app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true")
    assert answer == state_of_the_sdk(sdk, CONTEXTS_OF_BIG[0])
    assert (answer["in big"]["value"], answer["in big"]["reason"]["bigSegmentsStatus"]) == (MATCH, "STORE_ERROR")
    big_app.evaluate(CONTEXTS_OF_BIG[0])
    told = [each.getMessage() for each in logged(caplog) if "big segments cannot be read" in each.getMessage()]
    assert len(told) == 1, "once, until something else is wrong"


PATHS = ("/evaluate", "/evaluate?flags=in%20big", "/evaluate/needs%20big", "/evaluate/in%20big")


@ON_REDIS
def test_who_holds_an_answer_gets_another_one_when_a_membership_changes(big_app: App, members: Members) -> None:
    def ask(path: str, tag: str = "") -> Any:
        return big_app.post(path, {"kind": "user", "key": "anna"}, {"If-None-Match": tag})

    for path in PATHS:
        first = ask(path)
        again = ask(path, first.headers["ETag"])
        assert (again.status_code, again.body, again.headers) == (304, b"", first.headers)
        members.put("anna", ["big.g3"])
        changed = ask(path, first.headers["ETag"])
        assert (changed.status_code, changed.body != first.body) == (200, True)
        assert changed.headers["ETag"] != first.headers["ETag"]
        assert ask(path, changed.headers["ETag"]).status_code == 304
        members.put("anna")
        assert ask(path, changed.headers["ETag"]).headers == first.headers
    members.synchronize(None)
    assert ask("/evaluate/in%20big", first.headers["ETag"]).json_body["reason"]["bigSegmentsStatus"] == "STALE"


OFREP = "/ofrep/v1/evaluate/flags"


@ON_REDIS
def test_ofreps_bulk_answer_has_another_tag_when_a_membership_changes(big_app: App, members: Members) -> None:
    asked = {"context": {"targetingKey": "neither"}}
    first = big_app.post(OFREP, asked)
    assert big_app.post(OFREP, asked, {"If-None-Match": first.headers["ETag"]}).status_code == 304
    members.put("neither", ["big.g3"])
    changed = big_app.post(OFREP, asked, {"If-None-Match": first.headers["ETag"]})
    flags = {each["key"]: each for each in changed.json_body["flags"]}
    assert (changed.status_code, flags["in big"]["value"]) == (200, MATCH)
    assert flags["in big"]["metadata"] == {"version": 11, "bigSegmentsStatus": "HEALTHY"}


# What it costs.


@pytest.fixture
def reads(request: pytest.FixtureRequest, store_environment: Environment) -> RecordReads:
    """Records what the server is asked for in a block: commands of Redis, operations of DynamoDB."""
    if "REDIS_URL" in store_environment:
        valkey = request.getfixturevalue("valkey")
        return lambda: recorded_commands(valkey)
    server = server_of(request)

    @contextmanager
    def recorded() -> Iterator[list[str]]:
        operations: list[str] = []
        before = len(server.operations)
        yield operations
        operations += server.operations[before:]

    return recorded


def kinds_of(reads: list[str]) -> list[str]:
    return [each.partition(" ")[0] for each in reads]


SYNC = {"redis": ["GET"], "dynamodb": ["GetItem"]}
MEMBERSHIP = {"redis": ["GET", "SMEMBERS", "SMEMBERS"], "dynamodb": ["BatchGetItem"]}


@QUICK_STORES
def test_nothing_more_is_read_where_no_flag_asks_for_a_big_segment(
    app: App, load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, reads: RecordReads
) -> None:
    """Nor is a store of their members asked for that settings name and that is not there."""
    launchdarkly.replace(**example_data())
    app.invoke("reconcile", {})
    elsewhere = load_app({**environment, "BIG_SEGMENTS_REDIS_URL": "redis://127.0.0.1:1"})
    kind = app.module.wiring.reader.kind
    for each in (app, elsewhere):
        each.evaluate(EXAMPLE_CONTEXTS[0])
        with reads() as asked:
            tag = each.post("/evaluate", EXAMPLE_CONTEXTS[0]).headers["ETag"]
            assert each.post("/evaluate", EXAMPLE_CONTEXTS[0], {"If-None-Match": tag}).status_code == 304
            each.invoke("on_event", {"contexts": list(EXAMPLE_CONTEXTS)})
        assert kinds_of(asked) == SYNC[kind] * 3


@QUICK_STORES
def test_a_membership_is_read_once_a_request_however_many_flags_ask(
    big_app: App, members: Members, reads: RecordReads
) -> None:
    kind = big_app.module.wiring.reader.kind
    multi = {"kind": "multi", "user": {"key": "included"}, "organization": {"key": "acme"}}
    for asked, membership_reads in (
        (CONTEXTS_OF_BIG[0], 1),
        (multi, 2),
        ({"kind": "device", "key": "included"}, 0),
    ):
        big_app.evaluate(asked)
        with reads() as of_all:
            big_app.evaluate(asked, "?withReasons=true")
        assert kinds_of(of_all) == SYNC[kind] + MEMBERSHIP[kind] * membership_reads
        flags.variation("in small", asked, default=None)
        with reads() as of_state:
            flags.all_flags_state(asked)
        assert kinds_of(of_state) == MEMBERSHIP[kind] * membership_reads
    with reads() as of_a_flag_without:
        big_app.post("/evaluate/in%20small", CONTEXTS_OF_BIG[0])
        tag = big_app.post("/evaluate/in%20small", multi).headers["ETag"]
        assert big_app.post("/evaluate/in%20small", multi, {"If-None-Match": tag}).status_code == 304
    assert kinds_of(of_a_flag_without) == SYNC[kind] * 3


@ON_REDIS
def test_memberships_are_kept_for_some_seconds(
    load_app: LoadApp, environment: Environment, big_app: App, members: Members, reads: RecordReads
) -> None:
    app = load_app({**environment, "BIG_SEGMENTS_CACHE_SECONDS": "5"})
    wiring, clock = app.module.wiring, Clock()
    wiring.big_segments = BigSegments(lambda: wiring._membership_reader, 5.0, clock=clock)
    first = app.evaluate(CONTEXTS_OF_BIG[0])
    members.put("included")
    clock.advance(4.9)
    with reads() as asked:
        assert app.evaluate(CONTEXTS_OF_BIG[0]) == first
        assert app.evaluate(CONTEXTS_OF_BIG[9]) == first, "a legacy user is of the same kind"
    assert kinds_of(asked) == SYNC[wiring.reader.kind] * 2
    clock.advance(0.1)
    assert app.evaluate(CONTEXTS_OF_BIG[0])["in big"]["value"] != MATCH


@QUICK_STORES
def test_a_batch_reads_the_memberships_of_its_contexts_together(
    big_app: App, members: Members, reads: RecordReads
) -> None:
    kind = big_app.module.wiring.reader.kind
    contexts: list[object] = [{"kind": "user", "key": f"user-{number}"} for number in range(150)]
    contexts[70] = {"kind": "multi", "user": {"key": "included"}, "organization": {"key": "acme"}}
    contexts[140] = {"kind": "organization", "key": "acme"}
    contexts += [{"kind": "user"}, contexts[0], {"key": "both"}]
    big_app.evaluate(CONTEXTS_OF_BIG[0])
    with reads() as asked:
        results = big_app.invoke("on_event", {"contexts": contexts, "flags": ["in big", "in of organizations"]})
    users = 150  # contexts of the kind user, each once
    assert (
        kinds_of(asked)
        == SYNC[kind]
        + {
            "redis": ["GET", *["SMEMBERS"] * 2 * users, "GET", *["SMEMBERS"] * 2],
            "dynamodb": ["BatchGetItem"] * 3,
        }[kind]
    )
    flags = [each.get("flags", {}) for each in results["results"]]
    assert [number for number, each in enumerate(flags) if each and each["in big"]["value"] == MATCH] == [70, 152]
    organizations = [
        number for number, each in enumerate(flags) if each and each["in of organizations"]["value"] == MATCH
    ]
    assert organizations == [70, 140]
    assert results["results"][150] == {"error": "Invalid context: context key must not be None or empty."}


# What only DynamoDB does.


def memberships_of(dynamodb: DynamoDb, environment: Environment, *keys: str) -> Any:
    """By context key: the membership, None where it could not be read, and whether somebody said why."""
    read = open_store(environment).reader.memberships("launchdarkly").read([hash_of(key) for key in keys], 60.0)
    return [read.memberships.get(hash_of(key)) for key in keys], read.failure


@pytest.mark.parametrize("answers", [1, 9])
def test_what_dynamodb_does_not_process_is_asked_for_once_more(
    dynamodb: DynamoDb, dynamodb_environment: Environment, answers: int
) -> None:
    fill(DynamoDbMembers(dynamodb.client(), dynamodb_environment["DYNAMODB_TABLE"]))
    left = answers

    def hand_back(operation: str, request: Json, forward: Callable[[Json], Any]) -> Any:
        nonlocal left
        ((table, wanted),) = request["RequestItems"].items()
        unprocessed = [key for key in wanted["Keys"] if key["key"]["S"] == hash_of("acme")] if left else []
        left -= bool(unprocessed)
        processed = [key for key in wanted["Keys"] if key not in unprocessed]
        if not processed:
            return 200, {"Responses": {}, "UnprocessedKeys": {table: {"Keys": unprocessed}}}
        status, answer = forward({"RequestItems": {table: {"Keys": processed}}})
        return status, {**answer, "UnprocessedKeys": {table: {"Keys": unprocessed}} if unprocessed else {}}

    dynamodb.fault = hand_back
    found, failure = memberships_of(dynamodb, dynamodb_environment, "neither", "acme")
    acme = {"of organizations.g3": True, "with rules.g3": False}
    assert found == [{}, acme if answers == 1 else None]
    assert failure == (None if answers == 1 else "DynamoDB is throttling requests.")
    assert dynamodb.operations == ["BatchGetItem"] * 2


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
def test_a_refusal_of_dynamodb_says_what_is_wrong(
    dynamodb: DynamoDb, dynamodb_environment: Environment, code: str
) -> None:
    dynamodb.fault = lambda *_: error(code)
    told = {
        "AccessDeniedException": "DynamoDB refused BatchGetItem: AccessDeniedException.",
        "ResourceNotFoundException": "The table of the big segments does not exist in this account and region.",
    }[code]
    with pytest.raises(StoreUnavailable, match=re.escape(told)):
        memberships_of(dynamodb, dynamodb_environment, "anna")


def test_what_dynamodb_processed_counts_when_there_is_no_time_to_ask_for_the_rest() -> None:
    def call(operation: str, request: Json, within_seconds: float) -> Json:
        (asked,) = request["RequestItems"].values()
        *found, rest = asked["Keys"]
        items = [{**key, "included": {"SS": ["beta.g1"]}} for key in found]
        return {"Responses": {"members": items}, "UnprocessedKeys": {"members": {"Keys": [rest]}}}

    timing = Timing(dynamodb_read_pause_seconds=1.0)
    stored = DynamoDbMemberships(call, "members", "", timing).read(["read", "not read"], 0.01)
    assert stored.memberships == {"read": {"beta.g1": True}}
    assert stored.failure == "DynamoDB is throttling requests."


def test_awss_own_sdk_reads_the_same(
    dynamodb: DynamoDb, dynamodb_environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where access is not plain."""
    fill(DynamoDbMembers(dynamodb.client(), dynamodb_environment["DYNAMODB_TABLE"]))
    keys = (*MEMBERS, "neither")
    expected = memberships_of(dynamodb, dynamodb_environment, *keys)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\n")
    monkeypatch.setattr(protocol, "http_read_call", None)
    assert memberships_of(dynamodb, dynamodb_environment, *keys) == expected
    assert expected[0][0] == dict.fromkeys(MEMBERS["included"][0], True)
