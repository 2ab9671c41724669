"""The real parts that the tests share: a Valkey server, a fake LaunchDarkly, and the app itself."""

from __future__ import annotations

import functools
import os
import socketserver
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
import redis
from hypothesis import settings

from chalicelib.timing import Timing
from tests.support.app import OURS, QUICK, App, Environment, LoadApp, import_app_in, open_environment
from tests.support.aws import Aws
from tests.support.browser import MISSING, find_chromium, running_browser
from tests.support.data import example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.fronts import REST
from tests.support.measured import Measured
from tests.support.valkey import ValkeyServer, running_valkey

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# No test is about how long it takes. CI makes up the same cases each time; whoever runs the tests, new ones.
settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)  # without xdist
def pytest_xdist_auto_num_workers() -> int:
    """Of `make test`. More than there are cores, because the tests also wait: for servers, locks and time-outs."""
    return min(6, 2 + (os.cpu_count() or 1))


def pytest_configure(config: pytest.Config) -> None:
    forget_the_shell()
    coverage = config.pluginmanager.get_plugin("_cov")
    if coverage and coverage.cov_controller:  # it has none with --no-cov
        config.pluginmanager.register(Measured(coverage))


def forget_the_shell() -> None:
    """A profile of AWS's, a store or a proxy of whoever runs the tests is not for what they start on this machine."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    no_proxy = ",".join(filter(None, (os.environ.get("no_proxy"), "127.0.0.1", "localhost")))
    os.environ.update(no_proxy=no_proxy, NO_PROXY=no_proxy)


def pytest_report_header() -> list[str]:
    return [] if find_chromium() else [MISSING]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders whose tests take long come first, so that no process is left alone with them in the end."""
    first = ("lambda", "stores", "refresh")
    items.sort(key=lambda item: first.index(folder) if (folder := item.path.parent.name) in first else len(first))


@pytest.fixture(scope="session", autouse=True)
def untraced_servers() -> Iterator[None]:
    """Servers that a test starts run nothing of the app, and coverage makes each of their threads half as fast."""
    serve = socketserver.ThreadingMixIn.process_request_thread

    def serve_untraced(server: Any, request: Any, address: Any) -> None:
        sys.settrace(None)  # of this thread alone, which ends with the request
        serve(server, request, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socketserver.ThreadingMixIn, "process_request_thread", serve_untraced)
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_aws_models() -> Iterator[None]:
    """One loader of boto3's service models for all sessions: each would parse the same files for 0.1 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        yield


@pytest.fixture(autouse=True)
def own_aws_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's default session keeps the environment in which it was made: that of another test."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    """A client of a real, empty Valkey server."""
    with valkey_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_url(valkey: redis.Redis, valkey_server: ValkeyServer) -> str:
    """Where that server listens."""
    return valkey_server.url


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    """A Valkey server that this test may stop, pause or reconfigure."""
    with running_valkey() as server:
        yield server


@pytest.fixture
def own_client(own_valkey: ValkeyServer) -> Iterator[redis.Redis]:
    with own_valkey.client() as client:
        yield client


@pytest.fixture
def launchdarkly() -> Iterator[FakeLaunchDarkly]:
    fake = FakeLaunchDarkly()
    yield fake
    fake.close()


@pytest.fixture
def environment(redis_url: str, launchdarkly: FakeLaunchDarkly) -> Environment:
    """Daemon mode over Valkey and the fake LaunchDarkly, open for the tests."""
    return open_environment(redis_url, launchdarkly.uri)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An empty AWS account, which boto3 finds by the environment in this process."""
    with Aws() as account:
        for name, value in account.environment.items():
            monkeypatch.setenv(name, value)
        yield account


@pytest.fixture
def front() -> str:
    """The door through which ``App.client.http`` comes; in `http/`, some tests go through each of FRONTS."""
    return REST


@pytest.fixture
def load_app(monkeypatch: pytest.MonkeyPatch, front: str) -> LoadApp:
    """Imports ``app.py`` anew, so that nothing is left of another test, with exactly this environment."""

    def load(environment: Environment, timing: Timing = QUICK) -> App:
        return import_app_in(monkeypatch, environment, timing, front)

    return load


@pytest.fixture
def app(load_app: LoadApp, environment: Environment) -> App:
    """The app in daemon mode; its store is empty and LaunchDarkly has no flags."""
    return load_app(environment)


@pytest.fixture
def example_app(app: App, launchdarkly: FakeLaunchDarkly) -> App:
    """The app in daemon mode over a store that a refresh has filled with the example flags."""
    launchdarkly.replace(**example_data())
    app.invoke("reconcile", {})
    return app


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; ``watched_page`` opens a tab in it. A module has one, and pays for it."""
    with running_browser() as browser:
        yield browser
