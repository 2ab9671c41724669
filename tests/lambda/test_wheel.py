"""The wheel in a virtual environment of its own, with what it needs and nothing of this project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from chalicelib import VERSION
from chalicelib.refresh.refresher import Refresher
from tests.support.data import boolean_flag
from tests.support.dynamodb import DynamoDb
from tests.support.packages import Library
from tests.support.stores import data_set, open_store

PROGRAM = """
import importlib.metadata, importlib.util, json
from serverless_flags import VERSION, flags
from serverless_flags.testing import override
value = flags.variation("new-checkout", flags.Context.create("anna"), default=False)
with flags.one_revision() as client:
    pinned = client.variation("new-checkout", flags.Context.create("anna"), False)
with override(new_checkout=False):
    overridden = flags.variation("new-checkout", {"key": "anna"}, default=True)
print(json.dumps({
    "values": [value, pinned, overridden],
    "versions": [VERSION, importlib.metadata.version("serverless-flags")],
    "also here": [name for name in ("chalicelib", "chalice", "boto3", "redis") if importlib.util.find_spec(name)],
}))
"""


@pytest.fixture(scope="module")
def python(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel was installed. Its dependencies are those of the layer."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(library.wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    ours = shutil.ignore_patterns("serverless_flags*")
    shutil.copytree(library.unpacked_layer / "python", packages, dirs_exist_ok=True, ignore=ours)
    return python


@pytest.fixture(params=["redis", "dynamodb"])
def store_variables(
    request: pytest.FixtureRequest, redis_url: str, dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    if request.param == "redis":
        return {"REDIS_URL": redis_url}
    for name, value in dynamodb.environment.items():  # where the writer looks
        monkeypatch.setenv(name, value)
    return {"DYNAMODB_TABLE": dynamodb.create_table(), **dynamodb.environment}


def test_the_wheel_reads_flags_in_an_environment_of_its_own(python: Path, store_variables: dict[str, str]) -> None:
    data = data_set([boolean_flag("new-checkout")])
    Refresher(open_store(store_variables).writer, lambda _: data, "launchdarkly").reconcile(force=True)
    assert _run(python, store_variables) == {
        "values": [True, True, False],
        "versions": [VERSION, VERSION],
        "also here": [],
    }


def _run(python: Path, variables: dict[str, str]) -> Any:
    environment = {"PATH": os.environ["PATH"], **variables}
    ran = subprocess.run(
        [python, "-c", PROGRAM], cwd=python.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
