"""A custom event, as ``POST /track`` takes it. Pure; every error is the caller's."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ..config import Settings
from ..data_set import is_text
from ..errors import InvalidRequest, InvalidToken
from ..launchdarkly.sdk import Context
from ..read.contexts import LARGEST_NUMBER, parse_context
from .request import Incoming, no_options, take_apart

_FIELDS = ("context", "event", "data", "metricValue")
_FORM = '{"context": {...}, "event": "purchase"}, with optional data and metricValue'
_MOST_CHARACTERS = 256
"""Of an event's name, which at LaunchDarkly is the key of a metric's event."""
_MOST_LEVELS = 100


class CustomEvent(NamedTuple):
    """As the SDK's ``track`` takes it (Any: JSON)."""

    context: Context
    name: str
    data: Any
    metric_value: float | None


def custom_event(incoming: Incoming, settings: Settings) -> CustomEvent:
    """Access comes first, as for an evaluation. Raises InvalidToken and InvalidRequest."""
    asked = take_apart(incoming, settings, no_options, _context)
    if asked.options.conceal and not settings.track_accepts_client_tokens:
        raise InvalidToken("A token of browsers or mobile devices is not accepted here.")
    body = asked.body
    return CustomEvent(asked.context, _name(body.get("event")), _data(body), _metric_value(body.get("metricValue")))


def _context(body: object) -> Context:
    if not isinstance(body, dict):
        raise InvalidRequest(f"The body must be a JSON object: {_FORM}.")
    for name in body:
        if name not in _FIELDS:
            raise InvalidRequest(f"The body's {name[:100]!r} is not known; expected {_FORM}.")
    if "context" not in body:
        raise InvalidRequest(f"The body has no 'context'; expected {_FORM}.")
    context = parse_context(body["context"])
    if not _is_json(body["context"]):  # an evaluation can compare what is no number at LaunchDarkly
        raise InvalidRequest("The 'context' must hold numbers within 64-bit floating point.")
    return context


def _name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_CHARACTERS or not is_text(name):
        raise InvalidRequest(f"The 'event' must be a string of 1 to {_MOST_CHARACTERS} characters.")
    return name


def _metric_value(value: object) -> float | None:
    """Raises InvalidRequest for what is no number of 64-bit floating point."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST_NUMBER:
        raise InvalidRequest("The 'metricValue' must be a number within 64-bit floating point.")
    return value


def _data(body: dict[str, Any]) -> Any:
    """What LaunchDarkly can read back, and nothing nested so deeply that somebody on the way could not."""
    data = body.get("data")
    layer, is_number_too_large = [data], False
    for _ in range(_MOST_LEVELS):
        is_number_too_large |= any(isinstance(each, int) and abs(each) > LARGEST_NUMBER for each in layer)
        layer = [value for each in layer for value in _values(each)]
    if layer or is_number_too_large or not _is_json(data):
        raise InvalidRequest(
            f"The 'data' must be JSON of at most {_MOST_LEVELS} levels, in Unicode, with numbers within 64-bit "
            "floating point."
        )
    return data


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _is_json(data: Any) -> bool:
    try:
        return is_text(json.dumps(data, allow_nan=False, ensure_ascii=False))
    except ValueError:
        return False
