"""`make run` and plain `chalice local` as a user runs them: from a copy of the project, over HTTP, until Ctrl-C.

The difference is Chalice's reloader: a parent process whose worker is restarted for any change in the project
folder, the flag file among them. `make run` does without.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.support.data import EXAMPLES
from tests.support.ports import free_port
from tests.support.processes import heed_interrupts
from tests.support.project import copy_project
from tests.support.waiting import eventually

Json = dict[str, Any]

USER = {"key": "vip-customer", "email": "vip@example.com", "custom": {"country": "DE"}}


class LocalServer:
    """The server and every process that it has started, the ones that left its session included."""

    def __init__(self, project: Path, log_file: Path, *options: str) -> None:
        self.flag_file = project / "examples" / "flags.json"
        self.port = free_port()
        self.log_file = log_file
        chalice = Path(sys.executable).with_name("chalice")
        with log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [chalice, "local", "--stage", "local", "--port", str(self.port), *options],
                cwd=project,
                env=_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed_interrupts,
            )
        self.processes = {psutil.Process(self.process.pid)}

    def post(self, path: str, body: Json) -> Json:
        answer = requests.post(f"http://127.0.0.1:{self.port}{path}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        json_body: Json = answer.json()
        return json_body

    def evaluates(self, key: str, value: object) -> bool:
        """Whether the server answers, and with this value."""
        assert self.process.poll() is None, self.log_file.read_text()
        try:
            answer = requests.post(f"http://127.0.0.1:{self.port}/evaluate/{key}", json=USER, timeout=60)
        except requests.ConnectionError:
            return False
        evaluated: bool = answer.status_code == 200 and answer.json()["value"] == value
        return evaluated

    def valkey(self) -> psutil.Process:
        """The Valkey server that runs now; from here on its process and the ones above it are known."""
        self.processes |= set(_descendants(self.process.pid))
        (valkey,) = (each for each in self.running() if each.name() == "valkey-server")
        return valkey

    def running(self) -> list[psutil.Process]:
        self.process.poll()  # reaps it
        return [each for each in self.processes if _is_running(each)]

    def kill(self) -> None:
        """Chalice and its worker; the guardian has left their process group, but ends with the worker."""
        self.processes |= set(_descendants(self.process.pid))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        eventually(lambda: not self.running())


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _is_running(process: psutil.Process) -> bool:
    try:
        # What has ended but was not waited for (nobody may do that in a container) has ended.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _environment() -> dict[str, str]:
    """Only what a shell has: the stage's own settings come from .chalice/config.json."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "AWS_DEFAULT_REGION": "eu-central-1"}


@pytest.fixture(scope="module")
def compiled_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, compiled as `make` does it."""
    folder = tmp_path_factory.mktemp("compiled")
    copy_project(folder)
    shutil.copy(EXAMPLES, folder / "examples" / "flags.json")
    compile_all = [sys.executable, "-m", "compileall", "-q", "app.py", "chalicelib"]
    subprocess.run(compile_all, cwd=folder, check=True)
    return folder


@pytest.fixture
def project(compiled_project: Path, tmp_path: Path) -> Path:
    """A copy of that one, with the times that its bytecode names, whose files may be edited."""
    return Path(shutil.copytree(compiled_project, tmp_path / "project"))


@pytest.fixture
def server(project: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A server that answers; its parameter is a tuple of further options."""
    server = LocalServer(project, tmp_path / "server.log", *request.param)
    try:
        eventually(lambda: server.evaluates("new-checkout", True))
        yield server
    finally:
        server.kill()


MAKE_RUN, PLAIN = ("--no-autoreload",), ()
both = pytest.mark.parametrize("server", [MAKE_RUN, PLAIN], indirect=True, ids=["make run", "chalice local"])

EVALUATED: Json = {
    "new-checkout": {"value": True, "variation": 0, "version": 7},
    "one-click-payment": {"value": True, "variation": 0, "version": 3, "prerequisites": ["new-checkout"]},
    "banner-text": {"value": "Kostenloser Versand diese Woche", "variation": 1, "version": 4},
    "search-results-per-page": {"value": 25, "variation": 1, "version": 2},
    "price-adjustment": {"value": 1.0, "variation": 0, "version": 5},
    "recommendation-settings": {
        "value": {"algorithm": "collaborative", "maxItems": 12, "weights": {"recent": 0.7, "popular": 0.3}},
        "variation": 0,
        "version": 9,
        "reason": {"kind": "FALLTHROUGH", "inExperiment": True},
        "trackEvents": True,
        "trackReason": True,
    },
    "mobile-app-minimum": {"value": "current", "variation": 0, "version": 6},
    "maintenance-mode": {"value": False, "variation": 1, "version": 12},
    "internal-tools": {"value": True, "variation": 0, "version": 8},
    "organization-sso": {"value": False, "variation": 1, "version": 2},
}


def edit(flag_file: Path, banner: str) -> None:
    """At once: the reloader starts again when it sees a change, and would not find flags in half a file."""
    data = json.loads(flag_file.read_text())
    data["flags"]["banner-text"]["variations"][1] = banner
    edited = flag_file.parents[2] / "edited.json"  # beside the project, whose files are watched
    edited.write_text(json.dumps(data))
    edited.replace(flag_file)


@both
def test_a_user_is_evaluated_over_the_example_flags(server: LocalServer) -> None:
    assert server.post("/evaluate", USER) == EVALUATED


@pytest.mark.parametrize("server", [MAKE_RUN], indirect=True)
def test_an_edited_flag_travels_from_the_file_through_the_webhook_into_the_next_evaluation(
    server: LocalServer,
) -> None:
    edit(server.flag_file, "Heute portofrei")
    assert server.post("/evaluate", USER) == EVALUATED

    answer = server.post("/webhook", {"kind": "flag"})
    assert {**answer, "revision": None} == {
        "status": "refreshed",
        "revision": None,
        "flags": 10,
        "segments": 2,
        "changed": True,
        "confirmed": None,
        "held_back": 0,
    }
    assert server.post("/evaluate", USER) == {
        **EVALUATED,
        "banner-text": {"value": "Heute portofrei", "variation": 1, "version": 4},
    }


@pytest.mark.parametrize("server", [PLAIN], indirect=True)
def test_the_reloader_starts_again_from_the_edited_file_and_leaves_no_valkey_behind(server: LocalServer) -> None:
    before = server.valkey()
    edit(server.flag_file, "Heute portofrei")
    eventually(lambda: not _is_running(before))
    eventually(lambda: server.evaluates("banner-text", "Heute portofrei"))
    assert server.post("/webhook", {"kind": "flag"})["status"] == "refreshed"
    assert server.valkey() != before


@both
def test_ctrl_c_leaves_no_process_behind(server: LocalServer) -> None:
    assert _is_running(server.valkey())
    os.killpg(server.process.pid, signal.SIGINT)
    eventually(lambda: not server.running())


@both
def test_a_server_that_is_killed_takes_its_valkey_with_it(server: LocalServer) -> None:
    guardian = server.valkey().parent()
    assert guardian is not None
    worker = guardian.parent()
    assert worker is not None
    worker.kill()
    eventually(lambda: not server.running())
