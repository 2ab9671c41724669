"""What is asked of AWS by whoever deploys: the calls that moto serves, but for those of the functions themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto.core.responses import BaseResponse

_CALLED_OTHERWISE = {"lambda:Invoke": "lambda:InvokeFunction"}
"""AWS's names of actions are those of the calls, with this exception; API Gateway's are HTTP's methods.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

_OF_LAMBDA = "sts:AssumeRole"
"""How Lambda has the credentials that it gives to a function, in the emulation with those of the tests."""


@contextmanager
def recorded_calls() -> Iterator[set[str]]:
    """The actions that a policy would have to allow, such as ``lambda:CreateFunction``, while the block runs."""
    actions: set[str] = set()
    call_action = BaseResponse.call_action

    def call(response: Any) -> Any:
        """(``Any``: moto declares no types for its requests.)"""
        if "Credential=testing/" in response.headers.get("Authorization", ""):
            actions.add(_action(response))
        actions.discard(_OF_LAMBDA)
        return call_action(response)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseResponse, "call_action", call)
        yield actions


def _action(response: Any) -> str:
    if response.service_name == "apigateway":
        return f"apigateway:{response.method}"
    name = f"{response.service_name.removeprefix('aws')}:{response._get_action()}"
    return _CALLED_OTHERWISE.get(name, name)
