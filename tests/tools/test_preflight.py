"""A deployment that would not work is stopped before it starts, with a line for each reason."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from tests.support.aws import Aws
from tests.support.data import PROJECT
from tests.tools.conftest import Configure
from tools import after_deploy, deployment, preflight, register_webhook
from tools.preflight import problems, problems_of_runtime, warnings
from tools.stages import Stage, StageError

SDK_KEY = "/serverless-flags/production/sdk-key"
SECRET_IN_CONFIG = "LAUNCHDARKLY_SDK_KEY must not be in .chalice/config.json; use LAUNCHDARKLY_SDK_KEY_PARAMETER."

SETTINGS: list[tuple[dict[str, str | None], list[str]]] = [
    (
        {"LAUNCHDARKLY_ENVIROMENT": "proj/default:env/production"},
        ["LAUNCHDARKLY_ENVIROMENT is no setting of this app; did you mean LAUNCHDARKLY_ENVIRONMENT?"],
    ),
    ({"LAUNCHDARKLY_COLOUR": "blue"}, ["LAUNCHDARKLY_COLOUR is no setting of this app."]),
    (
        {"BIG_SEGMENT_TABLE": "big"},
        ["BIG_SEGMENT_TABLE is no setting of this app; did you mean BIG_SEGMENTS_TABLE?"],
    ),
    (
        {"REDIS_URL": "redis://cache:6379"},
        ["REDIS_URL and DYNAMODB_TABLE are both set; set exactly one of them."],
    ),
    (
        {"REDIS_URL": "embedded", "DYNAMODB_TABLE": None},
        ["REDIS_URL is 'embedded', which is for development; nothing on Lambda starts that server."],
    ),
    (
        {"REDIS_URL": "redis://cache:99999", "DYNAMODB_TABLE": None},
        ["REDIS_URL has a port that is not a number from 1 to 65535."],
    ),
    (
        {"BIG_SEGMENTS_REDIS_URL": "rediss://[::1"},
        ["BIG_SEGMENTS_REDIS_URL cannot be parsed; expected redis://[user:password@]host:port/database."],
    ),
    (
        {"LOCAL_STAGE": "on"},
        ["LOCAL_STAGE is 'on', which is for development: it opens the app to everybody, and is refused on Lambda."],
    ),
    (
        {"EVALUATE_TOKEN_SHA256": ""},
        ["EVALUATE_TOKEN_SHA256 is empty: every evaluation over HTTP would be refused. Set it, or EVALUATE_AUTH."],
    ),
    (
        {"EVALUATE_TOKEN_SHA256": "", "EVALUATE_CLIENT_TOKEN_SHA256": "0" * 64, "EVALUATE_COLOUR": "blue"},
        ["EVALUATE_COLOUR is no setting of this app."],
    ),
    (
        {"EVALUATE_TOKEN_SHA256": "", "EVALUATE_MOBILE_TOKEN_SHA256": "0" * 64, "EVALUATE_COLOUR": "blue"},
        ["EVALUATE_COLOUR is no setting of this app."],
    ),
    (
        {"EVALUATE_TOKEN_SHA256": "", "LAUNCHDARKLY_MOBILE_KEY_SHA256": "0" * 64, "EVALUATE_COLOUR": "blue"},
        ["EVALUATE_COLOUR is no setting of this app."],
    ),
    (
        {"EVALUATE_TOKEN_SHA256": "", "LAUNCHDARKLY_CLIENT_SIDE_ID": "5f1a6c0e9b", "EVALUATE_COLOUR": "blue"},
        ["EVALUATE_COLOUR is no setting of this app."],
    ),
    ({"LAUNCHDARKLY_SDK_KEY": "sdk-0", "LAUNCHDARKLY_SDK_KEY_PARAMETER": None}, [SECRET_IN_CONFIG]),
    (
        {
            "LAUNCHDARKLY_FLAG_FILE": "flags.json",
            "LAUNCHDARKLY_SECURE_MODE": "on",
            "LAUNCHDARKLY_SDK_KEY": "sdk-0",
            "LAUNCHDARKLY_SDK_KEY_PARAMETER": None,
        },
        [SECRET_IN_CONFIG],
    ),
    (
        {"LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER": None},
        ["LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER is not set; it names the SSM parameter that holds the secret."],
    ),
    (
        {"STORE_CACHE_SECOND": "1", "STORE_CACHE_SECONDS": "soon"},
        [
            "STORE_CACHE_SECOND is no setting of this app; did you mean STORE_CACHE_SECONDS?",
            "STORE_CACHE_SECONDS is 'soon'; expected a number of seconds, 0 or more.",
        ],
    ),
]


NO_STRINGS: list[tuple[object, str]] = [(15, '"15"'), (0.5, '"0.5"'), (True, '"true"')]


@pytest.mark.parametrize(("value", "written"), NO_STRINGS)
def test_a_variable_that_is_no_string_is_told(configure: Configure, value: object, written: str) -> None:
    assert problems(configure(STORE_CACHE_SECONDS=value)) == [
        f"STORE_CACHE_SECONDS must be a string in .chalice/config.json: {written}."
    ]


WRONG_TYPES: list[tuple[str, object, str]] = [
    ("lambda_memory_size", "1024", "lambda_memory_size must be a number without quotes in .chalice/config.json."),
    ("lambda_timeout", True, "lambda_timeout must be a number without quotes in .chalice/config.json."),
    ("api_gateway_stage", 1, "api_gateway_stage must be a string in .chalice/config.json."),
]


@pytest.mark.parametrize(("name", "value", "line"), WRONG_TYPES)
def test_what_chalice_would_stumble_over_is_told(
    configure: Configure, tmp_path: Path, name: str, value: object, line: str
) -> None:
    stage = configure()
    edit_config(tmp_path, {name: value})
    assert problems(stage) == [line]


def edit_config(folder: Path, changes: dict[str, object]) -> None:
    """Changes the stage ``production``, and each of its functions that says otherwise."""
    path = folder / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    config["stages"]["production"].update(changes)
    path.write_text(json.dumps(config))


def test_variables_of_others_are_none_of_our_business(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    others = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "DD_ENV", "OTEL_EXPORTER_OTLP_ENDPOINT", "SENTRY_DSN")
    users = ("ORDERS_TABLE", "LOG_COLOUR", "REDIS_HOST", "AWS_STS_REGIONAL_ENDPOINTS", "TZ", "PYTHONUTF8")
    longer = ("DYNAMODB_TABLE_ORDERS", "MY_DYNAMODB_TABLE", "SESSIONS_REDIS_URL", "REDIS_URL_OF_SESSIONS")
    assert problems(configure(**dict.fromkeys((*others, *users, *longer), "http://127.0.0.1:1"))) == []


MISSPELT = {
    "FLAGS_MAX_AGE_SECOND": "FLAGS_MAX_AGE_SECONDS",
    "FLAG_MAX_AGE_SECONDS": "FLAGS_MAX_AGE_SECONDS",
    "FLAGS_MAX_AGE": "FLAGS_MAX_AGE_SECONDS",
    "STORE_CACHE": "STORE_CACHE_SECONDS",
    "EVALUATE_CLIENT_TOKEN_SHA265": "EVALUATE_CLIENT_TOKEN_SHA256",
    "LAUNCHDARKLY_BASE_URL": "LAUNCHDARKLY_BASE_URI",
}


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
def test_a_misspelt_setting_is_told(configure: Configure, name: str, meant: str) -> None:
    assert problems(configure(**{name: "1"})) == [f"{name} is no setting of this app; did you mean {meant}?"]


@pytest.mark.parametrize("suffix", [":1", ":current"])
def test_a_parameter_may_be_named_with_a_version_or_a_label(configure: Configure, aws: Aws, suffix: str) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.client("ssm").label_parameter_version(Name=SDK_KEY, ParameterVersion=1, Labels=["current"])
    aws.create_table("serverless-flags-production")
    assert problems(configure(LAUNCHDARKLY_SDK_KEY_PARAMETER=SDK_KEY + suffix)) == []


TABLE = "table/serverless-flags-production"
NO_TABLE = f"policy-production-on_event.json does not allow on_event to use {TABLE}, which config.json names."
READ = ["dynamodb:GetItem", "dynamodb:Query"]


def allow(actions: object, resource: object, effect: str = "Allow") -> dict[str, object]:
    return {"Effect": effect, "Action": actions, "Resource": resource}


POLICIES: list[tuple[object, list[str]]] = [
    ([allow(READ, f"arn:aws:dynamodb:eu-central-1:123456789012:{TABLE}")], []),
    (allow(READ, [f"arn:aws:dynamodb:eu-central-1:123456789012:{TABLE}"]), []),
    (allow("dynamodb:*", f"arn:*:dynamodb:*:*:{TABLE}"), []),
    (allow("dynamodb:get*", "*"), [NO_TABLE]),
    (allow("*", "*"), []),
    (allow("DynamoDB:*", "arn:aws:dynamodb:*"), []),
    ([allow(READ[0], f"arn:*:dynamodb:*:*:{TABLE}"), allow(READ[1], f"arn:*:dynamodb:*:*:{TABLE}*")], []),
    (allow(READ, f"arn:aws:dynamodb:us-east-1:123456789012:{TABLE}"), [NO_TABLE]),
    (allow(READ, "arn:aws:dynamodb:eu-central-1:123456789012:table/other"), [NO_TABLE]),
    (allow(READ[0], f"arn:*:dynamodb:*:*:{TABLE}"), [NO_TABLE]),
    (allow(READ, f"arn:*:dynamodb:*:*:{TABLE}", "Deny"), [NO_TABLE]),
    (allow("ec2:*", "*"), [NO_TABLE]),
    ([], ["policy-production-on_event.json has no Statement."]),
]


@pytest.mark.parametrize(("statement", "lines"), POLICIES)
def test_a_policy_is_read_as_iam_reads_it(
    configure: Configure, aws: Aws, tmp_path: Path, statement: object, lines: list[str]
) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    stage = configure()
    policy = {"Version": "2012-10-17", "Statement": statement}
    (tmp_path / ".chalice" / "policy-production-on_event.json").write_text(json.dumps(policy))
    assert problems(stage) == lines


def test_a_policy_that_is_no_json_is_told(configure: Configure, aws: Aws, tmp_path: Path) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    stage = configure()
    (tmp_path / ".chalice" / "policy-production-on_event.json").write_text('{"Statement": [}')
    assert problems(stage) == ["policy-production-on_event.json is not valid JSON at line 1 column 16."]


OUT_OF_REACH = (
    "REDIS_URL is set, but the stage has no subnet_ids and security_group_ids: outside of the cache's VPC no "
    "function reaches it."
)
CACHES: list[tuple[str, list[str]]] = [
    ("redis://cache:6379", [OUT_OF_REACH]),
    ("rediss://master.x.euc1.cache.amazonaws.com:6379", [OUT_OF_REACH]),
    ("rediss://10.0.0.7:6379", [OUT_OF_REACH]),
    ("redis://cache.example.com:6379", [OUT_OF_REACH]),
    ("unix:///run/valkey.sock", ["REDIS_URL is a socket; nothing on Lambda listens there."]),
    ("rediss://:password@eu1.cloud.example.com:6379", []),
    ("rediss://eu1.cloud.example.com?ssl_ca_certs=/opt/of-a-layer.pem", []),
]


@pytest.mark.parametrize(("url", "lines"), CACHES)
def test_a_cache_that_no_function_would_reach_is_told(
    configure: Configure, aws: Aws, url: str, lines: list[str]
) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    assert problems(configure(REDIS_URL=url, DYNAMODB_TABLE=None)) == lines


def test_a_cache_of_big_segments_is_looked_at_as_well(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    line = OUT_OF_REACH.replace("REDIS_URL", "BIG_SEGMENTS_REDIS_URL")
    assert problems(configure(BIG_SEGMENTS_REDIS_URL="redis://cache:6379")) == [line]


def test_in_a_network_every_function_may_connect_to_it(configure: Configure, aws: Aws, tmp_path: Path) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    stage = configure(REDIS_URL="redis://cache:6379", DYNAMODB_TABLE=None)
    subnet, group = aws.create_network()
    edit_config(tmp_path, {"subnet_ids": [subnet], "security_group_ids": [group]})
    needs = "ec2:CreateNetworkInterface, ec2:DescribeNetworkInterfaces, ec2:DeleteNetworkInterface on *."
    assert problems(stage) == [
        f"policy-production{suffix}.json does not allow {function} to connect to the subnets of config.json: "
        f"it needs {needs}"
        for function, suffix in (
            ("api_handler", ""),
            *((name, f"-{name}") for name in ("on_event", "reconcile", "deliver_events")),
        )
    ]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"subnet_ids": "subnet-1", "security_group_ids": ["sg-1"]}, "subnet_ids must be a list of strings in "),
        ({"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}, "config.json names what is not in eu-central-1"),
    ],
)
def test_what_is_wrong_with_the_network_is_told(
    configure: Configure, aws: Aws, tmp_path: Path, settings: dict[str, object], line: str
) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    stage = configure(REDIS_URL="redis://cache:6379", DYNAMODB_TABLE=None)
    edit_config(tmp_path, settings)
    assert any(problem.startswith(line) for problem in problems(stage))


def test_another_python_changes_the_runtime_only_if_that_is_meant(
    configure: Configure, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = configure()
    local = f"python{sys.version_info.major}.{sys.version_info.minor}"
    other = "python3.10" if local != "python3.10" else "python3.14"
    assert problems_of_runtime(stage, None) == []  # nothing is deployed
    deployed = local
    monkeypatch.setattr(preflight, "deployed_runtime", lambda _: deployed)
    assert problems_of_runtime(stage, None) == []
    assert problems_of_runtime(stage, other) == [
        f"This is {local} and not {other}; deploy with that Python: PYTHON={other}"
    ]
    deployed = other
    assert problems_of_runtime(stage, local) == []
    difference = f"Stage 'production' runs {other} and this is {local}, to which deploying would change it."
    keep = f"Keep it with PYTHON={other}, or change it with RUNTIME={local}."
    assert problems_of_runtime(stage, None) == [f"{difference} {keep}"]


@pytest.mark.parametrize(("variables", "lines"), SETTINGS)
def test_each_wrong_setting_is_one_line(
    configure: Configure, variables: dict[str, str | None], lines: list[str]
) -> None:
    assert problems(configure(**variables)) == lines


def test_a_table_that_the_policies_do_not_name_is_told_for_every_function(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("renamed")
    assert problems(configure(DYNAMODB_TABLE="renamed")) == [
        "policy-production.json does not allow api_handler to use table/renamed, which config.json names.",
        "policy-production-on_event.json does not allow on_event to use table/renamed, which config.json names.",
        "policy-production-reconcile.json does not allow reconcile to use table/renamed, which config.json names.",
    ]


FLAG_FILES = {
    "chalicelib/flags.json": True,
    "flags.json": True,
    "examples/flags.json": False,
    "chalicelib/missing.json": False,
    ".": False,
    "/opt/flags.json": True,
}


@pytest.mark.parametrize("path", FLAG_FILES)
def test_a_flag_file_has_to_be_in_the_package(configure: Configure, aws: Aws, tmp_path: Path, path: str) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    stage = configure(LAUNCHDARKLY_FLAG_FILE=path)
    for folder in ("chalicelib", "vendor", "examples"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "flags.json").write_text("{}")
    line = (
        f"LAUNCHDARKLY_FLAG_FILE is {path!r}, which is not in the package: put the file into chalicelib/, and say "
        f"'chalicelib/{Path(path).name}'."
    )
    assert problems(stage) == ([] if FLAG_FILES[path] else [line])


def test_a_table_may_be_named_by_its_arn(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/serverless-flags-production"
    assert problems(configure(DYNAMODB_TABLE=arn)) == []


def test_a_table_of_big_segments_needs_its_own_place_in_the_policies_of_evaluations(
    configure: Configure, aws: Aws
) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    told = problems(configure(BIG_SEGMENTS_TABLE="big"))
    assert told[:2] == [
        "policy-production.json does not allow api_handler to use table/big, which config.json names.",
        "policy-production-on_event.json does not allow on_event to use table/big, which config.json names.",
    ]
    assert [line.partition(":")[0] for line in told[2:]] == ["There is no table big in eu-central-1"]


def test_a_missing_parameter_and_a_missing_table_come_with_the_commands_that_create_them(
    configure: Configure, aws: Aws
) -> None:
    parameter, table = problems(configure())
    assert parameter == (
        f"There is no SSM parameter {SDK_KEY} in eu-central-1: "
        f"aws ssm put-parameter --type SecureString --name {SDK_KEY} --value ..."
    )
    assert table == (
        "There is no table serverless-flags-production in eu-central-1: "
        "aws cloudformation deploy --stack-name serverless-flags-production "
        "--template-file infrastructure/table.yaml --parameter-overrides TableName=serverless-flags-production"
    )


def test_a_parameter_that_holds_no_sdk_key_is_told_and_not_shown(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "two words")
    aws.create_table("serverless-flags-production")
    (line,) = problems(configure())
    assert line == (
        f"LAUNCHDARKLY_SDK_KEY_PARAMETER names {SDK_KEY!r}, which holds no SDK key; "
        "expected ASCII characters without a space."
    )


def test_a_table_with_another_key_is_refused(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production", partition_key="id")
    (line,) = problems(configure())
    assert line == (
        "The table serverless-flags-production has another key than LaunchDarkly's: "
        "partition key namespace, sort key key."
    )


def test_a_stage_that_has_all_it_needs_has_no_problems(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    assert problems(configure()) == []


def test_without_credentials_it_says_so_in_one_line(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials that it found first
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert problems(configure()) == ["AWS cannot be asked: Unable to locate credentials"]


def test_the_command_prints_the_lines_and_fails(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.main(["staging"]) == 1
    assert capsys.readouterr() == (
        "",
        "There is no stage 'staging' in .chalice/config.json; it has: local, dev, production.\n",
    )


@pytest.mark.parametrize("option", ["--front=uri", "--log-days=45", "--log-days=month"])
def test_what_would_be_refused_after_the_deployment_is_refused_before_it(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        preflight.main(["production", option])
    name = option.partition("=")[0]
    assert f"argument {name}: invalid" in capsys.readouterr().err


def test_make_deploy_has_them_looked_at_before_the_deployment() -> None:
    planned = subprocess.run(
        ["make", "--dry-run", "deploy", "STAGE=dev", "FRONT=uri", "LOG_DAYS=45"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    looked_at = planned[planned.index("tools.preflight") : planned.index("chalice package")]
    assert "--front=" in looked_at
    assert "--log-days=" in looked_at


def test_a_function_without_a_policy_file_is_told(configure: Configure, aws: Aws, tmp_path: Path) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    stage = configure()
    (tmp_path / ".chalice" / "policy-production-reconcile.json").unlink()
    assert problems(stage) == ["policy-production-reconcile.json is not there; reconcile is deployed with that policy."]


def test_a_missing_comma_is_one_line_for_every_command(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    path = tmp_path / ".chalice" / "config.json"
    path.write_text('{"version": "2.0"\n "stages": {}}')
    for command in (preflight, register_webhook, after_deploy, deployment):
        monkeypatch.setattr(command, "Stage", functools.partial(Stage, folder=tmp_path))
        assert command.main(["production"]) == 1
        assert capsys.readouterr() == (
            "",
            ".chalice/config.json is not valid JSON at line 2 column 2; is a comma missing in the line before?\n",
        )


@pytest.mark.parametrize("content", ["[]", "{}", '{"stages": []}'])
def test_a_configuration_without_stages_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / ".chalice").mkdir()
    (tmp_path / ".chalice" / "config.json").write_text(content)
    with pytest.raises(StageError, match=r"^\.chalice/config\.json has no 'stages'\.$"):
        Stage("production", tmp_path)


def test_a_stage_that_is_not_there_is_an_error_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (preflight, register_webhook, after_deploy, deployment):
        assert command.main(["staging"]) == 1
        assert capsys.readouterr().err == (
            "There is no stage 'staging' in .chalice/config.json; it has: local, dev, production.\n"
        )


# Functions that a user has added.

OWN_FUNCTIONS = """

@app.on_sqs_message(queue="orders")
def take_orders(event):
    pass


@app.on_kinesis_record(stream="clicks", name="count_clicks")
def anything(event):
    pass


@app.on_dynamodb_record(stream_arn="arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-01-01T00:00")
def follow_orders(event):
    pass


@app.lambda_function()
def plain(event, lambda_context):
    pass
"""
SOURCES = {
    "take_orders": ("orders", "sqs:ReceiveMessage, sqs:DeleteMessage, sqs:GetQueueAttributes"),
    "count_clicks": ("stream/clicks", "kinesis:GetRecords, kinesis:GetShardIterator, kinesis:DescribeStream"),
    "follow_orders": (
        "table/orders/stream/2026-01-01T00:00",
        "dynamodb:GetRecords, dynamodb:GetShardIterator, dynamodb:DescribeStream",
    ),
}
READ_ONLY = "policy-production-on_event.json"


def add_functions(stage: Stage, of_each: dict[str, object], **of_some: dict[str, object]) -> None:
    """Adds the functions, with settings for each of them, and further ones for some."""
    with (stage.folder / "app.py").open("a") as app:
        app.write(OWN_FUNCTIONS)
    path = stage.folder / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    functions = config["stages"]["production"]["lambda_functions"]
    for name in (*SOURCES, "plain", *of_some):
        functions[name] = {**of_each, **of_some.get(name, {})}
    path.write_text(json.dumps(config))


def read_of_own(folder: Path, *more: dict[str, object]) -> None:
    """policy-own.json: to evaluate, and more."""
    policy = json.loads((folder / ".chalice" / READ_ONLY).read_text())
    policy["Statement"] += more
    (folder / ".chalice" / "policy-own.json").write_text(json.dumps(policy))


@pytest.fixture
def own_stage(configure: Configure, aws: Aws) -> Stage:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    return configure(ORDERS_TABLE="orders")


def test_functions_of_a_user_need_what_reads_their_sources_and_nothing_of_ours(own_stage: Stage) -> None:
    read_of_own(own_stage.folder)
    add_functions(own_stage, {"iam_policy_file": "policy-own.json", "lambda_memory_size": 512})
    assert problems(own_stage) == [
        f"policy-own.json does not allow {name} to read {resource}: it needs {actions}."
        for name, (resource, actions) in SOURCES.items()
    ]
    read_of_own(own_stage.folder, allow(["sqs:*", "kinesis:*", "dynamodb:*"], "*"))
    assert (problems(own_stage), warnings(own_stage)) == ([], [])


def test_little_memory_a_policy_with_secrets_and_one_without_the_table_are_warnings(own_stage: Stage) -> None:
    (own_stage.folder / ".chalice" / "policy-empty.json").write_text(
        json.dumps({"Statement": [allow(["sqs:*", "kinesis:*", "dynamodb:*Stream", "dynamodb:Get*"], "*")]})
    )
    add_functions(
        own_stage,
        {"iam_policy_file": "policy-empty.json", "lambda_memory_size": 255},
        plain={"iam_policy_file": "policy-production.json", "lambda_memory_size": 256},
        take_orders={"lambda_memory_size": None},
    )
    assert problems(own_stage) == []
    reason = (
        "Lambda gives a function processor time by its memory, and with less than 256 MB a cold start takes seconds."
    )
    advice = "Set lambda_memory_size in .chalice/config.json."
    no_table = "to use table/serverless-flags-production: flags would have their default values."
    assert warnings(own_stage) == [
        f"take_orders has 128 MB: {reason} {advice}",
        f"count_clicks has 255 MB: {reason} {advice}",
        f"follow_orders has 255 MB: {reason} {advice}",
        (
            "plain is deployed with policy-production.json, the API's, which may read the secrets and write the flags. "
            "Give it an iam_policy_file; to evaluate, what policy-production-on_event.json allows is enough."
        ),
        f"policy-empty.json does not allow take_orders {no_table}",
        f"policy-empty.json does not allow count_clicks {no_table}",
        f"policy-empty.json does not allow follow_orders {no_table}",
    ]


def test_a_warning_does_not_stop_a_deployment(
    own_stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "Stage", lambda _name: own_stage)
    read_of_own(own_stage.folder, allow(["sqs:*", "kinesis:*", "dynamodb:*"], "*"))
    add_functions(own_stage, {"iam_policy_file": "policy-own.json"})
    assert preflight.main(["production"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["Warning"] * 4


def test_a_function_in_the_configuration_that_is_not_in_the_app_is_told(own_stage: Stage) -> None:
    read_of_own(own_stage.folder, allow(["sqs:*", "kinesis:*", "dynamodb:*"], "*"))
    add_functions(own_stage, {"iam_policy_file": "policy-own.json"}, take_order={"lambda_timeout": 5})
    (problem,) = problems(own_stage)
    assert problem == (
        "lambda_functions in .chalice/config.json names take_order, which app.py does not have; did you mean "
        "take_orders?"
    )


def test_the_settings_and_the_policy_file_of_a_users_function_are_looked_at_too(own_stage: Stage) -> None:
    variables = {"FLAGS_MAX_AGE_SECONDS": "soon"}
    add_functions(own_stage, {"iam_policy_file": "policy-own.json"}, plain={"environment_variables": variables})
    (problem,) = problems(own_stage)
    assert problem == "FLAGS_MAX_AGE_SECONDS is 'soon'; expected a number of seconds, 0 or more."
    edit_function(own_stage, "plain", {"lambda_memory_size": "512"})
    assert problems(own_stage) == ["lambda_memory_size must be a number without quotes in .chalice/config.json."]
    edit_function(own_stage, "plain", {})
    assert "policy-own.json is not there; plain is deployed with that policy." in problems(own_stage)


def edit_function(stage: Stage, name: str, settings: dict[str, object]) -> None:
    path = stage.folder / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    config["stages"]["production"]["lambda_functions"][name] = {"iam_policy_file": "policy-own.json", **settings}
    path.write_text(json.dumps(config))


def test_an_app_that_cannot_be_imported_is_one_line(configure: Configure) -> None:
    stage = configure()
    (stage.folder / "app.py").write_text("from chalicelib import nothing_of_the_sort")
    with pytest.raises(StageError, match=r"^app\.py cannot be imported: ImportError: cannot import name 'nothing_of"):
        problems(stage)


CACHE_URL = "rediss://flags@flags-abcdef.serverless.euc1.cache.amazonaws.com:6379"


@pytest.mark.parametrize("options", ["", "?ssl_ca_certs=/opt/of-a-layer.pem"])
def test_a_login_by_iam_needs_a_policy_for_the_cache_and_for_the_user(
    configure: Configure, aws: Aws, options: str
) -> None:
    stage = configure(REDIS_URL=CACHE_URL + options, REDIS_AUTH="iam", STORE_PREFIX="{flags}", DYNAMODB_TABLE=None)
    lines = [line for line in problems(stage) if "serverlesscache" in line or "user:" in line]
    assert [line for line in lines if "on_event" in line] == [
        f"policy-production-on_event.json does not allow on_event to use {each}, which config.json names."
        for each in ("serverlesscache:flags", "user:flags")
    ]
    for path in (stage.folder / ".chalice").glob("policy-production*.json"):
        policy = json.loads(path.read_text())
        arns = ["arn:*:elasticache:*:*:serverlesscache:flags", "arn:*:elasticache:*:*:user:flags"]
        policy["Statement"].append({"Effect": "Allow", "Action": "elasticache:Connect", "Resource": arns})
        path.write_text(json.dumps(policy))
    assert [line for line in problems(stage) if "serverlesscache" in line or "user:" in line] == []


def test_a_login_by_iam_that_cannot_work_is_told_before_a_deployment(configure: Configure, aws: Aws) -> None:
    stage = configure(
        REDIS_URL=CACHE_URL.replace("rediss", "redis"), REDIS_AUTH="iam", STORE_PREFIX="{f}", DYNAMODB_TABLE=None
    )
    assert problems(stage) == [
        "REDIS_AUTH is 'iam', but REDIS_URL does not start with rediss://: ElastiCache takes IAM tokens over TLS only."
    ]
