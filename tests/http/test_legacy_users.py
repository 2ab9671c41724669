"""What differs between the SDKs that knew users and those that know contexts: docs/client-sdks.md tells it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.app import App
from tests.support.data import Json, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.parity import FALLTHROUGH, MATCH, clause, rule_flag

HALVES = {"rollout": {"variations": [{"variation": 1, "weight": 50_000}, {"variation": 2, "weight": 50_000}]}}
FLAGS = by_key(
    rule_flag("name is Anna", clause("name", "in", "Anna")),
    rule_flag("country is DE", clause("country", "in", "DE")),
    rule_flag("anonymous is false", clause("anonymous", "in", False)),
    rule_flag("anonymous is not true", clause("anonymous", "in", True, negate=True)),
    rule_flag("secondary is s", clause("secondary", "in", "s")),
    rule_flag("halves", rules=[], fallthrough=HALVES),
)


@pytest.fixture
def legacy_app(app: App, launchdarkly: FakeLaunchDarkly) -> App:
    launchdarkly.replace(FLAGS)
    app.invoke("reconcile", {})
    return app


CASES: list[tuple[str, Json, str, str]] = [
    ("a name is matched", {"name": "Anna"}, "name is Anna", MATCH),
    ("custom.name is none, and is dropped", {"custom": {"name": "Anna"}}, "name is Anna", FALLTHROUGH),
    ("custom.country stands in for a country", {"custom": {"country": "DE"}}, "country is DE", MATCH),
    (
        "custom.country does not override a country",
        {"country": "FR", "custom": {"country": "DE"}},
        "country is DE",
        FALLTHROUGH,
    ),
    ("a user without anonymous is not anonymous", {}, "anonymous is false", MATCH),
    ("a user whose anonymous is null is not either", {"anonymous": None}, "anonymous is false", MATCH),
    ("so a negated rule matches, too", {}, "anonymous is not true", MATCH),
    ("an anonymous user is", {"anonymous": True}, "anonymous is false", FALLTHROUGH),
    ("secondary is no attribute", {"secondary": "s"}, "secondary is s", FALLTHROUGH),
    ("custom.secondary is one", {"custom": {"secondary": "s"}}, "secondary is s", MATCH),
]


@pytest.mark.parametrize(("attributes", "key", "value"), [each[1:] for each in CASES], ids=[each[0] for each in CASES])
def test_a_legacy_user_is_evaluated_as_the_context_that_it_becomes(
    legacy_app: App, attributes: Json, key: str, value: str
) -> None:
    answer: Any = legacy_app.post(f"/evaluate/{key.replace(' ', '%20')}", {"key": "u1", **attributes})
    assert (answer.status_code, answer.json_body["value"]) == (200, value)


def test_secondary_no_longer_decides_on_which_side_of_a_rollout_a_user_is(legacy_app: App) -> None:
    keys = [f"user-{number}" for number in range(20)]
    without = [legacy_app.evaluate({"key": key})["halves"]["value"] for key in keys]
    assert set(without) == {FALLTHROUGH, MATCH}
    assert [legacy_app.evaluate({"key": key, "secondary": key})["halves"]["value"] for key in keys] == without
