"""Deployment packages, built as a user builds them, unzipped on a read-only path."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.tables import Table

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build" / "bench"
CHALICE = [str(Path(sys.executable).with_name("chalice"))]
_IMPORTABLE = {
    "LAUNCHDARKLY_SDK_KEY": "not-used",
    "LAUNCHDARKLY_STREAM_URI": "http://127.0.0.1:9",
    "REDIS_URL": "redis://127.0.0.1:9",
    "DYNAMODB_TABLE": "not-used",
    "AWS_DEFAULT_REGION": "eu-central-1",
}
"""Chalice imports a baseline's app.py to package it, and these build their SDK client right there."""


def our_package() -> Path:
    """The package that ``make package`` writes, unzipped."""
    target = BUILD / "package"
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["make", "-s", "package", "STAGE=production", f"OUT={target}"], cwd=PROJECT, check=True)
    return _unzip(target / "deployment.zip", BUILD / "ours")


def baseline_package(name: str) -> Path:
    """A baseline, packaged by plain Chalice, unzipped."""
    out = BUILD / f"{name}-package"
    shutil.rmtree(out, ignore_errors=True)
    project = PROJECT / "benchmarks" / "baselines" / name
    subprocess.run(
        [*CHALICE, "package", str(out)],
        cwd=project, check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, **_IMPORTABLE, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    return _unzip(out / "deployment.zip", BUILD / name)


def lambda_runtime() -> Path:
    """A folder with what Lambda's Python has outside the package: its runtime client and boto3."""
    target = BUILD / "lambda-runtime"
    if not target.exists():
        wanted = ("awslambdaric", "boto3")
        lines = [line for file in PROJECT.glob("requirements-*.txt") for line in file.read_text().splitlines()]
        pins = [line for line in lines if line.startswith(tuple(f"{name}==" for name in wanted))]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(target), *pins], check=True)
    return target


def _unzip(package: Path, target: Path) -> Path:
    """Read-only, as on Lambda: nothing that the function does leaves bytecode behind for the next run."""
    if target.exists():
        _set_writable(target, True)
        shutil.rmtree(target)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(target)
    _set_writable(target, False)
    return target


def _set_writable(folder: Path, writable: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)


def package_table(folder: Path) -> Table:
    """Size and content of our package, by what it is for."""
    sizes: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            top = path.relative_to(folder).parts[0]
            sizes[top] = sizes.get(top, 0) + path.stat().st_size
    ours = sum(size for name, size in sizes.items() if name in ("app.py", "chalicelib", "chalice", "__pycache__"))
    largest = sorted(((size, name) for name, size in sizes.items()), reverse=True)[:6]
    rows = [("zipped", _kilobytes((BUILD / "package" / "deployment.zip").stat().st_size))]
    rows += [
        ("unzipped", _kilobytes(sum(sizes.values()))),
        ("the app and Chalice's runtime", _kilobytes(ours)),
    ]
    rows += [(f"`{name}`", _kilobytes(size)) for size, name in largest]
    return Table(
        "Package",
        "The deployment package, sources and bytecode. Nothing of boto3 (Lambda has it), tests or tools is in it.",
        ("", "size"),
        tuple(rows),
    )


def _kilobytes(size: int) -> str:
    return f"{size / 1024:,.0f} KB"
