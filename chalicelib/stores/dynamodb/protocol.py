"""Requests to DynamoDB for the read path: signed JSON over the HTTP library that LaunchDarkly's SDK has loaded.

Our own, because of cold starts: importing botocore and making a client takes a quarter of one, and reading
an attribute then takes it about 15 microseconds. The read path needs two operations. Everything that writes
uses AWS's SDK.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import datetime, timezone
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as HttpTimeout

from ...errors import StoreUnavailable
from ...timing import Timing
from .endpoint import THROTTLED, Call, Endpoint, Json, RequestRefused


def http_call(endpoint: Endpoint, timing: Timing) -> Call:
    """Requests over a pool of connections that is opened by the first one. Thread-safe."""
    pool = urllib3.PoolManager(maxsize=4, ca_certs=certifi.where())
    quick = timing.dynamodb_get_seconds
    timeouts = {
        "GetItem": urllib3.Timeout(connect=quick, read=quick),
        "Query": urllib3.Timeout(connect=quick, read=timing.dynamodb_query_seconds),
    }

    def call(operation: str, request: Json) -> Json:
        for attempt in range(1, timing.dynamodb_read_attempts + 1):
            try:
                return _answer(operation, *_send(pool, endpoint, operation, request, timeouts[operation]))
            except HTTPError as error:
                failure = _failure(error)
            except RequestRefused as refusal:
                if not _is_passing(refusal) or attempt == timing.dynamodb_read_attempts:
                    raise
                time.sleep(timing.dynamodb_read_pause_seconds)
        raise failure

    return call


def _send(
    pool: urllib3.PoolManager, endpoint: Endpoint, operation: str, request: Json, timeout: urllib3.Timeout
) -> tuple[int, bytes]:
    body = json.dumps(request).encode()
    answer = pool.request(
        "POST",
        endpoint.url + "/",
        body=body,
        headers=signed_headers(endpoint, operation, body, datetime.now(timezone.utc)),
        timeout=timeout,
        retries=False,
    )
    return answer.status, answer.data


def _failure(error: HTTPError) -> StoreUnavailable:
    # A refused connection counts as a timeout in urllib3.
    if isinstance(error, HttpTimeout) and not isinstance(error, NewConnectionError):
        return StoreUnavailable("DynamoDB did not answer in time.")
    return StoreUnavailable(f"DynamoDB cannot be reached ({type(error).__name__}).")


def _answer(operation: str, status: int, body: bytes) -> Json:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if status != 200:
        kind = answer.get("__type") if isinstance(answer, dict) else None
        raise RequestRefused(operation, str(kind or f"HTTP {status}").rpartition("#")[2])
    if not isinstance(answer, dict):
        raise StoreUnavailable("The answer to a request to DynamoDB is not DynamoDB's.")
    return answer


def _is_passing(refusal: RequestRefused) -> bool:
    return refusal.code in (*THROTTLED, "InternalServerError") or refusal.code.startswith("HTTP 5")


def signed_headers(endpoint: Endpoint, operation: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers of a request to DynamoDB, with its Signature Version 4."""
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "host": urlsplit(endpoint.url).netloc,
        "x-amz-date": moment,
        "x-amz-target": f"DynamoDB_20120810.{operation}",
    }
    if endpoint.session_token is not None:
        headers["x-amz-security-token"] = endpoint.session_token
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        ["POST", "/", "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, _sha256(body)]
    )
    scope = f"{moment[:8]}/{endpoint.region}/dynamodb/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, _sha256(canonical.encode())])
    key = f"AWS4{endpoint.secret_access_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"Credential={endpoint.access_key_id}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={key.hex()}"
    return headers


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
