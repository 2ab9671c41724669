"""Each function may do what it has to, and nothing besides: every action is allowed, and every action is needed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.events.batches import pack
from tests.support.aws import Aws
from tests.support.big_segments import big_segment
from tests.support.data import PROJECT, boolean_flag, by_key
from tests.support.deployment import FUNCTIONS, USER, Deployed, Deployments, enforced
from tests.support.lambda_runtime import InvocationError
from tests.support.parity import rule_flag, segment_match
from tests.support.waiting import eventually

Policy = dict[str, Any]

STAGE = "production"


def policy_of(function: str, stage: str = STAGE) -> Policy:
    """As it stands in the repository."""
    policy: Policy = json.loads((PROJECT / ".chalice" / f"policy-{stage}{FUNCTIONS[function]}.json").read_text())
    return policy


def actions_of(policy: Policy) -> list[str]:
    return [action for statement in policy["Statement"] for action in statement["Action"]]


def without(policy: Policy, action: str) -> Policy:
    statements = [
        {**statement, "Action": [each for each in statement["Action"] if each != action]}
        for statement in policy["Statement"]
    ]
    return {**policy, "Statement": [statement for statement in statements if statement["Action"]]}


def elsewhere(policy: Policy, sid: str) -> Policy:
    """The same with one statement for another table, parameter or log group."""
    statements = [
        {**each, "Resource": each["Resource"][0].rstrip("*") + "-other"} if each["Sid"] == sid else each
        for each in policy["Statement"]
    ]
    return {**policy, "Statement": statements}


@pytest.fixture(scope="module")
def deployed(deployments: Deployments) -> Iterator[Deployed]:
    deployments.account.create_table(f"serverless-flags-{STAGE}")
    deployed = deployments.deploy(STAGE, {"EVENTS": "full", "EVENTS_FLUSH_SECONDS": "0"})
    deployed.launchdarkly.replace(by_key(rule_flag("in big", segment_match("big"))), by_key(big_segment("big")))
    deployed.invoke("reconcile", {})
    yield deployed
    deployed.project.make("undeploy")


def denials(deployed: Deployed, account: Aws, function: str, policy: Policy) -> list[str]:
    """What goes wrong when ``function`` does, cold, everything that it is for, and its role has this policy.

    That is the answer of AWS to the first log line that it may not write; then the function is not started at all.
    """
    name = deployed.name + FUNCTIONS[function]
    role = f"{deployed.name}-{function}"
    deployed.service.stop()
    account.client("iam").put_role_policy(RoleName=role, PolicyName=role, PolicyDocument=json.dumps(policy))
    deployed.service.instance(name)
    if "on_event" in function:
        account.forget_snapshot(f"serverless-flags-{STAGE}")
    if function == "deliver_events":
        leave_events(account)
    credentials = account.credentials_of(f"arn:aws:iam::123456789012:role/{role}")
    with enforced(account):
        return of_logging(credentials, f"/aws/lambda/{name}") or of_use(deployed, function)


def leave_events(account: Aws) -> None:
    """As an evaluation does, so that there is something to deliver."""
    (batch,) = pack([{"kind": "custom", "key": "purchase", "context": USER}], 0, int(time.time() * 1000))
    item = {"namespace": {"S": "launchdarkly:$events"}, "key": {"S": batch.name}, "data": {"B": batch.data}}
    account.client("dynamodb").put_item(TableName=f"serverless-flags-{STAGE}", Item=item)


def of_logging(credentials: dict[str, str], group: str) -> list[str]:
    """What Lambda does with the function's role for its log."""
    logs = boto3.client(
        "logs",
        endpoint_url=credentials["AWS_ENDPOINT_URL"],
        region_name=credentials["AWS_DEFAULT_REGION"],
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=credentials["AWS_SESSION_TOKEN"],
    )
    stream = f"instance-{time.monotonic_ns()}"
    event = {"timestamp": int(time.time() * 1000), "message": "START"}
    try:
        logs.create_log_group(logGroupName=f"{group}-{stream}")
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
    except ClientError as error:
        return [str(error)]
    return []


def of_use(deployed: Deployed, function: str) -> list[str]:
    try:
        if function == "on_event":
            evaluated = deployed.invoke("on_event", {"context": USER, "flag": "in big"})["flag"]
            return [*of_big_segments(evaluated), *events_not_left(deployed, function)]
        if function == "deliver_events":
            deployed.invoke("deliver_events", {})
            return []
        version = time.monotonic_ns()  # something has changed, so something is written
        deployed.launchdarkly.put_flag(boolean_flag("shiny", version))
        if function == "reconcile":
            deployed.invoke("reconcile", {})
            return []
        answers = [deployed.announce("shiny", version), deployed.evaluate_flag("in big")]
    except InvocationError as error:
        return [str(error).partition("\n")[0]]
    told = [str(body) for status, body in answers if status != 200] or of_big_segments(answers[-1][1])
    return [*told, *events_not_left(deployed, function)]


def of_big_segments(evaluated: Policy) -> list[str]:
    """A flag is evaluated also where the members of its big segment cannot be read."""
    status = evaluated["reason"]["bigSegmentsStatus"]
    return [status] if status == "STORE_ERROR" else []


def events_not_left(deployed: Deployed, function: str) -> list[str]:
    """What the function's log says of events that it may not add; no evaluation fails because of them."""
    # A thread gathers what comes out of the process, so the line of one more invocation has to be there.
    if function == "on_event":
        with pytest.raises(InvocationError):
            deployed.invoke("on_event", {})
        last_line = "InvalidRequest"
    else:
        deployed.evaluate_flag("nowhere")
        last_line = '"flag": "nowhere"'
    log = deployed.service.instance(deployed.name + FUNCTIONS[function]).log
    eventually(lambda: last_line in log())
    return re.findall('analytics events stay in memory: [^"]*', log())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_all_that_it_is_for(deployed: Deployed, account: Aws, function: str) -> None:
    assert denials(deployed, account, function, policy_of(function)) == []


ACTIONS = [(function, action) for function in FUNCTIONS for action in actions_of(policy_of(function))]
STATEMENTS = [(function, each["Sid"]) for function in FUNCTIONS for each in policy_of(function)["Statement"]]


@pytest.mark.parametrize(("function", "action"), ACTIONS)
def test_a_function_needs_each_action(deployed: Deployed, account: Aws, function: str, action: str) -> None:
    told = denials(deployed, account, function, without(policy_of(function), action))
    assert told
    assert [
        each
        for each in told
        if not re.search("AccessDeniedException|STORE_ERROR|lacks ssm:GetParameter|not configured correctly", each)
    ] == []


@pytest.mark.parametrize(("function", "sid"), STATEMENTS)
def test_a_statement_for_another_resource_does_not_help(
    deployed: Deployed, account: Aws, function: str, sid: str
) -> None:
    assert denials(deployed, account, function, elsewhere(policy_of(function), sid))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_policies_of_dev_are_those_of_production_for_its_own_table_and_secrets(function: str) -> None:
    production = json.dumps(policy_of(function, "production"))
    assert json.loads(production.replace("production", "dev")) == policy_of(function, "dev")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_events_are_all_that_is_added_and_deleted_where_no_flags_are_written(function: str) -> None:
    """By the partition key of what is written, whichever prefix it has."""
    limits = {
        action: statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        for statement in policy_of(function)["Statement"]
        if "Condition" in statement
        for action in statement["Action"]
    }
    unlimited = {action for action in actions_of(policy_of(function)) if action not in limits}
    writes = {f"dynamodb:{name}" for name in ("PutItem", "DeleteItem", "UpdateItem", "BatchWriteItem")}
    assert writes & unlimited == (
        {"dynamodb:BatchWriteItem", "dynamodb:UpdateItem"} if function in ("api_handler", "reconcile") else set()
    )
    for (pattern,) in limits.values():
        for prefix in ("launchdarkly:", "{launchdarkly}:", ""):
            reached = [
                name
                for name in (
                    "features",
                    "segments",
                    "$inited",
                    "$sync",
                    "$snapshot",
                    "$current",
                    "$events",
                    "$delivery",
                )
                if fnmatchcase(f"{prefix}{name}", pattern)
            ]
            assert reached == [pattern.removeprefix("*")]
