"""The fixture ``override_flags``, and the app called without a store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chalice.test import Client

pytest_plugins = ["chalicelib.testing"]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Calls the app. Who may call a route is a setting; nothing connects to the store that is named here.

    ``test`` is no stage of .chalice/config.json: Chalice would set the variables of one.
    """
    monkeypatch.setenv("REDIS_URL", "redis://nowhere")
    monkeypatch.setenv("EVALUATE_AUTH", "none")
    from app import app

    with Client(app, stage_name="test") as client:
        yield client
