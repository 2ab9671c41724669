"""The rules that docs/architecture.md draws: which part of the package knows which."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support import measured
from tests.support.data import PROJECT

PACKAGE = PROJECT / "chalicelib"
TREE = re.findall(r"^\| (`[^|]*`) \|", (PROJECT / "docs" / "architecture.md").read_text(), re.MULTILINE)
OURS = {name.rstrip("/") for names in TREE for name in re.findall(r"`([^`]+)`", names)} | {"__init__.py"}
"""What docs/architecture.md names: users add modules of their own, which follow their own rules."""
MODULES = [each for each in PACKAGE.rglob("*.py") if each.relative_to(PACKAGE).parts[0] in OURS]
READING = re.compile(r"\bos\.(environ|getenv)\b|from os import")


def test_the_tree_names_every_module_that_another_one_imports() -> None:
    """Or the rules below would not be asked of it."""
    imports = {name.split(".")[1] for module in MODULES for name in imported(module) if name.startswith("chalicelib.")}
    there = {each.name for each in PACKAGE.iterdir()}
    assert {name for name in imports if {name, f"{name}.py"} & there and not {name, f"{name}.py"} & OURS} == set()
    assert {"wiring.py", "stores"} <= OURS, "nothing was found"


def test_the_two_paths_meet_only_in_the_store() -> None:
    for path, other in (("read", "refresh"), ("refresh", "read")):
        imports = {module: set(imported(module)) for module in (PACKAGE / path).glob("*.py")}
        assert any("stores" in each.split(".") for names in imports.values() for each in names), "nothing was found"
        assert {module: names for module, names in imports.items() if f"chalicelib.{other}" in prefixes(names)} == {}


def test_only_the_configuration_reads_the_environment() -> None:
    readers = {str(each.relative_to(PACKAGE)) for each in MODULES if READING.search(each.read_text())}
    assert readers == {"config.py"}


PARTS = (
    "RedisReader",
    "RedisWriter",
    "DynamoDbReader",
    "DynamoDbWriter",
    "Snapshots",
    "BigSegments",
    "Refresher",
    "Wiring",
    "Timing",
    "RecentFlags",
)


def test_only_the_wiring_builds_parts() -> None:
    """A default Timing in a signature is no part that somebody builds: it is the constant."""
    built = {module: built_in(module) for module in (PROJECT / "app.py", *MODULES)}
    builders = {str(module.relative_to(PROJECT)): names for module, names in built.items() if names}
    assert builders == {"chalicelib/wiring.py": {*PARTS} - {"Timing"}}


def test_what_coverage_leaves_out_is_there() -> None:
    """Or a file that was renamed would be measured again without a word."""
    tests = PROJECT / "tests"
    assert {folder for folder in measured.FOLDERS if not (tests / folder).is_dir()} == set()
    files = [tests / folder / f"{name}.py" for folder, names in measured.FILES.items() for name in names]
    assert [each for each in files if not each.is_file() or measured.is_measured(each)] == []


def built_in(module: Path) -> set[str]:
    """The parts that the module makes."""
    tree = ast.parse(module.read_text())
    defaults = {id(default) for each in ast.walk(tree) if isinstance(each, ast.arguments) for default in each.defaults}
    return {
        call.func.id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in PARTS
        if id(call) not in defaults
    }


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
