"""What follows `chalice deploy`: the logs expire, API Gateway's own answers get the app's shape, the store is filled.

`python -m tools.after_deploy production`. The expiry is set here and not by Chalice's log_retention_in_days, which in
Chalice 1.34 misses the log group of the API's function, and with which it packages neither for CloudFormation nor for
Terraform (https://github.com/aws/chalice/issues/2079).
"""

from __future__ import annotations

import argparse
import contextlib
import sys

import boto3

from tools.command_line import run
from tools.deployment import Deployment, find
from tools.gateway_responses import put_gateway_responses
from tools.invocations import invoke
from tools.stages import Stage, StageError

LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="after_deploy", description="Finish the deployment of a stage.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    parser.add_argument(
        "--log-days", type=int, choices=LOG_DAYS, default=30, help="how long the functions' logs are kept"
    )
    parser.add_argument("--rest-api", help="the ID of the API that is the stage's, where there are several")
    options = parser.parse_args(arguments)

    def finish() -> None:
        stage = Stage(options.stage)
        deployment = find(stage, options.rest_api)
        url = deployment.url
        _expire_logs(deployment, options.log_days)
        put_gateway_responses(stage, deployment.api_id)
        print(_first_fill(deployment))
        print(_next_steps(stage, url))

    return run(finish)


def _expire_logs(deployment: Deployment, days: int) -> None:
    """Of every function, also of those that the user has added."""
    logs = boto3.client("logs")
    for function in deployment.functions.values():
        group = f"/aws/lambda/{function['FunctionName']}"
        with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=group)
        logs.put_retention_policy(logGroupName=group, retentionInDays=days)


def _first_fill(deployment: Deployment) -> str:
    """Run reconcile now, not in up to five minutes. Raises StageError with the function's own message."""
    try:
        outcome = invoke(deployment.function_name("reconcile"), {})
    except StageError as error:
        raise StageError(f"Deployed, but the store could not be filled. {error}") from None
    if outcome["status"] == "ignored":
        return str(outcome["reason"])
    return f"The store holds {outcome['flags']} flags and {outcome['segments']} segments."


def _next_steps(stage: Stage, url: str) -> str:
    return (
        f"Deployed to {url}\n"
        f"Next: make webhook STAGE={stage.name} (with LAUNCHDARKLY_ACCESS_TOKEN set), which has LaunchDarkly\n"
        f"announce each change to {url}webhook; until then reconcile looks every five minutes.\n"
        f"Try: curl {url}evaluate -H 'Authorization: Bearer <token>' -H 'Content-Type: application/json' "
        """-d '{"kind": "user", "key": "anna"}'"""
    )


if __name__ == "__main__":
    sys.exit(main())
