"""The text of a flag file, as JSON or YAML: its value, and where each of its parts begins and ends. Pure.

YAML is read as LaunchDarkly's data is meant: ``on`` is a name and no boolean, and a date is a string.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    import yaml

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()

_LEVELS = 3
"""Deep enough for a field of a flag: the file, its section, the flag."""


class FlagFileError(Exception):
    """What is wrong, and at which offset of the text."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Node(NamedTuple):
    """A value in the text, ``text[begin:end]``; of an object, its members as far as somebody may look for them.

    ``column`` is that of the members of a YAML mapping which has them on lines of their own; None of any other.
    """

    begin: int
    end: int
    members: dict[str, Node] | None = None
    column: int | None = None

    def find(self, *names: str) -> Node | None:
        """The member of the member … of these names."""
        node: Node | None = self
        for name in names:
            node = None if node is None or node.members is None else node.members.get(name)
        return node


class Document(NamedTuple):
    """``value`` is JSON (Any), ``root`` says where it stands."""

    value: Any
    root: Node


def parse(text: str) -> Document:
    """Raises FlagFileError. What begins with a bracket is JSON, and YAML only where that can be read and JSON not."""
    if text.lstrip()[:1] not in ("{", "["):
        return _parse_yaml(text)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        try:
            return _parse_yaml(text)
        except FlagFileError:
            raise FlagFileError(f"not valid JSON: {error.msg}", error.pos) from None
    except (RecursionError, ValueError) as error:
        raise FlagFileError(f"not valid JSON: {error}", 0) from None
    return Document(value, _json_node(text, _after_space(text, 0), _LEVELS))


def line_of(text: str, offset: int) -> int:
    """Counted from 1."""
    return text.count("\n", 0, offset) + 1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _json_node(text: str, at: int, levels: int) -> Node:
    """The value that begins here, in a text that is valid JSON."""
    if text[at] != "{" or levels == 0:
        return Node(at, _DECODER.raw_decode(text, at)[1])
    members: dict[str, Node] = {}
    position = _after_space(text, at + 1)
    while text[position] != "}":
        name, end = _DECODER.raw_decode(text, position)
        if name in members:
            raise FlagFileError(f"the name {name!r} is there twice", position)
        colon = _after_space(text, end)
        members[name] = node = _json_node(text, _after_space(text, colon + 1), levels - 1)
        position = _after_space(text, node.end)
        if text[position] == ",":
            position = _after_space(text, position + 1)
    return Node(at, position + 1, members)


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None  # it matches nothing as well
    return match.end()


def _parse_yaml(text: str) -> Document:
    try:
        import yaml
    except ImportError:
        raise FlagFileError("not JSON, and YAML cannot be read, because PyYAML is not installed", 0) from None
    from .yaml_loader import Loader

    try:
        loader = Loader(text)
        node = loader.get_single_node()
        root = Node(0, 0) if node is None else _yaml_node(node, _LEVELS)  # before what is merged moves
        value = None if node is None else loader.construct_document(node)
        json.dumps(value, allow_nan=False)  # what LaunchDarkly's data can hold
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise FlagFileError(f"not valid YAML: {error.problem}", 0 if mark is None else mark.index) from None
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise FlagFileError(f"not valid JSON or YAML: {error}", 0) from None
    return Document(value, root)


def _yaml_node(node: yaml.Node, levels: int) -> Node:
    import yaml

    begin, end = node.start_mark.index, _end_of(node)
    if not isinstance(node, yaml.MappingNode) or levels == 0:
        return Node(begin, end)
    members: dict[str, Node] = {}
    for key, value in node.value:
        if key.value in members:
            raise FlagFileError(f"the name {key.value!r} is there twice", key.start_mark.index)
        members[key.value] = _yaml_node(value, levels - 1)
    return Node(begin, end, members, None if node.flow_style else node.start_mark.column)


def _end_of(node: yaml.Node) -> int:
    """Where the value itself ends; PyYAML counts the empty lines and comments after a block to it."""
    import yaml

    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)
