"""Evaluation contexts from JSON. Pure.

A context has a ``kind``; a *legacy user* has none and is converted as LaunchDarkly's SDKs do when they
are given user data: https://launchdarkly.com/docs/sdk/features/context-config and the unmarshalling
rules of LaunchDarkly's Go SDK, which its services use.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ..data_set import is_text
from ..errors import InvalidContext
from ..launchdarkly.sdk import Context

MAX_LEVELS = 100
"""Of objects and arrays within each other: far more than a rule can refer to, and safe for whatever recurses."""
MAX_ELEMENTS = 100
"""Of an array. Each clause of each flag may compare each element with each of its values."""
MAX_CHARACTERS = 4096
"""Of a string or a name. Each clause may look at each character, and a rollout hashes them."""
MAX_PROPERTIES = 500
"""Of an object, a context among them."""
MAX_KINDS = 20
"""Of a multi-context. The SDK looks through them for each clause."""

LARGEST_NUMBER = int(sys.float_info.max)
"""LaunchDarkly's numbers are 64-bit floating point; the SDK cannot compare an integer beyond them."""

_USER_STRINGS = ("name", "firstName", "lastName", "email", "country", "avatar", "ip")
_NOT_CUSTOM = ("kind", "key", "name", "anonymous", "_meta")
"""Names in ``custom`` that would collide with a context's own properties: left out."""


def parse_context(data: object) -> Context:
    """A valid context from a context or legacy user JSON. Raises InvalidContext that says what is wrong."""
    if not isinstance(data, dict):
        raise InvalidContext(f"A context must be a JSON object, not {_json_type(data)}.")
    check_limits(data)
    if data.get("kind") == "multi" and len(data) - 1 > MAX_KINDS:
        raise InvalidContext(f"The context has {len(data) - 1} kinds; at most {MAX_KINDS} are accepted.")
    if not is_text(json.dumps(data, ensure_ascii=False)):  # the SDK, which hashes some of the strings, would log it
        raise InvalidContext("The context is not valid Unicode: it holds half of a surrogate pair.")
    context = Context.from_dict(data) if "kind" in data else _from_legacy_user(data)
    if not context.valid:
        raise InvalidContext(f"Invalid context: {context.error}.")
    return context


def context_or_invalid(data: object) -> Context:
    """The SDK's context of a context or legacy user JSON; what is wrong makes it an invalid one, with its ``error``.

    A ``Context`` is returned as it is. Raises nothing: what is no JSON at all is an invalid context too.
    """
    if isinstance(data, Context):
        return data
    try:
        return parse_context(dict(data) if isinstance(data, Mapping) else data)
    except InvalidContext as error:
        return Context(None, "", error=str(error))
    except Exception as error:  # a number of DynamoDB's, say, or a set
        return Context(None, "", error=f"A context must hold nothing but JSON ({type(error).__name__}).")


def check_limits(data: dict[str, Any], levels: int = MAX_LEVELS) -> None:
    """Raises InvalidContext where this JSON object holds more than an evaluation may cost.

    Looked at level by level, because Python's own recursion limit is one of the things that this guards.
    """
    layer: list[dict[str, Any] | list[Any]] = [data]
    for _ in range(levels):
        layer = [value for each in layer for value in _checked_values(each) if isinstance(value, (dict, list))]
        if not layer:
            return
    raise InvalidContext(f"The context is nested too deeply: at most {MAX_LEVELS} levels are accepted.")


def _checked_values(container: dict[str, Any] | list[Any]) -> list[Any]:
    """What an object or array holds, none of it larger than it may be."""
    if isinstance(container, list):
        _check_size("An array", len(container), MAX_ELEMENTS, "elements")
        values = container
    else:
        _check_size("An object", len(container), MAX_PROPERTIES, "properties")
        _check_size("A name", max(map(len, container), default=0), MAX_CHARACTERS, "characters")
        values = list(container.values())
    for value in values:
        if isinstance(value, str):
            _check_size("A string", len(value), MAX_CHARACTERS, "characters")
        elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise InvalidContext("A number in the context is too large for 64-bit floating point.")
    return values


def _check_size(what: str, size: int, limit: int, unit: str) -> None:
    if size > limit:
        raise InvalidContext(f"{what} in the context has {size} {unit}; at most {limit} are accepted.")


def _from_legacy_user(user: dict[str, Any]) -> Context:
    if "key" not in user:
        raise InvalidContext("A context must have a 'kind' and a 'key'; a legacy user must have a 'key'.")
    key = user["key"]
    if not isinstance(key, str):
        raise InvalidContext(f"The user's 'key' must be a string, not {_json_type(key)}.{_quotes_for(key)}")
    strings = {name: _typed(user, name, str) for name in _USER_STRINGS}
    attributes = {
        name: value
        for name, value in (_typed(user, "custom", dict) or {}).items()
        if name not in _NOT_CUSTOM and value is not None
    }
    attributes.update((name, value) for name, value in strings.items() if value is not None and name != "name")
    # The constructor, because the builder refuses an empty key, which legacy users may have.
    return Context(
        kind=Context.DEFAULT_KIND,
        key=key,
        name=strings["name"],
        anonymous=_typed(user, "anonymous", bool) or False,
        attributes=attributes or None,
        private_attributes=_private_attributes(user) or None,
        allow_empty_key=True,
    )


def _private_attributes(user: dict[str, Any]) -> list[str]:
    """Attribute references. A legacy user names attributes literally: a leading slash is part of the name."""
    names = _typed(user, "privateAttributeNames", list) or []
    for name in names:
        if not isinstance(name, str):
            raise InvalidContext(f"The user's 'privateAttributeNames' must hold strings, not {_json_type(name)}.")
    return ["/" + name.replace("~", "~0").replace("/", "~1") if name.startswith("/") else name for name in names]


def _typed(user: dict[str, Any], name: str, expected: type) -> Any:
    """The value of this type, or None where it is null or absent (Any: the type is the caller's)."""
    value = user.get(name)
    if value is not None and not isinstance(value, expected):
        raise InvalidContext(
            f"The user's {name!r} must be {_TYPE_NAMES[expected]} (or absent), not {_json_type(value)}."
            f"{_quotes_for(value) if expected is str else ''}"
        )
    return value


def _quotes_for(value: object) -> str:
    """What to do about a number. LaunchDarkly documents all of these as strings, and its Go SDK, which its services
    use, takes nothing else. Only its JavaScript SDKs turn a key into one: a rule might match there and not here.

    Source: https://launchdarkly.github.io/js-sdk-common/interfaces/LDUser.html
    """
    if _json_type(value) != "a number":
        return ""
    return " Put it in quotes: LaunchDarkly documents a user's key and built-in attributes as strings."


_TYPE_NAMES = {str: "a string", bool: "a boolean", dict: "an object", list: "an array"}


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    return _TYPE_NAMES.get(type(value), "a number")
