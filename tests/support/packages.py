"""Deployment packages, and what a function finds on Lambda besides its package."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from tests.support.data import PROJECT
from tests.support.orders import add_orders
from tests.support.processes import BIN
from tests.support.project import copy_project, digest_of_project

BUILD = PROJECT / "build" / "tests"
_UNUSED_SECONDS = 3600.0
"""After so long nobody uses what was built of an earlier state of the project."""


def lambda_runtime() -> Path:
    """A folder with what Lambda's Python has outside the package: its runtime client and boto3."""
    wanted = ("awslambdaric==", "boto3==")
    lines = [line for file in PROJECT.glob("requirements-*.txt") for line in file.read_text().splitlines()]
    pins = [line for line in lines if line.startswith(wanted)]

    def install(target: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(target), *pins], check=True)

    return _built("lambda-runtime", "\n".join(pins), install)


def packaged_project() -> Path:
    """A copy of the project in which `make package` was run; not to be changed."""
    return _built("packaged-project", digest_of_project(), lambda target: package(copy_project(target)))


def packaged_with_orders() -> Path:
    """The same for the project that has the example of an order service."""

    def build(target: Path) -> None:
        shutil.copytree(packaged_project(), target)
        add_orders(target)
        package(target)

    return _built("packaged-with-orders", digest_of_project(), build)


def package(project: Path) -> Path:
    """`make package` in ``project``, which is returned; the result is in ``out``."""
    make(project, "package", "STAGE=production", "OUT=out")
    return project


class Library(NamedTuple):
    """What is built for other repositories."""

    wheel: Path
    layer: Path
    unpacked_layer: Path
    """On a read-only path, as Lambda unpacks it."""


def built_library() -> Library:
    """What `make wheel` and `make layer` write, for this Python; not to be changed."""

    def build(target: Path) -> None:
        make(copy_project(target), "wheel", "layer")
        unzip_read_only(next(target.glob("dist/*.zip")), target / "opt")

    project = _built("library", digest_of_project(), build)
    (wheel,), (layer,) = project.glob("dist/*.whl"), project.glob("dist/*.zip")
    return Library(wheel, layer, project / "opt")


def _built(name: str, made_of: str, build: Callable[[Path], object]) -> Path:
    """A folder that ``build`` has made, once for the same ``made_of`` and Python, in this run of the tests or before.

    All processes of the tests share it, so nobody changes it.
    """
    key = hashlib.sha256(f"{sys.version}\n{made_of}".encode()).hexdigest()[:16]
    target = BUILD / f"{name}-{key}"
    with _one_at_a_time(name):
        if not target.exists():
            for old in BUILD.glob(f"{name}-*"):
                if time.time() - old.stat().st_mtime > _UNUSED_SECONDS:
                    _remove(old)
            unfinished = target.with_suffix(".unfinished")
            _remove(unfinished)
            build(unfinished)
            unfinished.rename(target)
        os.utime(target)
    return target


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Of all processes of the tests: who comes later finds what the first has built."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove(folder: Path) -> None:
    """With what is read-only in it."""
    if folder.exists():
        set_writable(folder, True)
        shutil.rmtree(folder)


def make(project: Path, *arguments: str, environment: Mapping[str, str] | None = None, programs: Path = BIN) -> str:
    """What `make` prints with the ``programs`` of this Python. Fails the test when it fails."""
    tools = [f"BIN={programs}", "--old-file", ".venv/run-installed", "--old-file", ".venv/installed"]
    command = ["make", "--no-print-directory", *tools, *arguments]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unzip_read_only(package: Path | IO[bytes], target: Path) -> Path:
    """``target``, as on Lambda: nothing that the function does leaves bytecode behind for the next run."""
    _remove(target)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(target)
    set_writable(target, False)
    return target


def set_writable(folder: Path, writable: bool) -> None:
    """Everything in it, and itself."""
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)
