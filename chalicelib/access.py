"""Who may call the evaluation API. Fails closed."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from typing import Any

from chalicelib.config import Settings
from chalicelib.errors import InvalidToken

logger = logging.getLogger(__name__)


def check_access(settings: Settings, headers: Mapping[str, str], request_context: Mapping[str, Any]) -> None:
    """Raises InvalidToken unless the caller may evaluate flags.

    ``headers`` is case-insensitive; ``request_context`` is API Gateway's, which a caller cannot forge.
    """
    if settings.evaluate_auth == "none":
        return
    if settings.evaluate_auth == "iam":
        _check_signed_by_iam(request_context)
    else:
        _check_token(settings.token_digests, headers)


def _check_signed_by_iam(request_context: Mapping[str, Any]) -> None:
    """API Gateway has checked the signature; an identity without a caller means that it was not deployed to."""
    if not (request_context.get("identity") or {}).get("userArn"):
        raise InvalidToken("The request must be signed with AWS Signature Version 4.")


def _check_token(accepted: frozenset[str], headers: Mapping[str, str]) -> None:
    if not accepted:
        logger.error("every evaluation is refused: set EVALUATE_TOKEN_SHA256, or EVALUATE_AUTH to iam or none")
    presented = _presented_tokens(headers)
    if not presented:
        raise InvalidToken("A token is required: send it as 'Authorization: Bearer <token>' or 'X-API-Key: <token>'.")
    if len(presented) > 1:
        raise InvalidToken("The Authorization and X-API-Key headers hold different tokens; send one.")
    digest = hashlib.sha256(presented.pop().encode("utf-8", "surrogatepass")).hexdigest()
    # No early exit: the time taken does not tell which digest came near.
    if not sum(hmac.compare_digest(digest, each) for each in accepted):
        raise InvalidToken("The token is not accepted.")


def _presented_tokens(headers: Mapping[str, str]) -> set[str]:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    tokens = {headers.get("x-api-key", "").strip()}
    if scheme.lower() == "bearer":
        tokens.add(credentials.strip())
    return tokens - {""}
