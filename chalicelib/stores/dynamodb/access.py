"""Which way requests to DynamoDB go: our own where access is plain, AWS's SDK where it has to find out more.

The SDK loads slowly, and its waits are bounded for each attempt and each byte only.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import ConfigurationError
from ...timing import Timing
from .endpoint import Call, plain_endpoint


def read_call(aws: Mapping[str, str], timing: Timing) -> Call:
    """Requests of the read path. ``aws``: the environment variables of AWS's SDK.

    Raises ConfigurationError as :func:`write_call` does, and where that SDK is needed and not installed.
    """
    endpoint = plain_endpoint(aws)
    if endpoint is not None:
        from .connection import Connection
        from .protocol import http_read_call

        return http_read_call(Connection(endpoint, timing), timing)
    try:
        from .sdk import sdk_read_call
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "DYNAMODB_TABLE is set, but neither are AWS's region and credentials in the environment, nor is there "
            "boto3 to look for them elsewhere; install boto3, as `serverless-flags[boto3]` does."
        ) from error
    return sdk_read_call(timing)


def connecting_call(aws: Mapping[str, str], timing: Timing) -> Call | None:
    """Requests of the read path, over a connection that is being opened; None where AWS's SDK has to find out how."""
    endpoint = plain_endpoint(aws)
    if endpoint is None:
        return None
    from .connection import Connection

    connection = Connection(endpoint, timing, at_once=True)
    from .protocol import http_read_call  # while the network answers

    return http_read_call(connection, timing)


def write_call(aws: Mapping[str, str], timing: Timing) -> Call:
    """Requests of a refresh. Raises ConfigurationError when AWS's SDK cannot be set up, for want of a region, say."""
    endpoint = plain_endpoint(aws)
    if endpoint is not None:
        from .protocol import http_write_call

        return http_write_call(endpoint, timing)
    from .sdk import sdk_call

    return sdk_call(timing)
