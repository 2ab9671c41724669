"""OpenFeature's official Python SDK and its OFREP provider, against `chalice local`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from tests.support.chalice_local import chalice_local
from tests.support.data import by_key

TOKEN = "a-token"
ROLLOUT = {"rollout": {"variations": [{"variation": 1, "weight": 100_000}]}}
IN_GERMANY = {"contextKind": "user", "attribute": "country", "op": "in", "values": ["DE"], "negate": False}
ANNA = EvaluationContext("anna", {"country": "DE"})
BEN = EvaluationContext("ben")


def flag(key: str, *variations: object, **fields: Any) -> dict[str, Any]:
    """A flag that serves its first variation to everybody."""
    default = {"on": True, "fallthrough": {"variation": 0}, "offVariation": 0, "salt": key}
    return {"key": key, "version": 7, "variations": list(variations), **default, **fields}


FLAGS = [
    flag("bool", True, False),
    flag("string", "grün", "blau"),
    flag("integer", 25),
    flag("float", 1.5),
    flag("object", {"theme": "dark", "sizes": [1, 2]}),
    flag("array", ["a", "b"]),
    flag("off", True, False, on=False, offVariation=1),
    flag("off-without-value", True, on=False, offVariation=None),
    flag("targeted", True, False, targets=[{"values": ["anna"], "variation": 1}]),
    flag("rule", "no", "yes", rules=[{"id": "r", "clauses": [IN_GERMANY], "variation": 1}]),
    flag("rule-with-rollout", "no", "yes", rules=[{"id": "r", "clauses": [IN_GERMANY], **ROLLOUT}]),
    flag("rollout", "no", "yes", fallthrough=ROLLOUT),
    flag("prerequisite-failed", "no", "yes", prerequisites=[{"key": "off", "variation": 0}], offVariation=1),
    flag("malformed", True, fallthrough={"variation": 9}),
    flag("space & größe", True),
    flag("for-acme", False, True, contextTargets=[{"contextKind": "organization", "values": ["acme"], "variation": 1}]),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("chalice-local")
    file = folder / "flags.json"
    file.write_text(json.dumps({"flags": by_key(*FLAGS), "segments": {}}))
    environment = {
        "REDIS_URL": "embedded",
        "LAUNCHDARKLY_FLAG_FILE": str(file),
        "EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
    }
    with chalice_local(environment, folder) as server:
        yield server.url


def connect(url: str, token: str = TOKEN) -> OpenFeatureClient:
    provider = OFREPProvider(url, headers_factory=lambda: {"Authorization": f"Bearer {token}"}, timeout=60)
    api.set_provider_and_wait(provider, domain=token)
    return api.get_client(token)


@pytest.fixture
def client(url: str) -> OpenFeatureClient:
    return connect(url)


def outcome(details: FlagEvaluationDetails[Any]) -> tuple[object, ...]:
    return details.value, details.variant, details.reason, details.flag_metadata, details.error_code


def good(value: object, variant: str, reason: Reason) -> tuple[object, ...]:
    return value, variant, reason, {"version": 7}, None


def test_every_type_is_evaluated(client: OpenFeatureClient) -> None:
    assert outcome(client.get_boolean_details("bool", False, ANNA)) == good(True, "0", Reason.STATIC)
    assert outcome(client.get_string_details("string", "", ANNA)) == good("grün", "0", Reason.STATIC)
    assert outcome(client.get_integer_details("integer", 0, ANNA)) == good(25, "0", Reason.STATIC)
    assert outcome(client.get_float_details("float", 0.0, ANNA)) == good(1.5, "0", Reason.STATIC)
    theme = {"theme": "dark", "sizes": [1, 2]}
    assert outcome(client.get_object_details("object", {}, ANNA)) == good(theme, "0", Reason.STATIC)
    assert outcome(client.get_object_details("array", [], ANNA)) == good(["a", "b"], "0", Reason.STATIC)


@pytest.mark.parametrize(
    ("key", "context", "value", "variant", "reason"),
    [
        ("targeted", ANNA, False, "1", Reason.TARGETING_MATCH),
        ("targeted", BEN, True, "0", Reason.UNKNOWN),
        ("rule", ANNA, "yes", "1", Reason.TARGETING_MATCH),
        ("rule", BEN, "no", "0", Reason.UNKNOWN),
        ("rule-with-rollout", ANNA, "yes", "1", Reason.SPLIT),
        ("rollout", BEN, "yes", "1", Reason.SPLIT),
        ("off", ANNA, False, "1", Reason.DISABLED),
        ("prerequisite-failed", ANNA, "yes", "1", Reason.UNKNOWN),
    ],
)
def test_the_reason_says_how_the_variation_was_chosen(
    client: OpenFeatureClient, key: str, context: EvaluationContext, value: object, variant: str, reason: Reason
) -> None:
    if isinstance(value, bool):
        details: FlagEvaluationDetails[Any] = client.get_boolean_details(key, not value, context)
    else:
        details = client.get_string_details(key, "default", context)
    assert outcome(details) == good(value, variant, reason)


def test_a_flag_that_is_off_without_a_value_leaves_the_callers_default(client: OpenFeatureClient) -> None:
    assert outcome(client.get_boolean_details("off-without-value", True, ANNA)) == good(True, "", Reason.DISABLED)


def test_an_unknown_flag_leaves_the_callers_default(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("no-such-flag", True, ANNA)
    assert outcome(details) == (True, None, Reason.ERROR, {}, ErrorCode.FLAG_NOT_FOUND)
    assert details.error_message == "There is no flag 'no-such-flag'."


def test_a_value_of_another_type_leaves_the_callers_default(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("string", True, ANNA)
    assert outcome(details) == (True, None, Reason.ERROR, {}, ErrorCode.TYPE_MISMATCH)


def test_a_flag_that_cannot_be_evaluated_leaves_the_callers_default(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("malformed", True, ANNA)
    assert outcome(details) == (True, None, Reason.ERROR, {}, ErrorCode.PARSE_ERROR)
    assert details.error_message == "The flag cannot be evaluated: MALFORMED_FLAG."


def test_a_context_without_a_targeting_key_leaves_the_callers_default(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("bool", False, EvaluationContext(attributes={"country": "DE"}))
    assert outcome(details) == (False, None, Reason.ERROR, {}, ErrorCode.TARGETING_KEY_MISSING)


def test_a_context_that_launchdarkly_refuses_leaves_the_callers_default(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("bool", False, EvaluationContext("anna", {"kind": "no spaces please"}))
    assert outcome(details) == (False, None, Reason.ERROR, {}, ErrorCode.INVALID_CONTEXT)


def test_a_wrong_token_leaves_the_callers_default(url: str) -> None:
    details = connect(url, token="another-token").get_boolean_details("bool", False, ANNA)
    assert outcome(details) == (False, None, Reason.ERROR, {}, ErrorCode.GENERAL)
    assert details.error_message == "unauthorized"


@pytest.mark.parametrize(
    "context",
    [
        EvaluationContext("acme", {"kind": "organization"}),
        EvaluationContext(
            attributes={"kind": "multi", "user": {"targetingKey": "anna"}, "organization": {"targetingKey": "acme"}}
        ),
        EvaluationContext("anna", {"kind": "multi", "user": {"key": "anna"}, "organization": {"key": "acme"}}),
    ],
)
def test_other_kinds_and_several_of_them_are_targeted(client: OpenFeatureClient, context: EvaluationContext) -> None:
    details = client.get_boolean_details("for-acme", False, context)
    assert outcome(details) == good(True, "1", Reason.TARGETING_MATCH)


def test_a_key_that_needs_percent_encoding_is_found(client: OpenFeatureClient) -> None:
    assert outcome(client.get_boolean_details("space & größe", False, ANNA)) == good(True, "0", Reason.STATIC)
