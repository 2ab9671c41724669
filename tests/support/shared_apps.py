"""Apps that many tests ask and none changes: each is imported and filled once, which costs as much as ten requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

import chalicelib.wiring
from tests.support.app import App, Environment, import_app_in, open_environment
from tests.support.data import Json
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.fronts import REST
from tests.support.valkey import running_valkey


class SharedApps:
    """Each has settings and data of its own, which stay as they are: all of its tests may be run in any order."""

    def __init__(self, redis_url: str, stack: ExitStack) -> None:
        self.redis_url = redis_url
        self._stack = stack
        self._apps: dict[str, App] = {}

    def app(self, data: Json | None, front: str = REST, **variables: str) -> App:
        """The app with these settings, open for the tests where they do not say otherwise.

        A refresh has filled its store with ``data`` (``{"flags", "segments"}``); without data, nothing has.
        """
        named = json.dumps([data, variables])
        if named not in self._apps:
            self._apps[named] = self._filled(data, variables)
        return App(self._apps[named].module, front)

    def _filled(self, data: Json | None, variables: Environment) -> App:
        launchdarkly = self._stack.enter_context(closing(FakeLaunchDarkly()))
        environment = {
            **open_environment(self.redis_url, launchdarkly.uri),
            "STORE_PREFIX": f"shared-{len(self._apps)}",
            **variables,
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chalicelib.wiring, "wiring", None)  # what there was comes back, for the app of a test
            app = import_app_in(patch, environment)
            _ = app.module.wiring.settings  # they are read from this environment, and kept
            if data is not None:
                launchdarkly.replace(**data)
                answer = app.invoke("reconcile", {})
                assert (answer["flags"], answer["segments"]) == (len(data["flags"]), len(data.get("segments", {})))
        return app


@contextmanager
def shared_apps_over_valkey() -> Iterator[SharedApps]:
    with ExitStack() as stack:
        yield SharedApps(stack.enter_context(running_valkey()).url, stack)
