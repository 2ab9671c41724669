"""A stage is written by one command, as the project's own stages are, and has what preflight asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws import Aws
from tests.support.data import PROJECT
from tests.support.project import copy_project
from tools import infrastructure, new_stage
from tools.new_stage import Store, policies, stage_settings
from tools.preflight import problems
from tools.stages import Stage

Json = dict[str, Any]

ENVIRONMENT = "proj/default:env/production"
CACHE = "rediss://flags.serverless.euc1.cache.amazonaws.com:6379"
OUTPUTS = {
    "RedisUrl": CACHE,
    "StorePrefix": "{launchdarkly}",
    "SecurityGroupIds": "sg-1",
    "SubnetIds": "subnet-1,subnet-2",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone in which the commands write."""
    monkeypatch.setattr(new_stage, "PROJECT", copy_project(tmp_path))
    monkeypatch.setattr(infrastructure, "PROJECT", tmp_path)
    return tmp_path


def command(*arguments: str) -> int:
    return new_stage.main(["eu", "--environment", ENVIRONMENT, *arguments])


def written(folder: Path, name: str = "eu") -> Json:
    stage: Json = json.loads((folder / ".chalice" / "config.json").read_text())["stages"][name]
    return stage


def create_stack(aws: Aws, outputs: dict[str, str]) -> None:
    """One with the outputs of valkey.yaml; moto has no serverless cache."""
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    aws.client("cloudformation").create_stack(StackName="serverless-flags-eu", TemplateBody=json.dumps(template))


@pytest.mark.parametrize(("name", "environment"), [("dev", "test"), ("production", "production")])
def test_the_stages_of_the_project_are_what_the_command_writes(name: str, environment: str) -> None:
    """But for what a user fills in, and adds."""
    store = Store({"DYNAMODB_TABLE": f"serverless-flags-{name}"}, {})
    template = stage_settings(name, store, f"proj/default:env/{environment}")
    committed = json.loads((PROJECT / ".chalice" / "config.json").read_text())["stages"][name]
    filled_in = {"LAUNCHDARKLY_ENVIRONMENT", "EVALUATE_TOKEN_SHA256", "EVALUATE_AUTH"}
    for scope in ("environment_variables", "lambda_functions"):
        ours, theirs = template.pop(scope), committed.pop(scope)
        assert set(ours) <= set(theirs)
        assert {name: theirs[name] for name in set(ours) - filled_in} == {
            name: ours[name] for name in set(ours) - filled_in
        }
    assert {key: committed[key] for key in template} == template
    for file, policy in policies(name, store).items():
        statements = json.loads((PROJECT / ".chalice" / file).read_text())["Statement"]
        assert [each for each in policy["Statement"] if each not in statements] == []


def test_a_stage_with_a_table_needs_only_its_token_its_key_and_its_table(
    aws: Aws, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    assert "make infrastructure STAGE=eu\n" in capsys.readouterr().out
    assert written(folder)["environment_variables"]["DYNAMODB_TABLE"] == "serverless-flags-eu"
    assert problems(Stage("eu", folder)) == [
        "EVALUATE_TOKEN_SHA256 is empty: every evaluation over HTTP would be refused. Set it, or EVALUATE_AUTH."
    ]
    set_variable(folder, "EVALUATE_TOKEN_SHA256", "0" * 64)
    assert [line.partition(" in ")[0] for line in problems(Stage("eu", folder))] == [
        "There is no SSM parameter /serverless-flags/eu/sdk-key",
        "There is no table serverless-flags-eu",
    ]
    aws.put_secret("/serverless-flags/eu/sdk-key", "sdk-key")
    assert infrastructure.main(["eu"]) == 0
    assert problems(Stage("eu", folder)) == []
    assert capsys.readouterr().out.splitlines()[:2] == [
        "Creating the stack serverless-flags-eu from infrastructure/table.yaml.",
        "  DynamodbTable: serverless-flags-eu",
    ]


def set_variable(folder: Path, name: str, value: str) -> None:
    path = folder / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    config["stages"]["eu"]["environment_variables"][name] = value
    path.write_text(json.dumps(config))


def test_a_stage_with_a_cache_has_the_network_of_its_stack(aws: Aws, folder: Path) -> None:
    create_stack(aws, OUTPUTS)
    assert command("--store", "redis") == 0
    stage = written(folder)
    variables = stage["environment_variables"]
    assert (variables["REDIS_URL"], variables["STORE_PREFIX"]) == (CACHE, "{launchdarkly}")
    assert "DYNAMODB_TABLE" not in variables
    assert (stage["subnet_ids"], stage["security_group_ids"]) == (["subnet-1", "subnet-2"], ["sg-1"])
    for suffix in ("", "-on_event", "-reconcile", "-deliver_events"):
        policy = json.loads((folder / ".chalice" / f"policy-eu{suffix}.json").read_text())
        actions = [action for statement in policy["Statement"] for action in statement["Action"]]
        assert {action.partition(":")[0] for action in actions} <= {"logs", "ec2", "ssm"}
        assert "ec2:CreateNetworkInterface" in actions


def test_a_cache_that_is_logged_in_to_by_iam_has_its_place_in_every_policy(aws: Aws, folder: Path) -> None:
    url = "rediss://flags@serverless-flags-eu-abcdef.serverless.euc1.cache.amazonaws.com:6379"
    create_stack(aws, {**OUTPUTS, "RedisUrl": url, "RedisAuth": "iam"})
    assert command("--store", "redis") == 0
    variables = written(folder)["environment_variables"]
    assert (variables["REDIS_URL"], variables["REDIS_AUTH"]) == (url, "iam")
    login = {
        "Sid": "LogInToCache",
        "Effect": "Allow",
        "Action": ["elasticache:Connect"],
        "Resource": ["arn:*:elasticache:*:*:serverlesscache:serverless-flags-eu", "arn:*:elasticache:*:*:user:flags"],
    }
    for path in (folder / ".chalice").glob("policy-eu*.json"):
        assert login in json.loads(path.read_text())["Statement"]


def test_a_cache_of_ones_own_is_told(aws: Aws, folder: Path) -> None:
    own = ["--redis-url", "redis://10.0.0.7:6379", "--subnets", "subnet-1, subnet-2,", "--security-groups", "sg-1"]
    assert command(*own) == 0
    stage = written(folder)
    assert "STORE_PREFIX" not in stage["environment_variables"]
    assert (stage["subnet_ids"], stage["security_group_ids"]) == (["subnet-1", "subnet-2"], ["sg-1"])


def test_a_table_has_the_prefix_that_is_said(aws: Aws, folder: Path) -> None:
    assert command("--prefix", "team-a") == 0
    variables = written(folder)["environment_variables"]
    assert (variables["DYNAMODB_TABLE"], variables["STORE_PREFIX"]) == ("serverless-flags-eu", "team-a")


@pytest.mark.parametrize(
    ("arguments", "store"),
    [
        ([], {"DYNAMODB_TABLE": "shared"}),
        ([], {"DYNAMODB_TABLE": "arn:aws:dynamodb:eu-central-1:123456789012:table/shared"}),
        (["--redis-url", "rediss://cache.example.com"], {"REDIS_URL": "rediss://cache.example.com"}),
    ],
)
def test_a_stage_that_is_written_anew_keeps_its_place_in_the_store(
    aws: Aws, folder: Path, arguments: list[str], store: dict[str, str]
) -> None:
    assert command(*arguments) == 0
    for name, value in {**store, "STORE_PREFIX": "team-a"}.items():
        set_variable(folder, name, value)
    assert command(*arguments, "--overwrite") == 0
    variables = written(folder)["environment_variables"]
    assert {name: variables[name] for name in (*store, "STORE_PREFIX")} == {**store, "STORE_PREFIX": "team-a"}
    policy = (folder / ".chalice" / "policy-eu.json").read_text()
    assert ('"arn:*:dynamodb:*:*:table/shared"' in policy) is ("DYNAMODB_TABLE" in store)
    assert command(*arguments, "--overwrite", "--prefix", "team-b") == 0
    assert written(folder)["environment_variables"]["STORE_PREFIX"] == "team-b"


def test_a_cache_on_the_internet_needs_no_network(aws: Aws, folder: Path) -> None:
    assert command("--redis-url", "rediss://cache.example.com:6380?ssl_ca_certs=/opt/of-a-layer.pem") == 0
    assert {"subnet_ids", "security_group_ids"} & set(written(folder)) == set()
    policy = json.loads((folder / ".chalice" / "policy-eu-on_event.json").read_text())
    assert [each["Sid"] for each in policy["Statement"]] == ["WriteLogs"]


FOR_REDIS = "REDIS_URL, SUBNETS and SECURITY_GROUPS are for STORE=redis; "
REFUSED: list[tuple[list[str], str]] = [
    (["eu", "--store", "redis", "--environment", ENVIRONMENT], "There is no stack serverless-flags-eu with a cache: "),
    (["eu"], "Which LaunchDarkly environment? For example: ENVIRONMENT=proj/default:env/production"),
    (["eu", "--environment", "production"], "LAUNCHDARKLY_ENVIRONMENT is 'production'; expected a LaunchDarkly "),
    (["eu", "--environment", "proj/default:env/*"], "LAUNCHDARKLY_ENVIRONMENT is 'proj/default:env/*'; expected "),
    (["eu", "--environment", ENVIRONMENT, "--redis-url", "https://cache"], "REDIS_URL must start with redis://, "),
    (["eu", "--environment", ENVIRONMENT, "--redis-url", "redis://cache:99999"], "REDIS_URL has a port that is not "),
    (["eu", "--environment", ENVIRONMENT, "--redis-url", "embedded"], "REDIS_URL must start with redis://, "),
    (["eu", "--environment", ENVIRONMENT, "--store", "dynamodb", "--redis-url", "redis://cache"], FOR_REDIS),
    (["eu", "--environment", ENVIRONMENT, "--subnets", "subnet-1"], FOR_REDIS),
    (["EU", "--environment", ENVIRONMENT], "'EU' cannot be a stage: 2 to 23 small letters, digits and hyphens"),
    (["eu-", "--environment", ENVIRONMENT], "'eu-' cannot be a stage: "),
    (["a" * 24, "--environment", ENVIRONMENT], f"'{'a' * 24}' cannot be a stage: "),
    (["local", "--environment", ENVIRONMENT], "'local' cannot be a stage: "),
    (["production", "--environment", ENVIRONMENT], "There is a stage 'production' already. OVERWRITE=1 writes it "),
]


@pytest.mark.parametrize(("arguments", "beginning"), REFUSED)
def test_what_cannot_be_written_is_one_line(
    aws: Aws, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], beginning: str
) -> None:
    before = (folder / ".chalice" / "config.json").read_text()
    assert new_stage.main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith(beginning)
    assert told.count("\n") == 1
    assert (folder / ".chalice" / "config.json").read_text() == before


def test_a_stage_moves_to_another_store_and_keeps_what_is_its_users(aws: Aws, folder: Path) -> None:
    command()
    set_variable(folder, "EVALUATE_TOKEN_SHA256", "0" * 64)
    set_variable(folder, "ORDERS_TABLE", "orders")
    create_stack(aws, OUTPUTS)
    assert new_stage.main(["eu", "--store", "redis", "--overwrite"]) == 0
    variables = written(folder)["environment_variables"]
    assert (variables["EVALUATE_TOKEN_SHA256"], variables["ORDERS_TABLE"]) == ("0" * 64, "orders")
    assert variables["LAUNCHDARKLY_ENVIRONMENT"] == ENVIRONMENT
    assert (variables["REDIS_URL"], "DYNAMODB_TABLE" in variables) == (CACHE, False)
    assert new_stage.main(["eu", "--store", "dynamodb", "--overwrite"]) == 0
    stage = written(folder)
    assert {"REDIS_URL", "STORE_PREFIX"} & set(stage["environment_variables"]) == set()
    assert {"subnet_ids", "security_group_ids"} & set(stage) == set()
