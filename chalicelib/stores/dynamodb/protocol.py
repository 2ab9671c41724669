"""Requests to DynamoDB: signed JSON over a connection whose waits are bounded.

Our own, because of cold starts: importing botocore and making a client takes a quarter of one, and reading
an attribute then takes it about 15 microseconds. A refresh asks the same way, because a time-out of botocore is for
each byte, and a write that arrives after its lock has ended could be written over a newer one.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import binascii
import json
import math
import time
from collections.abc import Callable

from ...digests import sha256_of
from ...errors import StoreTooSlow, StoreUnavailable
from ...timing import Timing
from ..sigv4 import signature_of
from ..wire import CutOff, ExchangePatience, Stream
from .connection import Connection
from .endpoint import THROTTLED, Call, Endpoint, Json, RequestRefused
from .http import HttpAnswer, post


def http_read_call(connection: Connection, timing: Timing) -> Call:
    """Requests of the read path, which learns within a second that DynamoDB is out of reach. Thread-safe."""

    reconnect_seconds = timing.dynamodb_reconnect_seconds
    held_seconds = timing.dynamodb_held_seconds

    def seconds_for(operation: str, was_open: bool) -> tuple[float, float]:
        if operation == "Query":
            return timing.dynamodb_query_seconds, reconnect_seconds
        if not was_open:
            return timing.first_exchange_seconds, reconnect_seconds
        if operation == "PutItem":  # of events, for which nobody waits
            return timing.events_held_seconds + timing.events_reconnect_seconds, timing.events_reconnect_seconds
        return held_seconds + reconnect_seconds, reconnect_seconds

    return _HttpCall(connection, timing, seconds_for, timing.dynamodb_read_attempts)


def http_write_call(endpoint: Endpoint, timing: Timing) -> Call:
    """Requests of a refresh, whose lock may end soon: each is over after so long, however well its bytes pass."""
    seconds = timing.dynamodb_last_batch_seconds
    strict = timing._replace(exchange_seconds=seconds)

    def seconds_for(*_: object) -> tuple[float, float]:
        return seconds, timing.dynamodb_request_seconds

    return _HttpCall(Connection(endpoint, strict), strict, seconds_for, timing.dynamodb_write_attempts)


class _HttpCall:
    """Over one connection."""

    def __init__(
        self,
        connection: Connection,
        timing: Timing,
        seconds_for: Callable[[str, bool], tuple[float, float]],
        attempts: int,
    ) -> None:
        """``seconds_for``: (operation, was there a connection before) -> for all attempts together, and how much of
        that is left for a new connection.
        """
        self._connection = connection
        self._timing = timing
        self._seconds_for = seconds_for
        self._attempts = attempts

    def __call__(self, operation: str, request: Json, within_seconds: float = math.inf) -> Json:
        seconds, reconnect_seconds = self._seconds_for(operation, self._connection.line.was_open)
        patience = ExchangePatience(min(seconds, within_seconds), self._timing)
        begun = self._connection.begun_patience()
        if begun is not None and within_seconds == math.inf:
            patience = begun
        body = json.dumps(request, default=_base64).encode()
        try:
            return self._ask_until_processed(operation, body, patience, reconnect_seconds)
        except CutOff as error:
            raise StoreTooSlow("DynamoDB did not answer in time.") from error
        except TimeoutError as error:
            raise StoreUnavailable("DynamoDB did not answer in time.") from error
        except OSError as error:
            raise StoreUnavailable(f"DynamoDB cannot be reached ({type(error).__name__}).") from error

    def _ask_until_processed(
        self, operation: str, body: bytes, patience: ExchangePatience, reconnect_seconds: float
    ) -> Json:
        for _ in range(self._attempts - 1):
            try:
                return self._ask(operation, body, patience, reconnect_seconds)
            except RequestRefused as refusal:
                if not _is_passing(refusal):
                    raise
            with patience.waiting(self._timing.dynamodb_read_pause_seconds) as seconds:
                time.sleep(seconds)
        return self._ask(operation, body, patience, reconnect_seconds)

    def _ask(self, operation: str, body: bytes, patience: ExchangePatience, reconnect_seconds: float) -> Json:
        def talk(stream: Stream) -> HttpAnswer:
            return post(stream, signed_headers(self._connection.endpoint, operation, body, time.time()), body)

        return _answer(operation, self._connection.line.exchange(talk, patience, reconnect_seconds))


def _base64(binary: bytes) -> str:
    return binascii.b2a_base64(binary, newline=False).decode()


def _answer(operation: str, http: HttpAnswer) -> Json:
    """With its headers where AWS's SDK puts them."""
    try:
        answer = json.loads(http.body)
    except ValueError:
        answer = None
    if http.status != 200:
        kind = answer.get("__type") if isinstance(answer, dict) else None
        raise RequestRefused(operation, str(kind or f"HTTP {http.status}").rpartition("#")[2])
    if not isinstance(answer, dict) or not _is_intact(http):
        raise StoreUnavailable("The answer to a request to DynamoDB is not DynamoDB's.")
    answer["ResponseMetadata"] = {"HTTPHeaders": http.headers}
    return answer


def _is_intact(http: HttpAnswer) -> bool:
    checksum = http.headers.get("x-amz-crc32")
    return checksum is None or checksum == str(binascii.crc32(http.body))


def _is_passing(refusal: RequestRefused) -> bool:
    return refusal.code in (*THROTTLED, "InternalServerError") or refusal.code.startswith("HTTP 5")


def signed_headers(endpoint: Endpoint, operation: str, body: bytes, now: float) -> dict[str, str]:
    """The headers of a request to DynamoDB, with its Signature Version 4. ``now``: Unix time."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "host": endpoint.authority,
        "x-amz-date": moment,
        "x-amz-target": f"DynamoDB_20120810.{operation}",
    }
    if endpoint.session_token is not None:
        headers["x-amz-security-token"] = endpoint.session_token
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        ["POST", "/", "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, sha256_of(body)]
    )
    scope = f"{moment[:8]}/{endpoint.region}/dynamodb/aws4_request"
    signature = signature_of(canonical, moment, scope, endpoint.secret_access_key)
    credential = f"Credential={endpoint.access_key_id}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
    return headers
