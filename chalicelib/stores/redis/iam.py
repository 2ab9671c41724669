"""ElastiCache's IAM authentication: the password is a signed request to connect, good for 15 minutes.

It is signed anew for each connection, which costs no network and less than a tenth of a millisecond. Connections live
for a minute, and ElastiCache looks at a token only when it is presented. Needs TLS, and elasticache:Connect on the
cache and on the user, whose name must be its ID.

Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import NamedTuple
from urllib.parse import quote

from ...digests import sha256_of
from ...errors import ConfigurationError
from ..sigv4 import signature_of
from .address import Address

_SECONDS = 900
"""How long a token is good for: as long as ElastiCache takes one."""

_ENDPOINTS = {
    "serverlesscache": re.compile(r"([a-z][a-z0-9-]*)-[a-z0-9]{6}\.serverless\.\w+\.cache\.amazonaws\.com(?:\.cn)?"),
    "replicationgroup": re.compile(
        r"(?:master|clustercfg|replica)\.([a-z][a-z0-9-]*)\.[a-z0-9]{6}\.\w+\.cache\.amazonaws\.com(?:\.cn)?"
    ),
}
"""ElastiCache's host names, by what IAM calls the resource; the group is the name of the cache."""

_OPTION = re.compile(r"(serverlesscache|replicationgroup):([a-z][a-z0-9-]*)")


class Keys(NamedTuple):
    """As whom to sign."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None

    def __repr__(self) -> str:
        return "Keys"


class Cache(NamedTuple):
    """``kind`` as in :data:`_ENDPOINTS`."""

    kind: str
    name: str


def with_token(address: Address, aws: Mapping[str, str]) -> Address:
    """The address that is logged in to by tokens. ``aws``: the environment variables of AWS's SDK.

    Raises ConfigurationError where IAM authentication cannot work there.
    """
    what = f"REDIS_AUTH is 'iam', but {address.variable}"
    user = address.username
    if address.tls is None:
        raise ConfigurationError(f"{what} does not start with rediss://: ElastiCache takes IAM tokens over TLS only.")
    if user is None:
        raise ConfigurationError(f"{what} names no user; expected rediss://user@host:port.")
    if address.password is not None:
        raise ConfigurationError(f"{what} has a password; IAM signs one, so leave it out.")
    region = aws.get("AWS_REGION") or aws.get("AWS_DEFAULT_REGION")
    if region is None:
        raise ConfigurationError("REDIS_AUTH is 'iam', but there is no region to sign for; set AWS_DEFAULT_REGION.")
    cache = cache_at(address)
    keys = _keys(aws)
    return address._replace(token=lambda: token(cache, user, region, keys(), datetime.now(timezone.utc)))


def cache_at(address: Address) -> Cache:
    """By the option, or by the host, which has the name of the cache in it. Raises ConfigurationError for neither."""
    if address.iam_cache is not None:
        named = _OPTION.fullmatch(address.iam_cache)
        if named is None:
            raise ConfigurationError(
                f"{address.variable} has an iam_cache that is not serverlesscache:name or replicationgroup:name."
            )
        return Cache(named[1], named[2])
    for kind, pattern in _ENDPOINTS.items():
        if found := pattern.fullmatch((address.host or "").lower().removesuffix(".")):
            return Cache(kind, found[1])
    raise ConfigurationError(
        f"REDIS_AUTH is 'iam', but {address.variable} has a host that is not an endpoint of ElastiCache, which would "
        "tell the name of the cache; name it by the option ?iam_cache=serverlesscache:name or "
        "?iam_cache=replicationgroup:name."
    )


def _keys(aws: Mapping[str, str]) -> Callable[[], Keys]:
    """Where the keys come from at each signature: Lambda's environment, or AWS's SDK, which finds and renews them."""
    key_id, secret = aws.get("AWS_ACCESS_KEY_ID"), aws.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        fixed = Keys(key_id, secret, aws.get("AWS_SESSION_TOKEN"))
        return lambda: fixed
    try:
        from botocore.session import Session
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "REDIS_AUTH is 'iam', but AWS's credentials are not in the environment, nor is there boto3 to look for "
            "them elsewhere; install boto3, as `serverless-flags[boto3]` does."
        ) from error
    session = Session()

    def found() -> Keys:
        credentials = session.get_credentials()
        if credentials is None:
            raise ConfigurationError("REDIS_AUTH is 'iam', but AWS's SDK finds no credentials.")
        return Keys(*credentials.get_frozen_credentials()[:3])

    return found


def token(cache: Cache, user: str, region: str, keys: Keys, now: datetime) -> str:
    """A request to connect as ``user``, without its scheme, with its Signature Version 4 in the query.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{region}/elasticache/aws4_request"
    query = {
        "Action": "connect",
        **({"ResourceType": "ServerlessCache"} if cache.kind == "serverlesscache" else {}),
        "User": user,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{keys.access_key_id}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(_SECONDS),
        **({} if keys.session_token is None else {"X-Amz-Security-Token": keys.session_token}),
        "X-Amz-SignedHeaders": "host",
    }  # in the order in which they are signed
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    canonical = "\n".join(["GET", "/", text, f"host:{cache.name}", "", "host", sha256_of(b"")])
    signature = signature_of(canonical, moment, scope, keys.secret_access_key)
    return f"{cache.name}/?{text}&X-Amz-Signature={signature}"
