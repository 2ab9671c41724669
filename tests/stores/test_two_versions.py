"""Two versions of the app over one store at the same time, as during a rollout, and after a downgrade."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.stores.conftest import over_store
from tests.support.app import App, Environment, LoadApp
from tests.support.app_process import AppProcess, earlier_app
from tests.support.data import ANNA, boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.webhooks import flag_entry

ENVIRONMENT = {"LAUNCHDARKLY_ENVIRONMENT": "proj/default:env/production"}


@pytest.fixture(params=["redis", "dynamodb"])
def shared(request: pytest.FixtureRequest, environment: Environment) -> Environment:
    store: Environment = request.getfixturevalue(f"{request.param}_environment")
    return {**over_store(environment, store), **ENVIRONMENT}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the earlier version, which Python compiles once."""
    return earlier_app(tmp_path_factory.mktemp("earlier"))


@pytest.fixture
def earlier(shared: Environment, folder: Path) -> Iterator[AppProcess]:
    with AppProcess({"HOME": os.environ["HOME"], **shared}, folder) as process:
        yield process


@pytest.fixture
def later(load_app: LoadApp, shared: Environment) -> App:
    """This version, with what only it leaves in the store."""
    return load_app({**shared, "EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0"})


def announce(app: App | AppProcess, version: int) -> dict[str, Any]:
    """What a webhook about this version is answered with."""
    answer: Any = app.post("/webhook", flag_entry("shiny", version, environment="production"))
    status, body = (
        (answer.status_code, answer.json_body) if isinstance(app, App) else (answer["status"], answer["body"])
    )
    assert status == 200, body
    return dict(body)


def evaluated_alike(earlier: AppProcess, later: App, version: int) -> str:
    """Both see this version of the flag, of the same revision; that."""
    theirs, ours = earlier.post("/evaluate", ANNA), later.post("/evaluate", ANNA)
    assert (theirs["status"], theirs["body"]) == (ours.status_code, ours.json_body)
    assert theirs["body"]["shiny"]["version"] == version
    revisions: set[str] = {theirs["headers"]["X-Flags-Revision"], ours.headers["X-Flags-Revision"]}
    assert len(revisions) == 1
    return revisions.pop()


def test_each_version_reads_at_once_what_the_other_has_written(
    earlier: AppProcess, later: App, launchdarkly: FakeLaunchDarkly
) -> None:
    # Two blocks and, because zlib cannot shorten it, two parts in DynamoDB.
    text = base64.b64encode(random.Random(1).randbytes(600_000)).decode()
    large = [boolean_flag(f"large-{n}", 1, description=text[n * 200_000 : (n + 1) * 200_000]) for n in range(4)]
    launchdarkly.replace(by_key(boolean_flag("shiny", 1), *large), by_key(segment("beta", 1)))
    first = earlier.invoke("reconcile", {})
    assert (first["flags"], first["segments"]) == (5, 1)
    assert evaluated_alike(earlier, later, 1) == first["revision"]
    writers: list[App | AppProcess] = [later, earlier, earlier, later, earlier]
    for version, writer in enumerate(writers, start=2):
        launchdarkly.put_flag(boolean_flag("shiny", version))
        refreshed = announce(writer, version)
        assert (refreshed["confirmed"], refreshed["held_back"]) == (True, 0)
        assert evaluated_alike(earlier, later, version) == refreshed["revision"]
    for app in writers[:2]:
        again = app.invoke("reconcile", {})
        assert (again["changed"], again["revision"]) == (False, refreshed["revision"])


def test_webhooks_to_both_at_once_end_with_the_last_version(
    earlier: AppProcess, later: App, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    earlier.invoke("reconcile", {})
    with ThreadPoolExecutor(1) as thread:
        for version in (2, 3):
            launchdarkly.put_flag(boolean_flag("shiny", version))
            theirs = thread.submit(announce, earlier, version)
            ours = announce(later, version)
            assert {ours["status"], theirs.result()["status"]} <= {"refreshed", "coalesced"}
            evaluated_alike(earlier, later, version)


def test_the_name_of_the_environment_comes_back_when_a_downgrade_is_over(
    earlier: AppProcess, later: App, launchdarkly: FakeLaunchDarkly
) -> None:
    def named() -> str | None:
        record = later.module.wiring.reader.read_sync_record()
        return record.environment if record is not None else None

    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    later.invoke("reconcile", {})
    assert named() == ENVIRONMENT["LAUNCHDARKLY_ENVIRONMENT"]
    earlier.invoke("reconcile", {})
    assert named() is None
    assert later.invoke("reconcile", {})["changed"] is False
    assert named() == ENVIRONMENT["LAUNCHDARKLY_ENVIRONMENT"]
