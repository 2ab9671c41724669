"""The deployment package carries bytecode: for every module, of this very source, and the same each time."""

from __future__ import annotations

import importlib.util
import marshal
import os
import shutil
import ssl
import subprocess
import sys
import zipfile
from pathlib import Path

import certifi
import pytest

from tests.support.certificates import subject_hash
from tests.support.packages import package
from tests.support.project import copy_project
from tools.build_bytecode import pick_amazon_roots

STAGE = "production"
CHECKED_HASH = 0b11
"""The flags of a .pyc that is validated by the hash of its source (PEP 552)."""


def test_every_module_of_the_package_has_its_bytecode(packaged: Path) -> None:
    contents = _contents(packaged)
    modules = [name for name in contents if name.endswith(".py")]
    assert {"app.py", "chalice/app.py", "chalicelib/read/snapshots.py", "ldclient/client.py"} <= set(modules)
    for name in modules:
        compiled = contents[importlib.util.cache_from_source(name)]
        assert compiled[:4] == importlib.util.MAGIC_NUMBER, name
        assert int.from_bytes(compiled[4:8], "little") == CHECKED_HASH, name
        assert compiled[8:16] == importlib.util.source_hash(contents[name]), name
        assert marshal.loads(compiled[16:]).co_filename == f"/var/task/{name}"


def test_the_explorer_page_is_in_the_package(packaged: Path) -> None:
    source = packaged / "chalicelib" / "explorer" / "page.html"
    assert _contents(packaged)["chalicelib/explorer/page.html"] == source.read_bytes()


def test_nothing_is_in_the_package_that_a_function_does_not_need(packaged: Path) -> None:
    tops = {name.partition("/")[0] for name in _contents(packaged)}
    assert not tops & {"boto3", "botocore", "tests", "tools", "benchmarks", "examples", "docs", ".chalice", "moto"}


def test_building_twice_gives_the_same_package(packaged: Path, tmp_path: Path) -> None:
    project = package(copy_project(tmp_path / "copy"))
    assert _package(project).read_bytes() == _package(packaged).read_bytes()


def test_a_source_that_changed_after_the_build_is_never_run_from_old_bytecode(
    packaged: Path, programs: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(packaged, changed)
    for name in ("app.py", "chalicelib/__init__.py"):
        with (changed / name).open("a") as source:
            source.write('\nMARK = "changed"\n')
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    chalice = [str(programs / "chalice"), "package", "--stage", STAGE, "out"]
    subprocess.run(chalice, cwd=changed, env=environment, check=True, capture_output=True)
    with zipfile.ZipFile(_package(changed)) as archive:
        archive.extractall(tmp_path / "unzipped")

    program = "import app, chalicelib; print(app.MARK, chalicelib.MARK)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "unzipped", capture_output=True, check=False)

    assert ran.stdout.decode().splitlines()[-1:] == ["changed changed"], ran.stderr


def _package(project: Path) -> Path:
    return project / "out" / "deployment.zip"


def _contents(project: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(_package(project)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_package_holds_the_few_certificates_that_dynamodb_needs(packaged: Path) -> None:
    folder = "chalicelib/stores/amazon-roots/"
    roots = {name: data for name, data in _contents(packaged).items() if name.startswith(folder)}
    assert {f"{folder}{subject_hash(certificate)}.0" for certificate in roots.values()} == set(roots)
    context = ssl.create_default_context(cadata=b"".join(roots.values()).decode())
    subjects = [str(each["subject"]) for each in context.get_ca_certs()]
    assert sorted(("Amazon" in subject, "Starfield" in subject) for subject in subjects) == [
        (False, True),
        *[(True, False)] * 4,
    ]


def test_a_certificate_that_certifi_no_longer_has_stops_the_build(tmp_path: Path) -> None:
    bundle = tmp_path / "cacert.pem"
    bundle.write_text(Path(certifi.where()).read_text().replace("Amazon Root CA 3", "Another Root"))
    with pytest.raises(ValueError, match=r"labelled Amazon Root CA 3$"):
        pick_amazon_roots(bundle, tmp_path / "roots")
