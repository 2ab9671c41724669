"""What the files around the code promise: one version, pinned dependencies, a documented Makefile, a usable .venv."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chalicelib import VERSION
from tests.support.data import PROJECT
from tools import make_venv

MAKEFILE = (PROJECT / "Makefile").read_text()
DEPLOYED = [PROJECT / "app.py", *(PROJECT / "chalicelib").rglob("*.py")]
OTHER_PINS = ("requirements-run.txt", "requirements-dev.txt")


@pytest.fixture(scope="module")
def project() -> Any:
    """The tables of pyproject.toml (Any: TOML)."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML")
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())


def requirements(file: str) -> list[Requirement]:
    """The requirements that the file itself names."""
    joined = (PROJECT / file).read_text().replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*|\s--hash=\S+", "", line).strip() for line in joined.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def names(*files: str) -> set[str]:
    return {canonicalize_name(requirement.name) for file in files for requirement in requirements(file)}


# The version.


def test_the_metadata_takes_its_version_from_the_code(project: Any) -> None:
    assert "version" not in project["project"]
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"] == {"path": "chalicelib/__init__.py"}


def test_what_is_published_with_the_version_names_the_same_one() -> None:
    released = re.findall(r"^## (\d\S+)", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    described = re.findall(r"^  version: (\S+)", (PROJECT / "docs" / "openapi.yaml").read_text(), re.MULTILINE)
    assert (released[0], described) == (VERSION, [VERSION])


def test_the_metadata_names_the_license_and_the_pythons_that_the_tools_accept(project: Any) -> None:
    metadata = project["project"]
    assert f"SPDX-License-Identifier: {metadata['license']}\n" in (PROJECT / "LICENSE").read_text()
    minors = range(make_venv.OLDEST[1], make_venv.NEWEST[1] + 1)
    pythons = [each for each in metadata["classifiers"] if "Python ::" in each]
    assert pythons == [f"Programming Language :: Python :: 3.{minor}" for minor in minors]
    assert metadata["requires-python"] == f">=3.{minors[0]}"
    layer = (PROJECT / "infrastructure" / "layer.yaml").read_text()
    assert f"[{', '.join(f'python3.{minor}' for minor in minors)}]" in layer


# Dependencies.

_OF_OTHER_PYTHONS = ("_sha2", "_sha256")
"""Modules of the standard library before and from Python 3.12 on."""


@pytest.fixture(scope="module")
def imported_packages() -> set[str]:
    """The distributions that the deployed code imports, at the top of a module or within a function."""
    modules = {module for source in DEPLOYED for module in _imports(ast.parse(source.read_text()))}
    ours = {"app", "chalicelib", *sys.stdlib_module_names, *_OF_OTHER_PYTHONS}
    distributions = _distributions()
    return {distributions[module] for module in modules - ours}


def _distributions() -> dict[str, str]:
    """The installed distribution of each top-level module. (Python 3.10's packages_distributions misses some.)"""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        files = (distribution.read_text("RECORD") or "").splitlines()
        tops = {file.partition(",")[0].partition("/")[0].removesuffix(".py") for file in files}
        found.update(dict.fromkeys(tops, canonicalize_name(distribution.metadata["Name"])))
    return found


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]


def test_every_imported_package_is_named(imported_packages: set[str]) -> None:
    assert imported_packages >= {"launchdarkly-server-sdk", "chalice"}, "the imports were not found"
    of_a_users_tests = {"pytest"}  # whose fixture is in testing.py
    assert imported_packages - names("requirements.in", "requirements-run.txt") - of_a_users_tests == set()


def test_nothing_is_named_to_be_deployed_that_the_code_does_not_import(imported_packages: set[str]) -> None:
    assert names("requirements.in") - imported_packages == set()


def test_every_deployed_package_is_pinned_with_hashes() -> None:
    joined = (PROJECT / "requirements.txt").read_text().replace("\\\n", " ")
    pins = [line for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(pins) >= len(names("requirements.in"))
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", pin), pin


def test_the_pins_are_those_of_what_the_code_needs() -> None:
    pins = [(canonicalize_name(pin.name), str(pin.specifier)) for pin in requirements("requirements.txt")]
    for requirement in requirements("requirements.in"):
        of_it = {specifier for name, specifier in pins if name == canonicalize_name(requirement.name)}
        assert str(requirement.specifier) in {"", *of_it}
        assert of_it


def test_what_the_wheel_needs_is_what_the_code_imports_in_versions_that_the_app_is_tested_with(
    project: Any, imported_packages: set[str]
) -> None:
    table = project["project"]
    texts = [*table["dependencies"], *(each for extra in table["optional-dependencies"].values() for each in extra)]
    needed = [Requirement(text) for text in texts]
    assert {each.name for each in needed} <= imported_packages
    assert {each.name: metadata.version(each.name) in each.specifier for each in needed} == {
        each.name: True for each in needed
    }


def test_every_other_package_is_pinned() -> None:
    for file in OTHER_PINS:
        for requirement in requirements(file):
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement


def test_these_tests_run_with_the_versions_that_are_pinned() -> None:
    pins = [pin for file in ("requirements.txt", *OTHER_PINS) for pin in requirements(file)]
    found = {pin.name: metadata.version(pin.name) for pin in pins if pin.marker is None or pin.marker.evaluate()}
    assert found == {
        pin.name: str(pin.specifier).removeprefix("==") for pin in pins if pin.marker is None or pin.marker.evaluate()
    }


# The Makefile.


def test_make_help_lists_every_target() -> None:
    phony = {target for line in re.findall(r"^\.PHONY: (.+)", MAKEFILE, re.MULTILINE) for target in line.split()}
    described = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^make (\S+) +\S", described, re.MULTILINE)
    assert {"run", "test", "help"} <= phony
    assert sorted(listed) == sorted(phony)


@pytest.mark.parametrize("document", ["docs/deploying.md", "examples/github-actions/deploy.yml"])
def test_what_the_document_has_somebody_make_can_be_made(document: str) -> None:
    phony = {target for line in re.findall(r"^\.PHONY: (.+)", MAKEFILE, re.MULTILINE) for target in line.split()}
    text = (PROJECT / document).read_text()
    named = set(re.findall(r"(?:run: |\$ |`|&& |… )make\s+([\w-]+)", text))
    assert {"deploy", "status"} <= named <= phony


HANDED_ON: list[tuple[str, tuple[str, ...]]] = [
    ("run", ("PORT",)),
    ("package", ("STAGE", "FORMAT", "OUT")),
    ("layer", ("ARCHITECTURE", "PYTHON_VERSION")),
    ("bench", ("STORE",)),
    ("stage", ("STAGE", "STORE", "ENVIRONMENT", "REDIS_URL", "PREFIX", "SUBNETS", "SECURITY_GROUPS")),
    ("infrastructure", ("STAGE", "STORE", "VPC", "SUBNETS", "IAM_USER")),
    ("monitoring", ("STAGE", "ALARM_EMAIL")),
    ("deploy", ("STAGE", "OUT", "RUNTIME", "API", "LOG_DAYS", "FRONT")),
    ("webhook", ("STAGE", "API")),
    ("status", ("STAGE", "PORT")),
    ("refresh", ("STAGE",)),
    ("flags", ("STAGE", "FLAG", "REDIS_URL")),
    ("explain", ("STAGE", "FLAG", "CONTEXT", "REDIS_URL")),
    ("logs", ("STAGE", "MINUTES", "FILTER")),
    ("rotate-sdk-key", ("STAGE", "GRACE_MINUTES")),
    ("rotate-webhook-secret", ("STAGE",)),
    ("record", ("STAGE", "API")),
    ("undeploy", ("STAGE", "API")),
]
HARMFUL = """O'Neil "x" \\ # $x $$ $(error expanded) `false` two  spaces; false
{another line}: \'\\"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with programs that print their arguments."""
    program = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
    for name in ("python", "chalice"):
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def test_make_hands_on_what_is_said_as_it_is(programs: Path) -> None:
    for target, names in HANDED_ON:
        values = {name: f"-{name}: {HARMFUL}" for name in names}
        handed_on = [word for words in programs_of(target, programs, values) for word in words]
        for name, value in values.items():
            assert any(
                word == value or word.endswith((f"={value}", f"{value}/deployment.zip")) for word in handed_on
            ), name
        assert [
            word for word in handed_on if "O'Neil" in word and not any(each in word for each in values.values())
        ] == []


@pytest.mark.parametrize("days", [None, "90"], ids=["as they are", "as the shell says"])
def test_what_a_deployment_ends_with_is_looked_at_before_it(
    programs: Path, monkeypatch: pytest.MonkeyPatch, days: str | None
) -> None:
    monkeypatch.delenv("LOG_DAYS", raising=False)
    if days is not None:
        monkeypatch.setenv("LOG_DAYS", days)
    deployed = programs_of("deploy", programs, {"STAGE": "dev"})
    told = [(words[1], word) for words in deployed for word in words if word.startswith("--log-days")]
    assert told == [(program, f"--log-days={days or 30}") for program in ("tools.preflight", "tools.after_deploy")]


def programs_of(target: str, programs: Path, variables: dict[str, str]) -> list[list[str]]:
    """The arguments of each program that `make` starts; the programs are said to be in ``programs``."""
    said = [f"{name}={value}" for name, value in {"BIN": str(programs), **variables}.items()]
    installed = [f".venv/{name}installed" for name in ("run-", "", "emulators-")]
    old = [option for file in installed for option in ("--old-file", file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--silent", *old, target, *said]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_the_app_runs_without_the_packages_of_the_tests() -> None:
    rules: dict[str, str] = dict(re.findall(r"^([\w./-]+):([^#\n]*)", MAKEFILE, re.MULTILINE))
    assert rules["run"].split() == [".venv/run-installed"]
    assert "requirements-dev.txt" not in rules[".venv/run-installed"]
    assert "requirements-dev.txt" in rules[".venv/installed"]


# The virtual environment.


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the program that makes .venv."""
    (tmp_path / "tools").mkdir()
    shutil.copy(PROJECT / "tools" / "make_venv.py", tmp_path / "tools")
    return tmp_path


def run_make_venv(clone: Path, *options: str, version: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program, as the Python of this ``version``: it sees no other difference."""
    program = f"""
import runpy, sys
if {version!r}:
    sys.version_info = tuple(map(int, {version!r}.split(".")))
sys.argv = ["tools/make_venv.py", *{list(options)!r}]
runpy.run_path("tools/make_venv.py", run_name="__main__")
"""
    return subprocess.run([sys.executable, "-c", program], cwd=clone, capture_output=True, text=True, check=False)


def pretend_venv(clone: Path, *, version: str, folder: Path | None = None) -> Path:
    """A file in a .venv that says it was made with this version; it is gone when .venv was made anew."""
    venv = clone / ".venv"
    venv.mkdir()
    (venv / "python").write_text(f"{version}\n{os.path.realpath(sys.executable)}\n{folder or venv}\n")
    kept = venv / "kept"
    kept.touch()
    return kept


@pytest.mark.parametrize("version", ["3.9.18", "3.15.0", "2.7.18"])
def test_an_unsupported_python_is_one_line_that_says_which(clone: Path, version: str) -> None:
    refused = run_make_venv(clone, version=version)
    assert refused.returncode == 1
    (line,) = (refused.stdout + refused.stderr).splitlines()
    assert f"Python {version}." in line
    assert "3.10 to 3.14" in line
    assert not (clone / ".venv").exists()


def test_a_usable_environment_is_left_alone_whichever_python_is_there(clone: Path) -> None:
    kept = pretend_venv(clone, version="3.12.1")
    for other in ("3.10.13", "3.9.18"):
        assert run_make_venv(clone, version=other).returncode == 0
        assert kept.exists()


def test_an_environment_of_the_python_that_was_asked_for_is_left_alone(clone: Path) -> None:
    kept = pretend_venv(clone, version="3.12.1")
    assert run_make_venv(clone, "--with-this-python", version="3.12.1").returncode == 0
    assert kept.exists()


def _of_another_python(clone: Path) -> list[str]:
    pretend_venv(clone, version="3.12.99")
    return ["--with-this-python"]


def _of_an_unsupported_python(clone: Path) -> list[str]:
    pretend_venv(clone, version="3.9.18")
    return []


def _unfinished(clone: Path) -> list[str]:
    pretend_venv(clone, version="3.12.1").with_name("unfinished").touch()
    return []


def _moved(clone: Path) -> list[str]:
    pretend_venv(clone, version="3.12.1", folder=Path("/somewhere/else/.venv"))
    return []


def _interrupted_before_it_was_made(clone: Path) -> list[str]:
    pretend_venv(clone, version="3.12.1").with_name("python").unlink()
    return []


def _a_link_to_another(clone: Path) -> list[str]:
    (clone / "another").mkdir()
    pretend_venv(clone / "another", version="3.12.1")
    (clone / ".venv").symlink_to(clone / "another" / ".venv")
    return []


@pytest.mark.parametrize(
    "unusable",
    [
        _of_another_python,
        _of_an_unsupported_python,
        _unfinished,
        _moved,
        _interrupted_before_it_was_made,
        _a_link_to_another,
    ],
)
def test_an_unusable_environment_is_made_anew(
    clone: Path, unusable: Callable[[Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_venv, "VENV", clone / ".venv")
    made: list[list[str]] = []

    def make(command: list[str], *, check: bool) -> None:
        made.append(command)
        (clone / ".venv").mkdir()

    monkeypatch.setattr(subprocess, "run", make)
    monkeypatch.setattr(sys, "argv", ["make_venv.py", *unusable(clone)])

    make_venv.main()

    assert made == [[os.path.realpath(sys.executable), "-m", "venv", str(clone / ".venv")]]
    assert not (clone / ".venv" / "kept").exists()
    assert make_venv.is_usable((clone / ".venv" / "python").read_text())


def test_the_environment_that_is_made_runs(clone: Path) -> None:
    assert run_make_venv(clone).returncode == 0
    python = clone / ".venv" / "bin" / "python"
    found = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, text=True, check=True).stdout
    assert str(clone) in found
    assert run_make_venv(clone, "--with-this-python").stdout == ""


# Documents.


@pytest.mark.parametrize("name", ["README.md", "docs/from-another-repository.md"])
def test_a_document_shows_the_plain_handler_as_it_is_tested(name: str) -> None:
    source = (PROJECT / "examples" / "plain_function" / "handler.py").read_text()
    _, _, handler = source.partition('"""\n\n')
    assert f"```python\n{handler}```\n" in (PROJECT / name).read_text()
