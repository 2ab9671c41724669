"""The functions of a deployed stage, invoked with the caller's own rights: lambda:InvokeFunction, and no token."""

from __future__ import annotations

import json
from typing import Any

import boto3
from botocore.config import Config

from tools.stages import StageError

Json = dict[str, Any]

_LONGER_THAN_A_FUNCTION_SECONDS = 90


def invoke(function_name: str, event: Json) -> Json:
    """What the function returns. Raises StageError with its own message when it raises."""
    config = Config(read_timeout=_LONGER_THAN_A_FUNCTION_SECONDS, retries={"total_max_attempts": 1})
    client = boto3.client("lambda", config=config)
    answer = client.invoke(FunctionName=function_name, Payload=json.dumps(event).encode())
    payload: Json = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise StageError(f"{function_name} failed: {payload.get('errorMessage')}")
    return payload


def get_from_api(function_name: str, path: str) -> tuple[int, Json]:
    """The status and the body of a GET request, as API Gateway would bring it to the API's function."""
    request = {"httpMethod": "GET", "resourcePath": path, "identity": {"sourceIp": "127.0.0.1"}}
    event = {
        "resource": path,
        "path": path,
        "httpMethod": "GET",
        "headers": {},
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": request,
        "body": None,
        "isBase64Encoded": False,
    }
    answer = invoke(function_name, event)
    return int(answer["statusCode"]), json.loads(answer["body"])
