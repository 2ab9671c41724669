"""The app as a WSGI application, for tools that want one: what API Gateway does, and nothing that it does not.

Chalice's local gateway answers an OPTIONS request by itself where the app has no route for it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from chalice.local import LambdaContext, LambdaEventConverter, RouteMatcher

from tests.support.app import App

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class WsgiGateway:
    """Passes requests on to ``app``, which a fixture sets."""

    app: App

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        chalice_app = self.app.module.app
        query = environ["QUERY_STRING"]
        try:
            event = LambdaEventConverter(RouteMatcher(list(chalice_app.routes))).create_lambda_event(
                method=environ["REQUEST_METHOD"],
                path=environ["REQUEST_URI"].partition("?")[0] + (f"?{query}" if query else ""),
                headers=_headers(environ),
                body=environ.get("wsgi.input", io.BytesIO()).read(int(environ.get("CONTENT_LENGTH") or 0)),
            )
        except ValueError:  # no such route
            start_response("403 Forbidden", [("Content-Type", "application/json")])
            return [b'{"message": "Missing Authentication Token"}']
        answer = chalice_app(event, LambdaContext("api_handler", memory_size=256, max_runtime_ms=30_000))
        status = HTTPStatus(answer["statusCode"])
        headers = {"Content-Type": "application/json", **answer["headers"]}
        start_response(f"{status.value} {status.phrase}", list(headers.items()))
        return [answer["body"].encode()]


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    return headers
