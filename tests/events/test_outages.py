"""The store goes away while functions have events for it."""

from __future__ import annotations

from contextlib import closing

from chalicelib import flags
from chalicelib.events.batches import Batch, unpack
from chalicelib.timing import Timing
from tests.support.app import App, Environment, LoadApp
from tests.support.data import ANNA
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.judged_events import FLAGS, told
from tests.support.network import Mode, Proxy
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually


def evaluate(app: App) -> bool:
    """Whether the answer was stale."""
    answer = app.post("/evaluate/counted", ANNA)
    assert answer.status_code == 200
    return "X-Flags-Stale" in answer.headers


def test_a_store_that_hangs_is_waited_for_once_and_not_for_events(
    load_app: LoadApp, environment: Environment, own_valkey: ValkeyServer, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(FLAGS)
    with closing(Proxy(own_valkey.port)) as proxy:
        settings = {"EVENTS": "summary", "EVENTS_FLUSH_SECONDS": "0", "FLAGS_MAX_AGE_SECONDS": "0"}
        app = load_app({**environment, "REDIS_URL": proxy.url, **settings}, Timing())
        app.invoke("reconcile", {})
        for ask in (lambda: flags.variation("counted", ANNA, default=None), lambda: status(app)):
            assert flags.variation("counted", ANNA, default=None) is True
            connections = proxy.connections
            proxy.mode = Mode.SILENT
            assert ask() is True
            assert proxy.connections == connections + 1  # that which the question about the flags has tried
            proxy.mode = Mode.FORWARD
            proxy.reset_connections()
            eventually(lambda: not evaluate(app))


def test_custom_events_go_on_after_an_outage_although_nobody_asks_for_flags(
    load_app: LoadApp, environment: Environment, own_valkey: ValkeyServer, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(FLAGS)
    with closing(Proxy(own_valkey.port)) as proxy:
        app = load_app({**environment, "REDIS_URL": proxy.url, "EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0"})
        app.invoke("reconcile", {})
        assert not evaluate(app)
        proxy.mode = Mode.RESET
        proxy.reset_connections()
        assert evaluate(app)
        proxy.mode = Mode.FORWARD
        wiring = app.module.wiring

        def is_left() -> bool:
            assert app.post("/track", {"context": ANNA, "event": "purchase"}).status_code == 202
            return "custom" in [event["kind"] for each in queued(app) for event in unpack(each).events]

        assert not is_left(), "the store has just failed"
        wiring.snapshots._retry_at = wiring.recorder._retry_at = 0
        eventually(is_left)


def queued(app: App) -> list[Batch]:
    batches: list[Batch] = app.module.wiring._event_queue.read_oldest(1000, 10**9)
    return batches


def status(app: App) -> bool:
    """Whether it says that the store is away, and nothing of what it holds of events."""
    report = app.client.http.get("/status").json_body
    return report["store"]["state"] == "INTERRUPTED" and report["events"] is None


def test_an_outage_costs_no_event(
    load_app: LoadApp, environment: Environment, own_valkey: ValkeyServer, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(FLAGS)
    with closing(Proxy(own_valkey.port)) as proxy:
        settings = {"EVENTS": "summary", "EVENTS_FLUSH_SECONDS": "0"}
        app = load_app({**environment, "REDIS_URL": proxy.url, **settings}, Timing())
        app.invoke("reconcile", {})
        evaluations = 0
        for mode in (Mode.SILENT, Mode.RESET):
            assert not evaluate(app)
            proxy.mode = mode
            proxy.reset_connections()
            assert evaluate(app)
            assert evaluate(app)
            proxy.mode = Mode.FORWARD
            proxy.reset_connections()
            evaluations += 3

            def is_back() -> bool:
                nonlocal evaluations
                evaluations += 1
                return not evaluate(app)

            eventually(is_back)
        app.module.wiring.recorder._retry_at = 0
        evaluate(app)
    load_app({**environment, "REDIS_URL": own_valkey.url, "EVENTS": "summary"}).invoke("deliver_events", {})
    assert list(told(launchdarkly).counters.values()) == [evaluations + 1]
