"""AWS Signature Version 4, without what each kind of request has of its own.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

from ..digests import hmac_sha256, sha256_of


def signature_of(canonical_request: str, moment: str, scope: str, secret_access_key: str) -> str:
    """``moment`` is in UTC, as ``20261126T080910Z``; ``scope`` as ``20261126/eu-central-1/dynamodb/aws4_request``."""
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, sha256_of(canonical_request.encode())])
    key = f"AWS4{secret_access_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac_sha256(key, part.encode())
    return key.hex()
