"""What a cold function imports to answer an evaluation: every module costs each cold start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stores.conftest import over_store
from tests.support.app import App, Environment
from tests.support.data import PROJECT, example_data
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.packages import Library

NOT_FOR_EVALUATIONS = frozenset(
    {
        "argparse",
        "asyncio",
        "boto3",
        "botocore",
        "certifi",
        "chalicelib.api.explorer",
        "chalicelib.api.fronts",
        "chalicelib.flag_file",
        "chalicelib.read.big_segments",
        "chalicelib.read.explanation",
        "chalicelib.stores.dynamodb.memberships",
        "chalicelib.stores.redis.memberships",
        "_hashlib",
        "concurrent",
        "dataclasses",
        "email",
        "hmac",
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
        "socket",
        "ssl",
        "urllib3",
        "uuid",
        "yaml",
    }
)
"""These modules, and everything in them."""

WAITING = ["hashlib", "ipaddress", "ldclient", "ldclient.impl.util", "pyrfc3339", "semver"]
"""Entered, and not run: launchdarkly/sdk.py. That requests are signed, and answers tagged, makes none of them run."""

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
    "a page": """json.loads(app.app({
    "requestContext": {"httpMethod": "GET", "resourcePath": "/sdk/evalx/{environment_id}/contexts/{context}"},
    "headers": {}, "pathParameters": {"environment_id": "5f1a", "context": "eyJrZXkiOiAiYW5uYSJ9"},
    "multiValueQueryStringParameters": None, "stageVariables": None, "isBase64Encoded": False, "body": None,
}, None)["body"])["new-checkout"]""",
    "a request through a function URL": """json.loads(app.app({
    "version": "2.0", "routeKey": "$default", "rawPath": "/evaluate/new-checkout", "rawQueryString": "",
    "headers": {"content-type": "application/json"}, "isBase64Encoded": False, "body": json.dumps({"key": "anna"}),
    "requestContext": {
        "domainName": "abc.lambda-url.us-east-1.on.aws", "http": {"method": "POST", "path": "/evaluate/new-checkout"}
    },
}, None)["body"])""",
    "a function of one's own": """{
    "value": __import__("chalicelib.flags").flags.variation("new-checkout", {"key": "anna"}, default=False)
}""",
}


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
    environment |= {"LAUNCHDARKLY_CLIENT_SIDE_ID": "5f1a"}

    # A page sees all flags, so all are decoded, and one of them compares versions.
    for_versions = {"argparse", "inspect", "semver", "semver.version"} if call is CALLS["a page"] else set()

    answer, modules, waiting = _in_a_fresh_process(EVALUATION.replace("{call}", call), environment)

    assert answer["value"] is True
    its_own = ["chalicelib.api.fronts"] if '"2.0"' in call else []
    assert [name for name in modules if not _prefixes(name).isdisjoint(NOT_FOR_EVALUATIONS - for_versions)] == its_own
    assert waiting == [name for name in WAITING if name not in for_versions]


ANNOTATIONS_AS_TEXT = """
import app, chalicelib.api.invocations, json, sys, typing
modules = [module for name, module in sys.modules.items() if name.startswith("chalicelib")]
parts = [part for module in modules for part in vars(module).values()]
tuples = [part for part in parts if isinstance(part, type) and issubclass(part, tuple) and "_fields" in vars(part)]
print(json.dumps([
    len(tuples),
    sorted({each.__name__ for each in tuples if typing.ForwardRef in map(type, each.__annotations__.values())}),
]))
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="annotations are evaluated when somebody asks for them")
def test_no_annotation_of_a_named_tuple_is_compiled_by_a_cold_start(environment: Environment) -> None:
    on_lambda = {"AWS_LAMBDA_FUNCTION_NAME": "serverless-flags-production", "_HANDLER": "app.on_event"}
    count, with_text = _in_a_fresh_process(ANNOTATIONS_AS_TEXT, {**environment, **on_lambda})
    assert count > 15
    assert with_text == ["ClientEvaluator"]  # whose client only direct mode imports


def test_a_cold_function_that_records_events_imports_next_to_nothing_for_them(
    app: App, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(**example_data())
    app.webhook()
    program = EVALUATION.replace("{call}", CALLS["an event"])

    _, without, _ = _in_a_fresh_process(program, environment)
    _, imported, waiting = _in_a_fresh_process(program, {**environment, "EVENTS": "full"})
    _, leaving, _ = _in_a_fresh_process(program, {**environment, "EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0"})

    assert set(imported) - set(without) == {
        "chalicelib.events",
        "chalicelib.events.batches",
        "chalicelib.events.recorder",
    }
    assert waiting == WAITING
    assert [name for name in without if name.startswith("chalicelib.events")] == []
    loaded = {name for name in leaving if not _prefixes(name).isdisjoint(NOT_FOR_EVALUATIONS)}
    assert loaded <= {"email", "email.utils", "ldclient.config", "random"}  # entered, and not run


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
    if "DYNAMODB_TABLE" in environment:  # TLS takes round trips, which the rest of the reader can be imported in
        assert in_order.index("chalicelib.stores.wire") < in_order.index("chalicelib.data_set")


PLAIN = """
import json, sys
from handler import handle
answer = handle({"customer": "anna"}, None)
waiting = [name for name, module in sorted(sys.modules.items()) if type(module).__name__ == "_Waiting"]
print(json.dumps([answer, sorted(sys.modules), waiting]))
"""


def test_a_plain_handler_with_the_layer_imports_nothing_that_only_others_need(
    app: App, environment: Environment, launchdarkly: FakeLaunchDarkly, library: Library
) -> None:
    launchdarkly.replace(**example_data())
    app.webhook()
    path = os.pathsep.join(map(str, [PROJECT / "examples" / "plain_function", library.unpacked_layer / "python"]))
    on_lambda = {"AWS_LAMBDA_FUNCTION_NAME": "orders", "PYTHONPATH": path}

    answer, modules, waiting = _in_a_fresh_process(
        PLAIN, {**environment, **on_lambda}, "-S", cwd=library.unpacked_layer
    )

    assert answer == {"checkout": "new"}
    ours_alone = {"app", "chalice", "chalicelib", "serverless_flags.api", "serverless_flags.refresh"}
    unwanted = NOT_FOR_EVALUATIONS | ours_alone
    assert [name for name in modules if not _prefixes(name).isdisjoint(unwanted)] == []
    assert waiting == WAITING


def _prefixes(name: str) -> set[str]:
    """The module's own name, and those of the packages that it is in."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def _in_a_fresh_process(program: str, environment: Environment, *options: str, cwd: Path = PROJECT) -> Any:
    """What it prints last, as JSON."""
    variables = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment}
    ran = subprocess.run(
        [sys.executable, *options, "-c", program], cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
