"""A store belongs to the LaunchDarkly environment that has filled it; nothing of another one gets in by mistake."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.errors import OtherEnvironment
from tests.stores.conftest import over_store
from tests.support.app import App, Environment, LoadApp
from tests.support.data import ANNA, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly

PRODUCTION, TEST = "proj/shop:env/production", "proj/shop:env/test"
REFUSAL = (
    f"The store holds the flags of {PRODUCTION}, and this app refreshes {TEST}; nothing was written. Give each "
    'environment a store or a STORE_PREFIX of its own, or invoke reconcile with {"force": true} to replace what the '
    "store holds."
)


@pytest.fixture(params=["redis", "dynamodb"])
def shared(request: pytest.FixtureRequest, environment: Environment) -> Environment:
    """Everything that two stages have in common."""
    store: Environment = request.getfixturevalue(f"{request.param}_environment")
    return over_store(environment, store)


def stage_of(load_app: LoadApp, shared: Environment, named: str | None, **others: str) -> App:
    """The app of a stage; only the last one that was loaded can be asked."""
    return load_app({**shared, **({} if named is None else {"LAUNCHDARKLY_ENVIRONMENT": named}), **others})


def named_in_the_store(app: App) -> Any:
    return app.module.wiring.reader.read_sync_record().environment


@pytest.fixture
def filled(load_app: LoadApp, shared: Environment, launchdarkly: FakeLaunchDarkly) -> Environment:
    """By the stage of production; then LaunchDarkly is that of another environment."""
    launchdarkly.replace(by_key(boolean_flag("of-production", 7)))
    production = stage_of(load_app, shared, PRODUCTION)
    production.invoke("reconcile", {})
    assert named_in_the_store(production) == PRODUCTION
    launchdarkly.replace(by_key(boolean_flag("of-test", 2)))
    return shared


def test_a_refresh_for_another_environment_is_refused_and_writes_nothing(
    load_app: LoadApp, filled: Environment
) -> None:
    app = stage_of(load_app, filled, TEST)
    before = app.module.wiring.reader.read_sync_record()
    answer = app.post("/webhook", {"kind": "flag", "accesses": [{"resource": f"{TEST}:flag/of-test"}]})
    assert (answer.status_code, answer.json_body) == (503, {"Code": "ServiceUnavailableError", "Message": REFUSAL})
    with pytest.raises(OtherEnvironment) as refusal:
        app.invoke("reconcile", {})
    assert str(refusal.value) == REFUSAL
    assert app.module.wiring.reader.read_sync_record() == before
    assert list(app.evaluate(ANNA)) == ["of-production"]


def test_who_is_forced_hands_the_store_over(load_app: LoadApp, filled: Environment) -> None:
    app = stage_of(load_app, filled, TEST)
    assert app.invoke("reconcile", {"force": True})["status"] == "refreshed"
    assert list(app.evaluate(ANNA)) == ["of-test"]
    assert named_in_the_store(app) == TEST
    assert app.invoke("reconcile", {})["changed"] is False
    with pytest.raises(OtherEnvironment, match=f"holds the flags of {TEST}, and this app refreshes {PRODUCTION}"):
        stage_of(load_app, filled, PRODUCTION).invoke("reconcile", {})


def test_another_prefix_is_another_store(load_app: LoadApp, filled: Environment) -> None:
    app = stage_of(load_app, filled, TEST, STORE_PREFIX="test")
    assert app.invoke("reconcile", {})["status"] == "refreshed"
    assert list(app.evaluate(ANNA)) == ["of-test"]


def test_without_the_setting_nothing_is_named_and_nothing_refused(load_app: LoadApp, filled: Environment) -> None:
    app = stage_of(load_app, filled, None)
    assert app.invoke("reconcile", {})["status"] == "refreshed"
    assert named_in_the_store(app) is None


def test_a_store_without_a_name_takes_that_of_the_next_refresh(
    load_app: LoadApp, shared: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    stage_of(load_app, shared, None).invoke("reconcile", {})
    app = stage_of(load_app, shared, TEST)
    refreshed = app.invoke("reconcile", {})
    assert (refreshed["status"], refreshed["changed"], named_in_the_store(app)) == ("refreshed", False, TEST)
