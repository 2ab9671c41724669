"""SnapStart: what of the app survives in an image, and what its copies must not share. By forks of a process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.stores.conftest import over_store
from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.processes import PYTHON, OwnProcess

Json = dict[str, Any]

SNAP_START = {
    "AWS_LAMBDA_FUNCTION_NAME": "serverless-flags-production",
    "_HANDLER": "app.app",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
}
DAY = 24 * 60 * 60.0


class Image(OwnProcess):
    """The app after its imports; the number of its open ``sockets``."""

    def __init__(self, environment: Environment) -> None:
        command = [PYTHON, "-m", "tests.support.image"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": None}
        super().__init__(command, {**environment, **SNAP_START}, **pipes)
        self.sockets = self._next()["sockets"]

    def restored(self, seconds_later: float) -> Json:
        """What a copy answers that goes on so much later."""
        self.write_line(str(seconds_later))
        return self._next()

    def _next(self) -> Json:
        while not (line := self.read_line()).startswith('{"s'):  # beside the log
            assert line, "the process has ended"
        answer: Json = json.loads(line)
        return answer


@pytest.fixture
def writer(load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly) -> App:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app = load_app(environment)
    app.invoke("reconcile", {})
    return app


def test_a_copy_has_its_own_connection_ids_and_clock_and_sees_what_has_changed_since(
    writer: App, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    with Image({**environment, "EVENTS": "summary"}) as image:
        assert image.sockets == 0
        launchdarkly.put_flag(boolean_flag("shiny", 2))
        writer.invoke("reconcile", {})
        copies = [image.restored(seconds) for seconds in (0.0, DAY, 30 * DAY, DAY)]
    for copy in copies:
        assert (copy["status"], copy["stale"], copy["body"]["shiny"]["version"]) == (200, None, 2)
    for ids in zip(*(each["ids"] for each in copies), strict=True):
        assert len(set(ids)) == len(copies)


@contextmanager
def container_credentials(minutes: float) -> Iterator[tuple[str, list[str]]]:
    """Where Lambda has credentials for copies of an image, each good for so long; the keys that it has given."""
    given: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(f"ASIACOPY{len(given)}")
            until = datetime.now(timezone.utc) + timedelta(minutes=minutes)
            keys = {"AccessKeyId": given[-1], "SecretAccessKey": "secret", "Token": "token"}
            body = json.dumps({**keys, "Expiration": until.isoformat()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/credentials", given
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_copy_signs_with_the_credentials_of_its_own_time(
    load_app: LoadApp,
    environment: Environment,
    dynamodb: DynamoDb,
    dynamodb_environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    tmp_path: Path,
) -> None:
    """Lambda puts no keys into the environment there; those of the image are nearly over, and are replaced."""
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    load_app(over_store(environment, dynamodb_environment)).invoke("reconcile", {})
    without_keys = {name: value for name, value in dynamodb_environment.items() if "KEY" not in name}
    with container_credentials(minutes=5) as (uri, given):
        settings = {**over_store(environment, without_keys), "HOME": str(tmp_path)}
        with Image({**settings, "AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}) as image:
            in_the_image = len(given)
            dynamodb.signers.clear()
            copy = image.restored(DAY)
    assert (image.sockets, copy["status"], copy["stale"]) == (0, 200, None)
    assert in_the_image >= 1
    assert set(dynamodb.signers) <= set(given[in_the_image:])
    assert dynamodb.signers
