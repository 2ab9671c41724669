"""Deployment packages, built as a user builds them, unzipped on a read-only path."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import botocore

from benchmarks.tables import Table
from tests.support.certificates import Certificates, make_certificates
from tests.support.data import PROJECT
from tests.support.packages import set_writable, unzip_read_only
from tests.support.processes import BIN
from tools.build_layer import build_layer

BUILD = PROJECT / "build" / "bench"
RUNTIME_PROGRAM = PROJECT / "benchmarks" / "runtime" / "amazon_names.py"
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
    return _unzipped(target / "deployment.zip", "ours")


def baseline_package(name: str) -> Path:
    """A baseline, packaged by plain Chalice, unzipped; ``NAME, compiled``: with bytecode as ours has it."""
    name, *compiled = name.split(", ")
    out = BUILD / f"{name}-package"
    shutil.rmtree(out, ignore_errors=True)
    project = PROJECT / "benchmarks" / "baselines" / name
    subprocess.run(
        [BIN / "chalice", "package", str(out)],
        cwd=project, check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, **_IMPORTABLE, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    folder = _unzipped(out / "deployment.zip", "-".join([name, *compiled]))
    if compiled:
        _compile(folder)
    return folder


def our_layer() -> Path:
    """The layer that ``make layer`` writes, unzipped."""
    architecture = "x86_64" if platform.machine() == "x86_64" else "arm64"
    return _unzipped(build_layer(BUILD / "layer", sys.version_info[:2], architecture), "our-layer")


def sdk_layer(compiled: str = "") -> Path:
    """LaunchDarkly's SDK in a layer, as pip installs it; with bytecode like that of ours, if it is to be compiled."""
    folder = BUILD / f"sdk-layer{compiled}"
    if folder.exists():
        set_writable(folder, True)
        shutil.rmtree(folder)
    requirements = PROJECT / "benchmarks" / "plain" / "sdk" / "requirements.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, "--target", str(folder / "python"), "-r", str(requirements)], check=True)
    set_writable(folder, False)
    if compiled:
        _compile(folder)
    return folder


def _compile(folder: Path) -> None:
    set_writable(folder, True)
    how = ["-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([sys.executable, "-m", "compileall", *how, str(folder)], check=True)
    set_writable(folder, False)


def _unzipped(package: Path, name: str) -> Path:
    """Among the certificates of each kind is one more: that of our DynamoDB."""
    folder = unzip_read_only(package, BUILD / name)
    set_writable(folder, True)
    for roots in folder.glob("certifi/cacert.pem"):
        roots.write_bytes(roots.read_bytes() + Path(certificates().authority).read_bytes())
    for amazon_roots in folder.rglob("stores/amazon-roots"):
        shutil.copytree(certificates().authorities(), amazon_roots, dirs_exist_ok=True)
    set_writable(folder, False)
    return folder


@functools.cache
def certificates() -> Certificates:
    """DynamoDB's, for this run."""
    folder = BUILD / "certificates"
    folder.mkdir(parents=True, exist_ok=True)
    return make_certificates(folder, "dynamodb.us-east-1.amazonaws.com")


@functools.cache
def authorities() -> Path:
    """All that AWS's SDK trusts, and ours."""
    bundle = BUILD / "authorities.pem"
    known = Path(botocore.__file__).parent / "cacert.pem"
    bundle.write_bytes(known.read_bytes() + Path(certificates().authority).read_bytes())
    return bundle


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
