"""Requests to DynamoDB that we sign ourselves are those of AWS's SDK, and only plain access is ours to sign."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chalicelib.errors import ConfigurationError
from chalicelib.stores.dynamodb.access import read_call
from chalicelib.stores.dynamodb.endpoint import Endpoint, plain_endpoint
from chalicelib.stores.dynamodb.protocol import signed_headers
from chalicelib.timing import Timing

ON_LAMBDA = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret/with+signs=",
    "AWS_SESSION_TOKEN": "token//with==signs",
    "AWS_LAMBDA_FUNCTION_NAME": "flags",
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home in which nobody has configured AWS."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("token", ["token//with==signs", ""])
@pytest.mark.parametrize("endpoint", ["https://dynamodb.eu-central-1.amazonaws.com", "http://127.0.0.1:8000"])
def test_the_signature_is_that_of_the_aws_sdk(endpoint: str, token: str) -> None:
    body = '{"TableName": "größe"}'.encode()
    theirs = AWSRequest(
        "POST",
        endpoint + "/",
        headers={"content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.GetItem"},
        data=body,
    )
    SigV4Auth(Credentials("ASIAEXAMPLE", "secret/with+signs=", token or None), "dynamodb", "eu-central-1").add_auth(
        theirs
    )
    moment = datetime.strptime(theirs.headers["X-Amz-Date"] + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()

    access = plain_endpoint({**ON_LAMBDA, "AWS_ENDPOINT_URL": endpoint, "AWS_SESSION_TOKEN": token})
    assert access is not None
    assert signed_headers(access, "GetItem", body, moment)["authorization"] == theirs.headers["Authorization"]


def test_lambda_gives_plain_endpoint() -> None:
    host = "dynamodb.eu-central-1.amazonaws.com"
    assert plain_endpoint(ON_LAMBDA) == Endpoint(
        is_tls=True,
        authority=host,
        host=host,
        port=443,
        region="eu-central-1",
        access_key_id="ASIAEXAMPLE",
        secret_access_key="secret/with+signs=",
        session_token="token//with==signs",
    )


@pytest.mark.parametrize(
    ("changed", "endpoint"),
    [
        ({"AWS_ENDPOINT_URL": "http://other", "AWS_ENDPOINT_URL_DYNAMODB": "https://mine"}, "https://mine"),
        ({"AWS_DEFAULT_REGION": "us-gov-west-1"}, "https://dynamodb.us-gov-west-1.amazonaws.com"),
        ({"AWS_DEFAULT_REGION": "cn-north-1", "AWS_ENDPOINT_URL": "https://vpce"}, "https://vpce"),
    ],
)
def test_the_endpoint_is_where_the_aws_sdk_finds_it(changed: dict[str, str], endpoint: str) -> None:
    access = plain_endpoint({**ON_LAMBDA, **changed})
    assert access is not None
    assert ("https" if access.is_tls else "http") + f"://{access.host}" == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:5000/",
        "http://127.0.0.1:5000",
        "https://127.0.0.1",
        "HTTPS://Dynamo.Example.com",
        "http://dynamodb_local:8000",
        "http://localhost:",
        "http://[::1]:8000",
        "https://[2001:DB8::1]/",
    ],
)
def test_a_url_is_taken_apart_as_python_does(url: str) -> None:
    access = plain_endpoint({**ON_LAMBDA, "AWS_ENDPOINT_URL": url})
    assert access is not None
    parts = urlsplit(url)
    assert (access.is_tls, access.authority, access.host) == (parts.scheme == "https", parts.netloc, parts.hostname)
    assert access.port == (parts.port or {"https": 443, "http": 80}[parts.scheme])


@pytest.mark.parametrize(
    "url",
    [
        "http://gateway/dynamodb",
        "http://a//",
        "http://a?b",
        "http://a#b",
        "http://a b",
        "http://a\\b",
        "http://größe",
        "http://user@host",
        "http://user:password@host:80",
        "http://a:1:2",
        "http://a:65536",
        "http://a:0",
        "http://a:0x10",
        "http://a:+80",
        "http://a:²",
        "http://[::1]8000",
        "http://[::1",
        "http://[::1:8000",
        "http://[localhost]:8000",
        "http://[127.0.0.1]",
        "http://[v1.a:b]",
        "http://[fe80::1%eth0]",
        "http://:80",
        "http:///",
        "http:/a",
        "//a",
        "a:80",
        "unix:///run/dynamodb",
        "",
    ],
)
def test_any_other_url_is_left_to_the_aws_sdk(url: str) -> None:
    assert plain_endpoint({**ON_LAMBDA, "AWS_ENDPOINT_URL": url}) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"AWS_ACCESS_KEY_ID": ""},
        {"AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_DEFAULT_REGION": ""},
        {"AWS_DEFAULT_REGION": "cn-north-1"},
        {"AWS_DEFAULT_REGION": "us-iso-east-1"},
        {"AWS_PROFILE": "work"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_CA_BUNDLE": "/etc/ssl/corporate.pem"},
        {"https_proxy": "http://proxy:3128"},
    ],
)
def test_everything_else_is_left_to_the_aws_sdk(changed: dict[str, str]) -> None:
    assert plain_endpoint({**ON_LAMBDA, **changed}) is None


def test_a_configuration_file_is_left_to_the_aws_sdk(home: Path) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text("[default]\nendpoint_url = http://elsewhere\n")
    assert plain_endpoint(ON_LAMBDA) is None


def test_without_boto3_and_without_credentials_in_the_environment_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)  # as if there were none
    monkeypatch.delitem(sys.modules, "chalicelib.stores.dynamodb.sdk", raising=False)
    with pytest.raises(ConfigurationError, match=r"DYNAMODB_TABLE .* install boto3"):
        read_call({"AWS_DEFAULT_REGION": "eu-central-1"}, Timing())
