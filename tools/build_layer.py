"""A Lambda layer with ``serverless_flags``, what it needs, and bytecode for all of it.

`python -m tools.build_layer dist --python-version 3.12 --architecture arm64`. The dependencies are the wheels that
requirements.txt pins, for that Python on Lambda. The bytecode is validated by the hash of its source, as in the
deployment package (``tools/build_bytecode.py``), and only a Python of the same minor version can write it: this one,
or a ``python3.12`` that is on the PATH. Without one the layer has none, and this program says so. Building twice gives
the same file.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from chalicelib import VERSION
from tools.build_bytecode import PROJECT
from tools.build_wheel import build_wheel
from tools.make_venv import NEWEST, OLDEST
from tools.normalize_package import normalize

LAYER_ROOT = Path("/opt")
"""Where Lambda unpacks layers; ``python`` in it is on the path of every function."""

LIMIT_BYTES = 250 * 1024 * 1024
"""Of a function and its layers together, unzipped.

Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

_ONLY_TO_WRITE = frozenset({"redis", "async-timeout"})
"""What requirements.txt pins, and a function that reads does not need."""

_GLIBC = {(3, 10): 26, (3, 11): 26}
"""The minor version of glibc 2 that Lambda has under these Pythons; 2.34 under later ones."""

_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Lambda's name of an architecture, and Linux's."""

PythonVersion = tuple[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(prog="build_layer", description="Build a Lambda layer with serverless_flags.")
    parser.add_argument("target", type=Path, help="the folder to put it into")
    parser.add_argument("--python-version", type=_python_version, default=sys.version_info[:2], help="such as 3.12")
    parser.add_argument("--architecture", choices=_MACHINES, default="x86_64")
    options = parser.parse_args()
    layer = build_layer(options.target, options.python_version, options.architecture)
    print(f"{layer}\nsha256 {hashlib.sha256(layer.read_bytes()).hexdigest()}")


def build_layer(target: Path, python_version: PythonVersion, architecture: str) -> Path:
    """The path of the zip file in the folder ``target``, which is made if there is none. Prints what is in it."""
    name = f"serverless_flags-{VERSION}-python{_dotted(python_version)}-{architecture}"
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder, "layer", "python")
        _install_dependencies(content, python_version, architecture)
        wheel = build_wheel(Path(folder, "wheel"))
        # By its name: pip would note where the wheel of a path was, which is another folder each time.
        _pip_install(content, "--no-index", "--find-links", str(wheel.parent), f"serverless-flags=={VERSION}")
        compile_for(content, python_version)
        _report_size(content)
        target.mkdir(parents=True, exist_ok=True)
        layer = Path(shutil.make_archive(str(target / name), "zip", content.parent))
    normalize(layer)
    return layer


def _install_dependencies(target: Path, python_version: PythonVersion, architecture: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write("\n".join(pins_for(python_version)))
        pins.flush()
        where = [f"--platform={each}" for each in platforms(python_version, _MACHINES[architecture])]
        what = ["--require-hashes", "--only-binary=:all:", "--python-version", _dotted(python_version)]
        _pip_install(target, *what, *where, "-r", pins.name)


def _pip_install(target: Path, *options: str) -> None:
    """Without the dependencies of what is named, and without programs, which name this Python."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, "--no-deps", "--target", str(target), *options], check=True)
    shutil.rmtree(target / "bin", ignore_errors=True)


def pins_for(python_version: PythonVersion) -> Iterator[str]:
    """The lines of requirements.txt that hold for this Python on Lambda, with their hashes.

    pip would ask the Python that runs it which lines these are, and not the one that it installs for.
    """
    dotted = _dotted(python_version)
    environment = {"python_version": dotted, "python_full_version": f"{dotted}.99", "sys_platform": "linux"}
    for line in (PROJECT / "requirements.txt").read_text().replace("\\\n", " ").splitlines():
        pin, *hashes = line.partition("#")[0].split("--hash=")
        if not hashes:
            continue
        requirement = Requirement(pin)
        holds = requirement.marker is None or requirement.marker.evaluate(environment)
        if holds and requirement.name not in _ONLY_TO_WRITE:
            yield f"{requirement.name}{requirement.specifier} " + " ".join(f"--hash={each.strip()}" for each in hashes)


def platforms(python_version: PythonVersion, machine: str) -> Iterator[str]:
    """The tags of wheels that run there, the newest glibc first (PEP 600)."""
    for minor in range(_GLIBC.get(python_version, 34), 16, -1):
        yield f"manylinux_2_{minor}_{machine}"
    yield f"manylinux2014_{machine}"


def compile_for(content: Path, python_version: PythonVersion) -> None:
    """Put bytecode beside the modules, if there is such a Python; else say that there is none."""
    python = _python_of(python_version)
    if python is None:
        print(
            f"There is no python{_dotted(python_version)} on the PATH, so the layer has no bytecode, and every cold "
            "start compiles what it imports. Install that Python, and build the layer again.",
            file=sys.stderr,
        )
        return
    how = ["-q", "--invalidation-mode", "checked-hash", "-s", str(content.parent), "-p", str(LAYER_ROOT)]
    subprocess.run([python, "-m", "compileall", *how, str(content)], check=True)


def _python_of(python_version: PythonVersion) -> str | None:
    """A Python of this version that can write bytecode, if there is one."""
    if python_version == sys.version_info[:2] and platform.python_implementation() == "CPython":
        return sys.executable
    python = shutil.which(f"python{_dotted(python_version)}")
    runs = python is not None and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    return python if runs else None


def _report_size(content: Path) -> None:
    size = sum(path.stat().st_size for path in content.rglob("*") if path.is_file())
    megabytes = 1024 * 1024
    print(f"{size / megabytes:.1f} MB unzipped, of the {LIMIT_BYTES // megabytes} MB for a function and its layers")


def _python_version(text: str) -> PythonVersion:
    match = re.fullmatch(r"3\.([0-9]{1,2})", text)
    if match is None or not OLDEST <= (3, int(match[1])) <= NEWEST:
        raise argparse.ArgumentTypeError(f"{text!r}; expected {_dotted(OLDEST)} to {_dotted(NEWEST)}")
    return 3, int(match[1])


def _dotted(python_version: PythonVersion) -> str:
    return ".".join(map(str, python_version))


if __name__ == "__main__":
    main()
