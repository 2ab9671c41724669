"""A cache that no function would reach is told before a deployment, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib.config import load_settings
from tests.support.aws import Aws
from tools.network import problems_of_address, problems_of_reach, types_of_network
from tools.stages import Stage

SERVERLESS = "flags-abc.serverless.euc1.cache.amazonaws.com:6379"
HASH_TAG = (
    "STORE_PREFIX must have a hash tag, such as {launchdarkly}: REDIS_URL is a cluster, which refuses a "
    "transaction over keys of several slots."
)
IN_VPC = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}

LISTS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    (IN_VPC, []),
    (
        {**IN_VPC, "subnet_ids": "subnet-1,subnet-2"},
        ['subnet_ids must be a list of strings in .chalice/config.json, such as ["subnet-..."].'],
    ),
    (
        {**IN_VPC, "security_group_ids": [1]},
        ['security_group_ids must be a list of strings in .chalice/config.json, such as ["sg-..."].'],
    ),
    (
        {"subnet_ids": ["subnet-1"]},
        ["subnet_ids is set in .chalice/config.json and security_group_ids is not; functions need both or neither."],
    ),
]


def configured(folder: Path, settings: dict[str, Any], **variables: str | None) -> Stage:
    """The stage ``production`` with these settings of Chalice and these variables (None: without)."""
    environment = {name: value for name, value in variables.items() if value is not None}
    stage = {**settings, "environment_variables": environment}
    (folder / ".chalice").mkdir(exist_ok=True)
    config = {"version": "2.0", "app_name": "serverless-flags", "stages": {"production": stage}}
    (folder / ".chalice" / "config.json").write_text(json.dumps(config))
    return Stage("production", folder)


@pytest.mark.parametrize(("settings", "lines"), LISTS, ids=["none", "both", "a string", "a number", "one of two"])
def test_a_network_is_two_lists_of_strings(tmp_path: Path, settings: dict[str, Any], lines: list[str]) -> None:
    assert list(types_of_network(configured(tmp_path, settings), "reconcile")) == lines


ADDRESSES: list[tuple[str, str | None, list[str]]] = [
    (f"rediss://{SERVERLESS}", "{launchdarkly}", []),
    (f"rediss://{SERVERLESS}", None, [HASH_TAG]),
    (f"rediss://{SERVERLESS}", "{}", [HASH_TAG]),
    (
        f"redis://{SERVERLESS}",
        "{launchdarkly}",
        ["REDIS_URL must begin with rediss://: ElastiCache Serverless speaks TLS only."],
    ),
    ("rediss://clustercfg.flags.abc.euc1.cache.amazonaws.com:6379", None, [HASH_TAG]),
    ("rediss://master.flags.abc.euc1.cache.amazonaws.com:6379", None, []),
    ("redis://10.0.0.7:6379", None, []),
]


@pytest.mark.parametrize(("url", "prefix", "lines"), ADDRESSES)
def test_an_address_says_what_the_cache_needs(tmp_path: Path, url: str, prefix: str | None, lines: list[str]) -> None:
    stage = configured(tmp_path, IN_VPC, REDIS_URL=url, STORE_PREFIX=prefix)
    assert list(problems_of_address(stage, load_settings(stage.environment()))) == lines


@pytest.fixture(scope="module")
def account() -> Iterator[Aws]:
    with Aws() as aws:
        yield aws


@pytest.fixture
def network(account: Aws, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A subnet and a security group that have all that functions need."""
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    return account.create_network()


def reach(tmp_path: Path, subnets: list[str], groups: list[str]) -> list[str]:
    settings = {"subnet_ids": subnets, "security_group_ids": groups}
    stage = configured(tmp_path, settings, REDIS_URL="redis://10.0.0.7:6380")
    return list(problems_of_reach(stage, load_settings(stage.environment())))


def test_functions_need_a_way_out_that_is_no_internet_gateway(tmp_path: Path, network: tuple[str, str]) -> None:
    subnet, group = network

    def lines(way: str) -> list[str]:
        outcome = "so functions there reach neither LaunchDarkly nor SSM; take private subnets with a NAT gateway."
        return [f"{subnet} routes what leaves its VPC to {way}, {outcome}"]

    assert reach(tmp_path, [subnet], [group]) == []
    ec2 = boto3.client("ec2")
    filters = [{"Name": "association.subnet-id", "Values": [subnet]}]
    (own,) = ec2.describe_route_tables(Filters=filters)["RouteTables"]
    ec2.disassociate_route_table(AssociationId=own["Associations"][0]["RouteTableAssociationId"])
    assert reach(tmp_path, [subnet], [group]) == lines("nothing")
    filters = [{"Name": "vpc-id", "Values": [own["VpcId"]]}, {"Name": "association.main", "Values": ["true"]}]
    (main,) = ec2.describe_route_tables(Filters=filters)["RouteTables"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=own["VpcId"])
    to_the_internet = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway}
    ec2.create_route(RouteTableId=main["RouteTableId"], **to_the_internet)
    assert reach(tmp_path, [subnet], [group]) == lines("an internet gateway, which serves no function")


def test_security_groups_let_out_what_functions_need(tmp_path: Path, network: tuple[str, str]) -> None:
    subnet, group = network
    ec2 = boto3.client("ec2")
    (rules,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=rules["IpPermissionsEgress"])
    line = "The security groups of config.json let nothing out to port {}, which functions need for {}."
    assert reach(tmp_path, [subnet], [group]) == [
        line.format(443, "LaunchDarkly and SSM"),
        line.format(6380, "the cache"),
    ]
    rule = {"IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6380, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[rule])
    assert reach(tmp_path, [subnet], [group]) == [line.format(443, "LaunchDarkly and SSM")]


def test_what_is_not_there_or_in_another_vpc_is_told(tmp_path: Path, account: Aws, network: tuple[str, str]) -> None:
    subnet, group = network
    (line,) = reach(tmp_path, ["subnet-0123456789abcdef0"], [group])
    assert line.startswith("config.json names what is not in eu-central-1: ")
    assert "subnet-0123456789abcdef0" in line
    _, other = account.create_network()
    groups = boto3.client("ec2").describe_security_groups(GroupIds=[group, other])["SecurityGroups"]
    both = ", ".join(sorted(each["VpcId"] for each in groups))
    assert reach(tmp_path, [subnet], [other]) == [
        f"The subnets and security groups of config.json are in several VPCs: {both}."
    ]
