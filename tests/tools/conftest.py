"""A project folder with a configuration of its own, as the tools see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import copy_project
from tools.stages import FUNCTIONS, Stage

Configure = Callable[..., Stage]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Makes the stage ``production`` of a copy of the project's configuration, with other variables (None: without)."""

    def stage(**variables: object) -> Stage:
        copy_project(tmp_path, [".chalice"])
        path = tmp_path / ".chalice" / "config.json"
        config = json.loads(path.read_text())
        _leave_out_what_users_added(tmp_path, config)
        environment = config["stages"]["production"]["environment_variables"]
        environment.update({"EVALUATE_TOKEN_SHA256": "0" * 64, **variables})
        for name in [name for name, value in environment.items() if value is None]:
            del environment[name]
        path.write_text(json.dumps(config))
        return Stage("production", tmp_path)

    return stage


def _leave_out_what_users_added(folder: Path, config: dict[str, Any]) -> None:
    """Functions of theirs; a test that needs some adds its own."""
    for scope in (config, config["stages"]["production"]):
        scope["lambda_functions"] = {
            name: each for name, each in scope["lambda_functions"].items() if name in FUNCTIONS
        }
    (folder / "app.py").write_text(APP)


APP = """
from chalice.app import Chalice, Rate

app = Chalice(app_name="serverless-flags")


@app.route("/")
def root():
    pass


@app.lambda_function(name="on_event")
def on_event(event, lambda_context):
    pass


@app.schedule(Rate(1, unit=Rate.MINUTES), name="deliver_events")
def deliver_events(event):
    pass


@app.schedule(Rate(5, unit=Rate.MINUTES), name="reconcile")
def reconcile(event):
    pass
"""
"""An app with the functions of this one."""
