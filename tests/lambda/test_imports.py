"""What a cold function imports to answer an evaluation: every module costs each cold start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.app import App, Environment
from tests.support.data import PROJECT, example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly

NOT_FOR_EVALUATIONS = ("asyncio", "boto3", "botocore", "certifi", "redis", "yaml", "ldclient.integrations")

EVALUATION = """
import json, sys
from types import SimpleNamespace
import app
answer = {call}
print(json.dumps([answer, sorted(sys.modules), [type(sys.modules[name]).__name__ for name in ("asyncio", "certifi")]]))
"""

CALLS = {
    "an event": 'app.on_event({"context": {"kind": "user", "key": "anna"}, "flag": "new-checkout"}, None)["flag"]',
    "a request": """json.loads(app.app({
    "requestContext": {"httpMethod": "POST", "resourcePath": "/evaluate/{flag_key}", "identity": {}},
    "headers": {"Content-Type": "application/json"}, "pathParameters": {"flag_key": "new-checkout"},
    "multiValueQueryStringParameters": None, "stageVariables": None, "isBase64Encoded": False,
    "body": json.dumps({"key": "anna"}),
}, None)["body"])""",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_evaluation_imports_nothing_that_only_others_need(
    call: str, app: App, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(**example_data())
    app.webhook()

    answer, modules, stand_ins = _in_a_fresh_process(EVALUATION.replace("{call}", call), environment)

    assert answer["value"] is True
    imported = [name for name in modules if name.startswith(NOT_FOR_EVALUATIONS)]
    assert imported == ["asyncio", "certifi"], "these two, as stand-ins, and nothing else"
    assert stand_ins == ["_StandIn", "_StandIn"]


def test_a_deferred_module_is_there_for_whoever_uses_it() -> None:
    program = """
from chalicelib.runtime.deferred import defer_imports
defer_imports()
import asyncio, json, sys
from asyncio import run
import asyncio.events
async def answer():
    return 42
print(json.dumps([run(answer()), asyncio.run(answer()), type(sys.modules["asyncio"]).__name__]))
"""
    assert _in_a_fresh_process(program, {}) == [42, 42, "module"]


def _in_a_fresh_process(program: str, environment: Environment) -> Any:
    """What it prints last, as JSON."""
    variables = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, env=variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
