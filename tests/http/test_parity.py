"""Evaluation is the SDK's, bit for bit: by way of the refresh, the store and every entry point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from ldclient.client import LDClient
from ldclient.config import BigSegmentsConfig, Config
from ldclient.context import Context
from ldclient.evaluation import EvaluationDetail
from ldclient.integrations import Redis
from ldclient.migrations import OpTracker, Stage

import chalicelib.wiring
from chalicelib import flags
from tests.support import parity
from tests.support.app import App
from tests.support.data import EXAMPLE_CONTEXTS, Json, example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.shared_apps import SharedApps


@pytest.fixture
def parity_app(shared_apps: SharedApps, monkeypatch: pytest.MonkeyPatch) -> App:
    """The app, and ``flags``, over a store that the real refresh has filled with the table's flags and segments."""
    data = {"flags": parity.FLAGS, "segments": parity.ALL_SEGMENTS}
    app = shared_apps.app(data, STORE_PREFIX="launchdarkly", STORE_CACHE_SECONDS="60")
    monkeypatch.setattr(chalicelib.wiring, "wiring", app.module.wiring)
    return app


@pytest.fixture(scope="module")
def sdk(shared_apps: SharedApps) -> Iterator[LDClient]:
    """A plain SDK client that streams the same data into memory, and asks the same store for big segments."""
    with closing(FakeLaunchDarkly()) as launchdarkly:
        launchdarkly.replace(parity.FLAGS, parity.ALL_SEGMENTS)
        config = Config(
            "sdk-key",
            stream_uri=launchdarkly.uri,
            send_events=False,
            diagnostic_opt_out=True,
            big_segments=BigSegmentsConfig(Redis.new_big_segment_store(shared_apps.redis_url)),
        )
        with LDClient(config, start_wait=60) as client:
            assert client.is_initialized()
            yield client


@pytest.fixture(scope="module")
def details(sdk: LDClient) -> dict[str, dict[str, Json]]:
    """What the SDK says of each flag by itself, for each context of the table."""
    return {name: details_of_the_sdk(sdk, context) for name, context in parity.CONTEXTS.items()}


@pytest.fixture(scope="module")
def states(sdk: LDClient) -> dict[str, dict[str, Json]]:
    """The same of all flags at once, with reasons."""
    return {name: state_of_the_sdk(sdk, context) for name, context in parity.CONTEXTS.items()}


DEFAULT = object()


@pytest.fixture(scope="module")
def own_details(sdk: LDClient) -> dict[tuple[str, str], tuple[EvaluationDetail, Any]]:
    """What whoever asks the SDK for a flag of the table gets, by context and flag: in detail, and the value alone."""
    return {
        (name, key): (sdk.variation_detail(key, context, DEFAULT), sdk.variation(key, context, DEFAULT))
        for name, context in SDK_CONTEXTS.items()
        for key in ASKED
    }


SDK_CONTEXTS = {name: Context.from_dict(context) for name, context in parity.CONTEXTS.items()}
ASKED = [*parity.FLAGS, "missing"]


def details_of_the_sdk(client: LDClient, context: Json) -> dict[str, Json]:
    details = {key: client.variation_detail(key, Context.from_dict(context), None) for key in parity.FLAGS}
    return {
        key: {"value": detail.value, "variation": detail.variation_index, "reason": detail.reason}
        for key, detail in details.items()
    }


def state_of_the_sdk(client: LDClient, context: Json) -> dict[str, Json]:
    """Everything that the SDK hands to a front end, by flag: values, versions, reasons, tracking, prerequisites."""
    state = client.all_flags_state(Context.from_dict(context), with_reasons=True).to_json_dict()
    return {key: {"value": state[key], **meta} for key, meta in state["$flagsState"].items()}


def details_in(answers: dict[str, Json]) -> dict[str, Json]:
    return {
        key: {name: answer.get(name) for name in ("value", "variation", "reason")} for key, answer in answers.items()
    }


def test_each_flag_by_itself_is_evaluated_as_the_sdk_does(parity_app: App, details: dict[str, dict[str, Json]]) -> None:
    for name, context in parity.CONTEXTS.items():
        for key, flag in parity.FLAGS.items():
            answer = parity_app.post("/evaluate/" + quote(key, safe=""), context)
            assert (answer.status_code, answer.json_body) == (
                200,
                {"key": key, **details[name][key], "version": flag["version"]},
            )


def test_all_flags_at_once_are_evaluated_as_the_sdk_does(
    parity_app: App, details: dict[str, dict[str, Json]], states: dict[str, dict[str, Json]]
) -> None:
    for name, context in parity.CONTEXTS.items():
        answer = parity_app.evaluate(context, "?withReasons=true")
        assert details_in(answer) == details[name]
        assert answer == states[name]


def test_chosen_flags_find_prerequisites_and_segments_that_were_not_chosen(
    parity_app: App, states: dict[str, dict[str, Json]]
) -> None:
    for name, context in parity.CONTEXTS.items():
        for key in ("prerequisites of prerequisites", "segment nested", "circle one"):
            assert parity_app.evaluate(context, f"?withReasons=true&flags={quote(key)}") == {key: states[name][key]}


def test_an_event_is_evaluated_as_the_sdk_does(
    parity_app: App, details: dict[str, dict[str, Json]], states: dict[str, dict[str, Json]]
) -> None:
    contexts = parity.CONTEXTS
    batch = parity_app.invoke("on_event", {"contexts": list(contexts.values()), "withReasons": True})
    assert batch["results"] == [{"flags": states[name]} for name in contexts]
    for name in list(contexts)[:6]:
        single = parity_app.invoke("on_event", {"context": contexts[name], "withReasons": True})
        assert details_in(single["flags"]) == details[name]
        one = parity_app.invoke("on_event", {"context": contexts[name], "flag": "circle one"})["flag"]
        assert details_in({"circle one": one}) == {"circle one": details[name]["circle one"]}


MIGRATION_FLAGS = ("off", "targets", "in, string", "values of every type", "missing")


@pytest.mark.parametrize("pinned", [False, True], ids=["flags", "one_revision"])
def test_flags_in_a_function_of_ones_own_are_evaluated_as_the_sdk_does(
    pinned: bool, parity_app: App, own_details: dict[tuple[str, str], tuple[EvaluationDetail, Any]]
) -> None:
    with flags.one_revision() as client:
        own: Any = client if pinned else flags
        for (name, key), (detail, value) in own_details.items():
            context = SDK_CONTEXTS[name]
            assert own.variation_detail(key, context, DEFAULT) == detail
            assert own.variation(key, context, DEFAULT) == value


ALL_FLAGS_OPTIONS: list[dict[str, bool]] = [
    {},
    {"with_reasons": True},
    {"client_side_only": True},
    {"details_only_for_tracked_flags": True, "with_reasons": True},
]


@pytest.mark.parametrize("options", ALL_FLAGS_OPTIONS, ids=str)
def test_the_state_of_all_flags_is_the_sdks(options: dict[str, bool], parity_app: App, sdk: LDClient) -> None:
    for context in map(Context.from_dict, parity.CONTEXTS.values()):
        assert flags.all_flags_state(context, **options).to_json_dict() == (
            sdk.all_flags_state(context, **options).to_json_dict()
        )


def test_migration_stages_are_the_sdks(parity_app: App, sdk: LDClient) -> None:
    stages: set[Stage] = set()
    for context in map(Context.from_dict, parity.CONTEXTS.values()):
        for key in MIGRATION_FLAGS:
            stage, tracker = flags.migration_variation(key, context, Stage.SHADOW)
            assert (stage, type(tracker)) == (sdk.migration_variation(key, context, Stage.SHADOW)[0], OpTracker)
            stages.add(stage)
    assert stages == {Stage.OFF, Stage.SHADOW}


# The table itself: each case is what its name says, or the comparison above would prove little.


def test_every_clause_and_segment_matches_the_contexts_that_the_table_says(parity_app: App) -> None:
    evaluated = {name: parity_app.evaluate(parity.CONTEXTS[name]) for name in parity.EVERYBODY}

    def matched_by(key: str) -> set[str]:
        return {name for name, answer in evaluated.items() if answer[key]["value"] == parity.MATCH}

    clauses = {key: names for key, _, names in parity.CLAUSES}
    assert {key: matched_by(key) for key in clauses} == clauses
    segments = {each["key"]: names for each, names in parity.SEGMENTS}
    assert {key: matched_by(f"segment {key}") for key in segments} == segments


def test_every_rollout_puts_somebody_on_either_side(parity_app: App) -> None:
    evaluated = [parity_app.evaluate(context, "?withReasons=true") for context in parity.CONTEXTS.values()]
    one_sided = {
        "of a share of a thousandth",
        "of another kind",
        "experiment of a kind",
        "by a literal name, because it has no kind",
    }
    for name in parity.ROLLOUTS.keys() - one_sided:
        assert len({answer[f"rollout {name}"]["variation"] for answer in evaluated}) >= 2, name
    assert {answer["in half"]["value"] for answer in evaluated} == {parity.MATCH, parity.FALLTHROUGH}
    reasons = [answer["rollout experiment"]["reason"] for answer in evaluated]
    assert {bool(reason.get("inExperiment")) for reason in reasons} == {True, False}


def test_malformed_flags_are_errors_or_defaults_and_nothing_else_suffers(parity_app: App) -> None:
    answer = parity_app.evaluate(parity.CONTEXTS["anna"], "?withReasons=true")
    reasons = {flag["key"]: answer[flag["key"]]["reason"] for flag in parity.MALFORMED}
    errors = {key for key, reason in reasons.items() if reason == {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}}
    assert errors >= {"rule out of range", "rule of nothing", "target out of range", "requires itself", "circle one"}
    assert answer["targets"]["reason"] == {"kind": "TARGET_MATCH"}


def test_the_example_contexts_reach_every_rule_and_target_of_the_examples(example_app: App) -> None:
    reached = {
        (key, answer["reason"].get("ruleId") or answer["reason"]["kind"])
        for context in EXAMPLE_CONTEXTS
        for key, answer in example_app.evaluate(context, "?withReasons=true").items()
    }
    examples = example_data()["flags"].values()
    assert reached >= {(flag["key"], rule["id"]) for flag in examples for rule in flag["rules"]}
    assert reached >= {(flag["key"], "TARGET_MATCH") for flag in examples if flag["targets"] or flag["contextTargets"]}
    assert reached >= {("one-click-payment", kind) for kind in ("PREREQUISITE_FAILED", "FALLTHROUGH")}
    assert ("maintenance-mode", "OFF") in reached
