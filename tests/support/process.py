"""The app in a process of its own: answers each line of JSON with another.

``{"path", "body"}`` in, ``{"status", "headers", "body"}`` out. Run as ``python -m tests.support.process``
with the app's environment variables.
"""

from __future__ import annotations

import json
import sys

from chalice.test import Client


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # Chalice logs to stdout
    import app

    client = Client(app.app, stage_name="test")  # a stage without variables of its own
    for line in sys.stdin:
        request = json.loads(line)
        answer = client.http.post(request["path"], body=json.dumps(request["body"]).encode())
        reply = {"status": answer.status_code, "headers": answer.headers, "body": json.loads(answer.body)}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
