"""The app in a process of its own, which answers each line of JSON with another.

``{"path", "body"}`` goes in, ``{"status", "headers", "body"}`` comes out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.support.processes import PYTHON, OwnProcess

Json = dict[str, Any]


class AppProcess(OwnProcess):
    """An app in daemon mode over the store at this URL."""

    def __init__(self, redis_url: str, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(
            [PYTHON, "-m", "tests.support.app_process"],
            {"REDIS_URL": redis_url, "EVALUATE_AUTH": "none", **(settings or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
        )

    def post(self, path: str, body: object) -> Json:
        """``{"status", "headers", "body"}``."""
        self.write_line(json.dumps({"path": path, "body": body}))
        answer: Json = json.loads(self.read_line())
        return answer


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # Chalice logs to stdout
    from chalice.test import Client

    import app

    client = Client(app.app, stage_name="test")  # a stage without variables of its own
    for line in sys.stdin:
        request = json.loads(line)
        answer = client.http.post(request["path"], body=json.dumps(request["body"]).encode())
        reply = {"status": answer.status_code, "headers": answer.headers, "body": json.loads(answer.body)}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
