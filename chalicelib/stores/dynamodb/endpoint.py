"""A request to DynamoDB, and how it may be sent: what the two ways of sending one have in common."""

import _socket
import math
import os.path
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from ...errors import StoreUnavailable

Json = dict[str, Any]
"""A request or an answer in DynamoDB's JSON (Any: JSON)."""


class Call(Protocol):
    """Sends requests."""

    def __call__(self, operation: str, request: Json, within_seconds: float = math.inf) -> Json:
        """The answer; ``within_seconds`` is less than it would be waited for otherwise, if it is less.

        Raises RequestRefused, StoreUnavailable, or ConfigurationError.
        """


THROTTLED = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded")

_ORDINARY_REGIONS = ("af", "ap", "ca", "eu", "il", "me", "mx", "sa", "us")
"""What the regions begin with whose endpoints end in amazonaws.com."""

_EXTRAORDINARY = {
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
}
"""What only AWS's SDK knows how to follow, in capitals."""


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


class RequestRefused(StoreUnavailable):
    """DynamoDB answered with an error. The message holds its code alone: the rest names accounts and roles."""

    def __init__(self, operation: str, code: str) -> None:
        self.code = code
        if code == "ResourceNotFoundException":
            message = "The table that DYNAMODB_TABLE names does not exist in this account and region."
        elif code in THROTTLED:
            message = f"DynamoDB is throttling requests: {code}."
        else:
            message = f"DynamoDB refused {operation}: {code}."
        super().__init__(message)


class Endpoint(NamedTuple):
    """Where DynamoDB is, and as whom to ask it."""

    is_tls: bool
    authority: str
    """Host and port, as the URL has them."""
    host: str
    port: int
    region: str
    access_key_id: str
    secret_access_key: str
    session_token: str | None

    def __repr__(self) -> str:
        return f"Endpoint {self.authority}"


@contextmanager
def dynamodbs_shape() -> Iterator[None]:
    """For what takes an answer apart, as a block or a function. Raises StoreUnavailable when it is not DynamoDB's."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise StoreUnavailable("The answer to a request to DynamoDB is not DynamoDB's.") from None


def plain_endpoint(aws: Mapping[str, str]) -> Endpoint | None:
    """The access that AWS's environment variables alone describe, as they do on Lambda.

    None when there is more to it: no credentials in the environment, a profile, a proxy, an endpoint
    with a path, another partition. Then AWS's SDK has to find out.
    """
    region = aws.get("AWS_DEFAULT_REGION", "")
    url = aws.get("AWS_ENDPOINT_URL_DYNAMODB") or aws.get("AWS_ENDPOINT_URL")
    if url is None and _is_ordinary(region):
        url = f"https://dynamodb.{region}.amazonaws.com"
    key_id, secret = aws.get("AWS_ACCESS_KEY_ID"), aws.get("AWS_SECRET_ACCESS_KEY")
    is_plain = _EXTRAORDINARY.isdisjoint(map(str.upper, aws)) and not os.path.exists(
        os.path.expanduser("~/.aws/config")
    )
    origin = None if url is None else _origin_in(url)
    if not (is_plain and region and key_id and secret and origin):
        return None
    return Endpoint(*origin, region, key_id, secret, aws.get("AWS_SESSION_TOKEN") or None)


def _is_ordinary(region: str) -> bool:
    """Whether this is a region such as eu-central-1 or us-gov-west-1, and of no partition with other endpoints."""
    area, *where = region.replace("-gov-", "-").split("-")
    return area in _ORDINARY_REGIONS and len(where) == 2 and where[0].isalpha() and where[1].isdigit()


def _origin_in(url: str) -> tuple[bool, str, str, int] | None:
    """The first fields of an Endpoint, where the URL has nothing else.

    Not by ``urllib.parse``, which a cold start would wait for before it begins to connect.
    """
    scheme, _, authority = url.removesuffix("/").partition("://")
    is_tls = scheme.lower() == "https"
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        is_host = bool(bracket) and _is_ipv6(host)
    else:
        host, colon, port = authority.partition(":")
        rest = colon + port
        is_host = bool(host) and _NAME_CHARACTERS.issuperset(host)
    port = rest.removeprefix(":") or ("443" if is_tls else "80")
    if not is_host or not (is_tls or scheme.lower() == "http"):
        return None
    if rest[:1] not in ("", ":") or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        return None
    return is_tls, authority, host.lower(), int(port)


def _is_ipv6(address: str) -> bool:
    try:
        _socket.inet_pton(_socket.AF_INET6, address)
    except (OSError, ValueError):  # a zero byte, or what UTF-8 cannot hold, is a ValueError
        return False
    return True
