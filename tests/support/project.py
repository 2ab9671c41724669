"""Copies of the project, for what a user does in it: edit, build, deploy."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.data import PROJECT

_PARTS = (
    "app.py",
    "chalicelib",
    "requirements.txt",
    ".chalice",
    "examples",
    "infrastructure",
    "tools",
    "Makefile",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
_LEFT_OVERS = shutil.ignore_patterns("__pycache__", "deployed", "deployments", "amazon-roots")
"""What a deployment from this folder, which may go on meanwhile, leaves in it."""


def copy_project(folder: Path, parts: Iterable[str] = _PARTS) -> Path:
    """``folder``, with all that runs and deploys the app, or with some parts of it, as in a fresh clone."""
    folder.mkdir(exist_ok=True)
    for name in parts:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=_LEFT_OVERS)
        else:
            shutil.copy(PROJECT / name, folder / name)
    return folder


def digest_of_project() -> str:
    """Of all that ``copy_project`` copies, and of what the programs are that package it."""
    digest = hashlib.sha256()
    copied = (path for name in _PARTS for path in _files(PROJECT / name))
    for path in [*sorted(PROJECT.glob("requirements-*.txt")), *copied]:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PROJECT)}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """``path``, or all in it but left-overs, in an order that is always the same."""
    if not path.is_dir():
        yield path
        return
    names = [each.name for each in path.iterdir()]
    for name in sorted(set(names) - _LEFT_OVERS(str(path), names)):
        yield from _files(path / name)
