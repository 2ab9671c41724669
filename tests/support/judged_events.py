"""The same evaluations by the app and by an SDK client that sends events itself, and what LaunchDarkly then has."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.context import Context

from tests.support.app import App
from tests.support.data import Json, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly

PRIVATE = "nobody-may-know-this"
"""The value of every private attribute."""

NEVER, LONG_AGO = 4_000_000_000_000, 1_000_000_000_000

CONTEXTS: dict[str, Json] = {
    "plain": {"kind": "user", "key": "anna", "name": "Anna", "country": "DE"},
    "private": {
        "kind": "user",
        "key": "ben",
        "email": PRIVATE,
        "address": {"street": PRIVATE, "city": "Köln"},
        "_meta": {"privateAttributes": ["email", "/address/street"]},
    },
    "anonymous": {"kind": "user", "key": "nobody", "anonymous": True, "country": "FR"},
    "multi": {
        "kind": "multi",
        "user": {"key": "anna", "country": "DE"},
        "device": {"key": "d1", "serial": PRIVATE, "_meta": {"privateAttributes": ["serial"]}},
    },
}

EXPERIMENT = {
    "kind": "experiment",
    "contextKind": "user",
    "seed": 61,
    "variations": [
        {"variation": 0, "weight": 50_000},
        {"variation": 1, "weight": 40_000},
        {"variation": 1, "weight": 10_000, "untracked": True},
    ],
}

FLAGS: dict[str, Json] = by_key(
    boolean_flag("counted", 3, clientSide=True),
    boolean_flag("off", 2, on=False),
    boolean_flag("tracked", 4, trackEvents=True),
    boolean_flag("debugged", 5, debugEventsUntilDate=NEVER),
    boolean_flag("debugged-once", 5, debugEventsUntilDate=LONG_AGO),
    boolean_flag("base", 6, trackEvents=True),
    boolean_flag("dependent", 7, prerequisites=[{"key": "base", "variation": 0}], trackEvents=True),
    boolean_flag("experiment", 8, fallthrough={"rollout": EXPERIMENT}),
    boolean_flag("fallthrough-tracked", 9, trackEventsFallthrough=True),
    boolean_flag(
        "rule-tracked",
        10,
        rules=[
            {
                "id": "r",
                "variation": 1,
                "trackEvents": True,
                "clauses": [{"attribute": "country", "op": "in", "values": ["DE"], "contextKind": "user"}],
            }
        ],
    ),
    boolean_flag("uncounted", 11, excludeFromSummaries=True, trackEvents=True),
    boolean_flag("never-sampled", 12, samplingRatio=0, trackEvents=True),
    boolean_flag("broken", 13, fallthrough={"variation": 99}),
    boolean_flag("circular", 14, prerequisites=[{"key": "circular", "variation": 0}]),
)

KEYS = [*FLAGS, "missing"]


class Step(NamedTuple):
    """One request to the app: ``how`` it is made, for which context and flags."""

    how: str
    context: Json
    keys: tuple[str, ...] = ()


def steps() -> Iterator[Step]:
    """Every way to evaluate and to track, for every context."""
    for context in CONTEXTS.values():
        for key in KEYS:
            yield Step("one", context, (key,))
        yield Step("not modified", context, ("tracked",))
        yield Step("some", context, ("counted", "tracked", "missing"))
        yield Step("some not modified", context, ("counted", "tracked"))
        yield Step("some with reasons", context, ("experiment", "dependent"))
        yield Step("explained", context, ("dependent",))
        yield Step("ofrep", context, ("tracked",))
        yield Step("event", context, ("debugged",))
        yield Step("batch", context, ("counted", "off"))
        yield Step("all", context)
        yield Step("without a trace", context, ("tracked",))
        yield Step("track", context, ("purchase",))


def take(app: App, step: Step) -> None:
    """Ask the app."""
    key = step.keys[0] if step.keys else ""
    if step.how == "one":
        app.post(f"/evaluate/{key}", step.context)
    elif step.how in ("not modified", "some not modified"):
        path = f"/evaluate/{key}" if step.how == "not modified" else f"/evaluate?flags={','.join(step.keys)}"
        tag = app.post(path, step.context).headers["ETag"]
        assert app.post(path, step.context, {"If-None-Match": tag}).status_code == 304
    elif step.how in ("some", "some with reasons"):
        reasons = "&withReasons=true" if step.how == "some with reasons" else ""
        app.evaluate(step.context, f"?flags={','.join(step.keys)}{reasons}")
    elif step.how == "explained":
        assert "explanation" in app.post(f"/evaluate/{key}?explain=true", step.context).json_body
    elif step.how == "ofrep":
        assert app.post(f"/ofrep/v1/evaluate/flags/{key}", {"context": _for_ofrep(step.context)}).status_code == 200
    elif step.how == "event":
        app.invoke("on_event", {"context": step.context, "flag": key})
    elif step.how == "batch":
        app.invoke("on_event", {"contexts": [step.context, step.context], "flags": list(step.keys)})
    elif step.how == "all":
        app.evaluate(step.context)
        app.evaluate(step.context, "?clientSideOnly=true")
    elif step.how == "without a trace":
        assert app.post(f"/evaluate/{key}?events=false", step.context).status_code == 200
        app.evaluate(step.context, f"?flags={key}&events=false")
        app.invoke("on_event", {"context": step.context, "flag": key, "events": False})
    else:
        body = {"context": step.context, "event": key, "data": {"cart": [1, None]}, "metricValue": 12.5}
        answer = app.post("/track", body)
        assert (answer.status_code, answer.json_body) == (202, {"status": "accepted"})


def _for_ofrep(context: Json) -> Json:
    if context["kind"] == "multi":
        return context
    return {"targetingKey": context["key"], **{name: value for name, value in context.items() if name != "key"}}


def ask(client: LDClient, step: Step) -> None:
    """Ask the SDK for the same."""
    context = Context.from_dict(step.context)
    times = 2 if step.how in ("not modified", "some not modified", "batch") else 1
    if step.how in ("one", "not modified", "explained", "ofrep", "event", "some with reasons"):
        for key in step.keys * times:
            client.variation_detail(key, context, None)
    elif step.how in ("some", "some not modified", "batch"):
        for key in step.keys * times:
            client.variation(key, context, None)
    elif step.how == "all":
        client.all_flags_state(context)
    elif step.how == "track":
        client.track(step.keys[0], context, {"cart": [1, None]}, 12.5)


@contextmanager
def judging_client(launchdarkly: FakeLaunchDarkly, **config: Any) -> Iterator[LDClient]:
    """A client of LaunchDarkly's SDK, as a server has it; it sends all events when the block ends."""
    uris: dict[str, Any] = dict.fromkeys(("base_uri", "stream_uri", "events_uri"), launchdarkly.uri)
    with LDClient(Config("sdk-key", diagnostic_opt_out=True, flush_interval=1000, **uris, **config), 10) as client:
        assert client.is_initialized()
        yield client


class Told(NamedTuple):
    """What LaunchDarkly was told: ``counters``, by what they count; the other events; and what they were about."""

    counters: Counter[str]
    flags: dict[str, tuple[Any, tuple[str, ...]]]
    full: Counter[str]


def told(launchdarkly: FakeLaunchDarkly) -> Told:
    counters: Counter[str] = Counter()
    flags: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for summary in launchdarkly.events("summary"):
        assert summary["startDate"] <= summary["endDate"]
        assert abs(summary["endDate"] - time.time() * 1000) < 600_000
        for key, feature in summary["features"].items():
            kinds = set(flags.get(key, (None, ()))[1]) | set(feature["contextKinds"])
            flags[key] = feature["default"], tuple(sorted(kinds))
            for counter in feature["counters"]:
                what = {name: value for name, value in counter.items() if name != "count"}
                counters[json.dumps([key, what], sort_keys=True)] += counter["count"]
    full = [event for post in launchdarkly.accepted for event in post.events if event["kind"] != "summary"]
    return Told(counters, flags, Counter(map(_without_time, full)))


def _without_time(event: Json) -> str:
    assert abs(event["creationDate"] - time.time() * 1000) < 600_000
    return json.dumps({name: value for name, value in event.items() if name != "creationDate"}, sort_keys=True)
