"""The rules that docs/architecture.md draws: which part of the package knows which."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.data import PROJECT

PACKAGE = PROJECT / "chalicelib"
READING = re.compile(r"\bos\.(environ|getenv)\b|from os import")


def test_the_two_paths_meet_only_in_the_store() -> None:
    for path, other in (("read", "refresh"), ("refresh", "read")):
        imports = {module: set(imported(module)) for module in (PACKAGE / path).glob("*.py")}
        assert any("stores" in each.split(".") for names in imports.values() for each in names), "nothing was found"
        assert {module: names for module, names in imports.items() if f"chalicelib.{other}" in prefixes(names)} == {}


def test_only_the_configuration_reads_the_environment() -> None:
    readers = {str(each.relative_to(PACKAGE)) for each in PACKAGE.rglob("*.py") if READING.search(each.read_text())}
    assert readers == {"config.py"}


def imported(module: Path) -> Iterator[str]:
    """The full names of the modules and of what is imported from them, at the top or within a function."""
    package = module.relative_to(PROJECT).parent.parts
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def prefixes(names: set[str]) -> set[str]:
    """``a.b`` for ``a.b.c``, so that a folder is found by its name."""
    return {".".join(name.split(".")[:2]) for name in names}
