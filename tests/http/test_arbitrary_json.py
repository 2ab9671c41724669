"""Whatever JSON comes in, the answer is one of those that are promised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.errors import FlagNotFound, InvalidRequest
from tests.support.app import App, LoadApp
from tests.support.data import EXAMPLES

ANY_TIME = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def objects_about(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that mostly have these properties, with whatever in them."""
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=3), JSON, max_size=6)


def mostly_right(**properties: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects whose properties are as they should be, or anything, or missing."""
    return st.fixed_dictionaries({}, optional={name: value | JSON for name, value in properties.items()})


ATTRIBUTES = ("name", "anonymous", "_meta", "email", "country", "custom", "privateAttributeNames", "secondary")
KINDS = st.sampled_from(["user", "multi", "organization", "kind", ""])
CONTEXTS = (
    mostly_right(kind=KINDS, key=st.text(), user=objects_about("key", "kind", *ATTRIBUTES))
    | objects_about("kind", "key", *ATTRIBUTES)
    | JSON
)
ENTRIES = mostly_right(
    kind=st.sampled_from(["flag", "segment", "project", "member"]),
    accesses=st.lists(objects_about("action", "resource"), max_size=3),
    target=mostly_right(resources=st.lists(st.from_regex(r"proj/\w*:env/[\w*~]*:(flag|segment)/\S*"), max_size=3)),
    currentVersion=objects_about("environments", "archived"),
)
EVENTS = (
    mostly_right(
        context=CONTEXTS,
        flag=st.sampled_from(["new-checkout", "no-such-flag"]),
        flags=st.lists(st.sampled_from(["new-checkout", "no-such-flag"])),
        withReasons=st.booleans(),
        clientSideOnly=st.booleans(),
    )
    | mostly_right(contexts=st.lists(CONTEXTS, max_size=5), flags=st.lists(st.text()))
    | mostly_right(user=CONTEXTS)
    | CONTEXTS
)


@pytest.fixture
def open_app(load_app: LoadApp, redis_url: str) -> App:
    app = load_app(
        {
            "REDIS_URL": redis_url,
            "LAUNCHDARKLY_FLAG_FILE": str(EXAMPLES),
            "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow",
            "EVALUATE_AUTH": "none",
        }
    )
    app.invoke("reconcile", {})
    return app


@ANY_TIME
@given(CONTEXTS)
def test_any_json_is_evaluated_or_refused(open_app: App, context: object) -> None:
    everything = open_app.post("/evaluate?withReasons=true", context)
    assert everything.status_code in (200, 400)
    if everything.status_code == 200:
        assert "new-checkout" in everything.json_body
        one = open_app.post("/evaluate/new-checkout", context).json_body
        assert {"key": "new-checkout", **everything.json_body["new-checkout"]} == one
    else:
        assert set(everything.json_body) == {"Code", "Message"}


@ANY_TIME
@given(mostly_right(context=mostly_right(targetingKey=st.text(), kind=KINDS, user=objects_about("key", *ATTRIBUTES))))
def test_any_json_is_evaluated_or_refused_by_ofrep(open_app: App, body: object) -> None:
    bulk = open_app.post("/ofrep/v1/evaluate/flags", body)
    assert (bulk.status_code, set(bulk.json_body)) in [
        (200, {"flags", "metadata"}),
        (400, {"errorCode", "errorDetails"}),
    ]


@settings(ANY_TIME, max_examples=60)
@given(ENTRIES | JSON)
def test_any_json_is_a_refresh_or_ignored_or_refused_as_a_webhook(open_app: App, entry: object) -> None:
    answer = open_app.post("/webhook", entry)
    if answer.status_code == 200:
        assert answer.json_body["status"] in ("refreshed", "ignored")
    else:
        assert (answer.status_code, answer.json_body["Code"]) == (400, "BadRequestError")


@ANY_TIME
@given(EVENTS)
def test_any_json_is_evaluated_or_refused_by_on_event(open_app: App, event: object) -> None:
    answer = answer_to(open_app, json.loads(json.dumps(event)))
    assert set(answer) in [
        {"error"},
        *({form, "revision", "syncedAt", "stale"} for form in ("flag", "flags", "results")),
    ]
    json.dumps(answer)


@ANY_TIME
@given(st.lists(CONTEXTS, max_size=30))
def test_a_batch_holds_a_result_for_each_context_in_its_place(open_app: App, contexts: list[object]) -> None:
    batch = open_app.module.on_event({"contexts": contexts, "flags": ["banner-text"]}, None)["results"]
    assert len(batch) == len(contexts)
    for context, result in zip(contexts, batch, strict=True):
        alone = answer_to(open_app, {"context": context, "flags": ["banner-text"]})
        assert result == {name: alone[name] for name in ("flags", "error") if name in alone}


def answer_to(app: App, event: object) -> dict[str, Any]:
    """What ``on_event`` returns, or ``{"error"}`` where the caller is to blame; anything else is raised."""
    try:
        answer: dict[str, Any] = app.module.on_event(event, None)
    except (InvalidRequest, FlagNotFound) as error:
        return {"error": str(error)}
    return answer
