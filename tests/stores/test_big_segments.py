"""Big segments: whatever an SDK with its own store of them says, the app says, over each store and entry point."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from ldclient.client import LDClient

from chalicelib.launchdarkly.clients import daemon_client
from chalicelib.read.contexts import parse_context
from tests.stores.conftest import over_store
from tests.support.app import App, Environment
from tests.support.big_segments import (
    CONTEXTS_OF_BIG,
    FLAGS_OF_BIG,
    SEGMENTS_OF_BIG,
    DynamoDbMembers,
    Members,
    RedisMembers,
    fill,
    judge,
    now_ms,
)
from tests.support.data import Json, by_key
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.parity import MATCH


@pytest.fixture
def environment(environment: Environment, store_environment: Environment) -> Environment:
    """What is read is not kept, so that a test sees its own changes at once."""
    return {**over_store(environment, store_environment), "BIG_SEGMENTS_CACHE_SECONDS": "0"}


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
    server: DynamoDb = request.getfixturevalue("dynamodb" if name == "dynamodb" else "dynalite_server")
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
    for context, answer in zip(contexts[-3:], expected[-3:], strict=True):
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


SYNCHRONIZED: dict[str, Any] = {
    "just now": lambda: (now_ms(), "HEALTHY"),
    "in the future": lambda: (now_ms() + 3_600_000, "HEALTHY"),
    "in time": lambda: (now_ms() - 100_000, "HEALTHY"),
    "two minutes ago": lambda: (now_ms() - 120_000, "STALE"),
    "at the epoch": lambda: (0, "STALE"),
    "never": lambda: (None, "STALE"),
}


@pytest.mark.parametrize("when", SYNCHRONIZED)
def test_the_status_says_when_the_store_was_brought_up_to_date(
    big_app: App, members: Members, sdk: LDClient, when: str
) -> None:
    on, status = SYNCHRONIZED[when]()
    members.synchronize(on)
    assert_equal_everywhere(big_app, sdk, CONTEXTS_OF_BIG if when in ("just now", "never") else CONTEXTS_OF_BIG[-2:])
    answer = big_app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true")
    statuses = {key: each["reason"].get("bigSegmentsStatus") for key, each in answer.items()}
    assert statuses["in big"] == statuses["needs what needs big"] == status
    assert statuses["in without generation"] == "NOT_CONFIGURED"
    assert statuses["in small"] == statuses["off"] == statuses["for everybody"] is None
    assert answer["in big"]["value"] == MATCH, "old memberships are used"


@pytest.mark.parametrize("store_environment", ["redis", "dynalite"], indirect=True)
def test_a_time_that_is_no_number_is_a_store_error_whose_memberships_are_used(
    big_app: App, members: Members, sdk: LDClient
) -> None:
    members.synchronize("0.5" if isinstance(members, DynamoDbMembers) else "yesterday")
    assert_equal_everywhere(big_app, sdk, CONTEXTS_OF_BIG[:2])
    reason = big_app.evaluate(CONTEXTS_OF_BIG[0], "?withReasons=true")["in big"]["reason"]
    assert reason == {
        "kind": "RULE_MATCH",
        "ruleIndex": 0,
        "ruleId": "in big-rule",
        "bigSegmentsStatus": "STORE_ERROR",
    }
