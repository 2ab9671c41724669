"""Changes to one flag of a flag file, which leave every other character of the file as it is."""

from __future__ import annotations

import codecs
import copy
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FlagNotFound, InvalidRequest, LaunchDarklyUnreachable
from .text import Document, FlagFileError, Node, line_of, parse

_lock = threading.Lock()


class FlagChange(NamedTuple):
    """What is to become of a flag; None leaves it. ``fallthrough`` and ``off_variation`` are indices of variations."""

    on: bool | None = None
    fallthrough: int | None = None
    off_variation: int | None = None


def change_flag(path: str, key: str, change: FlagChange) -> None:
    """Change the flag in the file, as one step, and count its version up.

    Raises FlagNotFound, InvalidRequest for what the flag cannot become, and LaunchDarklyUnreachable for a file that
    cannot be read or written.
    """
    with _lock:
        try:
            content = Path(path).read_bytes()
            mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
            text = content[len(mark) :].decode()
            _replace(path, mark + with_change(text, key, change).encode())
        except FlagFileError as error:
            raise LaunchDarklyUnreachable(f"{path}, line {line_of(text, error.offset)}: {error}.") from None
        except UnicodeDecodeError as error:
            raise LaunchDarklyUnreachable(f"{path} cannot be read: it is not UTF-8 at byte {error.start}.") from None
        except OSError as error:
            raise LaunchDarklyUnreachable(f"{path} cannot be changed: {error.strerror}.") from None


def with_change(text: str, key: str, change: FlagChange) -> str:
    """The text of the file with this change. Raises FlagNotFound, InvalidRequest and FlagFileError."""
    document = parse(text)
    name = _name_of(document, key)
    fields = _fields_after(document.value["flags"][name], change)
    flag = document.root.find("flags", name)
    assert flag is not None  # the value is from the same text
    changed = _with_fields(text, flag, fields)
    expected = copy.deepcopy(document.value)
    expected["flags"][name].update(fields)
    if not _holds(changed, expected):  # an alias of YAML: what stands there is part of something else, too
        raise FlagFileError(f"the flag {key!r} shares its fields with others; edit it by hand", flag.begin)
    return changed


def _holds(text: str, expected: object) -> bool:
    try:
        return bool(parse(text).value == expected)
    except FlagFileError:
        return False


def _name_of(document: Document, key: str) -> str:
    """What the flag is called in its section, which may be something else than its key. One that is deleted is none."""
    sections = document.value if isinstance(document.value, dict) else {}
    for name, fields in (sections.get("flags") or {}).items():
        if isinstance(fields, dict) and fields.get("key") == key and fields.get("deleted") is not True:
            return str(name)
    if key in (sections.get("flagValues") or {}):
        raise InvalidRequest(f"The flag {key[:100]!r} is one of flagValues, which have one value; edit it in the file.")
    raise FlagNotFound(f"There is no flag {key[:100]!r} in the file.")


def _fields_after(flag: Mapping[str, Any], change: FlagChange) -> dict[str, Any]:
    """The fields that change, each with its new value (Any: JSON). Raises InvalidRequest."""
    fields: dict[str, Any] = {}
    if change.on is not None:
        fields["on"] = change.on
    count = len(flag.get("variations") or ())
    for variation in (change.fallthrough, change.off_variation):
        if variation is not None and not 0 <= variation < count:
            raise InvalidRequest(f"There is no variation {variation}; the flag has {count}, counted from 0.")
    if change.fallthrough is not None:
        fields["fallthrough"] = {"variation": change.fallthrough}
    if change.off_variation is not None:
        fields["offVariation"] = change.off_variation
    changed = {name: value for name, value in fields.items() if name not in flag or flag[name] != value}
    return {**changed, "version": flag.get("version", 1) + 1} if changed else {}


def _with_fields(text: str, flag: Node, fields: Mapping[str, Any]) -> str:
    members = flag.members or {}
    replaced = [(members[name], value) for name, value in fields.items() if name in members]
    for node, value in sorted(replaced, key=lambda each: each[0].begin, reverse=True):
        text = text[: node.begin] + json.dumps(value) + text[node.end :]
    for name, value in fields.items():
        if name not in members:
            text = _with_new_field(text, flag, f"{json.dumps(name)}: {json.dumps(value)}")
    return text


def _with_new_field(text: str, flag: Node, field: str) -> str:
    """With the field before all others, so that what is behind it stays in its place."""
    if flag.column is not None:
        return text[: flag.begin] + field + "\n" + " " * flag.column + text[flag.begin :]
    begin = flag.begin + 1
    after_space = begin + len(text[begin:]) - len(text[begin:].lstrip())
    return text[:begin] + text[begin:after_space] + field + "," + text[begin:]


def _replace(path: str, content: bytes) -> None:
    """As one step: whoever reads the file meanwhile reads all of one or all of the other."""
    target = os.path.realpath(path)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(target), prefix=".flags-", delete=False) as file:
        file.write(content)
    try:
        shutil.copymode(target, file.name)
        os.replace(file.name, target)
    except OSError:
        os.unlink(file.name)
        raise
