"""The list of variables in chalicelib.config is the list of those that it reads."""

from __future__ import annotations

import ast
import inspect
import re

from chalicelib import config

_SECRETS = {"LAUNCHDARKLY_SDK_KEY", "LAUNCHDARKLY_WEBHOOK_SECRET"}


def test_every_variable_that_is_read_is_listed_and_none_besides() -> None:
    functions = [node for node in ast.parse(inspect.getsource(config)).body if isinstance(node, ast.FunctionDef)]
    words = {word.value for function in functions for word in ast.walk(function) if isinstance(word, ast.Constant)}
    read = {word for word in words if isinstance(word, str) and re.fullmatch(r"[A-Z]+(_[A-Z0-9]+)+", word)}
    read -= {name for name in read if name.startswith("AWS_LAMBDA_")}  # Lambda's, and about the function
    assert read | {f"{name}_PARAMETER" for name in _SECRETS} == config.VARIABLES
