"""The app in a process of its own: this version of it, or an earlier one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from chalice.test import Client

from chalicelib.wiring import wiring
from tests.support.app_lines import reply
from tests.support.data import PROJECT
from tests.support.forks import FORKS, ForkedProcess
from tests.support.processes import PYTHON, OwnProcess
from tests.support.timings import PATIENT

Json = dict[str, Any]

EARLIER = PROJECT / "tests" / "support" / "earlier_app.zip"
"""``app.py`` and ``chalicelib``, as `git archive` wrote them, before the store held events or an environment's name."""

_RUN = "import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"


class ForkedApp(ForkedProcess):
    """The app with these settings."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._connection, other = FORKS.Pipe()
        super().__init__(_answer, {"EVALUATE_AUTH": "none", **settings}, other)
        other.close()

    def post(self, path: str, body: object) -> Json:
        """``{"status", "headers", "body"}``."""
        self._connection.send({"path": path, "body": body})
        answer: Json = self._connection.recv()
        return answer

    def kill(self) -> None:
        super().kill()
        self._connection.close()


def _answer(connection: Connection) -> None:
    wiring.timing = PATIENT
    import app

    client = Client(app.app, stage_name="test")  # a stage without variables of its own
    while True:
        connection.send(reply(client, connection.recv()))


class AppProcess(OwnProcess):
    """The app of ``folder``, which may be another version's, asked line by line (``app_lines.py``)."""

    def __init__(self, settings: Mapping[str, str], folder: Path = PROJECT) -> None:
        super().__init__(
            [PYTHON, "-c", _RUN, folder, PROJECT / "tests" / "support" / "app_lines.py"],
            {"EVALUATE_AUTH": "none", **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
        )

    def post(self, path: str, body: object) -> Json:
        """``{"status", "headers", "body"}``."""
        return self._ask({"path": path, "body": body})

    def invoke(self, function: str, event: object) -> Any:
        """What the function returns; it must not raise."""
        return self._ask({"function": function, "event": event})["payload"]

    def _ask(self, request: Json) -> Json:
        self.write_line(json.dumps(request))
        answer: Json = json.loads(self.read_line())
        return answer


def earlier_app(folder: Path) -> Path:
    """An earlier version of the app, unzipped there."""
    with ZipFile(EARLIER) as archive:
        archive.extractall(folder)
    return folder
