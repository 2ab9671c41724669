"""The example of an order service, deployed with the app: a route, a queue's handler and a schedule."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import Aws
from tests.support.data import boolean_flag, by_key
from tests.support.deployment import TOKEN, Deployed, Deployments, enforced
from tests.support.lambda_runtime import Function
from tests.support.orders import ORDERS
from tests.support.packages import lambda_runtime, packaged_with_orders
from tests.support.stores import data_set, refresh_store
from tests.support.valkey import ValkeyServer

if TYPE_CHECKING:
    from tests.support.lambda_service import LambdaService

Json = dict[str, Any]

OWN = ("price_orders", "remind_customers")
LARGE_ORDER = {"organization": "acme", "items": [{"price": 60_00, "count": 2}]}


@pytest.fixture(scope="module")
def with_orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that has the example, after `make package`."""
    return shutil.copytree(packaged_with_orders(), tmp_path_factory.mktemp("orders") / "project")


@pytest.fixture(scope="module")
def deployed(deployments: Deployments, with_orders: Path) -> Iterator[Deployed]:
    account = deployments.account
    account.create_table("serverless-flags-production")
    account.client("sqs").create_queue(QueueName="orders")
    account.client("dynamodb").create_table(
        TableName="orders",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    deployed = replace(deployments, packaged=with_orders).deploy("production", {})
    yield deployed
    deployed.project.make("undeploy")
    assert account.client("lambda").list_functions()["Functions"] == []


def set_flags(deployed: Deployed, version: int, *, new_pricing: bool, reminders: int) -> None:
    """At LaunchDarkly, and then in the store."""
    deployed.launchdarkly.replace(
        by_key(
            boolean_flag("new-pricing", version, value=new_pricing),
            {**boolean_flag("reminders-per-hour", version), "variations": [reminders, 0]},
        )
    )
    assert deployed.invoke("reconcile", {})["changed"] is True


def own(service: LambdaService, deployed: Deployed, name: str) -> Function:
    return service.instance(f"{deployed.name}-{name}")


def message(**order: object) -> Json:
    """An order as SQS hands it to a function."""
    return {"messageId": "1", "body": json.dumps(order), "eventSource": "aws:sqs", "receiptHandle": "1"}


def quote(deployed: Deployed, headers: dict[str, str]) -> tuple[int, Json]:
    return deployed.post("/quotes", {"id": "1", **LARGE_ORDER}, headers)


def kept(account: Aws) -> dict[str, int]:
    """What each order in the table costs."""
    items = account.client("dynamodb").scan(TableName="orders")["Items"]
    return {item["id"]["S"]: int(item["total"]["N"]) for item in items}


def test_a_route_a_handler_and_a_schedule_do_what_the_flags_say(deployed: Deployed, account: Aws) -> None:
    service, token = deployed.service, {"authorization": f"Bearer {TOKEN}"}
    for name in OWN:
        own(service, deployed, name)  # with the credentials of its role, which it needs from here on
    set_flags(deployed, 1, new_pricing=False, reminders=1)
    assert quote(deployed, {})[0] == 401
    assert quote(deployed, token) == (200, {"total": 120_00, "newPricing": False})
    assert deployed.post("/quotes", {}, token)[0] == 400

    with enforced(account):
        orders = [message(id=number, **LARGE_ORDER) for number in ("1", "2")]
        own(service, deployed, "price_orders").invoke({"Records": orders})
        assert own(service, deployed, "remind_customers").invoke(schedule_event()).payload == {"reminded": 1}
    assert kept(account) == {"1": 120_00, "2": 120_00}

    set_flags(deployed, 2, new_pricing=True, reminders=10)
    own(service, deployed, "price_orders").invoke({"Records": [message(id="3", **LARGE_ORDER)]})
    assert kept(account) == {"1": 120_00, "2": 120_00, "3": 108_00}


def schedule_event() -> Json:
    fields = ("version", "account", "region", "detail", "detail-type", "source", "time", "id")
    return {**dict.fromkeys(fields, ""), "resources": []}


def test_logs_of_every_function_expire(deployed: Deployed, account: Aws) -> None:
    groups = account.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    days = {each["logGroupName"].rpartition("/")[2]: each.get("retentionInDays") for each in groups}
    names = (deployed.name, *(f"{deployed.name}-{name}" for name in ("on_event", "reconcile", "deliver_events", *OWN)))
    assert {name: days.get(name) for name in names} == dict.fromkeys(names, 30)


def test_its_own_tests_pass_without_a_store(with_orders: Path) -> None:
    shutil.copytree(ORDERS / "tests", with_orders / "tests")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests"]
    variables = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, cwd=with_orders, env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert " 4 passed" in f" {ran.stdout.splitlines()[-1]}"


@pytest.fixture
def handler(deployed: Deployed, own_valkey: ValkeyServer, account: Aws) -> Iterator[Function]:
    """The queue's handler of the same package, over a Valkey."""
    (package,) = deployed.service.packages()
    environment = {**account.environment, "REDIS_URL": own_valkey.url, "ORDERS_TABLE": "orders"}
    name = {"AWS_LAMBDA_FUNCTION_NAME": "serverless-flags-production-price_orders"}
    with Function(package, "app.price_orders", {**environment, **name}, lambda_runtime()) as function:
        yield function


def test_a_handler_over_redis_has_defaults_until_there_are_flags_and_then_keeps_them(
    handler: Function, own_valkey: ValkeyServer, account: Aws
) -> None:
    def total(number: str) -> int:
        handler.invoke({"Records": [message(id=number, **LARGE_ORDER)]})
        return kept(account)[number]

    assert total("never filled") == 120_00
    refresh_store(own_valkey.url, data_set([boolean_flag("new-pricing")]))
    assert total("filled") == 108_00
    own_valkey.kill()
    assert total("away") == 108_00
    lines = [line for line in handler.log().splitlines() if "default values" in line]
    assert len(lines) == 1
    assert "The flag store was never filled" in lines[0]
    counted = [json.loads(line) for line in handler.log().splitlines() if "DefaultsServed" in line and "_aws" in line]
    assert [(line["Deployment"], line["DefaultsServed"]) for line in counted] == [("serverless-flags-production", 1)]
