"""The front doors: what each makes of a request, and of the app's answer, as far as AWS documents it.

What the documents leave open (that a function URL and a load balancer hand on a path as it was sent, and an HTTP API a
decoded one that ends at a question mark) is as others have seen it on AWS.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from chalice.local import LambdaContext
from chalice.test import HTTPResponse, TestHTTPClient

Json = dict[str, Any]

REST, URL, HTTP, BALANCER = "rest", "url", "http", "alb"
FRONTS = (REST, URL, HTTP, BALANCER)
STAGE = "prod"
"""Of the HTTP API, which puts it before the path."""
SIGNER = "arn:aws:iam::123456789012:user/anna"


class FrontClient(TestHTTPClient):
    """As ``chalice.test.Client.http``, by way of another door than the REST API."""

    def __init__(self, app: Any, front: str, signer: str | None = None) -> None:
        self._app = app
        self._front = front
        self._signer = signer
        """Whose SigV4 signature the door has checked."""

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> HTTPResponse:
        event = event_of(self._front, method, path, headers or {}, body, self._signer)
        return response_of(self._front, self._app(event, LambdaContext("api_handler", 256, max_runtime_ms=30_000)))


def event_of(
    front: str, method: str, target: str, headers: Mapping[str, str], body: bytes, signer: str | None = None
) -> Json:
    """What Lambda is given for the request; ``target`` is its path and query as they are sent."""
    path, _, query = target.partition("?")
    sent = {name.lower(): value for name, value in headers.items()}
    if front == BALANCER:
        return {**_balanced_event(method, path, query, sent), **_body(body, sent, front)}
    return {**_event_of_payload_2(front, method, path, query, sent, signer), **_body(body, sent, front)}


def _event_of_payload_2(
    front: str, method: str, path: str, query: str, headers: dict[str, str], signer: str | None
) -> Json:
    is_url = front == URL
    raw = path if is_url else f"/{STAGE}" + unquote(path).partition("?")[0]
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    cookies = headers.get("cookie")
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw,
        "rawQueryString": query,
        **({"cookies": cookies.split("; ")} if cookies else {}),
        "headers": {name: value for name, value in headers.items() if name != "cookie"},
        **({"queryStringParameters": parameters} if parameters else {}),
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdef",
            **({"authorizer": {"iam": {"accountId": "123456789012", "userArn": signer}}} if signer else {}),
            "domainName": f"abcdef.{'lambda-url' if is_url else 'execute-api'}.us-east-1.amazonaws.com",
            "http": {"method": method, "path": raw, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "routeKey": "$default",
            "stage": "$default" if is_url else STAGE,
            "timeEpoch": int(time.time() * 1000),
        },
    }


def _balanced_event(method: str, path: str, query: str, headers: dict[str, str]) -> Json:
    """Of a target group with multi-value headers. Nothing of the query is decoded."""
    parameters: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        parameters.setdefault(name, []).append(value)
    return {
        "requestContext": {
            "elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/f"}
        },
        "httpMethod": method,
        "path": path,
        "multiValueQueryStringParameters": parameters,
        "multiValueHeaders": {name: [value] for name, value in {**headers, "x-forwarded-for": "192.0.2.1"}.items()},
    }


def _body(body: bytes, headers: Mapping[str, str], front: str) -> Json:
    """A function URL may encode whatever it likes, and here it always does."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    is_text = headers.get("content-type", "application/json").startswith(("application/json", "text/"))
    if body and (text is None or front == URL or not is_text):
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    if front == BALANCER:
        return {"body": text, "isBase64Encoded": False}
    return {**({"body": text} if body else {}), "isBase64Encoded": False}


def response_of(front: str, answer: Json) -> HTTPResponse:
    """What the door sends of the app's answer; it must have no field that the door does not know."""
    expected = {"statusCode", "body", "isBase64Encoded"}
    if front == BALANCER:
        assert set(answer) == expected | {"statusDescription", "multiValueHeaders"}
        assert answer["statusDescription"].startswith(f"{answer['statusCode']} ")
        headers = {name: ", ".join(values) for name, values in answer["multiValueHeaders"].items()}
    else:
        assert set(answer) == expected | {"headers", "cookies"}
        headers = answer["headers"] | ({"Set-Cookie": "; ".join(answer["cookies"])} if answer["cookies"] else {})
    assert all(isinstance(text, str) for text in itertools.chain(headers, headers.values(), [answer["body"]]))
    body = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else answer["body"].encode()
    return HTTPResponse(body, headers, answer["statusCode"])
