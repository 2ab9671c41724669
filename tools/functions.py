"""The functions that Chalice would deploy: what app.py has, whoever has added it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.policies import Needed
from tools.stages import FUNCTIONS, StageError

_SQS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
_MESSAGES = "websocket_message"
_STREAM = ("GetRecords", "GetShardIterator", "DescribeStream")


@dataclass(frozen=True)
class Function:
    """A function by Chalice's name for it, and what its role needs for Lambda to read its event source.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html (-kinesis.html, -ddb.html)
    """

    name: str
    source: tuple[Needed, ...] = ()

    @property
    def is_ours(self) -> bool:
        return self.name in FUNCTIONS


def functions_of(folder: Path) -> tuple[Function, ...]:
    """Those of the project in ``folder``, its own first. Raises StageError when app.py cannot be imported."""
    app = _imported(folder / "app.py").app
    found = {each.name: each for each in _functions(app)}
    ours = [found.pop(name) for name in FUNCTIONS if name in found]
    return (*ours, *found.values())


def _functions(app: Any) -> Iterator[Function]:
    """(``Any``: Chalice declares no types.)"""
    if app.routes:
        yield Function("api_handler")
    for each in (*app.pure_lambda_functions, *app.builtin_auth_handlers):
        yield Function(each.name)
    for route in app.websocket_handlers:
        yield Function({"$connect": "websocket_connect", "$disconnect": "websocket_disconnect"}.get(route, _MESSAGES))
    for source in app.event_sources:
        yield Function(source.name, tuple(_needed_for(source)))


def _needed_for(source: Any) -> Iterator[Needed]:
    """Without it, Lambda refuses to connect the function to its source, in the middle of a deployment."""
    if queue := getattr(source, "queue_arn", None) or getattr(source, "queue", None):
        yield Needed(_SQS, queue.rpartition(":")[2])
    elif stream := getattr(source, "stream", None):
        yield Needed(tuple(f"kinesis:{name}" for name in _STREAM), f"stream/{stream}")
    elif arn := getattr(source, "stream_arn", None):
        yield Needed(tuple(f"dynamodb:{name}" for name in _STREAM), arn.split(":", 5)[5])


def _imported(path: Path) -> Any:
    """The module, as the Chalice CLI imports it. Only what it imports stays in ``sys.modules``."""
    spec = importlib.util.spec_from_file_location("app", path)
    assert spec is not None  # it ends with .py
    assert spec.loader is not None
    before = sys.modules.get("app")
    sys.modules["app"] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise StageError(f"app.py cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        del sys.modules["app"]
        if before is not None:
            sys.modules["app"] = before
    return module
