"""What API Gateway answers by itself, before or instead of the app: made readable for pages, and for every client.

A page can read no answer without CORS headers, so API Gateway's own 403, 413, 429 and 504 look to it as if the network
had failed. `make deploy` puts these responses beside what Chalice deploys, which knows nothing of them. For
`chalice package`, `python -m tools.gateway_responses production` prints a template for its `--merge-template`.

One response serves all routes, because API Gateway fills in variables and decides nothing: so it has the fields of both
shapes, the app's own and OFREP's.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from chalicelib.api.cors import cors_headers
from chalicelib.config import load_settings
from chalicelib.errors import ConfigurationError
from tools.stages import Stage, StageError

Json = dict[str, Any]


class _Error(NamedTuple):
    code: str
    message: str
    retry_after_seconds: int | None = None


_FORBIDDEN = _Error("ForbiddenError", "The request is not allowed: its signature is missing, wrong or too old.")
_ERRORS = {
    "ACCESS_DENIED": _FORBIDDEN,
    "EXPIRED_TOKEN": _FORBIDDEN,
    "INVALID_SIGNATURE": _FORBIDDEN,
    "MISSING_AUTHENTICATION_TOKEN": _Error(
        "ForbiddenError", "There is no such route with this method here, or the request has to be signed."
    ),
    "REQUEST_TOO_LARGE": _Error("RequestEntityTooLargeError", "The request is larger than API Gateway takes: 10 MB."),
    "THROTTLED": _Error("TooManyRequestsError", "There are too many requests at once; try again in a second.", 1),
    "INTEGRATION_FAILURE": _Error("GatewayTimeoutError", "The app could not be reached; try again.", 1),
    "INTEGRATION_TIMEOUT": _Error("GatewayTimeoutError", "The app took longer than API Gateway waits; try again.", 1),
}
"""By the type of response, which has a status of its own. Every other type has these:"""
_DEFAULTS = ("DEFAULT_4XX", "DEFAULT_5XX")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gateway_responses", description="Print a template for chalice package.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    try:
        responses = gateway_responses(origin_of(Stage(parser.parse_args(arguments).stage)))
    except (StageError, ConfigurationError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(merge_template(responses), indent=2))
    return 0


def gateway_responses(origin: str | None) -> dict[str, Json]:
    """By type: ``{"headers": {...}, "body": text}``, for pages of ``origin`` to read; None for no page."""
    return {
        **{kind: _response(origin, json.dumps(error.message), error) for kind, error in _ERRORS.items()},
        **{kind: _response(origin, "$context.error.messageString") for kind in _DEFAULTS},
    }


def _response(origin: str | None, message: str, error: _Error | None = None) -> Json:
    """``message`` is JSON already, or what API Gateway replaces by JSON."""
    headers = cors_headers(origin)
    if error is not None and error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    code = "$context.error.responseType" if error is None else error.code
    return {"headers": headers, "body": f'{{"Code":"{code}","Message":{message},"errorDetails":{message}}}'}


def put_gateway_responses(stage: Stage, api: str) -> None:
    """Deploy them for the stage, whose API has this ID: `chalice deploy` has removed those of before."""
    # Deployments are throttled to one in five seconds, and Chalice has just made one.
    client = boto3.client("apigateway", config=Config(retries={"mode": "standard", "total_max_attempts": 10}))
    for kind, response in gateway_responses(origin_of(stage)).items():
        headers = {f"gatewayresponse.header.{header}": f"'{value}'" for header, value in response["headers"].items()}
        client.put_gateway_response(
            restApiId=api,
            responseType=kind,
            responseParameters=headers,
            responseTemplates={"application/json": response["body"]},
        )
    client.create_deployment(restApiId=api, stageName=stage.api_stage)


def merge_template(responses: dict[str, Json]) -> Json:
    """The same for the template that `chalice package` makes.

    Source: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-api.html
    """
    described = {
        kind: {
            "ResponseParameters": {"Headers": {name: f"'{value}'" for name, value in response["headers"].items()}},
            "ResponseTemplates": {"application/json": response["body"]},
        }
        for kind, response in responses.items()
    }
    return {"Resources": {"RestAPI": {"Properties": {"GatewayResponses": described}}}}


def origin_of(stage: Stage) -> str | None:
    """Whose pages may read answers."""
    return load_settings(stage.environment()).cors_allow_origin


if __name__ == "__main__":
    sys.exit(main())
