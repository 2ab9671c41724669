"""Whether functions reach a cache from the network that a stage gives them: what can be known before a deployment.

Needs ec2:DescribeSubnets, DescribeSecurityGroups and DescribeRouteTables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import boto3
from botocore.exceptions import ClientError

from chalicelib.config import Settings
from tools.stages import Stage

Json = dict[str, Any]

_LISTS = {"subnet_ids": "subnet", "security_group_ids": "sg"}
"""Chalice's names, and how AWS's names of these begin."""

_HASH_TAG = re.compile(r"\{[^}]+\}")
_TLS = 443
_VALKEY = 6379


def types_of_network(stage: Stage, function: str) -> Iterator[str]:
    """Chalice fails on these in the middle of a deployment, or takes one of the two without the other for none."""
    values = {name: stage.setting(name, function) for name in _LISTS}
    for name, value in values.items():
        if value and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            yield f'{name} must be a list of strings in .chalice/config.json, such as ["{_LISTS[name]}-..."].'
    missing = [name for name, value in values.items() if not value]
    if len(missing) == 1:
        other = next(name for name in _LISTS if name not in missing)
        yield f"{other} is set in .chalice/config.json and {missing[0]} is not; functions need both or neither."


def problems_of_address(stage: Stage, settings: Settings) -> Iterator[str]:
    """A cache is reached from its own network, unless it is one on the internet, by TLS. No I/O."""
    has_network = all(stage.setting(name) for name in _LISTS)
    for name, url in _addresses(settings):
        host = url.hostname or ""
        if url.scheme == "unix":
            yield f"{name} is a socket; nothing on Lambda listens there."
        elif not has_network and (url.scheme != "rediss" or not _is_public(host)):
            yield (
                f"{name} is set, but the stage has no subnet_ids and security_group_ids: outside of the cache's "
                "VPC no function reaches it."
            )
        if _is_serverless(host) and url.scheme != "rediss":
            yield f"{name} must begin with rediss://: ElastiCache Serverless speaks TLS only."
    if _is_cluster(urlsplit(settings.redis_url or "").hostname or "") and not _HASH_TAG.search(settings.store_prefix):
        yield (
            "STORE_PREFIX must have a hash tag, such as {launchdarkly}: REDIS_URL is a cluster, which refuses a "
            "transaction over keys of several slots."
        )


def _addresses(settings: Settings) -> Iterator[tuple[str, SplitResult]]:
    """The caches that the functions use, by the settings' names."""
    for row in (Settings.redis_url, Settings.big_segments_redis_url):
        if url := settings.values[row.attribute]:
            yield row.name, urlsplit(url)


def _is_public(host: str) -> bool:
    """Whether the name may be one of the internet: ElastiCache's are private."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".cache.amazonaws.com", ".internal", ".local"))


def _is_serverless(host: str) -> bool:
    """Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Endpoints.html"""
    return ".serverless." in host and host.endswith(".cache.amazonaws.com")


def _is_cluster(host: str) -> bool:
    return _is_serverless(host) or (host.startswith("clustercfg.") and host.endswith(".cache.amazonaws.com"))


def problems_of_reach(stage: Stage, settings: Settings) -> Iterator[str]:
    """Of what config.json names: whether it is there, in one VPC, and lets functions out to where they have to go."""
    subnets, groups = (stage.setting(name) or [] for name in _LISTS)
    if not subnets or not groups:
        return
    ec2 = boto3.client("ec2")
    try:
        found = ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
        rules = ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]
    except ClientError as error:
        if not error.response["Error"]["Code"].endswith(("NotFound", "Malformed", "InvalidParameterValue")):
            raise
        yield f"config.json names what is not in {ec2.meta.region_name}: {error.response['Error']['Message']}"
        return
    vpcs = {each["VpcId"] for each in (*found, *rules)}
    if len(vpcs) > 1:
        yield f"The subnets and security groups of config.json are in several VPCs: {', '.join(sorted(vpcs))}."
        return
    yield from _of_routes(ec2, found)
    yield from _of_rules(rules, settings)


def _of_routes(ec2: Any, subnets: list[Json]) -> Iterator[str]:
    """A function in a VPC has no public address, so an internet gateway takes it nowhere; SSM and LaunchDarkly do."""
    vpc = [{"Name": "vpc-id", "Values": [subnets[0]["VpcId"]]}]
    tables = ec2.describe_route_tables(Filters=vpc)["RouteTables"]
    for subnet in subnets:
        table = _route_table(tables, subnet["SubnetId"])
        routes = [each for each in table.get("Routes", []) if each.get("DestinationCidrBlock") == "0.0.0.0/0"]
        if not routes or routes[0].get("GatewayId", "").startswith("igw-"):
            way = "an internet gateway, which serves no function" if routes else "nothing"
            yield (
                f"{subnet['SubnetId']} routes what leaves its VPC to {way}, so functions there reach neither "
                "LaunchDarkly nor SSM; take private subnets with a NAT gateway."
            )


def _route_table(tables: list[Json], subnet: str) -> Json:
    """The subnet's own, or else the main one of the VPC."""
    associations = [(each, table) for table in tables for each in table["Associations"]]
    own = [table for each, table in associations if each.get("SubnetId") == subnet]
    return next(iter([*own, *(table for each, table in associations if each.get("Main"))]), {})


def _of_rules(groups: list[Json], settings: Settings) -> Iterator[str]:
    rules = [rule for group in groups for rule in group["IpPermissionsEgress"]]
    ports = {_TLS: "LaunchDarkly and SSM"}
    ports.update({url.port or _VALKEY: "the cache" for _, url in _addresses(settings)})
    for port, what in ports.items():
        if not any(_allows(rule, port) for rule in rules):
            yield f"The security groups of config.json let nothing out to port {port}, which functions need for {what}."


def _allows(rule: Json, port: int) -> bool:
    if rule["IpProtocol"] == "-1":
        return True
    return rule["IpProtocol"] == "tcp" and port in range(rule["FromPort"], rule["ToPort"] + 1)
