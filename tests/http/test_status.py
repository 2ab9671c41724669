"""`GET /status`, honest in every state."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib import VERSION
from chalicelib.timing import Timing
from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

FLAGS = by_key(boolean_flag("shiny"), boolean_flag("matt"))
SEGMENTS = by_key(segment("testers"))
USER = {"kind": "user", "key": "anna"}


def status(app: App) -> tuple[int, Any]:
    answer = app.client.http.get("/status")
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("Retry-After" in answer.headers) is (answer.status_code == 503)
    return answer.status_code, answer.json_body


def report(condition: str, state: str = "VALID", data: object = None) -> dict[str, Any]:
    store = {"kind": "redis", "state": state}
    return {"status": condition, "mode": "daemon", "store": store, "data": data, "version": VERSION}


def data(revision: object, synced_at: object, age_seconds: object, **others: object) -> dict[str, object]:
    counts = {"flags": 2, "segments": 1, "source": "launchdarkly", "leftOut": 0, "unreadable": 0}
    return {"revision": revision, "syncedAt": synced_at, "ageSeconds": age_seconds, **counts, **others}


@pytest.fixture
def own_app(
    load_app: LoadApp, environment: Environment, own_valkey: ValkeyServer, launchdarkly: FakeLaunchDarkly
) -> App:
    launchdarkly.replace(FLAGS, SEGMENTS)
    return load_app({**environment, "REDIS_URL": own_valkey.url})


def test_a_fresh_data_set_is_healthy(own_app: App) -> None:
    refreshed = own_app.invoke("reconcile", {})
    code, body = status(own_app)
    age = body["data"]["ageSeconds"]
    assert 0 <= age < 60
    evaluated = own_app.post("/evaluate", USER)
    assert (code, body) == (
        200,
        report("healthy", data=data(refreshed["revision"], evaluated.headers["X-Flags-Synced-At"], age)),
    )


@pytest.mark.parametrize(
    ("age", "condition"), [(890, "healthy"), (910, "stale"), (86_400, "stale"), (-30, "healthy"), (-86_400, "stale")]
)
def test_what_nothing_has_refreshed_for_three_intervals_is_stale(
    own_app: App, own_valkey: ValkeyServer, age: int, condition: str
) -> None:
    own_app.invoke("reconcile", {})
    with own_valkey.client() as store:
        record = json.loads(store.get("launchdarkly:$sync") or "")
        store.set("launchdarkly:$sync", json.dumps({**record, "synced_at": int((time.time() - age) * 1000)}))
    code, body = status(own_app)
    assert (code, body["status"], body["store"]["state"]) == (200, condition, "VALID")
    assert max(age, 0) <= body["data"]["ageSeconds"] < max(age, 0) + 10
    assert own_app.post("/evaluate", USER).status_code == 200


def test_three_intervals_are_those_of_the_schedule(own_app: App) -> None:
    (schedule,) = [each for each in own_app.module.app.event_sources if each.name == "reconcile"]
    assert schedule.schedule_expression.to_string() == "rate(5 minutes)"


def test_a_store_that_was_never_filled_is_empty(own_app: App) -> None:
    assert status(own_app) == (503, report("empty"))
    assert own_app.post("/evaluate", USER).status_code == 503


def test_without_the_store_and_without_a_snapshot_it_is_unavailable(own_app: App, own_valkey: ValkeyServer) -> None:
    own_valkey.kill()
    assert status(own_app) == (503, report("unavailable", "INTERRUPTED"))
    assert own_app.post("/evaluate", USER).status_code == 503


def test_without_the_store_a_snapshot_is_stale_until_the_store_is_back(own_app: App, own_valkey: ValkeyServer) -> None:
    own_app.invoke("reconcile", {})
    _, healthy = status(own_app)
    own_valkey.kill()
    code, body = status(own_app)
    body["data"]["ageSeconds"] = healthy["data"]["ageSeconds"]
    assert (code, body) == (200, report("stale", "INTERRUPTED", healthy["data"]))
    assert own_app.post("/evaluate", USER).headers["X-Flags-Stale"] == "true"

    own_valkey.start()  # empty, which erases no snapshot
    eventually(lambda: own_app.client.http.get("/status").json_body["status"] == "stale")
    own_app.invoke("reconcile", {})
    eventually(lambda: own_app.client.http.get("/status").json_body["status"] == "healthy")


def test_what_another_writer_filled_is_healthy_and_of_unknown_age(own_app: App, own_valkey: ValkeyServer) -> None:
    with own_valkey.client() as store:
        store.hset("launchdarkly:features", mapping={key: json.dumps(flag) for key, flag in FLAGS.items()})
        store.hset("launchdarkly:segments", mapping={key: json.dumps(each) for key, each in SEGMENTS.items()})
        store.set("launchdarkly:$inited", "")
    revision = own_app.post("/evaluate", USER).headers["X-Flags-Revision"]
    assert status(own_app) == (200, report("healthy", data=data(revision, None, None, source=None, leftOut=None)))


def test_unreadable_items_are_counted_once_they_are_found(own_app: App, own_valkey: ValkeyServer) -> None:
    own_app.invoke("reconcile", {})
    with own_valkey.client() as store:
        store.hset("launchdarkly:features", "shiny", "{broken")
        store.delete("launchdarkly:$snapshot")
    assert own_app.post("/evaluate/shiny", USER).json_body["value"] is None
    code, body = status(own_app)
    assert (code, body["status"], body["data"]["unreadable"]) == (200, "healthy", 1)


def test_items_that_the_store_could_not_hold_are_counted(own_app: App, own_valkey: ValkeyServer) -> None:
    own_app.invoke("reconcile", {})
    with own_valkey.client() as store:
        record = json.loads(store.get("launchdarkly:$sync") or "")
        store.set("launchdarkly:$sync", json.dumps({**record, "left_out": 3}))
    code, body = status(own_app)
    assert (code, body["status"], body["data"]["leftOut"]) == (200, "healthy", 3)


def test_a_status_costs_one_small_read_and_decodes_nothing(own_app: App, own_valkey: ValkeyServer) -> None:
    own_app.invoke("reconcile", {})
    status(own_app)
    with own_valkey.client() as store, store.monitor() as monitor:
        status(own_app)
        store.echo("done")
        commands = []
        for each in monitor.listen():
            if "done" in each["command"]:
                break
            commands.append(each["command"])
    commands = [each for each in commands if "launchdarkly" in each]
    assert commands == ["GET launchdarkly:$sync"]
    assert own_app.module.wiring.snapshots.current().feature_store._decoded == {"features": {}, "segments": {}}


SERVER, BROWSER, MOBILE = "server-token", "browser-token", "mobile-token"
TOKENS = {
    "EVALUATE_TOKEN_SHA256": hashlib.sha256(SERVER.encode()).hexdigest(),
    "EVALUATE_CLIENT_TOKEN_SHA256": hashlib.sha256(BROWSER.encode()).hexdigest(),
    "EVALUATE_MOBILE_TOKEN_SHA256": hashlib.sha256(MOBILE.encode()).hexdigest(),
}


@pytest.mark.parametrize("auth", ["token", "none", "iam"])
@pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")
def test_a_closed_status_tells_only_a_server_side_token_what_it_knows(
    load_app: LoadApp, environment: Environment, auth: str
) -> None:
    app = load_app({**environment, **TOKENS, "STATUS_AUTH": "token", "EVALUATE_AUTH": auth})
    assert status_for(app) == (503, {"status": "unavailable"})
    assert status_for(app, SERVER)[1]["status"] == "empty"
    app.invoke("reconcile", {})
    for token in (None, BROWSER, MOBILE):
        assert status_for(app, token) == (200, {"status": "healthy"})
    assert status_for(app, SERVER)[1]["data"]["flags"] == 0
    assert status_for(app, "wrong") == (
        401,
        {"Code": "UnauthorizedError", "Message": "The token is not accepted."},
    )


def test_a_closed_status_does_not_tell_that_it_is_stale(load_app: LoadApp, environment: Environment) -> None:
    """For how long nothing has refreshed the store is a time of change."""
    app = load_app({**environment, **TOKENS, "STATUS_AUTH": "token"})
    app.invoke("reconcile", {})
    app.module.time = SimpleNamespace(time=lambda: time.time() + 10_000)
    assert status_for(app, SERVER)[1]["status"] == "stale"
    assert status_for(app) == (200, {"status": "healthy"})


def status_for(app: App, token: str | None = None) -> tuple[int, Any]:
    answer = app.client.http.get("/status", headers={} if token is None else {"X-API-Key": token})
    return answer.status_code, answer.json_body


# Direct mode.


@pytest.fixture
def direct_app(load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly) -> Iterator[App]:
    launchdarkly.replace(FLAGS, SEGMENTS)
    app = load_app({**environment, "REDIS_URL": "", "EVALUATION_MODE": "direct"})
    yield app
    app.module.wiring.direct_flags.client.close()


def direct_report(condition: str, state: str, **others: object) -> dict[str, Any]:
    return {
        "status": condition,
        "mode": "direct",
        "store": None,
        "dataSource": {"state": state},
        "data": None if condition == "unavailable" else data(None, None, None, leftOut=None, **others),
        "version": VERSION,
    }


def test_direct_mode_is_healthy_while_it_follows_launchdarkly(direct_app: App) -> None:
    assert status(direct_app) == (200, direct_report("healthy", "VALID"))


def test_direct_mode_is_stale_when_the_stream_breaks_and_answers_all_the_same(
    direct_app: App, launchdarkly: FakeLaunchDarkly
) -> None:
    status(direct_app)
    launchdarkly.fault = Fault.UNAVAILABLE
    launchdarkly.drop_streams()
    eventually(lambda: direct_app.client.http.get("/status").json_body["dataSource"]["state"] != "VALID")
    assert status(direct_app) == (200, direct_report("stale", "INTERRUPTED"))
    assert set(direct_app.evaluate(USER)) == set(FLAGS)


def test_direct_mode_is_unavailable_before_the_first_data_set(direct_app: App, launchdarkly: FakeLaunchDarkly) -> None:
    direct_app.module.wiring.timing = Timing(direct_start_seconds=0.1)
    launchdarkly.fault = Fault.SILENT
    assert status(direct_app) == (503, direct_report("unavailable", "INITIALIZING"))
    assert direct_app.post("/evaluate", USER).status_code == 503


def test_direct_mode_names_a_flag_file_as_its_source(load_app: LoadApp, tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_text(json.dumps({"flags": FLAGS, "segments": SEGMENTS}))
    app = load_app({"EVALUATION_MODE": "direct", "LAUNCHDARKLY_FLAG_FILE": str(file)})
    try:
        assert status(app) == (200, direct_report("healthy", "VALID", source="file"))
    finally:
        app.module.wiring.direct_flags.client.close()
