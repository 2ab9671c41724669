"""The data set as LaunchDarkly's stream tells it: each item as the JSON text that came. Pure: no I/O, no SDK.

An event is parsed once, and only to find where each item begins and ends and which version it has. So
unknown fields, the order of keys and the way numbers are written survive, and an item that no SDK can
read holds nothing back: it is kept as it came.

The events are those that the SDK's own stream reads: ``put`` with the whole data set, ``patch`` with one
item, ``delete`` with the version at which one is gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..data_set import FEATURES, SEGMENTS, UNREADABLE, DataSet, Item, version_of

_KINDS = {"flags": FEATURES, "segments": SEGMENTS}
"""What the stream calls them, and what every store does."""

_PATH = re.compile(r"/(flags|segments)/(.+)", re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[^\s,\]}]+")
_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*"', re.DOTALL)
_DECODER = json.JSONDecoder()


class _Received(NamedTuple):
    item: Item
    is_deleted: bool


class ReceivedDataSet:
    """What has been received. Not complete before the first ``put``."""

    def __init__(self) -> None:
        self._received: dict[str, dict[str, Item]] = {}
        self._deleted: dict[tuple[str, str], int] = {}

    @property
    def is_complete(self) -> bool:
        return bool(self._received)

    def data_set(self) -> DataSet:
        """Every item that is not deleted."""
        return self._received

    def version(self, kind: str, key: str) -> int | None:
        """The item's, or None when there is no such item."""
        item = self._received[kind].get(key)
        return None if item is None else item.version

    def take(self, event: str, data: str) -> None:
        """Raises ValueError when it cannot be read; what was received before stays. Unknown events are passed over."""
        if event == "put":
            self._put(data)
        elif event == "patch" and self.is_complete:
            self._patch(data)
        elif event == "delete" and self.is_complete:
            self._delete(data)

    def _put(self, data: str) -> None:
        received = _parse_put(data)
        self._received, self._deleted = {FEATURES: {}, SEGMENTS: {}}, {}
        for kind, items in received.items():
            for key, each in items.items():
                self._keep(kind, key, each)

    def _patch(self, data: str) -> None:
        path, received = _parse_patch(data)
        target = _target(path)
        if target is not None and self._is_news(*target, received.item.version):
            self._keep(*target, received)

    def _delete(self, data: str) -> None:
        event = json.loads(data)
        if not isinstance(event, dict):
            raise ValueError("The delete is not an object.")
        target, version = _target(event.get("path")), version_of(event)
        if target is not None and self._is_news(*target, version):
            self._forget(*target, version)

    def _is_news(self, kind: str, key: str, version: int) -> bool:
        """Whether this version comes after what is held. Of an item without a version it is taken for granted."""
        held = self._deleted.get((kind, key), self.version(kind, key))
        return held is None or version == UNREADABLE or version > held

    def _keep(self, kind: str, key: str, received: _Received) -> None:
        if received.is_deleted:
            self._forget(kind, key, received.item.version)
        else:
            self._received[kind][key] = received.item
            self._deleted.pop((kind, key), None)

    def _forget(self, kind: str, key: str, version: int) -> None:
        self._received[kind].pop(key, None)
        self._deleted[kind, key] = version


def _target(path: object) -> tuple[str, str] | None:
    """Kind and key, or None for what is neither a flag nor a segment."""
    match = _PATH.fullmatch(path) if isinstance(path, str) else None
    return None if match is None else (_KINDS[match[1]], match[2])


def _parse_put(data: str) -> dict[str, dict[str, _Received]]:
    """By kind and key. A put without segments has none; without flags it is no data set."""
    received: dict[str, dict[str, _Received]] = {}
    text = _Text(data)
    for name in text.members():
        if name != "data":
            text.value()
            continue
        for kind in text.members():
            if kind in _KINDS and (kind == "flags" or text.is_at_an_object):
                received[_KINDS[kind]] = {key: text.item() for key in text.members()}
            else:
                text.value()
    text.end()
    if FEATURES not in received:
        raise ValueError("The put holds no object data.flags.")
    return received


def _parse_patch(data: str) -> tuple[object, _Received]:
    """The path and the item."""
    path: object = None
    received: _Received | None = None
    text = _Text(data)
    for name in text.members():
        if name == "data":
            received = text.item()
        else:
            value = text.value()
            path = value if name == "path" else path
    text.end()
    if received is None:
        raise ValueError("The patch holds no data.")
    return path, received


class _Text:
    """JSON that is read from its beginning to its end, one value at a time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._skip_space()

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here. After each, the caller reads the value, one way or another."""
        self._take("{")
        if self._take_if("}"):
            return
        while True:
            if self._text[self._at : self._at + 1] != '"':
                raise self._error("a key")
            key = self.value()
            self._take(":")
            yield key
            if self._take_if("}"):
                return
            self._take(",")

    def value(self) -> Any:
        """Whatever JSON begins here; None also when Python cannot hold it: nested too deep, or too many digits."""
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError:
            raise
        except (RecursionError, ValueError):
            value, self._at = None, self._end_of_value()
        self._skip_space()
        return value

    def item(self) -> _Received:
        """The item that begins here, be it what it may."""
        begin = self._at
        fields = self.value()
        text = self._text[begin : self._at].rstrip(" \t\n\r").encode("utf-8", "surrogatepass")
        is_deleted = isinstance(fields, dict) and fields.get("deleted") is True
        return _Received(Item(version_of(fields), text), is_deleted)

    def end(self) -> None:
        if self._at != len(self._text):
            raise self._error("the end")

    @property
    def is_at_an_object(self) -> bool:
        return self._text.startswith("{", self._at)

    def _take(self, character: str) -> None:
        if not self._take_if(character):
            raise self._error(repr(character))

    def _take_if(self, character: str) -> bool:
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        self._skip_space()
        return True

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None  # it matches nothing as well
        self._at = match.end()

    def _end_of_value(self) -> int:
        if self._text[self._at] not in "{[":
            match = _SCALAR.match(self._text, self._at)
            return len(self._text) if match is None else match.end()
        depth = 0
        for match in _BRACKET_OR_STRING.finditer(self._text, self._at):
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match[0], 0)
            if depth == 0:
                return match.end()
        raise self._error("the end of a value")

    def _error(self, expected: str) -> ValueError:
        return ValueError(f"The event is not JSON of the shape expected: {expected} at {self._at}.")
