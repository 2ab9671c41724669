"""Secrets, from the environment or from AWS Systems Manager Parameter Store: the only reader of either's.

Needs ``ssm:GetParameter`` on the parameter and, when it is encrypted with a customer-managed key,
``kms:Decrypt`` on that key. A parameter is read once per process, again when it may have been rotated, and
again when what was read is old. Age is told by the clock on the wall: it goes on while a function is
frozen. A clock that was set back makes everything old.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from typing import NamedTuple

from .config import SecretSource
from .errors import ConfigurationError
from .timing import Timing

logger = logging.getLogger(__name__)

_KEY = re.compile(r"[!-~]+")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]+")

_REASONS = {
    "ParameterNotFound": "there is no such parameter in this region",
    "AccessDeniedException": "this role lacks ssm:GetParameter on it, or kms:Decrypt on its key",
}


class _Known(NamedTuple):
    """What a parameter held; times are Unix seconds. ``looked_again_at``: when a rotation was last suspected."""

    secret: str
    read_at: float
    looked_again_at: float = -math.inf


_lock = threading.Lock()
_known: dict[str, _Known] = {}


def read_secret(source: SecretSource, timing: Timing = Timing()) -> str:
    """The secret. Raises ConfigurationError when it is not configured, cannot be read, or cannot be one.

    An error is not kept; while a parameter cannot be read again, what it held goes on.
    """
    if source.value is not None:
        return checked_secret(source, source.value, source.variable)
    if source.parameter is None:
        raise ConfigurationError(f"{source.variable} is not set; set it or {source.variable}_PARAMETER.")
    with _lock:
        known = _known.get(source.parameter)
        if known is None:
            known = _known[source.parameter] = _Known(_read_parameter(source, source.parameter, timing), time.time())
        elif not _is_within(timing.secret_age_seconds, known.read_at):
            known = _known[source.parameter] = _read_again(source, source.parameter, known, timing)
        return known.secret


def rotated_secret(source: SecretSource, known: str, timing: Timing = Timing()) -> str | None:
    """The secret when SSM holds another one than ``known``, which ``read_secret`` gave; else None.

    Raises as ``read_secret`` does.
    """
    if source.parameter is None:
        return None
    with _lock:
        held = _known.get(source.parameter)
        if held is None or not _is_within(timing.secret_again_seconds, held.looked_again_at):
            now = time.time()
            if held is not None:  # an attempt that fails is a look, too
                _known[source.parameter] = held._replace(looked_again_at=now)
            held = _known[source.parameter] = _Known(_read_parameter(source, source.parameter, timing), now, now)
        return None if held.secret == known else held.secret


def _read_again(source: SecretSource, parameter: str, known: _Known, timing: Timing) -> _Known:
    """What the parameter holds now; or, for a while, what it held."""
    now = time.time()
    try:
        return known._replace(secret=_read_parameter(source, parameter, timing), read_at=now)
    except ConfigurationError as error:
        logger.warning("%s What it held goes on being used.", error)
        return known._replace(read_at=now - timing.secret_age_seconds + timing.secret_again_seconds)


def _is_within(seconds: float, since: float) -> bool:
    return 0.0 <= time.time() - since < seconds


def _read_parameter(source: SecretSource, parameter: str, timing: Timing) -> str:
    """Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html"""
    import boto3  # takes longer to import than an evaluation takes
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(
        connect_timeout=timing.secret_connect_seconds,
        read_timeout=timing.secret_read_seconds,
        retries={"total_max_attempts": timing.secret_attempts},
    )
    setting = f"{source.variable}_PARAMETER"
    try:
        answer = boto3.client("ssm", config=config).get_parameter(Name=parameter, WithDecryption=True)
    except ClientError as error:
        # AWS's own message would carry account numbers.
        code = str(error.response.get("Error", {}).get("Code", "unknown error"))
        raise _unreadable(setting, parameter, _REASONS.get(code, code)) from error
    except BotoCoreError as error:
        raise _unreadable(setting, parameter, type(error).__name__) from error
    return checked_secret(source, str(answer["Parameter"]["Value"]), f"{setting} names {parameter!r}, which")


def _unreadable(setting: str, parameter: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{setting} names {parameter!r}, which cannot be read: {reason}.")


def checked_secret(source: SecretSource, text: str, place: str) -> str:
    """The text without the white space around it. Raises ConfigurationError when that cannot be the secret.

    ``place`` begins the message: where the text was found.
    """
    secret = text.strip()
    if source.is_key and not _KEY.fullmatch(secret):
        raise ConfigurationError(f"{place} holds no SDK key; expected ASCII characters without a space.")
    if not _TEXT.fullmatch(secret):
        raise ConfigurationError(f"{place} holds no secret; expected one line of text.")
    return secret
