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
print(json.dumps([answer, sorted(sys.modules)]))
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

    answer, modules = _in_a_fresh_process(EVALUATION.replace("{call}", call), environment)

    assert answer["value"] is True
    imported = [name for name in modules if name.startswith(NOT_FOR_EVALUATIONS)]
    assert imported == []


STATEMENTS = (
    "from asyncio.queues import QueueEmpty as found; import asyncio; expected = asyncio.QueueEmpty",
    "import asyncio.queues; import asyncio; found = asyncio.queues.QueueEmpty; expected = asyncio.QueueEmpty",
    "import asyncio as found; import importlib; expected = importlib.import_module('asyncio')",
    "from asyncio import run as found; import asyncio.runners; expected = asyncio.runners.run",
    "import certifi.core; import certifi; found = certifi.core.where; expected = certifi.where",
    "import sys, asyncio; found = sys.modules['asyncio']; expected = asyncio",
    "import importlib.util; found = importlib.util.find_spec('asyncio').name; expected = 'asyncio'",
)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_that_imports_were_deferred_is_invisible_to_everybody_else(statement: str) -> None:
    program = f"import app, json\n{statement}\nprint(json.dumps(found is expected or found == expected))"
    assert _in_a_fresh_process(program, {}) is True


def test_the_sdk_gets_the_real_module_when_it_uses_one() -> None:
    program = """
import json, sys
from chalicelib.runtime.deferred import defer_imports
with defer_imports():
    import asyncio, certifi
    stand_in = asyncio
    deferred = [name for name in ("asyncio.events", "certifi.core") if name in sys.modules]
left = [name for name in ("asyncio", "certifi") if name in sys.modules]
async def answer():
    return 42
result = stand_in.run(answer())
import asyncio
print(json.dumps([deferred, left, result, stand_in.QueueEmpty is asyncio.QueueEmpty, asyncio is not stand_in]))
"""
    assert _in_a_fresh_process(program, {}) == [[], [], 42, True, True]


def test_a_module_that_is_used_while_the_sdk_is_imported_stays() -> None:
    program = """
import json, sys
from chalicelib.runtime.deferred import defer_imports
with defer_imports():
    from asyncio import run
import asyncio
print(json.dumps([asyncio.run is run, type(sys.modules["asyncio"]).__name__]))
"""
    assert _in_a_fresh_process(program, {}) == [True, "module"]


def test_the_first_line_of_the_log_does_not_import_what_was_deferred() -> None:
    """From Python 3.12 on, logging looks for asyncio among the imported modules to name the task."""
    program = """
import app, json, logging, sys
logging.getLogger("chalicelib").error("something")
print(json.dumps("asyncio" in sys.modules))
"""
    assert _in_a_fresh_process(program, {}) is False


def _in_a_fresh_process(program: str, environment: Environment) -> Any:
    """What it prints last, as JSON."""
    variables = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, env=variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
