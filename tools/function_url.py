"""The function URL of a stage: a front door without API Gateway, which costs nothing but the function's own time.

`python -m tools.function_url production --front url` creates it, `--front api` deletes it. Without either, one that is
there follows the stage's ``EVALUATE_AUTH``. The REST API is there in any case: LaunchDarkly's webhook comes through it,
because a function URL that checks signatures checks those of all routes. Lambda deletes the URL with its function.

Needs lambda:GetFunctionUrlConfig, CreateFunctionUrlConfig, UpdateFunctionUrlConfig, DeleteFunctionUrlConfig,
GetPolicy, AddPermission and RemovePermission on the API's function.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import boto3

from chalicelib.config import is_behind_iam
from tools.command_line import run
from tools.stages import Stage, StageError

FRONTS = ("api", "url")

_PUBLIC: dict[str, dict[str, Any]] = {
    "function-url-public": {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
    "function-url-public-invoke": {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
}
"""What lets everybody through to the app, which asks for a token itself. Lambda wants both, since October 2025:
https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="function_url", description="Create or delete the function URL of a stage.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    parser.add_argument("--front", choices=FRONTS, help="url: with a function URL; api: without; else as it is")
    options = parser.parse_args(arguments)

    def change() -> None:
        said = set_front(Stage(options.stage), options.front)
        if said:
            print(said)

    return run(change)


def set_front(stage: Stage, front: str | None) -> str:
    """What there is to say of it; nothing where there is no URL. Raises StageError before the first deploy."""
    client = boto3.client("lambda")
    function = stage.function_name("api_handler")
    url = _url(client, function)
    if front == "api" or (front is None and url is None):
        if url is not None:
            client.delete_function_url_config(FunctionName=function)
            _close(client, function)
            return f"The function URL {url} is deleted."
        return ""
    auth = "AWS_IAM" if is_behind_iam(stage.environment()) else "NONE"
    if auth == "AWS_IAM":
        _close(client, function)  # before the type changes: what is open must not outlive the token
    change = client.create_function_url_config if url is None else client.update_function_url_config
    url = change(FunctionName=function, AuthType=auth)["FunctionUrl"]
    if auth == "NONE":
        _open(client, function)
    return _what_to_call(url, auth)


def _url(client: Any, function: str) -> str | None:
    """(``Any``: boto3 declares no types.)"""
    try:
        client.get_function_configuration(FunctionName=function)
    except client.exceptions.ResourceNotFoundException:
        raise StageError(f"The function {function} is not deployed here.") from None
    try:
        return str(client.get_function_url_config(FunctionName=function)["FunctionUrl"])
    except client.exceptions.ResourceNotFoundException:
        return None


def _open(client: Any, function: str) -> None:
    for statement, allowed in _PUBLIC.items():
        if statement not in _statements(client, function):
            client.add_permission(FunctionName=function, StatementId=statement, Principal="*", **allowed)


def _close(client: Any, function: str) -> None:
    for statement in _PUBLIC.keys() & _statements(client, function):
        client.remove_permission(FunctionName=function, StatementId=statement)


def _statements(client: Any, function: str) -> set[str]:
    """The identifiers of those in the function's policy."""
    try:
        policy = json.loads(client.get_policy(FunctionName=function)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        return set()
    return {each["Sid"] for each in policy["Statement"]}


def _what_to_call(url: str, auth: str) -> str:
    if auth == "NONE":
        return f"Evaluations are at {url} as well, with the same tokens; the webhook stays at API Gateway."
    return (
        f"Evaluations are at {url} as well, for whoever signs for the service 'lambda' and may do "
        "lambda:InvokeFunctionUrl and lambda:InvokeFunction on the function; the webhook stays at API Gateway."
    )


if __name__ == "__main__":
    sys.exit(main())
