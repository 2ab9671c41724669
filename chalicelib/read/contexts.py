"""Evaluation contexts from JSON. Pure.

A context has a ``kind``; a *legacy user* has none and is converted as LaunchDarkly's SDKs do when they
are given user data: https://launchdarkly.com/docs/sdk/features/context-config and the unmarshalling
rules of LaunchDarkly's Go SDK, which its services use.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from ..errors import InvalidContext
from ..launchdarkly.sdk import Context

MAX_LEVELS = 100
"""Of objects and arrays within each other: far more than a rule can refer to, and safe for whatever recurses."""

_USER_STRINGS = ("name", "firstName", "lastName", "email", "country", "avatar", "ip")
_NOT_CUSTOM = ("kind", "key", "name", "anonymous", "_meta")
"""Names in ``custom`` that would collide with a context's own properties: left out."""


def parse_context(data: object) -> Context:
    """A valid context from a context or legacy user JSON. Raises InvalidContext that says what is wrong."""
    if not isinstance(data, dict):
        raise InvalidContext(f"A context must be a JSON object, not {_json_type(data)}.")
    if _is_deeper(data, MAX_LEVELS):
        raise InvalidContext(f"The context is nested too deeply: at most {MAX_LEVELS} levels are accepted.")
    if not _is_text(data):
        raise InvalidContext("The context is not valid Unicode: it holds half of a surrogate pair.")
    context = Context.from_dict(data) if "kind" in data else _from_legacy_user(data)
    if not context.valid:
        raise InvalidContext(f"Invalid context: {context.error}.")
    return context


def _is_deeper(data: object, levels: int) -> bool:
    """Looked at level by level, because Python's own recursion limit is what this guards."""
    layer: list[object] = [data]
    for _ in range(levels):
        layer = [child for each in layer for child in _children(each) if isinstance(child, (dict, list))]
        if not layer:
            return False
    return True


def _is_text(data: object) -> bool:
    """Whether all strings can be encoded. The SDK, which hashes some of them, would log a context that fails it."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _children(value: object) -> Collection[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _from_legacy_user(user: dict[str, Any]) -> Context:
    if "key" not in user:
        raise InvalidContext("A context must have a 'kind' and a 'key'; a legacy user must have a 'key'.")
    key = user["key"]
    if not isinstance(key, str):
        raise InvalidContext(f"The user's 'key' must be a string, not {_json_type(key)}.")
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
        )
    return value


_TYPE_NAMES = {str: "a string", bool: "a boolean", dict: "an object", list: "an array"}


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    return _TYPE_NAMES.get(type(value), "a number")
