"""Requests and events, as Chalice hands them on, as what the rest of ``api`` takes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ..errors import InvalidRequest
from .request import Incoming

if TYPE_CHECKING:
    from chalice.app import LambdaFunctionEvent, Request


def is_of_rest_api(event: Any) -> bool:
    """Whether Chalice takes the event as it is: not one of another front door (``Any``: whatever Lambda was sent)."""
    context = event.get("requestContext", ()) if isinstance(event, dict) else ()
    return "http" not in context and "elb" not in context


def incoming(request: Request) -> Incoming:
    """The request; its body is only decoded when somebody reads it."""
    query = request.query_params
    values = {} if query is None else {name: query.getlist(name) for name in query}
    path = {name: unquote(value) for name, value in (request.uri_params or {}).items()}
    if_none_match = list_header(request, "if-none-match")
    return Incoming(request.headers, values, partial(_raw_body, request), request.context, path, if_none_match)


def list_header(request: Request, name: str) -> str | None:
    """A header that holds a list, of which several lines are one (RFC 9110, section 5.3); Chalice keeps the last.

    ``name`` is in lower case. None where the request has no such header.
    """
    if name not in request.headers:
        return None
    of_all = request.to_original_event().get("multiValueHeaders") or {}
    lines = [line for each, lines in of_all.items() if each.lower() == name for line in lines]
    return ", ".join(lines) if lines else request.headers[name]


def _raw_body(request: Request) -> bytes:
    try:
        body = request.raw_body
        return body if isinstance(body, bytes) else body.encode()
    except ValueError:  # a lone surrogate, or base64 that is none
        raise InvalidRequest("The body is not valid UTF-8.") from None


def seconds_left(lambda_context: Any, without: float) -> float:
    """Until Lambda ends this invocation, but for a second to answer in (Any: Lambda's class is not to be had).

    ``without``: how long it is where there is no context, because nobody ends it.
    """
    if lambda_context is None:
        return without
    return float(lambda_context.get_remaining_time_in_millis()) / 1000 - 1


def is_forced(event: LambdaFunctionEvent) -> bool:
    """Whether it says ``{"force": true}``, as only a person does: ``chalice invoke`` sends what was written."""
    sent = event.to_dict()
    return isinstance(sent, dict) and sent.get("force") is True
