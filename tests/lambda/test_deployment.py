"""`make deploy` to an AWS of the tests, and everything that users do with what was deployed."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from tests.support.aws import Aws
from tests.support.data import PROJECT, boolean_flag
from tests.support.deployment import TOKEN, USER, Deployed, Deployments, Json, Project
from tests.support.fronts import BALANCER, HTTP, URL
from tests.support.processes import BIN
from tests.support.valkey import running_valkey
from tools import operate
from tools.gateway_responses import gateway_responses
from tools.stages import Stage

ORIGIN = "https://app.example.com"


def check_the_whole_way(deployed: Deployed) -> None:
    """From the first fill to a flipped flag, by every way that a caller has."""
    assert "The store holds 1 flags and 0 segments." in deployed.output
    before = {"shiny": {"value": False, "variation": 1, "version": 1}}
    assert deployed.evaluate() == (200, before)

    deployed.launchdarkly.put_flag(boolean_flag("shiny", 2, value=True))
    status, refreshed = deployed.announce("shiny", 2)
    assert (status, refreshed) == (
        200,
        {
            "status": "refreshed",
            "revision": refreshed.get("revision"),
            "flags": 1,
            "segments": 0,
            "changed": True,
            "confirmed": True,
            "held_back": 0,
        },
    )

    after = {"shiny": {"value": True, "variation": 0, "version": 2}}
    assert deployed.evaluate() == (200, after)
    event = deployed.invoke("on_event", {"context": USER})
    assert (event["flags"], event["revision"], event["stale"]) == (after, refreshed["revision"], False)
    status, one = deployed.post("/evaluate/{flag_key}", USER, {"x-api-key": TOKEN}, flag_key="shiny")
    assert (status, one["value"], one["reason"]) == (200, True, {"kind": "FALLTHROUGH"})

    assert deployed.post("/evaluate", USER, {})[0] == 401
    assert deployed.post("/webhook", {"kind": "flag"}, {"x-ld-signature": "0" * 64})[0] == 401
    again = deployed.invoke("reconcile", {})
    assert (again["status"], again["changed"], again["revision"]) == ("refreshed", False, refreshed["revision"])


def check_the_other_doors(account: Aws, deployed: Deployed) -> None:
    """One function answers all of them: the function URL that was deployed, and events of the others."""
    url = account.client("lambda").get_function_url_config(FunctionName=deployed.name)
    assert (url["AuthType"], url["FunctionUrl"] in deployed.output) == ("NONE", True)
    through_api_gateway = deployed.evaluate_flag("shiny")
    for front in (URL, HTTP, BALANCER):
        headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
        assert deployed.post_through(front, "/evaluate/shiny", USER, headers) == through_api_gateway
        assert deployed.post_through(front, "/evaluate/shiny", USER, {})[0] == 401


def test_a_stage_is_deployed_used_and_deleted(
    deployments: Deployments, account: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    account.create_table("serverless-flags-dev")
    deployed = deployments.deploy("dev", {"CORS_ALLOW_ORIGIN": ORIGIN}, front="url")
    assert denied_to_the_deployer(deployed.project) == set()
    check_the_whole_way(deployed)
    check_what_the_gateway_says_by_itself(account, "dev")
    check_the_other_doors(account, deployed)
    check_the_functions(account, deployed)
    check_the_package(deployed)
    check_what_looks_after_it(account, deployed, monkeypatch, capsys)
    deployed.project.make("undeploy")
    assert left_of_functions(account) == ([], [], [], [])


def test_every_clone_deploys_and_deletes_one_and_the_same_stage(deployments: Deployments, account: Aws) -> None:
    account.create_table("serverless-flags-production")
    deployed = deployments.deploy("production", {})
    (api,) = left_of_functions(account)[2]
    url = f"https://{api['id']}.execute-api.eu-central-1.amazonaws.com/production/"
    assert f"Deployed to {url}" in deployed.output

    clone = deployments.another_clone(deployed.project)
    assert f"Deployed to {url}" in clone.make("deploy")
    assert denied_to_the_deployer(clone) == set()
    assert [each["id"] for each in left_of_functions(account)[2]] == [api["id"]]
    check_the_whole_way(deployed)
    check_the_functions(account, deployed)

    clone = deployments.another_clone(deployed.project)
    assert f"  rest api {url}" in clone.make("undeploy")
    assert denied_to_the_deployer(clone) == set()
    assert left_of_functions(account) == ([], [], [], [])


def test_a_stage_with_redis_in_a_vpc_is_deployed_used_and_deleted(deployments: Deployments, account: Aws) -> None:
    """By the programs of .venv; the others are by ``programs``, which start faster."""
    subnet, group = account.create_network()
    with running_valkey() as valkey:
        variables = {"DYNAMODB_TABLE": None, "REDIS_URL": valkey.url, "STORE_PREFIX": "{launchdarkly}"}
        by_venv = replace(deployments, programs=BIN)
        deployed = by_venv.deploy("production", variables, subnet_ids=[subnet], security_group_ids=[group])
        check_the_whole_way(deployed)
        with valkey.client() as client:
            assert client.hkeys("{launchdarkly}:features") == ["shiny"]
        (vpc,) = {json.dumps(each["VpcConfig"]["SubnetIds"]) for each in functions_of(account)}
        assert json.loads(vpc) == [subnet]
        deployed.project.make("undeploy")
    assert left_of_functions(account) == ([], [], [], [])


def denied_to_the_deployer(project: Project) -> set[str]:
    """What the last `make` has asked of AWS and the role of infrastructure/deployer.yaml may not do."""
    from cfnlint.decode import cfn_yaml

    assert {"lambda:ListFunctions", "apigateway:GET", "iam:GetRole", "sts:GetCallerIdentity"} <= project.calls
    role = cfn_yaml.load(str(PROJECT / "infrastructure" / "deployer.yaml"))["Resources"]["DeployerRole"]["Properties"]
    statements = role["Policies"][0]["PolicyDocument"]["Statement"]
    lists = [each["Action"] if isinstance(each["Action"], list) else [each["Action"]] for each in statements]
    return project.calls - {action for actions in lists for action in actions}


def check_what_the_gateway_says_by_itself(account: Aws, stage: str) -> None:
    """In the deployment that the stage serves, which is the last one."""
    gateway = account.client("apigateway")
    (api,) = gateway.get_rest_apis()["items"]
    responses = {each["responseType"]: each for each in gateway.get_gateway_responses(restApiId=api["id"])["items"]}
    assert responses.keys() == gateway_responses(ORIGIN).keys()
    assert responses["THROTTLED"]["responseParameters"] == {
        "gatewayresponse.header.Access-Control-Allow-Origin": f"'{ORIGIN}'",
        "gatewayresponse.header.Access-Control-Expose-Headers": (
            "'ETag, Retry-After, X-Flags-Revision, X-Flags-Stale, X-Flags-Synced-At'"
        ),
        "gatewayresponse.header.Retry-After": "'1'",
    }
    body = responses["THROTTLED"]["responseTemplates"]["application/json"]
    assert json.loads(body)["Code"] == "TooManyRequestsError"
    deployments = sorted(gateway.get_deployments(restApiId=api["id"])["items"], key=lambda each: each["createdDate"])
    served = gateway.get_stage(restApiId=api["id"], stageName=stage)["deploymentId"]
    assert (len(deployments), served) == (2, deployments[-1]["id"])


def check_the_functions(account: Aws, deployed: Deployed) -> None:
    sizes = {each["FunctionName"]: (each["MemorySize"], each["Timeout"]) for each in functions_of(account)}
    name = deployed.name
    own = {name: (1024, 30), f"{name}-on_event": (1024, 60), f"{name}-reconcile": (512, 60)}
    own[f"{name}-deliver_events"] = (256, 60)
    assert {function: sizes[function] for function in own} == own  # beside those that somebody has added
    groups = account.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")["logGroups"]
    days = {each["logGroupName"].rpartition("/")[2]: each["retentionInDays"] for each in groups}
    assert {function: days[function] for function in own} == dict.fromkeys(own, 30)
    assert set(days.values()) == {30}
    assert functions_watched(deployed.name) == set(own)
    rules = {rule["Name"]: rule["ScheduleExpression"] for rule in account.client("events").list_rules()["Rules"]}
    assert rules[f"{name}-reconcile-event"] == "rate(5 minutes)"
    assert rules[f"{name}-deliver_events-event"] == "rate(1 minute)"


def functions_watched(deployment: str) -> set[str]:
    """The names in the alarms of monitoring.yaml, which nothing else would hold against the real ones."""
    from cfnlint.decode import cfn_yaml

    resources = cfn_yaml.load(str(PROJECT / "infrastructure" / "monitoring.yaml"))["Resources"].values()
    metrics = [metric for each in resources for metric in each["Properties"].get("Metrics", [])]
    values = [each["MetricStat"]["Metric"]["Dimensions"][0]["Value"] for each in metrics if "MetricStat" in each]
    return {deployment if "Ref" in value else value["Fn::Sub"].replace("${Deployment}", deployment) for value in values}


def check_the_package(deployed: Deployed) -> None:
    """Small, with bytecode, and with nothing that a function does not run."""
    (package,) = deployed.service.packages()
    names = {path.name for path in package.iterdir()}
    assert {"app.py", "chalice", "chalicelib", "ldclient", "redis", "__pycache__"} <= names
    assert names & {"boto3", "botocore", "moto", "pytest", "tests", "tools", "benchmarks", "examples"} == set()
    assert list((package / "chalicelib").glob("__pycache__/config.*.pyc"))


def check_what_looks_after_it(
    account: Aws, deployed: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make status`, `refresh`, `flags` and `logs`, without the time that `make` takes."""
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(operate, "Stage", lambda name: Stage(name, deployed.project.folder))
    logs = account.client("logs")
    group = {"logGroupName": f"/aws/lambda/{deployed.name}-reconcile", "logStreamName": "instance"}
    logs.create_log_stream(**group)
    logs.put_log_events(**group, logEvents=[{"timestamp": int(time.time() * 1000), "message": '{"status": 200}\n'}])
    capsys.readouterr()

    assert operate.main(["status", "dev"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{deployed.name} in account 123456789012 in eu-central-1"
    assert f"{deployed.name}-reconcile-event: rate(5 minutes), enabled" in lines
    assert '  "status": "healthy",' in lines
    assert operate.main(["refresh", "dev", "--force"]) == 0
    assert capsys.readouterr().out.startswith("1 flags and 0 segments, unchanged, revision ")
    assert operate.main(["flags", "dev"]) == 0
    assert capsys.readouterr().out.split()[:4] == ["shiny", "on", "version", "2"]
    assert operate.main(["logs", "dev"]) == 0
    assert capsys.readouterr().out.endswith('Z reconcile: {"status": 200}\n')


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
