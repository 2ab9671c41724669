"""Lambda without AWS: a deployment package under Lambda's own Python runtime client.

A small Runtime API server hands out events and takes answers; ``awslambdaric`` does the rest, as it does
on Lambda. Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class InvocationError(Exception):
    """The function raised, or its process ended."""


@dataclass(frozen=True)
class Answer:
    payload: Any
    seconds: float
    """From handing out the event to receiving the answer; for the first one, from the start of the process."""


class Function:
    """One instance of a Lambda function. Use it in a ``with`` block, which ends its process."""

    def __init__(
        self,
        package: Path,
        handler: str,
        environment: dict[str, str],
        runtime: Path,
        *,
        layers: Sequence[Path] = (),
        prefix: Sequence[str] = (),
        program: Path | None = None,
    ) -> None:
        """``runtime`` is a folder with what Lambda has outside the package: awslambdaric and boto3.

        ``layers`` are folders, each with what a layer has, that Lambda would unpack into /opt.
        ``prefix`` is a command that runs the function, such as a profiler; ``program`` runs awslambdaric.
        """
        self._server = _RuntimeApi(("127.0.0.1", 0), _RuntimeApiHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        start = ["-m", "awslambdaric"] if program is None else [str(program)]
        self._command = [*prefix, sys.executable, "-S", *start, handler]
        self._package = package
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, [package, *(each / "python" for each in layers), runtime])),
            "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's file system is read-only; root's is not
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_address[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": handler,
            "_HANDLER": handler,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "local",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "LAMBDA_TASK_ROOT": str(package),
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._printed, name = tempfile.mkstemp()  # no pipe: what was printed before an answer is there with it
        os.unlink(name)
        self.before_event: Callable[[], object] = lambda: None
        """Called each time just before an event is handed out."""

    def __enter__(self) -> Function:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        os.close(self._printed)

    def invoke(self, event: Any, timeout_seconds: float = 60.0) -> Answer:
        """Raises InvocationError when the function raises."""
        start = time.perf_counter()
        self._server.before_event = self.before_event
        self._server.events.put(json.dumps(event).encode())
        if self.process is None:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._package,
                env=self._environment,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
            )
        try:
            ok, body, received = self._server.answers.get(timeout=timeout_seconds)
        except queue.Empty:
            raise InvocationError(f"no answer; the function printed: {self.log()}") from None
        if not ok:
            raise InvocationError(f"{body.decode()}\n{self.log()}")
        return Answer(json.loads(body), received - start)

    def log(self) -> str:
        """All that the function has printed so far."""
        size = os.fstat(self._printed).st_size
        return os.pread(self._printed, size, 0).decode(errors="replace")


def api_event(resource: str, body: str, headers: dict[str, str], path_parameters: dict[str, str]) -> dict[str, Any]:
    """A POST request as API Gateway's REST API sends it to the function; ``resource`` is the route's path."""
    return {
        "resource": resource,
        "path": resource.format(**path_parameters),
        "httpMethod": "POST",
        "headers": {"content-type": "application/json", **headers},
        "multiValueQueryStringParameters": None,
        "pathParameters": path_parameters or None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "POST",
            "resourcePath": resource,
            "identity": {"sourceIp": "127.0.0.1"},
            "requestTimeEpoch": int(time.time() * 1000),
        },
        "body": body,
        "isBase64Encoded": False,
    }


class _RuntimeApi(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.events: queue.Queue[bytes] = queue.Queue()
        self.answers: queue.Queue[tuple[bool, bytes, float]] = queue.Queue()
        self.before_event: Callable[[], object] = lambda: None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A function that ends hangs up; nobody needs to read of it."""


class _RuntimeApiHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _RuntimeApi

    def do_GET(self) -> None:
        """``/runtime/invocation/next``: blocks until there is an event."""
        event = self.server.events.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "00000000-0000-0000-0000-000000000001",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 30_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:local",
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
            "Content-Type": "application/json",
        }
        self.server.before_event()
        self._answer(200, event, headers)

    def do_POST(self) -> None:
        """``.../response``, ``.../error`` or ``/runtime/init/error``."""
        received = time.perf_counter()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.answers.put((self.path.endswith("/response"), body, received))
        self._answer(202, b"{}", {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
