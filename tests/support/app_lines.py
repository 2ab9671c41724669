"""Run as a file: the app of the first folder of ``sys.path``, which answers each line of JSON with another.

``{"path", "body"}`` goes in and ``{"status", "headers", "body"}`` comes out, or ``{"function", "event"}`` and
``{"payload"}``. Imports nothing of the project but that app, which may be another version's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from chalice.test import Client

Json = dict[str, Any]


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # Chalice logs to stdout
    import app

    client = Client(app.app, stage_name="test")  # a stage without variables of its own
    for line in sys.stdin:
        print(json.dumps(reply(client, json.loads(line))), file=answers, flush=True)


def reply(client: Client, request: Json) -> Json:
    if "function" in request:
        return {"payload": client.lambda_.invoke(request["function"], request["event"]).payload}
    answer = client.http.post(request["path"], body=json.dumps(request["body"]).encode())
    return {"status": answer.status_code, "headers": answer.headers, "body": json.loads(answer.body)}


if __name__ == "__main__":
    main()
