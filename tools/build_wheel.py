"""The folder ``chalicelib`` as a wheel: the package ``serverless_flags``, for functions of other repositories.

`python -m tools.build_wheel dist`. The metadata is in pyproject.toml; pip and hatchling do the work, on a copy, to
which the certificates of Amazon's endpoints are added (``tools/build_bytecode.py`` says why). Building twice gives
the same wheel.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import certifi

from tools.build_bytecode import AMAZON_ROOTS_FOLDER, PROJECT, pick_amazon_roots

_PARTS = ("chalicelib", "pyproject.toml", "README.md", "LICENSE")


def main() -> None:
    parser = argparse.ArgumentParser(prog="build_wheel", description="Build the wheel serverless_flags.")
    parser.add_argument("target", type=Path, help="the folder to put it into")
    print(build_wheel(parser.parse_args().target))


def build_wheel(target: Path) -> Path:
    """The wheel's path in the folder ``target``, which is made if there is none."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        _copy_sources(source)
        # hatchling is installed, in the version that is pinned.
        subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", str(built), str(source)], check=True)
        (wheel,) = built.iterdir()
        target.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, target))


def _copy_sources(folder: Path) -> None:
    folder.mkdir()
    for name in _PARTS:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / name, folder)
    pick_amazon_roots(Path(certifi.where()), folder / AMAZON_ROOTS_FOLDER.relative_to(PROJECT))


if __name__ == "__main__":
    main()
