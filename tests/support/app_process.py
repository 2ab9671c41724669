"""The app in a process of its own, asked line by line (``app_lines.py``)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from tests.support.data import PROJECT
from tests.support.processes import PYTHON, OwnProcess

Json = dict[str, Any]

EARLIER = PROJECT / "tests" / "support" / "earlier_app.zip"
"""``app.py`` and ``chalicelib``, as `git archive` wrote them, before the store held events or an environment's name."""

_RUN = "import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"


class AppProcess(OwnProcess):
    """The app of ``folder``, in daemon mode over the store at this URL, or the one that the settings name."""

    def __init__(
        self, redis_url: str | None, settings: Mapping[str, str] | None = None, folder: Path = PROJECT
    ) -> None:
        store = {} if redis_url is None else {"REDIS_URL": redis_url}
        super().__init__(
            [PYTHON, "-c", _RUN, folder, PROJECT / "tests" / "support" / "app_lines.py"],
            {**store, "EVALUATE_AUTH": "none", **(settings or {})},
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
