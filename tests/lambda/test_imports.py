"""What a cold function imports to answer an evaluation: every module costs each cold start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.stores.conftest import over_store
from tests.support.app import App, Environment
from tests.support.data import PROJECT, example_data
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly

NOT_FOR_EVALUATIONS = frozenset(
    {
        "argparse",
        "asyncio",
        "boto3",
        "botocore",
        "certifi",
        "chalicelib.read.big_segments",
        "chalicelib.stores.dynamodb.memberships",
        "chalicelib.stores.redis.memberships",
        "concurrent",
        "dataclasses",
        "email",
        "http",
        "importlib.metadata",
        "inspect",
        "random",
        "ld_eventsource",
        "ldclient.client",
        "ldclient.config",
        "ldclient.impl.http",
        "ldclient.integrations",
        "ldclient.interfaces",
        "redis",
        "semver.version",
        "ssl",
        "urllib3",
        "uuid",
        "yaml",
    }
)
"""These modules, and everything in them."""

WAITING = ["ldclient", "ldclient.impl.util", "pyrfc3339", "semver"]
"""Entered, and not run: launchdarkly/sdk.py."""

EVALUATION = """
import json, logging, sys
logging.basicConfig(level=logging.INFO)  # the line of a request is part of what a cold function does
import app
answer = {call}
waiting = [name for name, module in sorted(sys.modules.items()) if type(module).__name__ == "_Waiting"]
print(json.dumps([answer, sorted(sys.modules), waiting]))
"""

CALLS = {
    "an event": 'app.on_event({"context": {"kind": "user", "key": "anna"}, "flag": "new-checkout"}, None)["flag"]',
    "a request": """json.loads(app.app({
    "requestContext": {"httpMethod": "POST", "resourcePath": "/evaluate/{flag_key}", "identity": {}},
    "headers": {"Content-Type": "application/json"}, "pathParameters": {"flag_key": "new-checkout"},
    "multiValueQueryStringParameters": None, "stageVariables": None, "isBase64Encoded": False,
    "body": json.dumps({"key": "anna"}),
}, None)["body"])""",
    "a function of one's own": """{
    "value": __import__("chalicelib.flags").flags.variation("new-checkout", {"key": "anna"}, default=False)
}""",
}


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with closing(DynamoDb()) as dynamodb:
        yield dynamodb


@pytest.fixture(params=["redis", "dynamodb"])
def environment(
    request: pytest.FixtureRequest,
    environment: Environment,
    dynamodb: DynamoDb,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Environment:
    """Each test runs over both stores."""
    if request.param == "redis":
        return environment
    monkeypatch.setenv("HOME", str(tmp_path))  # where nobody has configured AWS
    for name, value in dynamodb.environment.items():
        monkeypatch.setenv(name, value)
    return over_store(environment, {"DYNAMODB_TABLE": dynamodb.create_table(), **dynamodb.environment})


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_evaluation_imports_nothing_that_only_others_need(
    call: str, app: App, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(**example_data())
    app.webhook()

    answer, modules, waiting = _in_a_fresh_process(EVALUATION.replace("{call}", call), environment)

    assert answer["value"] is True
    assert [name for name in modules if not _prefixes(name).isdisjoint(NOT_FOR_EVALUATIONS)] == []
    assert waiting == WAITING


def test_on_lambda_the_store_is_asked_before_what_evaluates_is_imported(
    app: App, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(**example_data())
    app.webhook()
    on_lambda = {"AWS_LAMBDA_FUNCTION_NAME": "serverless-flags-production", "_HANDLER": "app.on_event"}
    program = "import app, json, sys; print(json.dumps(['snapshots' in vars(app.wiring), list(sys.modules)]))"

    has_read, in_order = _in_a_fresh_process(program, {**environment, **on_lambda})

    asked, *later = map(in_order.index, ["chalicelib.stores.ahead", "chalice.app", "ldclient.impl.evaluator"])
    assert has_read
    assert asked < min(later)


def _prefixes(name: str) -> set[str]:
    """The module's own name, and those of the packages that it is in."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def _in_a_fresh_process(program: str, environment: Environment, folder: Path = PROJECT) -> Any:
    """What it prints last, as JSON."""
    variables = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


ELSEWHERE = """
import json, sys
from serverless_flags import flags
from serverless_flags.testing import override
value = flags.variation("new-checkout", {"key": "anna"}, default=None)
with flags.one_revision() as client:
    pinned = client.variation("new-checkout", flags.Context.create("anna"), None)
with override(new_checkout="overridden"):
    overridden = flags.variation("new-checkout", {"key": "anna"}, default="")
print(json.dumps([[value, pinned, overridden], sorted(sys.modules)]))
"""


def test_the_same_folder_serves_under_another_name_without_chalice(
    app: App, environment: Environment, launchdarkly: FakeLaunchDarkly, tmp_path: Path
) -> None:
    launchdarkly.replace(**example_data())
    app.webhook()
    shutil.copytree(PROJECT / "chalicelib", tmp_path / "serverless_flags")

    values, modules = _in_a_fresh_process(ELSEWHERE, environment, tmp_path)

    assert values == [True, True, "overridden"]
    assert {name.partition(".")[0] for name in modules} & {"app", "chalice", "chalicelib"} == set()
