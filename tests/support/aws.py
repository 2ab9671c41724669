"""An AWS that the tests own: moto's server over real HTTP."""

from __future__ import annotations

import os
from typing import Any

import boto3
import requests
from moto.server import ThreadedMotoServer

# Else moto makes the 1,300 images of a region anew whenever an account that has asked for networks is emptied.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"


class Aws:
    """One empty account in one region, as a context manager."""

    region = "eu-central-1"

    def __enter__(self) -> Aws:
        self._clients: dict[str, Any] = {}
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.uri = f"http://{host}:{port}"
        requests.post(f"{self.uri}/moto-api/reset", timeout=60).raise_for_status()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What points boto3, the AWS CLI or Chalice here."""
        return {
            "AWS_ENDPOINT_URL": self.uri,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }

    def client(self, service: str) -> Any:
        if service not in self._clients:  # botocore takes as long to make one as for several requests
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.uri,
                region_name=self.region,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )
        return self._clients[service]

    def put_secret(self, name: str, value: str) -> None:
        self.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)

    def create_table(self, name: str, partition_key: str = "namespace") -> None:
        keys = {partition_key: "HASH", "key": "RANGE"}
        self.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        )

    def create_network(self) -> tuple[str, str]:
        """A private subnet with a way out, and a security group that lets everything out: what functions need."""
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="functions", Description="functions", VpcId=vpc)["GroupId"]
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        return str(subnet), str(group)

    def forget_snapshot(self, table: str) -> None:
        """So that a function reads the items one by one, which needs more than reading a snapshot."""
        client = self.client("dynamodb")
        for item in client.scan(TableName=table)["Items"]:
            if item["namespace"]["S"] in ("launchdarkly:$snapshot", "launchdarkly:$current"):
                client.delete_item(TableName=table, Key={name: item[name] for name in ("namespace", "key")})

    def credentials_of(self, role: str) -> dict[str, str]:
        """What Lambda gives to a function with this role (an ARN)."""
        answer = self.client("sts").assume_role(RoleArn=role, RoleSessionName="function")["Credentials"]
        return {
            "AWS_ENDPOINT_URL": self.uri,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
            "AWS_SESSION_TOKEN": answer["SessionToken"],
        }
