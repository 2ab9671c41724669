"""Secrets from AWS Systems Manager Parameter Store, fetched once per process.

Needs ``ssm:GetParameter`` on the parameter and, when it is encrypted with a customer-managed key,
``kms:Decrypt`` on that key.
"""

from __future__ import annotations

import math
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .errors import ConfigurationError

_CLIENT_CONFIG = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2})

_LOOK_AGAIN_SECONDS = 60.0
"""A parameter is looked at again at most this often: forged signatures must not become calls to SSM."""

_REASONS = {
    "ParameterNotFound": "there is no such parameter in this region",
    "AccessDeniedException": "this role lacks ssm:GetParameter on it, or kms:Decrypt on its key",
}

_lock = threading.Lock()
_values: dict[str, str] = {}
_looked_again_at: dict[str, float] = {}


def read_parameter(name: str, *, setting: str) -> str:
    """The decrypted value of the parameter ``name``, which the environment variable ``setting`` names.

    Raises ConfigurationError when it is missing, not permitted, or Parameter Store cannot be reached; an
    error is not kept.
    """
    with _lock:
        if name not in _values:
            _values[name] = _fetch(name, setting)
        return _values[name]


def rotated_parameter(name: str, known: str, *, setting: str) -> str | None:
    """The value when it is another one than ``known``, which ``read_parameter`` gave; else None.

    Raises as ``read_parameter`` does.
    """
    with _lock:
        now = time.monotonic()
        if now - _looked_again_at.get(name, -math.inf) >= _LOOK_AGAIN_SECONDS:
            _looked_again_at[name] = now
            _values[name] = _fetch(name, setting)
        return None if _values[name] == known else _values[name]


def _fetch(name: str, setting: str) -> str:
    """Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html"""
    try:
        answer = boto3.client("ssm", config=_CLIENT_CONFIG).get_parameter(Name=name, WithDecryption=True)
    except (ClientError, BotoCoreError) as error:
        raise ConfigurationError(f"{setting} names {name!r}, which cannot be read: {_reason(error)}.") from error
    return str(answer["Parameter"]["Value"])


def _reason(error: ClientError | BotoCoreError) -> str:
    """What to do about it, or the kind of failure; AWS's own message would carry account numbers."""
    if not isinstance(error, ClientError):
        return type(error).__name__
    code = str(error.response.get("Error", {}).get("Code", "unknown error"))
    return _REASONS.get(code, code)
