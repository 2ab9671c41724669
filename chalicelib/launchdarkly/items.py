"""A flag or a segment, from its JSON text to the SDK's model: the one judgement of what can be read."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Collection
from typing import Any

from ..errors import UnreadableItem
from .sdk import FEATURES, VersionedDataKind

logger = logging.getLogger(__name__)

ModelOf = Callable[[dict[str, Any]], Any]
"""Makes the SDK's model of an item, which it exports no type of, from its JSON. Raises what the SDK raises."""

_READ_LATER = (
    "key",
    "version",
    "clientSide",
    "clientSideAvailability",
    "trackEvents",
    "debugEventsUntilDate",
)
"""What evaluations read of the JSON that a model keeps, beside the model itself."""

_COMPARED_WITH = "9.18.0"
"""The version of the SDK whose models ``models.py`` fills in; another may have other ones."""

_logged: set[tuple[str, str, bytes]] = set()
"""What the last refresh of this process has logged: whoever evaluates here then need not log it again."""


def decode_item(kind: VersionedDataKind, key: str, text: bytes, model_of: ModelOf | None = None) -> Any:
    """The SDK's model; None when it says that it is deleted. Raises UnreadableItem, which never shows the item.

    ``model_of`` makes it as the SDK does, in another way.
    """
    try:
        fields = _parsed(text.decode())
        item = (model_of or kind.decode)(fields)
        if not item.deleted and item.key != key:
            raise ValueError("It is stored under another key than its own.")
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError) as error:
        raise UnreadableItem(f"{type(error).__name__}: {error}") from error
    if item.to_json_dict() is fields:  # and not already what is left of them
        _drop_all_but(_READ_LATER, fields)
    return None if item.deleted else item


def model_in_bulk(kind: VersionedDataKind) -> ModelOf | None:
    """What makes the models of all items in fewer steps than the SDK; None where the SDK is to make them."""
    from ldclient.version import VERSION

    if kind is not FEATURES or VERSION != _COMPARED_WITH:
        return None
    from .models import flag_of

    return flag_of


def _parsed(text: str) -> Any:
    """As ``_JSON.decode``, which looks for white space around everything."""
    if text.startswith("{"):
        fields, end = _JSON.raw_decode(text)
        if end == len(text):
            return fields
    return _JSON.decode(text)


def _drop_all_but(names: Collection[str], fields: dict[str, Any]) -> None:
    """The model has taken what it needs; it keeps the rest, a third of what all flags take in memory, for nothing."""
    kept = {name: fields[name] for name in names if name in fields}
    fields.clear()
    fields.update(kept)


def log_unreadable(kind: VersionedDataKind, key: str, text: bytes, error: UnreadableItem) -> None:
    """Once for each revision, unless the refresh that made it has done so in this process."""
    if (kind.namespace, key, text) not in _logged:
        logger.error("stored item %s/%s cannot be read: %s", kind.namespace, key, error)


def log_unreadable_of_refresh(unreadable: Collection[tuple[VersionedDataKind, str, bytes, UnreadableItem]]) -> None:
    """All that the new revision holds."""
    _logged.clear()
    for kind, key, text, error in unreadable:
        log_unreadable(kind, key, text, error)
    _logged.update((kind.namespace, key, text) for kind, key, text, _ in unreadable)


def _finite(literal: str) -> float:
    """Python's JSON knows NaN and Infinity, and makes one of 1e999; in an answer they would not be JSON."""
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError("A number is not finite.")
    return number


_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
