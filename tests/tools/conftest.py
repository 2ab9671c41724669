"""A project folder with a configuration of its own, as the tools see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.project import copy_project
from tools.stages import Stage

Configure = Callable[..., Stage]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Makes the stage ``production`` of a copy of the project's configuration, with other variables (None: without)."""

    def stage(**variables: object) -> Stage:
        copy_project(tmp_path)
        path = tmp_path / ".chalice" / "config.json"
        config = json.loads(path.read_text())
        environment = config["stages"]["production"]["environment_variables"]
        environment.update({"EVALUATE_TOKEN_SHA256": "0" * 64, **variables})
        for name in [name for name, value in environment.items() if value is None]:
            del environment[name]
        path.write_text(json.dumps(config))
        return Stage("production", tmp_path)

    return stage
