"""Secrets from AWS Systems Manager Parameter Store, fetched once per process.

Needs ``ssm:GetParameter`` on the parameter and, when it is encrypted with a customer-managed key,
``kms:Decrypt`` on that key.
"""

from __future__ import annotations

import functools

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import ConfigurationError

_CLIENT_CONFIG = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2})


@functools.cache
def read_parameter(name: str, *, setting: str) -> str:
    """The decrypted value of the parameter ``name``, which the environment variable ``setting`` names.

    Raises ConfigurationError when it is missing, not permitted, or Parameter Store cannot be reached.
    Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    client = boto3.client("ssm", config=_CLIENT_CONFIG)
    try:
        answer = client.get_parameter(Name=name, WithDecryption=True)
    except (ClientError, BotoCoreError) as error:
        raise ConfigurationError(f"{setting} names {name!r}, which cannot be read: {_reason(error)}.") from error
    return str(answer["Parameter"]["Value"])


def _reason(error: ClientError | BotoCoreError) -> str:
    """A short cause without account numbers: the AWS error code, or the kind of connection failure."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown error"))
    return type(error).__name__
