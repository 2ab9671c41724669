"""The CloudFormation templates are valid, and the metrics that they watch are those that the app sends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chalice.local import LambdaContext

from chalicelib import flags
from chalicelib.config import deployment_name
from tests.support.app import QUICK, App, Environment, LoadApp
from tests.support.data import PROJECT, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.support.fronts import HTTP, event_of
from tests.support.valkey import ValkeyServer

INFRASTRUCTURE = PROJECT / "infrastructure"
CFN_LINT = Path(sys.executable).with_name("cfn-lint")
IMPATIENT = QUICK._replace(data_set_seconds=2.0)
USER = {"kind": "user", "key": "anna"}


def test_cfn_lint_has_nothing_to_say_about_the_templates() -> None:
    templates = sorted(str(path) for path in INFRASTRUCTURE.glob("*.yaml"))
    assert {path.rpartition("/")[2] for path in templates} >= {
        "endpoint.yaml",
        "front-doors.yaml",
        "function-alarms.yaml",
        "layer.yaml",
        "monitoring.yaml",
        "table.yaml",
        "valkey.yaml",
    }
    lint = subprocess.run([CFN_LINT, *templates], capture_output=True, text=True)
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")


def test_the_table_has_the_key_schema_of_launchdarklys_sdks() -> None:
    table = template("table.yaml")["Resources"]["Table"]["Properties"]
    assert table["KeySchema"] == [
        {"AttributeName": "namespace", "KeyType": "HASH"},
        {"AttributeName": "key", "KeyType": "RANGE"},
    ]
    assert table["AttributeDefinitions"] == [
        {"AttributeName": "namespace", "AttributeType": "S"},
        {"AttributeName": "key", "AttributeType": "S"},
    ]


def test_a_function_of_another_repository_may_read_as_on_event_may() -> None:
    policy = template("layer.yaml")["Resources"]["ReadFlags"]["Properties"]["PolicyDocument"]
    (reads,) = policy["Statement"]
    ours = json.loads((PROJECT / ".chalice" / "policy-production-on_event.json").read_text())["Statement"]
    assert [reads["Action"]] == [each["Action"] for each in ours if each["Sid"] == reads["Sid"]]


def test_an_http_api_leaves_open_with_iam_what_nobody_can_sign(app: App) -> None:
    """Each of these routes is one of the app, which checks its callers by itself or tells them nothing."""
    resources = template("front-doors.yaml")["Resources"]
    routes = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::ApiGatewayV2::Route"]
    signed = {"Fn::If": ["ChecksSignatures", "AWS_IAM", "NONE"]}
    assert {each["RouteKey"]: each["AuthorizationType"] for each in routes} == {
        "$default": signed,
        "POST /webhook": "NONE",
        "GET /status": "NONE",
        "HEAD /status": "NONE",
        "OPTIONS /{proxy+}": "NONE",
    }
    assert resources["Integration"]["Properties"]["PayloadFormatVersion"] == "2.0"
    for key, status in (
        ("POST /webhook", 400),
        ("GET /status", 503),
        ("HEAD /status", 503),
        ("OPTIONS /{proxy+}", 204),
    ):
        method, _, path = key.replace("{proxy+}", "evaluate").partition(" ")
        event = event_of(HTTP, method, path, {}, b"")
        event.update(routeKey=key, pathParameters={"proxy": "evaluate"} if "proxy" in key else None)
        assert app.module.app(event, LambdaContext("api_handler", 256, max_runtime_ms=30_000))["statusCode"] == status


def test_a_load_balancer_hands_on_every_value() -> None:
    target = template("front-doors.yaml")["Resources"]["Target"]["Properties"]
    assert {"Key": "lambda.multi_value_headers.enabled", "Value": "true"} in target["TargetGroupAttributes"]


def test_nothing_stands_before_an_api_that_nobody_asked_for() -> None:
    """Each part costs money; all depend on a parameter whose default is none."""
    endpoint = template("endpoint.yaml")
    assert {each["Condition"] for each in endpoint["Resources"].values()} == {
        "HasWebAcl",
        "HasUsagePlan",
        "HasEndpoint",
    }
    defaults = {name: each.get("Default") for name, each in endpoint["Parameters"].items()}
    assert [defaults[name] for name in ("ApiId", "RequestsPerAddress", "KeyRatePerSecond", "VpcId")] == ["", 0, 0, ""]


def test_the_user_for_iam_may_do_what_the_app_does() -> None:
    user = template("valkey.yaml")["Resources"]["User"]["Properties"]
    rule = re.search(r"ACL SETUSER flags on >\S+ (.+)", (PROJECT / "docs" / "stores.md").read_text())
    assert rule is not None
    assert user["AccessString"] == f"on {rule[1]}".replace("~launchdarkly:", "~{launchdarkly}:")
    assert user["UserId"] == user["UserName"], "or ElastiCache refuses every token"


@pytest.fixture
def deployed_app(load_app: LoadApp, environment: Environment, own_valkey: ValkeyServer) -> App:
    """The app as it is on Lambda, where alone it sends metrics, with a Valkey of its own that can be stopped."""
    url = own_valkey.url
    name = "serverless-flags-production"
    settings = {"REDIS_URL": url, "AWS_LAMBDA_FUNCTION_NAME": name, "EVENTS": "summary", "EVENTS_FLUSH_SECONDS": "0"}
    return load_app({**environment, **settings}, IMPATIENT)


def test_the_app_sends_exactly_the_metrics_that_alarms_and_dashboard_watch(
    deployed_app: App, own_valkey: ValkeyServer, launchdarkly: FakeLaunchDarkly, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployed_app.post("/evaluate", USER).status_code == 503
    assert sent(capsys) == [{"StoreErrors": 1}]
    assert flags.variation("shiny", USER, default="default") == "default"
    assert sent(capsys) == [{"DefaultsServed": 1}]

    launchdarkly.replace(by_key(boolean_flag("shiny")))
    deployed_app.webhook()
    (refreshed,) = sent(capsys)
    assert refreshed == {
        "RefreshFailures": 0,
        "RefreshMilliseconds": refreshed["RefreshMilliseconds"],
        **age(refreshed),
    }
    assert 0 < refreshed["RefreshMilliseconds"] < 30_000
    assert 0 <= refreshed["DataAgeSeconds"] < 30

    launchdarkly.fault = Fault.UNAVAILABLE
    assert deployed_app.post("/webhook", {"kind": "flag"}).status_code == 503
    (failed,) = sent(capsys)
    assert failed == {"RefreshFailures": 1, "RefreshMilliseconds": failed["RefreshMilliseconds"], **age(failed)}
    assert failed["DataAgeSeconds"] > refreshed["DataAgeSeconds"]

    deployed_app.evaluate(USER, "?flags=shiny")
    assert sent(capsys) == []

    deployed_app.invoke("deliver_events", {})
    (delivered,) = sent(capsys)
    oldest = {"OldestEventSeconds": 0}
    assert delivered == {"EventsDelivered": 1, "EventsDropped": 0, "EventsRefused": 0, **oldest}
    deployed_app.evaluate(USER, "?flags=shiny")
    launchdarkly.revoked_sdk_keys = {"sdk-key"}
    with pytest.raises(deployed_app.module.errors.EventsRefused):
        deployed_app.invoke("deliver_events", {})
    (rejected,) = sent(capsys)
    assert {**rejected, **oldest} == {"EventsDelivered": 0, "EventsDropped": 0, "EventsRefused": 1, **oldest}

    own_valkey.kill()
    deployed_app.evaluate(USER)
    assert sent(capsys) == [{"StaleAnswers": 1}]

    assert {*refreshed, *delivered, "StoreErrors", "StaleAnswers", "DefaultsServed"} == watched_metrics()


def test_a_failed_refresh_without_a_store_has_no_age(
    deployed_app: App, own_valkey: ValkeyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    own_valkey.kill()
    assert deployed_app.post("/webhook", {"kind": "flag"}).status_code == 503
    (failed,) = sent(capsys)
    assert failed == {"RefreshFailures": 1, "RefreshMilliseconds": failed["RefreshMilliseconds"]}


def test_a_local_app_prints_no_metrics(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    app.post("/evaluate", USER)
    app.webhook()
    assert capsys.readouterr().out == ""


FUNCTIONS = {"app.app": "", "app.on_event": "-on_event", "app.reconcile": "-reconcile", "app.take_orders": "-orders"}


@pytest.mark.parametrize(("handler", "suffix"), FUNCTIONS.items())
@pytest.mark.parametrize("deployment", ["serverless-flags-production", "shop-blue-green"])
def test_all_functions_of_a_stage_count_as_one_deployment(deployment: str, handler: str, suffix: str) -> None:
    """Those that users have added too, whatever they call them."""
    variables = {"AWS_LAMBDA_FUNCTION_NAME": deployment + suffix, "_HANDLER": handler}
    assert deployment_name(variables) == deployment


def age(values: dict[str, Any]) -> dict[str, Any]:
    return {"DataAgeSeconds": values["DataAgeSeconds"]}


def sent(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The values of each metric line since the last call, once its envelope is what CloudWatch expects."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [values_of(line) for line in lines if "_aws" in line]


def values_of(line: dict[str, Any]) -> dict[str, Any]:
    envelope = line.pop("_aws")
    assert line.pop("Deployment") == "serverless-flags-production"
    (directive,) = envelope["CloudWatchMetrics"]
    assert directive["Namespace"] == "ServerlessFlags"
    assert directive["Dimensions"] == [["Deployment"]]
    assert [metric["Name"] for metric in directive["Metrics"]] == list(line)
    assert {metric["Unit"] for metric in directive["Metrics"]} <= {"Count", "Milliseconds", "Seconds"}
    assert isinstance(envelope["Timestamp"], int)
    return line


def watched_metrics() -> set[str]:
    resources = template("monitoring.yaml")["Resources"]
    alarms = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    in_alarms = {alarm["MetricName"] for alarm in alarms if alarm.get("Namespace") == "ServerlessFlags"}
    dashboard = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    json.loads(dashboard)
    in_dashboard = set(re.findall(r'"ServerlessFlags", "(\w+)"', dashboard))
    assert in_alarms <= in_dashboard
    return in_dashboard


def template(name: str) -> dict[str, Any]:
    from cfnlint.decode import cfn_yaml

    loaded: dict[str, Any] = cfn_yaml.load(str(INFRASTRUCTURE / name))
    return loaded
