"""Whatever Valkey does: the answer says what happened, and the store is as before the refresh or as after it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from redis.client import Pipeline

from chalicelib.stores.redis.writer import RedisWriter
from chalicelib.timing import Timing
from tests.refresh.conftest import content
from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.network import Proxy
from tests.support.valkey import ValkeyServer, running_valkey
from tests.support.waiting import eventually
from tests.support.webhooks import flag_entry

DATA = {"flags": by_key(boolean_flag("shiny", 3)), "segments": by_key(segment("beta", 3, "anna"))}
OUT_OF_MEMORY = "The flag store is out of memory (OOM command not allowed)."
READ_ONLY = "The flag store is a read-only replica; REDIS_URL must name the primary."
STALL_SECONDS = Timing().redis_command_seconds + Timing().first_exchange_seconds + 0.2
"""redis-py spends the time of one command on UNWATCH; then it takes longer than an evaluation waits for its answer."""

REFUSED = f"The flag store cannot be reached ({os.strerror(errno.ECONNREFUSED)})."
BROKEN = f"The flag store cannot be reached ({os.strerror(errno.ECONNRESET)})."


@pytest.fixture
def app_over(load_app: LoadApp, environment: Environment) -> Callable[..., App]:
    """An app whose store is at this URL, with another ``timing``, if given."""
    return lambda url, **timing: load_app({**environment, "REDIS_URL": url}, **timing)


@pytest.fixture
def filled_app(app_over: Callable[..., App], own_valkey: ValkeyServer, launchdarkly: FakeLaunchDarkly) -> App:
    """An app over ``own_valkey``, which holds DATA; LaunchDarkly is one version ahead."""
    launchdarkly.replace(**DATA)
    app = app_over(own_valkey.url)
    app.webhook()
    launchdarkly.put_flag(boolean_flag("shiny", 4))
    return app


def assert_refused(answer: Any, message: str, log: pytest.LogCaptureFixture) -> None:
    assert answer.status_code == 503
    assert answer.json_body == {"Code": "ServiceUnavailableError", "Message": message}
    assert answer.headers["Retry-After"]
    assert f"StoreUnavailable: {message}" in log.messages
    for private in ("anna@example.com", "sdk-key", "hunter2", '"salt"'):
        assert private not in log.text


@contextmanager
def a_webhook_that_fetches(app: App, launchdarkly: FakeLaunchDarkly) -> Iterator[Callable[[], Any]]:
    """A webhook whose fetch lasts until the context has done its mischief; then its answer can be had."""
    fetches = launchdarkly.stream_count
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(app.post, "/webhook", flag_entry("shiny", 5))
        eventually(lambda: launchdarkly.stream_count > fetches)

        def finish() -> Any:
            launchdarkly.put_flag(boolean_flag("shiny", 5))
            return answer.result()

        yield finish


def test_valkey_is_down_before(
    filled_app: App, own_valkey: ValkeyServer, launchdarkly: FakeLaunchDarkly, log: pytest.LogCaptureFixture
) -> None:
    own_valkey.kill()
    fetches = launchdarkly.stream_count
    assert_refused(filled_app.post("/webhook", flag_entry("shiny", 4)), REFUSED, log)
    assert launchdarkly.stream_count == fetches


def test_valkey_dies_during_the_fetch_and_comes_back_as_it_was(
    app_over: Callable[..., App], launchdarkly: FakeLaunchDarkly, log: pytest.LogCaptureFixture
) -> None:
    launchdarkly.replace(**DATA)
    durable = {"appendonly": "yes", "appendfsync": "always"}
    with running_valkey(**durable) as server, server.client() as client:
        app = app_over(server.url)
        app.webhook()
        before = content(client)
        with a_webhook_that_fetches(app, launchdarkly) as finish:
            server.kill()
            assert_refused(finish(), REFUSED, log)
        server.start()
        assert content(client) == before
        client.delete("launchdarkly:$lock")  # of the refresh that failed is in the file, too: as its end would
        assert app.webhook(**flag_entry("shiny", 5))["confirmed"] is True


def test_valkey_is_paused(
    app_over: Callable[..., App],
    filled_app: App,
    own_valkey: ValkeyServer,
    own_client: redis.Redis,
    log: pytest.LogCaptureFixture,
) -> None:
    before = content(own_client)
    own_valkey.freeze()
    answer = app_over(own_valkey.url, timing=Timing()).post("/webhook", flag_entry("shiny", 4))
    own_valkey.thaw()
    assert_refused(answer, "The flag store did not answer in time.", log)
    assert content(own_client) == before


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_the_connection_breaks_during_the_write(
    app_over: Callable[..., App],
    launchdarkly: FakeLaunchDarkly,
    valkey: redis.Redis,
    redis_url: str,
    log: pytest.LogCaptureFixture,
    share: float,
) -> None:
    launchdarkly.replace(**DATA)
    proxy = Proxy(int(redis_url.rpartition(":")[2]))
    app = app_over(proxy.url)
    app.webhook()
    before = content(valkey)
    launchdarkly.put_flag(boolean_flag("shiny", 4))

    proxy.on_write = lambda write: write[: int(len(write) * share)]
    assert_refused(app.post("/webhook", flag_entry("shiny", 4)), BROKEN, log)
    assert content(valkey) == before

    proxy.on_write = None
    assert app.webhook(**flag_entry("shiny", 4))["changed"] is True
    proxy.close()


def test_a_write_whose_reply_is_lost_was_a_write(
    app_over: Callable[..., App], launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, redis_url: str
) -> None:
    launchdarkly.replace(**DATA)
    proxy = Proxy(int(redis_url.rpartition(":")[2]))
    app = app_over(proxy.url)

    proxy.on_write = lambda write: write
    answer = app.webhook()
    assert json.loads(content(valkey)["$sync"])["revision"] == answer["revision"]
    proxy.close()


def test_a_write_whose_reply_is_lost_was_a_write_also_when_valkey_then_stalls_for_a_second(
    app_over: Callable[..., App], launchdarkly: FakeLaunchDarkly, valkey: redis.Redis, redis_url: str
) -> None:
    """Whether it was carried out is asked with the patience of a refresh, not with that of an evaluation."""
    launchdarkly.replace(**DATA)
    proxy = Proxy(int(redis_url.rpartition(":")[2]))
    proxy.after_write = lambda: valkey.client_pause(int(STALL_SECONDS * 1000))
    app = app_over(proxy.url, timing=Timing(settle_seconds=0.05))

    proxy.on_write = lambda write: write
    answer = app.webhook()
    assert json.loads(content(valkey)["$sync"])["revision"] == answer["revision"]
    proxy.close()


def test_a_read_only_replica(
    app_over: Callable[..., App],
    filled_app: App,
    own_valkey: ValkeyServer,
    own_client: redis.Redis,
    log: pytest.LogCaptureFixture,
) -> None:
    with running_valkey(replicaof=f"127.0.0.1 {own_valkey.port}") as replica, replica.client() as client:
        eventually(lambda: content(client) == content(own_client))
        before = content(client)
        answer = app_over(replica.url).post("/webhook", flag_entry("shiny", 4))
        assert_refused(answer, READ_ONLY, log)
        assert content(client) == before


def test_a_failover_to_a_read_only_replica_during_the_fetch(
    filled_app: App, launchdarkly: FakeLaunchDarkly, own_client: redis.Redis, log: pytest.LogCaptureFixture
) -> None:
    before = content(own_client)
    with a_webhook_that_fetches(filled_app, launchdarkly) as finish:
        own_client.replicaof("127.0.0.1", "1")
        assert_refused(finish(), READ_ONLY, log)
    assert content(own_client) == before


def test_too_few_replicas(filled_app: App, own_client: redis.Redis, log: pytest.LogCaptureFixture) -> None:
    own_client.config_set("min-replicas-to-write", "1")
    before = content(own_client)
    answer = filled_app.post("/webhook", flag_entry("shiny", 4))
    assert_refused(answer, "The flag store refused a command: NOREPLICAS Not enough good replicas to write.", log)
    assert content(own_client) == before


def test_out_of_memory(filled_app: App, own_client: redis.Redis, log: pytest.LogCaptureFixture) -> None:
    before = content(own_client)
    own_client.config_set("maxmemory", "1")
    assert_refused(filled_app.post("/webhook", flag_entry("shiny", 4)), OUT_OF_MEMORY, log)
    assert content(own_client) == before
    own_client.config_set("maxmemory", "0")
    assert filled_app.webhook(**flag_entry("shiny", 4))["confirmed"] is True


def test_out_of_memory_at_the_write(
    filled_app: App, launchdarkly: FakeLaunchDarkly, own_client: redis.Redis, log: pytest.LogCaptureFixture
) -> None:
    before = content(own_client)
    with a_webhook_that_fetches(filled_app, launchdarkly) as finish:
        own_client.config_set("maxmemory", "1")
        assert_refused(finish(), OUT_OF_MEMORY, log)
    assert content(own_client) == before


def test_a_wrong_password(
    app_over: Callable[..., App], own_valkey: ValkeyServer, own_client: redis.Redis, log: pytest.LogCaptureFixture
) -> None:
    own_client.config_set("requirepass", "correct")
    message = "The flag store refused the user name or password in REDIS_URL."
    for userinfo in (":hunter2@", "nobody:hunter2@", ""):
        answer = app_over(f"redis://{userinfo}127.0.0.1:{own_valkey.port}").post("/webhook", flag_entry("shiny", 4))
        assert_refused(answer, message, log)
    assert own_client.dbsize() == 0
    own_client.config_set("requirepass", "")


def test_a_user_who_may_not_write(
    app_over: Callable[..., App], own_valkey: ValkeyServer, own_client: redis.Redis, log: pytest.LogCaptureFixture
) -> None:
    own_client.execute_command("ACL", "SETUSER", "reader", "on", ">hunter2", "~*", "+@read", "+multi", "+exec")
    answer = app_over(f"redis://reader:hunter2@127.0.0.1:{own_valkey.port}").post("/webhook", flag_entry("shiny", 4))
    assert answer.status_code == 503
    assert "no permissions" in answer.json_body["Message"]
    assert own_client.dbsize() == 0


def test_connections_that_died_while_the_function_was_frozen_are_replaced(
    filled_app: App, own_client: redis.Redis
) -> None:
    own_client.client_kill_filter(_type="normal", skipme=True)
    assert filled_app.webhook(**flag_entry("shiny", 4))["confirmed"] is True


def test_the_lock_of_a_dead_instance_only_delays(
    filled_app: App, own_client: redis.Redis, launchdarkly: FakeLaunchDarkly
) -> None:
    own_client.set("launchdarkly:$lock", "dead", px=1500)
    fetches = launchdarkly.stream_count
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(filled_app.webhook, **flag_entry("shiny", 4))
        count = launchdarkly.stream_count
        while own_client.get("launchdarkly:$lock") == "dead":
            assert count == fetches
            count = launchdarkly.stream_count  # before the lock is looked at: it may end at any moment
        assert answer.result()["confirmed"] is True
    assert own_client.get("launchdarkly:$lock") is None


class SlowToUnlock(RedisWriter):
    """Finds its lock held, and is stopped until ``meanwhile`` has run."""

    def __init__(self, url: str, meanwhile: Callable[[], None]) -> None:
        super().__init__(url, "launchdarkly", Timing())
        self._meanwhile = meanwhile

    def _watch_lock(self, pipeline: Pipeline, owner: str) -> bool:
        is_held = super()._watch_lock(pipeline, owner)
        self._meanwhile()
        return is_held


def test_a_lock_that_is_lost_while_it_is_freed_is_left_to_its_new_owner(redis_url: str) -> None:
    """The refresh has written by then: an error would deny it."""
    other = RedisWriter(redis_url, "launchdarkly", Timing())

    def take_over() -> None:
        other.unlock("slow")
        assert other.try_lock("quick", 10)

    slow = SlowToUnlock(redis_url, take_over)
    assert slow.try_lock("slow", 10)
    slow.unlock("slow")
    assert not other.try_lock("third", 10)
