"""Requests taken apart: who asks, which options, which context. Pure; every error is the caller's.

Each error says what was wrong and what was expected.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from ..config import Settings
from ..errors import InvalidRequest, InvalidToken
from ..launchdarkly.sdk import Context
from ..read.evaluation import Options
from .access import Access, check_access

_QUOTED_CHARACTERS = 100
"""How much of a name that the caller has sent a message repeats."""

Query = Mapping[str, Sequence[str]]
"""Query parameters, each with all its values."""


class Incoming(NamedTuple):
    """An HTTP request, whatever brought it here.

    ``headers`` are case-insensitive. ``read_body`` gives the raw bytes, and raises InvalidRequest when there
    are none. ``gateway`` is API Gateway's request context, which a caller cannot forge. ``path`` holds the
    parameters in the path, decoded. ``if_none_match`` is the header of that name, which says what answers the caller
    holds.
    """

    headers: Mapping[str, str]
    query: Query
    read_body: Callable[[], bytes]
    gateway: Mapping[str, Any]
    path: Mapping[str, str] = {}
    if_none_match: str | None = None

    @property
    def arrived_at(self) -> float | None:
        """When it arrived at API Gateway or at a function URL (Unix time); None where a front door does not tell.

        Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
        """
        milliseconds = self.gateway.get("requestTimeEpoch", self.gateway.get("timeEpoch"))
        return milliseconds / 1000 if type(milliseconds) is int else None


class Asked(NamedTuple):
    """What a request for evaluations asks: for which context, with which options. ``body`` is its JSON.

    ``if_none_match`` and ``arrived_at`` as of the request.
    """

    context: Context
    options: Options
    body: Any
    if_none_match: str | None = None
    arrived_at: float | None = None


def options_from_query(query: Query) -> Options:
    """Options from the query parameters of all flags. Raises InvalidRequest."""
    _check_names(query, ("withReasons", "clientSideOnly", "flags", "events", "format"))
    flags = [key for values in query.get("flags", ()) for key in values.split(",") if key]
    return Options(
        with_reasons=_query_boolean(query, "withReasons"),
        client_side_only=_query_boolean(query, "clientSideOnly"),
        flags=tuple(dict.fromkeys(flags)) if "flags" in query else None,
        events=_query_boolean(query, "events", default="true"),
        bootstrap=_is_bootstrap(query),
    )


def options_of_one_flag(query: Query) -> Options:
    """Options from the query parameters of one flag, which has its reason in any case. Raises InvalidRequest."""
    _check_names(query, ("withReasons", "clientSideOnly", "events", "explain"))
    return Options(
        with_reasons=_query_boolean(query, "withReasons"),
        client_side_only=_query_boolean(query, "clientSideOnly"),
        events=_query_boolean(query, "events", default="true"),
        explain=_query_boolean(query, "explain"),
    )


def options_of_ofrep(query: Query, *ignored: str) -> Options:
    """The options of OFREP, which has none of its own but wants reasons. Raises InvalidRequest."""
    _check_names(query, ("events", *ignored))
    return Options(with_reasons=True, events=_query_boolean(query, "events", default="true"))


def options_of_ofrep_in_bulk(query: Query) -> Options:
    """The same for all flags: a provider says what made it ask again, which makes no other answer here."""
    return options_of_ofrep(query, "flagConfigEtag", "flagConfigLastModified")


def no_options(query: Query) -> Options:
    """Of what takes none. Raises InvalidRequest."""
    _check_names(query, ())
    return Options()


def _check_names(query: Query, known: tuple[str, ...]) -> None:
    """One that is not known would be an answer to another question than the caller asks: ``?flag=x`` to all flags."""
    for name in query:
        if name not in known:
            expected = f"expected one of: {', '.join(known)}" if known else "there are none here"
            raise InvalidRequest(f"The query parameter {name[:_QUOTED_CHARACTERS]!r} is not known; {expected}.")


def take_apart(
    incoming: Incoming,
    settings: Settings,
    options_of: Callable[[Query], Options],
    context_of: Callable[[Any], Context],
) -> Asked:
    """What the request asks, narrowed to what its caller may see.

    Access comes first: nothing else is read of a request that is refused. Raises InvalidToken and
    InvalidRequest.
    """
    access = check_access(settings, incoming.headers, incoming.gateway)
    options = options_of(incoming.query)
    if access is not Access.ALL_FLAGS:
        if options.explain:
            raise InvalidToken("The token sees no targeting rules: an explanation needs one of EVALUATE_TOKEN_SHA256.")
        options = options._replace(client_side_only=True, mobile=access is Access.MOBILE_FLAGS, conceal=True)
    body = parse_json(checked_size(incoming.read_body(), settings.max_body_bytes))
    return Asked(context_of(body), options, body, incoming.if_none_match, incoming.arrived_at)


def parse_json(body: bytes, what: str = "The body") -> Any:
    """The JSON value of a request body. Raises InvalidRequest for anything that is not strict JSON."""
    if not body:
        raise InvalidRequest(f"{what} is empty; expected a JSON object.")
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=functools.partial(_refuse_constant, what))
    except RecursionError:
        raise InvalidRequest(f"{what} is nested too deeply.") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{what} is not valid UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{what} is not valid JSON at line {error.lineno} column {error.colno}.") from None
    except ValueError:
        raise InvalidRequest(f"{what} is not valid JSON: it holds a number with too many digits.") from None


def checked_size(body: bytes, limit: int, what: str = "The body") -> bytes:
    """The body. Raises InvalidRequest when it has more bytes than the limit."""
    if len(body) > limit:
        raise InvalidRequest(f"{what} has {len(body)} bytes; at most {limit} are accepted.")
    return body


def _refuse_constant(what: str, name: str) -> NoReturn:
    raise InvalidRequest(f"{what} is not valid JSON: {name} is not a JSON number.")


def _query_boolean(query: Query, name: str, default: str = "false") -> bool:
    value = (query.get(name) or [default])[-1]
    if value not in ("true", "false"):
        raise InvalidRequest(f"The query parameter {name} must be true or false.")
    return value == "true"


def _is_bootstrap(query: Query) -> bool:
    if query.get("format", ["bootstrap"])[-1] != "bootstrap":
        raise InvalidRequest("The query parameter format must be bootstrap, or absent.")
    return "format" in query


def matches_etag(if_none_match: str | None, tag: str) -> bool:
    """Whether an If-None-Match header names this entity tag (RFC 9110, section 13.1.2; weak comparison)."""
    if if_none_match is None:
        return False
    tags = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return "*" in tags or tag in tags
