"""Answers put together: errors as HTTP, where the data comes from, entity tags. Pure."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import errors
from ..read.evaluation import Options, etag, is_there
from ..read.snapshots import Provenance, Snapshot
from .request import Asked, matches_etag

if TYPE_CHECKING:
    from ..read.direct import DirectFlags

Json = dict[str, Any]
"""A JSON object on its way out (Any: JSON)."""


class Answer(NamedTuple):
    """An HTTP answer; ``body`` is JSON, or empty text."""

    body: Json | list[Json] | str
    headers: Mapping[str, str] = {}
    status: int = 200


_ANSWERS: dict[type[errors.FlagsError], tuple[int, str, dict[str, str]]] = {
    errors.InvalidRequest: (400, "BadRequestError", {}),
    errors.PathTooLong: (414, "UriTooLongError", {}),
    errors.InvalidSignature: (401, "UnauthorizedError", {"WWW-Authenticate": "Bearer"}),
    errors.InvalidToken: (401, "UnauthorizedError", {"WWW-Authenticate": "Bearer"}),
    errors.FlagNotFound: (404, "NotFoundError", {}),
    errors.NotServed: (404, "NotFoundError", {}),
    errors.FlagsError: (503, "ServiceUnavailableError", {"Retry-After": "5"}),
}
"""Our errors as HTTP: status, code and headers. The only place that knows."""


def error_answer(error: errors.FlagsError) -> Answer:
    """The answer of a route that raised this error, in Chalice's shape."""
    answer = errors.nearest(_ANSWERS, error)
    assert answer is not None  # the table has the base of all errors
    status, code, headers = answer
    return Answer({"Code": code, "Message": message_for_callers(error)}, headers, status)


def message_for_callers(error: errors.FlagsError) -> str:
    """What an answer says of this error. A wrong setting is the operator's business, and may hold a secret."""
    if isinstance(error, errors.ConfigurationError):
        return "The app is not configured correctly; its log says which setting is wrong."
    return str(error)


NO_STORE = "EVALUATION_MODE is 'direct': there is no store to refresh."
NO_EVENTS = "EVENTS is 'off', or EVALUATION_MODE 'direct': no events are left in the store."


def ignored(reason: str) -> Json:
    """The body of the answer to whoever asks for what is not done here, for this reason."""
    return {"status": "ignored", "reason": reason}


CLIENT_SDK_PATHS = (
    "/sdk/evalx/{environment_id}/contexts/{context}",
    "/sdk/evalx/{environment_id}/users/{context}",
    "/msdk/evalx/contexts/{context}",
    "/msdk/evalx/users/{context}",
    "/sdk/goals/{environment_id}",
)
"""Where LaunchDarkly's client SDKs ask; see ``client_sdks.py``."""

_EVALUATE = 'POST with Content-Type: application/json and a context, such as {"kind": "user", "key": "user-123"}'
_OFREP = 'POST with Content-Type: application/json and {"context": {"targetingKey": "user-123"}}'
_TRACK = 'POST with Content-Type: application/json and {"context": {...}, "event": "purchase"}'
_INSTEAD = {
    "/": (
        'a context, such as {"kind": "user", "key": "user-123"}, by POST to /evaluate or /evaluate/{flag_key} with '
        "Content-Type: application/json; OpenFeature's providers use /ofrep/v1/evaluate/flags; GET /status says how "
        "the app is"
    ),
    "/evaluate": _EVALUATE,
    "/evaluate/{flag_key}": _EVALUATE,
    "/ofrep/v1/evaluate/flags": _OFREP,
    "/ofrep/v1/evaluate/flags/{flag_key}": _OFREP,
    "/explorer/flags": "GET",
    "/explorer/flags/{flag_key}": 'POST with Content-Type: application/json and a change, such as {"on": true}',
    **dict.fromkeys(CLIENT_SDK_PATHS, "GET; API Gateway lets no REPORT through, so switch useReport off"),
    "/status": "GET",
    "/track": _TRACK,
    "/webhook": "POST with Content-Type: application/json and LaunchDarkly's audit-log entry, signed in X-LD-Signature",
}


def with_what_to_send(message: str, path: str) -> str:
    """Chalice's message about a method or a media type that the route does not take, and what it does take."""
    return f"{message}. Send {_INSTEAD[path]}." if path in _INSTEAD else message


def nothing_at_root() -> Answer:
    """The answer to whoever looks at the app's address."""
    return Answer(
        {"Code": "NotFoundError", "Message": f"There is nothing at this address. Send {_INSTEAD['/']}."}, {}, 404
    )


def provenance_headers(provenance: Provenance) -> dict[str, str]:
    """What the headers say about where an answer comes from: nothing, in direct mode."""
    headers = {"X-Flags-Revision": provenance.revision, "X-Flags-Synced-At": provenance.synced_at}
    stale = {"X-Flags-Stale": "true"} if provenance.stale else {}
    return {name: value for name, value in headers.items() if value is not None} | stale


def provenance_fields(provenance: Provenance) -> Json:
    """What the answer to an event says about where it comes from."""
    return {"revision": provenance.revision, "syncedAt": provenance.synced_at, "stale": provenance.stale}


def in_format(evaluated: Json, options: Options) -> Json:
    """All flags as they are; or as ``bootstrap`` of LaunchDarkly's JavaScript SDKs takes them, values and all else
    beside them.
    """
    if not options.bootstrap:
        return evaluated
    values: Json = {}
    states: Json = {}
    for key, each in evaluated.items():
        state = states[key] = each.copy()  # it may be kept for other contexts
        values[key] = state.pop("value")
    return {**values, "$flagsState": states, "$valid": True}


def evaluation_answer(
    source: "Snapshot | DirectFlags", asked: Asked, evaluate: Callable[[], Json], key: str | None = None
) -> Answer:
    """The evaluation of one flag (``key``) or of all; a 304 when the caller holds it already.

    The tag without memberships is that of answers for which no flag has asked for one: who holds it gets the
    304 without an evaluation, because none will ask for this question either; unless LaunchDarkly is told, because
    the caller goes by the answer that it holds. In direct mode, where no revision is known, there is no entity tag.
    Raises as ``evaluate`` does.
    """
    provenance = source.provenance
    headers = provenance_headers(provenance)
    if provenance.revision is None:
        return Answer(evaluate(), headers)
    if key is not None and not is_there(source, key, asked.options):
        return Answer(evaluate(), headers)  # which raises FlagNotFound: what does not exist has no tag
    question = provenance.revision, asked.body, key, asked.options._asdict()
    tag = etag(*question)
    if matches_etag(asked.if_none_match, tag):
        if source.records and (key is not None or asked.options.flags is not None):
            evaluate()
        return Answer("", {"ETag": tag, **headers}, 304)
    evaluated = evaluate()
    if source.memberships is not None and source.memberships.known:
        tag = etag(*question, source.memberships.known)
        if matches_etag(asked.if_none_match, tag):
            return Answer("", {"ETag": tag, **headers}, 304)
    return Answer(evaluated, {"ETag": tag, **headers})
