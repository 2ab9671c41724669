"""Copies of the project, for what a user does in it: edit, build, deploy."""

from __future__ import annotations

import shutil
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
_LEFT_OVERS = shutil.ignore_patterns("__pycache__", "deployed", "deployments")


def copy_project(folder: Path) -> Path:
    """``folder``, with all that runs and deploys the app, as in a fresh clone."""
    folder.mkdir(exist_ok=True)
    for name in _PARTS:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=_LEFT_OVERS)
        else:
            shutil.copy(PROJECT / name, folder / name)
    return folder
