"""The commands of README.md and docs/, as a reader would type them, and what they are said to answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.data import PROJECT

DOCUMENTS = tuple(sorted([PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]))

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """``output`` is empty where the document shows none. ``before`` is the paragraph that leads to it.

    ``variables``: the lines above it in the same block that set a variable of the shell.
    """

    text: str
    output: str
    before: str
    variables: tuple[str, ...] = ()


def name_of(document: Path) -> str:
    return str(document.relative_to(PROJECT))


def blocks_of(document: Path, language: str) -> Iterator[tuple[str, str]]:
    """The text of each block of this language, without its indentation, and the paragraph before it."""
    text = document.read_text()
    for match in _BLOCK.finditer(text):
        if match[2] == language:
            lines = [line.removeprefix(match[1]) for line in match[3].splitlines()]
            yield "\n".join(lines), text[: match.start()].rstrip().rpartition("\n\n")[2]


def commands_of(document: Path) -> list[Command]:
    """What follows a ``$`` in its console blocks, with the lines that a backslash joins to it."""
    commands: list[Command] = []
    for block, before in blocks_of(document, "console"):
        assert block.startswith("$ "), f"{name_of(document)} has a console block that does not begin with a command"
        variables: list[str] = []
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, output = _split(part)
            commands.append(Command(text, output, before, tuple(variables)))
            if re.match(r"\w+=\$", text):
                variables.append(text)
    return commands


def _split(part: str) -> tuple[str, str]:
    lines = part.splitlines()
    end = next(number for number, line in enumerate(lines) if not line.endswith("\\")) + 1
    return "\n".join(lines[:end]), "\n".join(lines[end:])
