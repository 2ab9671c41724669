"""Deployment packages, and what a function finds on Lambda besides its package."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from tests.support.data import PROJECT
from tests.support.processes import BIN
from tests.support.project import copy_project

BUILD = PROJECT / "build" / "tests"


def lambda_runtime() -> Path:
    """A folder with what Lambda's Python has outside the package: its runtime client and boto3."""
    wanted = ("awslambdaric==", "boto3==")
    lines = [line for file in PROJECT.glob("requirements-*.txt") for line in file.read_text().splitlines()]
    pins = [line for line in lines if line.startswith(wanted)]
    key = hashlib.sha256("\n".join([sys.version, *pins]).encode()).hexdigest()[:16]
    target = BUILD / f"lambda-runtime-{key}"
    with _one_at_a_time(BUILD):
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--target", str(unfinished), *pins], check=True)
            unfinished.rename(target)
    return target


def packaged_project(run: Path) -> Path:
    """A copy of the project in which `make package` was run, once in this run of the tests; not to be changed.

    ``run`` is a folder that all processes of the run share.
    """
    project = run / "packaged-project"
    with _one_at_a_time(run):
        if not (project / "out" / "deployment.zip").exists():
            shutil.rmtree(project, ignore_errors=True)
            make(copy_project(project), "package", "STAGE=production", "OUT=out")
    return project


class Library(NamedTuple):
    """What is built for other repositories."""

    wheel: Path
    layer: Path
    unpacked_layer: Path
    """On a read-only path, as Lambda unpacks it."""


def built_library(run: Path) -> Library:
    """What `make wheel` and `make layer` write, for this Python, built once in this run of the tests.

    ``run`` is a folder that all processes of the run share.
    """
    project, unpacked = run / "library-project", run / "opt"
    with _one_at_a_time(run):
        if not unpacked.exists():
            shutil.rmtree(project, ignore_errors=True)
            make(copy_project(project), "wheel", "layer")
            unzip_read_only(next(project.glob("dist/*.zip")), unpacked)
    (wheel,), (layer,) = project.glob("dist/*.whl"), project.glob("dist/*.zip")
    return Library(wheel, layer, unpacked)


def make(project: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What `make` prints with the programs of this Python. Fails the test when it fails."""
    tools = [f"BIN={BIN}", "--old-file", ".venv/run-installed", "--old-file", ".venv/installed"]
    command = ["make", "--no-print-directory", *tools, *arguments]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Of all processes of the tests: who comes later finds what the first has built in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unzip_read_only(package: Path | IO[bytes], target: Path) -> Path:
    """``target``, as on Lambda: nothing that the function does leaves bytecode behind for the next run."""
    if target.exists():
        set_writable(target, True)
        shutil.rmtree(target)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(target)
    set_writable(target, False)
    return target


def set_writable(folder: Path, writable: bool) -> None:
    """Everything in it, and itself."""
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)
