"""`make deploy FRONT=url`: the function URL and who may call it, on moto, which runs no function behind one."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest

from tests.support.aws import Aws
from tests.tools.conftest import Configure
from tools.function_url import set_front
from tools.stages import StageError

FUNCTION = "serverless-flags-production"
FOR_API_GATEWAY = "api-gateway"
PUBLIC = {
    "function-url-public": "lambda:InvokeFunctionUrl",
    "function-url-public-invoke": "lambda:InvokeFunction",
}


@pytest.fixture
def client(aws: Aws) -> Any:
    """Of Lambda, where the API's function is deployed and API Gateway may call it."""
    trust = {"Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:*"}}
    role = aws.client("iam").create_role(RoleName="role", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    code = BytesIO()
    ZipFile(code, "w").writestr("app.py", "")
    client = aws.client("lambda")
    settings = {"Runtime": "python3.12", "Handler": "app.app", "Code": {"ZipFile": code.getvalue()}}
    client.create_function(FunctionName=FUNCTION, Role=role, **settings)
    client.add_permission(
        FunctionName=FUNCTION,
        StatementId=FOR_API_GATEWAY,
        Action="lambda:InvokeFunction",
        Principal="apigateway.amazonaws.com",
    )
    return client


def url_and_statements(client: Any) -> tuple[str | None, dict[str, str]]:
    """The type of authorisation, None without a URL, and what the function's policy allows to whom."""
    try:
        auth = client.get_function_url_config(FunctionName=FUNCTION)["AuthType"]
    except client.exceptions.ResourceNotFoundException:
        auth = None
    statements = json.loads(client.get_policy(FunctionName=FUNCTION)["Policy"])["Statement"]
    assert [each["Sid"] for each in statements].count(FOR_API_GATEWAY) == 1
    return auth, {each["Sid"]: each["Action"] for each in statements if each["Sid"] != FOR_API_GATEWAY}


def test_with_tokens_everybody_gets_through_to_the_app(client: Any, configure: Configure) -> None:
    said = set_front(configure(EVALUATE_AUTH="token"), "url")
    url = client.get_function_url_config(FunctionName=FUNCTION)["FunctionUrl"]
    assert said == f"Evaluations are at {url} as well, with the same tokens; the webhook stays at API Gateway."
    assert url_and_statements(client) == ("NONE", PUBLIC)
    (public,) = [
        each
        for each in json.loads(client.get_policy(FunctionName=FUNCTION)["Policy"])["Statement"]
        if each["Sid"] == "function-url-public"
    ]
    assert public["Principal"] == "*"


def test_with_iam_lambda_checks_signatures_and_nobody_else_gets_through(client: Any, configure: Configure) -> None:
    said = set_front(configure(EVALUATE_AUTH="iam"), "url")
    assert url_and_statements(client) == ("AWS_IAM", {})
    assert "signs for the service 'lambda'" in said


def test_a_second_deployment_changes_nothing_and_needs_no_second_word(client: Any, configure: Configure) -> None:
    stage = configure(EVALUATE_AUTH="token")
    said = set_front(stage, "url")
    assert [set_front(stage, front) for front in (None, "url", None)] == [said] * 3
    assert url_and_statements(client) == ("NONE", PUBLIC)


def test_it_follows_the_stage_from_tokens_to_signatures_and_back(client: Any, configure: Configure) -> None:
    stage = configure(EVALUATE_AUTH="token")
    config = stage.folder / ".chalice" / "config.json"
    set_front(stage, "url")
    config.write_text(config.read_text().replace('"EVALUATE_AUTH": "token"', '"EVALUATE_AUTH": "iam"'))
    set_front(stage, None)
    assert url_and_statements(client) == ("AWS_IAM", {})
    config.write_text(config.read_text().replace('"EVALUATE_AUTH": "iam"', '"EVALUATE_AUTH": "token"'))
    set_front(stage, None)
    assert url_and_statements(client) == ("NONE", PUBLIC)


def test_who_does_not_ask_for_one_gets_none_and_it_can_be_taken_away(client: Any, configure: Configure) -> None:
    stage = configure()
    assert set_front(stage, None) == set_front(stage, "api") == ""
    assert url_and_statements(client) == (None, {})
    set_front(stage, "url")
    assert set_front(stage, "api").endswith("is deleted.")
    assert url_and_statements(client) == (None, {})


def test_before_the_first_deployment_it_says_so(aws: Aws, configure: Configure) -> None:
    with pytest.raises(StageError, match=f"The function {FUNCTION} is not deployed here."):
        set_front(configure(), "url")
