"""What the most expensive request that is accepted costs, on every route, over realistic flags.

Counted, not timed: each comparison of a value of a context with one of a clause is a call, which takes 0.1 to 0.3
microseconds. So the bound below is a fraction of a second, also for 1,000 flags: it grows with their number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from ldclient.impl import operators

from benchmarks.environments import environment as realistic_environment
from chalicelib.read.contexts import MAX_CHARACTERS, MAX_ELEMENTS, MAX_KINDS
from tests.support.app import App
from tests.support.shared_apps import SharedApps

FLAGS = 300
MOST_COMPARISONS = FLAGS * 500
"""A flag has a clause with three values and one with two; each array has a hundred elements."""
BODY_BYTES = 65_536
MOST_CHARACTERS = FLAGS * 3 * BODY_BYTES
"""That all comparisons may have to look at, if each looks at all of its value; Python searches a billion a second."""


def groups(prefix: str, length: int) -> list[str]:
    return [f"{prefix}{number:03d}".ljust(length, "x") for number in range(MAX_ELEMENTS)]


CONTEXTS: dict[str, dict[str, Any]] = {
    "arrays": {"kind": "user", "key": "u", "country": groups("c", 4), "email": groups("e", 4)},
    "arrays that fill a body": {"kind": "user", "key": "u", "country": groups("c", 300), "email": groups("e", 300)},
    "strings": {
        "kind": "user",
        "key": "k" * MAX_CHARACTERS,
        "country": "c" * MAX_CHARACTERS,
        "email": "e" * MAX_CHARACTERS,
    },
    "kinds": {
        "kind": "multi",
        **{f"kind-{number}": {"key": "k"} for number in range(MAX_KINDS - 1)},
        "user": {"key": "u", "country": groups("c", 4), "email": groups("e", 4)},
    },
}


class Costs:
    """What the SDK's operators were asked."""

    def __init__(self) -> None:
        self.comparisons = 0
        self.characters = 0

    def counted(self, operator: Callable[..., bool]) -> Callable[..., bool]:
        def ask(value: Any, *others: Any) -> bool:
            self.comparisons += 1
            self.characters += len(value) if isinstance(value, str) else 1
            return operator(value, *others)

        return ask


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return realistic_environment(FLAGS)


@pytest.fixture(scope="module")
def realistic_app(shared_apps: SharedApps, data: dict[str, Any]) -> App:
    return shared_apps.app(data)


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    costs = Costs()
    monkeypatch.setattr(operators, "ops", {name: costs.counted(each) for name, each in operators.ops.items()})
    return costs


def by_ofrep(context: dict[str, Any]) -> dict[str, Any]:
    return {"context": {"targetingKey": context.get("key", "u"), **context}}


ROUTES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "/evaluate": lambda context: context,
    "/evaluate?withReasons=true": lambda context: context,
    "/evaluate?clientSideOnly=true": lambda context: context,
    "/evaluate/flag-00000": lambda context: context,
    "/ofrep/v1/evaluate/flags": by_ofrep,
    "/ofrep/v1/evaluate/flags/flag-00000": by_ofrep,
}


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
@pytest.mark.parametrize("path", ROUTES)
def test_the_most_expensive_request_that_is_accepted_has_a_bound(
    realistic_app: App, costs: Costs, path: str, context: dict[str, Any]
) -> None:
    body = ROUTES[path](context)
    assert len(json.dumps(body)) <= BODY_BYTES
    assert realistic_app.post(path, body).status_code == 200
    assert costs.comparisons <= MOST_COMPARISONS
    assert costs.characters <= MOST_CHARACTERS


def test_an_event_has_the_same_bound_for_each_context(realistic_app: App, costs: Costs) -> None:
    realistic_app.invoke("on_event", {"contexts": list(CONTEXTS.values())})
    assert costs.comparisons <= MOST_COMPARISONS * len(CONTEXTS)


def test_these_requests_are_expensive_indeed(realistic_app: App, costs: Costs, data: dict[str, Any]) -> None:
    """Or the bound would show nothing. Flags that are off compare nothing."""
    realistic_app.post("/evaluate", CONTEXTS["arrays"])
    per_flag = MAX_ELEMENTS * (3 + 2)
    assert costs.comparisons == per_flag * Counter(flag["on"] for flag in data["flags"].values())[True]


def test_one_more_of_anything_is_refused(realistic_app: App, costs: Costs) -> None:
    for context in (
        {"key": "u", "custom": {"country": ["c"] * (MAX_ELEMENTS + 1)}},
        {"key": "u", "country": "c" * (MAX_CHARACTERS + 1)},
        {"kind": "multi", **{f"kind-{number}": {"key": "k"} for number in range(MAX_KINDS + 1)}},
    ):
        assert realistic_app.post("/evaluate", context).status_code == 400
    assert costs.comparisons == 0
