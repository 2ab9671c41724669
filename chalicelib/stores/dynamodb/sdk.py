"""Requests to DynamoDB with AWS's SDK, where access is not plain.

botocore without boto3, which is one import more and adds nothing here. Its time-outs are for each address, each
attempt and each wait: a server that trickles its answer, or a resolver that is away, holds a request for longer.
"""

from __future__ import annotations

import math
import time

import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    NoRegionError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from ...errors import ConfigurationError, StoreUnavailable
from ...timing import Timing
from .endpoint import Call, Json, RequestRefused


def sdk_call(timing: Timing) -> Call:
    """Requests of a refresh, with the patience for them."""
    return _call(timing.dynamodb_request_seconds, timing.dynamodb_write_attempts, timing)


def sdk_read_call(timing: Timing) -> Call:
    """Requests of the read path, which learns within a second that DynamoDB is out of reach."""
    attempts = timing.dynamodb_read_attempts
    get = _call(timing.dynamodb_held_seconds, attempts, timing)
    calls = {
        "GetItem": get,
        "BatchGetItem": get,
        "Query": _call(timing.dynamodb_query_seconds, attempts, timing),
        "PutItem": _call(timing.events_held_seconds, attempts, timing),
    }

    def call(operation: str, request: Json, within_seconds: float = math.inf) -> Json:
        return calls[operation](operation, request, within_seconds)

    return call


def _call(timeout_seconds: float, attempts: int, timing: Timing) -> Call:
    # "legacy" pauses 0.05 s before the second attempt; "standard" up to a second when it is throttled.
    config = Config(
        connect_timeout=min(timeout_seconds, timing.dynamodb_connect_seconds),
        read_timeout=timeout_seconds,
        retries={"mode": "legacy", "total_max_attempts": attempts},
    )
    try:
        client = botocore.session.get_session().create_client("dynamodb", config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"DYNAMODB_TABLE is set, but AWS is not configured: {error}") from error

    opened_at = time.time()

    def call(operation: str, request: Json, within_seconds: float = math.inf) -> Json:
        """The time-outs are those of the client, however little is left."""
        nonlocal opened_at
        if not 0 <= time.time() - opened_at < timing.connection_seconds:
            client.close()  # its connections; the next request opens another one
            opened_at = time.time()
        try:
            answer: Json = getattr(client, xform_name(operation))(**request)
        except ClientError as error:
            raise RequestRefused(operation, str(error.response.get("Error", {}).get("Code", "unknown"))) from error
        except (NoRegionError, NoCredentialsError) as error:
            raise ConfigurationError(f"DYNAMODB_TABLE is set, but AWS is not configured: {error}") from error
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            raise StoreUnavailable("DynamoDB did not answer in time.") from error
        except (BotoCoreError, ResponseParserError) as error:
            raise StoreUnavailable(f"DynamoDB cannot be reached ({type(error).__name__}).") from error
        return answer

    return call
