"""Put bytecode for every module into the deployment package.

Chalice packages contain no bytecode and a Lambda's file system is read-only, so every cold start would
compile every module. Chalice copies ``vendor/`` into the package, so there goes the bytecode of the
dependencies, of Chalice's runtime and of ``app.py``; that of ``chalicelib/`` stays beside its sources,
because Chalice packages that folder as it is.

The bytecode is validated by the hash of its source (PEP 552, ``checked-hash``): it names no time stamps,
so building twice gives the same package, and a source that changed is compiled, never run from old
bytecode. It is for the Python that runs this program, which is also the one that Chalice deploys for.

Beside it go the five of certifi's certificates that a function needs to reach DynamoDB: reading all of them
costs a cold start more than anything else that TLS does.
"""

from __future__ import annotations

import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

import chalice

PROJECT = Path(__file__).resolve().parent.parent
VENDOR = PROJECT / "vendor"
CHALICELIB = PROJECT / "chalicelib"
AMAZON_ROOTS_FOLDER = CHALICELIB / "stores" / "amazon-roots"
AMAZON_ROOTS = {
    "Amazon Root CA 1": "ce5e74ef",
    "Amazon Root CA 2": "6d41d539",
    "Amazon Root CA 3": "8cb5ee0f",
    "Amazon Root CA 4": "de6d66f3",
    "Starfield Services Root Certificate Authority - G2": "09789157",
}
"""As certifi labels them, and the hash of the subject's name, by which OpenSSL finds a certificate in a folder.

Source: https://www.amazontrust.com/repository/
"""

LAMBDA_TASK_ROOT = Path("/var/task")


def main() -> None:
    shutil.rmtree(VENDOR, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        _install_dependencies(Path(folder))
        pick_amazon_roots(Path(folder, "certifi", "cacert.pem"), AMAZON_ROOTS_FOLDER)
        for source, packaged in _vendored_sources(Path(folder)):
            _compile(source, packaged, VENDOR)
    for cache in sorted(CHALICELIB.rglob("__pycache__")):
        shutil.rmtree(cache)
    for source in sorted(CHALICELIB.rglob("*.py")):
        _compile(source, source.relative_to(PROJECT), PROJECT)
    print(f"bytecode for Python {sys.version_info.major}.{sys.version_info.minor} is in vendor/ and chalicelib/")


def _install_dependencies(target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, "--target", str(target), "-r", str(PROJECT / "requirements.txt")], check=True)


def pick_amazon_roots(bundle: Path, target: Path) -> None:
    """Write the certificates that Amazon's endpoints need, each to a file, as OpenSSL names them.

    Raises ValueError when certifi has one of them no more.
    """
    labelled = re.findall(r'^# Label: "([^"\n]+)"$.*?(^-----BEGIN.+?^-----END.+?$)', bundle.read_text(), re.M | re.S)
    certificates = dict(labelled)
    missing = [label for label in AMAZON_ROOTS if label not in certificates]
    if missing:
        raise ValueError(f"certifi has no certificate that is labelled {', '.join(missing)}")
    target.mkdir(exist_ok=True)
    for label, subject_hash in AMAZON_ROOTS.items():
        (target / f"{subject_hash}.0").write_text(certificates[label] + "\n")


def _vendored_sources(dependencies: Path) -> Iterator[tuple[Path, Path]]:
    """Modules whose bytecode goes into vendor/: the source here, and its path in the package."""
    for source in sorted(dependencies.rglob("*.py")):
        yield source, source.relative_to(dependencies)
    runtime = Path(chalice.__file__).parent
    for name in ("__init__.py", "app.py"):  # what Chalice packages of itself
        yield runtime / name, Path("chalice") / name
    yield PROJECT / "app.py", Path("app.py")


def _compile(source: Path, packaged: Path, folder: Path) -> None:
    """``packaged`` is the module's path in the package, ``folder`` where the package's bytecode is collected."""
    py_compile.compile(
        str(source),
        cfile=str(folder / cache_from_source(str(packaged))),
        dfile=str(LAMBDA_TASK_ROOT / packaged),  # what tracebacks on Lambda name
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
    )


if __name__ == "__main__":
    main()
