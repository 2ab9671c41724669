"""Make ``.venv`` with a supported Python, and make it anew where it cannot be used as it is.

``python tools/make_venv.py [--with-this-python]`` runs before every install. It leaves a usable ``.venv`` alone.
Without the option, any supported Python that ``.venv`` was made with will do; with it, only the one that runs this
program. The file ``.venv/python`` says what ``.venv`` was made with and where, because its scripts work nowhere else.
While ``.venv/unfinished`` is there, an install is under way or was interrupted.

Python 3.6 can run this module, so that an old Python is told what is wrong instead of failing on new syntax.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 14)
"""The Pythons that AWS Lambda and Chalice support."""

VENV = Path(__file__).resolve().parent.parent / ".venv"


def main() -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    # Not sys.executable: where .venv is activated, that is .venv's own link to the Python it was made with.
    python = os.path.realpath(sys.executable)
    this = f"{version}\n{python}\n{VENV}\n"
    made_with = this if "--with-this-python" in sys.argv else None
    if is_usable(made_with):
        return
    if not is_supported(version):
        sys.exit(
            f"serverless-flags needs Python {_name(OLDEST)} to {_name(NEWEST)}; {sys.executable} is Python {version}. "
            f"Name another one, for example: make run PYTHON=python{_name(NEWEST)}"
        )
    if os.path.lexists(str(VENV)):
        print("Making .venv anew, because it was moved, made with another Python, or left unfinished.", flush=True)
        _delete(VENV)
    else:
        print(f"Making .venv with Python {version}. This takes a few seconds.", flush=True)
    subprocess.run([python, "-m", "venv", str(VENV)], check=True)
    (VENV / "python").write_text(this)


def is_usable(made_with: "str | None") -> bool:
    """Whether .venv is whole, in its place, and made with this (None: with any supported Python)."""
    try:
        found = (VENV / "python").read_text()
        version, python, venv = found.splitlines()
    except (OSError, ValueError):
        return False
    is_whole = venv == str(VENV) and os.path.exists(python) and not (VENV / "unfinished").exists()
    return is_whole and is_supported(version) and made_with in (None, found)


def is_supported(version: str) -> bool:
    major, minor = version.split(".")[:2]
    return OLDEST <= (int(major), int(minor)) <= NEWEST


def _delete(venv: Path) -> None:
    if venv.is_symlink():
        venv.unlink()
    else:
        shutil.rmtree(str(venv))


def _name(version: "tuple[int, int]") -> str:
    return "{}.{}".format(*version)


if __name__ == "__main__":
    main()
