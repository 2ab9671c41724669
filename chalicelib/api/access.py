"""Who may call the evaluation API, and which flags they may see. Fails closed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from ..config import Settings
from ..digests import are_same, sha256_of
from ..errors import InvalidToken, NotServed

logger = logging.getLogger(__name__)


class Access(Enum):
    """What a caller may see."""

    ALL_FLAGS = "all flags"
    CLIENT_SIDE_FLAGS = "the flags that are available to browsers"
    MOBILE_FLAGS = "the flags that are available to mobile devices"


def check_access(settings: Settings, headers: Mapping[str, str], request_context: Mapping[str, Any]) -> Access:
    """What the caller may see. Raises InvalidToken when that is nothing.

    ``headers`` is case-insensitive; ``request_context`` is API Gateway's, which a caller cannot forge.
    """
    if settings.evaluate_auth == "none":
        return Access.ALL_FLAGS
    if settings.evaluate_auth == "iam":
        return _check_signed_by_iam(request_context)
    return _check_token(settings, headers)


def check_full_access(settings: Settings, headers: Mapping[str, str], request_context: Mapping[str, Any]) -> None:
    """Raises InvalidToken unless the caller may see every flag: a token in a browser is no secret."""
    if check_access(settings, headers, request_context) is not Access.ALL_FLAGS:
        raise InvalidToken("The token is for flags alone; this route needs one of EVALUATE_TOKEN_SHA256.")


def may_read_status(settings: Settings, headers: Mapping[str, str]) -> bool:
    """Whether the caller learns what ``/status`` knows, or only whether all is well. Raises InvalidToken.

    A token in a browser or on a mobile device is no secret, so it does not open this.
    """
    if not settings.is_status_closed:
        return True
    return bool(_presented_tokens(headers)) and _check_token(settings, headers) is Access.ALL_FLAGS


def check_client_side_id(settings: Settings, environment_id: str) -> None:
    """Raises NotServed unless this is the environment whose flags pages may see. It is no secret."""
    if settings.client_side_id is None or environment_id != settings.client_side_id:
        raise NotServed("There is no such environment here: LAUNCHDARKLY_CLIENT_SIDE_ID names the one that is served.")


def check_mobile_key(settings: Settings, headers: Mapping[str, str]) -> None:
    """Raises NotServed where no mobile key is accepted, and InvalidToken unless an accepted one was sent.

    LaunchDarkly's SDKs send ``Authorization: <key>`` or ``Authorization: api_key <key>``.
    """
    if not settings.mobile_key_digests:
        raise NotServed("No mobile key is accepted here: LAUNCHDARKLY_MOBILE_KEY_SHA256 is not set.")
    key = headers.get("authorization", "").strip()
    if key.lower().startswith("api_key "):
        key = key[len("api_key ") :].strip()
    if not key:
        raise InvalidToken("A mobile key is required: send it as 'Authorization: <mobile key>'.")
    if not _is_among(_digest(key), settings.mobile_key_digests):
        raise InvalidToken("The mobile key is not accepted.")


def _check_signed_by_iam(request_context: Mapping[str, Any]) -> Access:
    """The front door has checked the signature. No caller means that it was not told to: `chalice local`, say."""
    if "elb" in request_context:
        raise InvalidToken("A load balancer checks no AWS signatures, which this app asks for; call its other address.")
    if not (request_context.get("identity") or {}).get("userArn"):
        raise InvalidToken("The request must be signed with AWS Signature Version 4.")
    return Access.ALL_FLAGS


def _check_token(settings: Settings, headers: Mapping[str, str]) -> Access:
    if not any(digests for digests, _ in _accepted(settings)):
        logger.error("every evaluation is refused: set EVALUATE_TOKEN_SHA256, or EVALUATE_AUTH to iam or none")
    presented = _presented_tokens(headers)
    if not presented:
        raise InvalidToken("A token is required: send it as 'Authorization: Bearer <token>' or 'X-API-Key: <token>'.")
    if len(presented) > 1:
        raise InvalidToken("The Authorization and X-API-Key headers hold different tokens; send one.")
    digest = _digest(presented.pop())
    granted = [access for digests, access in _accepted(settings) if _is_among(digest, digests)]
    if not granted:
        raise InvalidToken("The token is not accepted.")
    return granted[0]


def _accepted(settings: Settings) -> tuple[tuple[frozenset[str], Access], ...]:
    return (
        (settings.token_digests, Access.ALL_FLAGS),
        (settings.client_token_digests, Access.CLIENT_SIDE_FLAGS),
        (settings.mobile_token_digests, Access.MOBILE_FLAGS),
    )


def _digest(token: str) -> str:
    return sha256_of(token.encode("utf-8", "surrogatepass"))


def _is_among(digest: str, accepted: Collection[str]) -> bool:
    """No early exit: the time taken does not tell which digest came near."""
    return sum(are_same(digest, each) for each in accepted) > 0


def _presented_tokens(headers: Mapping[str, str]) -> set[str]:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    tokens = {headers.get("x-api-key", "").strip()}
    if scheme.lower() == "bearer":
        tokens.add(credentials.strip())
    return tokens - {""}
