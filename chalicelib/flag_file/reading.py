"""The data set of a flag file, in the format of LaunchDarkly's SDKs: flags, flagValues and segments.

Source: https://launchdarkly.com/docs/sdk/features/flags-from-files
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data_set import FEATURES, SEGMENTS, DataSet, Item, fetched_item
from ..errors import LaunchDarklyUnreachable, UnreadableItem
from ..launchdarkly import sdk
from ..launchdarkly.items import decode_item
from .text import Document, FlagFileError, line_of, parse

_SECTIONS = {"flags": FEATURES, "flagValues": FEATURES, "segments": SEGMENTS}
_KINDS = {FEATURES: sdk.FEATURES, SEGMENTS: sdk.SEGMENTS}
_ONE = {"flags": "flag", "flagValues": "flag", "segments": "segment"}


def read_flag_file(path: str) -> DataSet:
    """Raises LaunchDarklyUnreachable, which names the file and, where something is wrong in it, the line."""
    text = read_text(path)
    try:
        return data_set_of(parse(text))
    except FlagFileError as error:
        raise LaunchDarklyUnreachable(
            f"{path}, line {line_of(text, error.offset)}: {str(error).rstrip('.')}."
        ) from None


def read_text(path: str) -> str:
    """Raises LaunchDarklyUnreachable."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LaunchDarklyUnreachable(f"{path} cannot be read: it is not UTF-8 at byte {error.start}.") from None
    except OSError as error:
        raise LaunchDarklyUnreachable(f"{path} cannot be read: {error.strerror}.") from None


def data_set_of(document: Document) -> DataSet:
    """Raises FlagFileError."""
    # An object that has none of them is another file, or a misspelt one. An empty one is an environment without flags.
    if not isinstance(document.value, dict) or (document.value and _SECTIONS.keys().isdisjoint(document.value)):
        raise FlagFileError('expected an object with "flags", "flagValues" or "segments"', document.root.begin)
    data_set: dict[str, dict[str, Item]] = {FEATURES: {}, SEGMENTS: {}}
    for section, name, fields in _items(document):
        kind, key, offset = _SECTIONS[section], fields["key"], _offset_of(document, section, name)
        if key in data_set[kind]:
            raise FlagFileError(f"the key {key!r} is used more than once in {kind}", offset)
        item = fetched_item(fields)
        try:
            decoded = decode_item(_KINDS[kind], key, item.text)
        except UnreadableItem as error:
            raise FlagFileError(f"the {_ONE[section]} {name!r} cannot be read: {error}", offset) from None
        if decoded is not None:
            data_set[kind][key] = item
    return data_set


def _items(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Section, name and fields of each flag and segment (Any: JSON)."""
    for section in _SECTIONS:
        items = document.value.get(section)
        if items is not None and not isinstance(items, dict):
            raise FlagFileError(f"{section} must be an object", _offset_of(document, section))
        for name, value in (items or {}).items():
            if section == "flagValues":  # the short form: a flag that serves this value to everybody
                flag = {"key": name, "version": 1, "on": True, "fallthrough": {"variation": 0}, "variations": [value]}
                yield section, name, flag
                continue
            if not isinstance(value, dict) or not isinstance(value.get("key"), str):
                what = f'the {_ONE[section]} {name!r} must be an object that has a string as "key"'
                raise FlagFileError(what, _offset_of(document, section, name))
            yield section, name, value if "version" in value else {**value, "version": 1}


def _offset_of(document: Document, *names: str) -> int:
    node = document.root.find(*names)
    return document.root.begin if node is None else node.begin
