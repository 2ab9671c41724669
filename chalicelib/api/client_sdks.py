"""LaunchDarkly's client SDKs, on web pages and mobile devices: what they ask, and what they may see.

They put the context into the path, in base64, and present the environment's client-side ID there, or a mobile key in
a header. Neither is a secret, so they see only flags that are available to their kind. Pure, but for the SDK key.

Sources: the requests of https://github.com/launchdarkly/js-core and of its mobile SDKs; the answers of
https://github.com/launchdarkly/ld-relay.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ..config import Settings
from ..digests import are_same, hmac_sha256
from ..errors import InvalidRequest, PathTooLong
from ..launchdarkly.sdk import Context
from ..read.contexts import parse_context
from ..read.evaluation import Options, evaluate_flags
from ..secrets import read_secret, rotated_secret
from .access import check_client_side_id, check_mobile_key
from .answers import Answer, evaluation_answer
from .request import Asked, Incoming, checked_size, parse_json

if TYPE_CHECKING:
    from ..read.direct import DirectFlags
    from ..read.snapshots import Snapshot

    Flags: TypeAlias = Snapshot | DirectFlags

MAX_CONTEXT_CHARACTERS = 10_240
"""Of the context in the path. API Gateway's limit is the same for the whole request line with all headers.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
"""

_BASE64 = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)
_IN_THE_PATH = "The context in the path"

_TO_BE_CHECKED = "max-age=0, must-revalidate"
"""A cache may keep the answer, and asks with its entity tag before it gives it to anybody: a change is seen at once."""
_GOALS_CACHE = {"Cache-Control": "public, max-age=3600"}


def answer_client(incoming: Incoming, settings: Settings, current_flags: Callable[[], Flags]) -> Answer:
    """All flags that the caller may see, in the shape of ``/evaluate``, for caches to keep; a 304 if that will do.

    Where the path holds no context, it asks for the click and page-view goals of the environment: there are none,
    because they are no part of the data set. Raises NotServed, InvalidToken and InvalidRequest.
    """
    if "context" not in incoming.path:
        check_client_side_id(settings, incoming.path["environment_id"])
        return Answer([], _GOALS_CACHE)
    asked = _ask(incoming, settings)
    flags = current_flags()
    answer = evaluation_answer(flags, asked, lambda: evaluate_flags(flags, asked.context, asked.options))
    if asked.options.mobile:
        cache = {"Cache-Control": f"private, {_TO_BE_CHECKED}", "Vary": "Authorization"}
    elif settings.is_secure_mode:
        cache = {"Cache-Control": f"private, {_TO_BE_CHECKED}"}
    else:
        cache = {"Cache-Control": f"public, {_TO_BE_CHECKED}"}
    return answer._replace(headers={**answer.headers, **cache})


def _ask(incoming: Incoming, settings: Settings) -> Asked:
    """What the request asks, narrowed to what its caller may see: a page, or without ``environment_id`` a device.

    Access comes first: nothing else is read of a request that is refused. Of the query only ``withReasons`` and ``h``
    count; the SDKs of the future may add to it. Raises NotServed, InvalidToken and InvalidRequest.
    """
    environment_id = incoming.path.get("environment_id")
    if environment_id is None:
        check_mobile_key(settings, incoming.headers)
    else:
        check_client_side_id(settings, environment_id)
    decoded = checked_size(_decoded(incoming.path["context"]), settings.max_body_bytes, _IN_THE_PATH)
    body = parse_json(decoded, _IN_THE_PATH)
    context = parse_context(body)
    if environment_id is not None and settings.is_secure_mode:
        _check_hash(settings, context, _last(incoming, "h"))
    options = Options(
        with_reasons=_last(incoming, "withReasons") == "true",
        client_side_only=True,
        conceal=True,
        mobile=environment_id is None,
    )
    return Asked(context, options, body, incoming.if_none_match)


def _decoded(encoded: str) -> bytes:
    """Of base64, with either alphabet, with or without padding. Raises PathTooLong and InvalidRequest."""
    if len(encoded) > MAX_CONTEXT_CHARACTERS:
        raise PathTooLong(
            f"{_IN_THE_PATH} has {len(encoded)} characters; at most {MAX_CONTEXT_CHARACTERS} are accepted, and API "
            "Gateway counts the headers among them."
        )
    text = encoded.replace("+", "-").replace("/", "_")
    if not _BASE64.fullmatch(text):
        raise InvalidRequest(f"{_IN_THE_PATH} is not base64url.")
    unpadded = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(unpadded + "=" * (-len(unpadded) % 4))
    except binascii.Error:
        raise InvalidRequest(f"{_IN_THE_PATH} is not base64url: its length is impossible.") from None


def _check_hash(settings: Settings, context: Context, presented: str) -> None:
    """Raises InvalidRequest, as LaunchDarkly answers, unless this is the secure-mode hash of the context's key.

    One that the known SDK key did not make may be made with a new one: see rotated_secret.
    """
    key = read_secret(settings.sdk_key)
    if _is_hash(presented, key, context):
        return
    rotated = rotated_secret(settings.sdk_key, key) if presented else None
    if rotated is None or not _is_hash(presented, rotated, context):
        raise InvalidRequest("The environment is in secure mode, and h is not the hash of the context's key.")


def _is_hash(presented: str, key: str, context: Context) -> bool:
    """Source: https://launchdarkly.com/docs/sdk/features/secure-mode"""
    return are_same(hmac_sha256(key.encode(), context.fully_qualified_key.encode()).hex(), presented)


def _last(incoming: Incoming, name: str) -> str:
    """The query parameter's last value; empty where there is none."""
    return (incoming.query.get(name) or [""])[-1]
