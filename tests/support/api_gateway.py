"""API Gateway without AWS: HTTP in front of a function that runs under Lambda's own runtime client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from chalice.local import LambdaEventConverter, RouteMatcher

from tests.support.app import import_app

Json = dict[str, Any]
Invoke = Callable[[Json], Json]


@contextmanager
def api_gateway(invoke: Invoke) -> Iterator[str]:
    """Serves the routes of the app until the block ends; the URL. ``invoke`` takes an event, and gives the answer."""
    routes = {path: set(methods) for path, methods in import_app().app.routes.items()}
    server = _Gateway(("127.0.0.1", 0), _Handler)
    server.invoke, server.routes, server.one_at_a_time = invoke, routes, threading.Lock()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Gateway(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    invoke: Invoke
    routes: dict[str, set[str]]
    one_at_a_time: threading.Lock
    """An instance of a function handles one event at a time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Gateway

    def handle_one_request(self) -> None:
        """Of any method."""
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        event = self._event(body)
        if event is None:  # what API Gateway says of a path or a method that there is not
            self._answer(403, {"Content-Type": "application/json"}, b'{"message":"Missing Authentication Token"}')
            return
        with self.server.one_at_a_time:
            answer = self.server.invoke(event)
        headers = {"Content-Type": "application/json", **answer["headers"]}
        self._answer(answer["statusCode"], headers, answer["body"].encode())

    def _event(self, body: bytes) -> Json | None:
        """None where the app has no such route."""
        converter = LambdaEventConverter(RouteMatcher(list(self.server.routes)))
        try:
            event: Json = converter.create_lambda_event(self.command, self.path, dict(self.headers.items()), body)
        except ValueError:
            return None
        resource = event["requestContext"]["resourcePath"]
        if self.command not in self.server.routes[resource]:
            return None
        event["requestContext"]["requestTimeEpoch"] = int(time.time() * 1000)
        path = urlsplit(self.path).path
        ours = {"resource": resource, "path": path, "httpMethod": self.command, "isBase64Encoded": False}
        return {**event, **ours, "body": body.decode() or None}

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass
