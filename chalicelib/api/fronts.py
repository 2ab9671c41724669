"""Other front doors than API Gateway's REST API: a function URL, an HTTP API, a load balancer. Pure.

Chalice understands the events of REST APIs. An event of another door becomes one of those, with the route that the
app has for its path, and Chalice's answer becomes what that door sends on. A REST API costs nothing of this: the
module is imported at the first event of another door.

The doors differ in what they do to a path and a query (REST APIs: path as it was sent, query decoded):

- A function URL hands on both as they were sent.
- An HTTP API decodes the path, so `%2F` is a slash like others, and what follows `%3F` is lost. It puts the stage
  before the path, unless that is `$default`.
- A load balancer hands on the path as it was sent, and names and values of the query without decoding them; of
  repeated ones only the last, unless its target group has multi-value headers.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html,
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html,
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote_plus

Json = dict[str, Any]
"""An event, or the answer to one (Any: JSON)."""

Routes = Mapping[str, Mapping[str, Any]]
"""Chalice's table: by path and method, an entry (Any: it declares no types)."""

_IN_ENCODED_PATHS = "/%:@!$&'()*+,;=~"
"""What :func:`quote` has to leave alone, because it stands in encoded paths too."""

_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PARAMETER = re.compile(r"\{(\w+)\+?\}")


class _Request(NamedTuple):
    """What an event tells, in the shapes of a REST API's; ``path`` is percent-encoded.

    ``is_decoded``: the door had decoded the path, so a slash in it may be part of a parameter.
    """

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, list[str]]
    identity: Json
    is_decoded: bool = False


def answer_at_the_door(event: Json, routes: Routes, checked_by_app: object, call: Callable[[Json], Json]) -> Json:
    """The answer to an event of another door, as that door takes it; ``call`` is Chalice, for one of a REST API.

    ``checked_by_app``: the authorizer of the routes that check their callers themselves, too. What only API Gateway
    would check is refused here, because no other door does.
    """
    is_balanced = "elb" in event["requestContext"]
    request = _balanced_request(event) if is_balanced else _request_of_payload_2(event)
    answer = _answer(event, request, routes, checked_by_app, call)
    headers = _headers_of(answer)
    status = {"statusCode": answer["statusCode"]}
    body = {"body": answer["body"], "isBase64Encoded": answer.get("isBase64Encoded", False)}
    if is_balanced:
        headers_sent = _balanced_headers(headers, has_many="multiValueHeaders" in event)
        return {**status, "statusDescription": _described(answer["statusCode"]), **headers_sent, **body}
    return {**status, **_headers_of_payload_2(headers), **body}


def _answer(
    event: Json, request: _Request, routes: Routes, checked_by_app: object, call: Callable[[Json], Json]
) -> Json:
    match = _match(request, routes)
    if match is None:  # as a REST API has it
        return _forbidden({"message": "Missing Authentication Token"})
    route, parameters = match
    methods = routes[route]
    if request.method == "OPTIONS" and "OPTIONS" not in methods and (headers := _preflight_headers(methods)):
        return {"statusCode": 200, "headers": headers, "multiValueHeaders": {}, "body": ""}
    entry = methods.get(request.method)
    if entry is not None and (entry.api_key_required or entry.authorizer not in (None, checked_by_app)):
        message = "Who calls this route is checked by API Gateway's REST API alone; call it there."
        return _forbidden({"Code": "ForbiddenError", "Message": message})
    return call(_rest_api_event(event, request, route, parameters))


def _headers_of(answer: Json) -> dict[str, list[str]]:
    """Each with all its values. Where the app names no type, it is the one that API Gateway takes it for."""
    headers = {**{name: [str(value)] for name, value in answer["headers"].items()}, **answer["multiValueHeaders"]}
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = ["application/json"]
    return headers


def _forbidden(body: Json) -> Json:
    return {"statusCode": 403, "headers": {}, "multiValueHeaders": {}, "body": json.dumps(body)}


def _preflight_headers(methods: Mapping[str, Any]) -> dict[str, str]:
    """Of a route that has Chalice's ``cors``, for which a REST API answers by itself; else none."""
    allowing = [method for method, entry in methods.items() if entry.cors is not None]
    if not allowing:
        return {}
    headers: dict[str, str] = methods[allowing[0]].cors.get_access_control_headers()
    return {**headers, "Access-Control-Allow-Methods": ",".join([*allowing, "OPTIONS"])}


def _rest_api_event(event: Json, request: _Request, route: str, parameters: dict[str, str]) -> Json:
    """What Chalice takes. The request context keeps what it had, which a caller cannot forge."""
    return {
        "requestContext": {
            **event["requestContext"],
            "httpMethod": request.method,
            "resourcePath": route,
            "path": request.path,
            "identity": request.identity,
        },
        "resource": route,
        "path": request.path,
        "httpMethod": request.method,
        "headers": request.headers,
        "multiValueHeaders": event.get("multiValueHeaders") or {name: [each] for name, each in request.headers.items()},
        "multiValueQueryStringParameters": request.query or None,
        "pathParameters": parameters,
        "stageVariables": event.get("stageVariables"),
        "body": event.get("body"),
        "isBase64Encoded": event.get("isBase64Encoded", False),
    }


# Which route.


def _match(request: _Request, routes: Routes) -> tuple[str, dict[str, str]] | None:
    """The route for the path, and its parameters as they were sent; None if there is none."""
    path = request.path.removesuffix("/") or "/"
    for route in sorted(routes):  # a brace comes after letters: `/evaluate/all` before `/evaluate/{flag_key}`
        names = route.split("/")
        values = path.split("/")
        if request.is_decoded and _PARAMETER.fullmatch(names[-1]):
            values = path.split("/", len(names) - 1)
        pairs = list(zip(names, values, strict=False))
        if len(names) == len(values) and all(name == value or _PARAMETER.fullmatch(name) for name, value in pairs):
            return route, {name[1:-1]: value.replace("/", "%2F") for name, value in pairs if _PARAMETER.fullmatch(name)}
    return None


def _encoded(path: str) -> str:
    """The path, percent-encoded where it is not: one that is encoded stays as it is."""
    return _BARE_PERCENT.sub("%25", quote(path, safe=_IN_ENCODED_PATHS, errors="surrogatepass"))


# Function URLs and HTTP APIs.


def _request_of_payload_2(event: Json) -> _Request:
    context = event["requestContext"]
    headers = dict(event.get("headers") or {})
    if cookies := event.get("cookies"):
        headers["cookie"] = "; ".join(cookies)
    signer = ((context.get("authorizer") or {}).get("iam") or {}).get("userArn")
    return _Request(
        context["http"]["method"],
        _encoded(_path_of_payload_2(event)),
        headers,
        parse_qs(event.get("rawQueryString") or "", keep_blank_values=True),
        {"sourceIp": context["http"].get("sourceIp"), "userArn": signer},
        is_decoded=".lambda-url." not in (context.get("domainName") or ""),
    )


def _path_of_payload_2(event: Json) -> str:
    """What an HTTP API matched with one of its own routes, or else the raw path without the stage."""
    route = (event.get("routeKey") or "$default").partition(" ")[2]
    if route:
        parameters = event.get("pathParameters") or {}
        return _PARAMETER.sub(lambda found: str(parameters.get(found[1], found[0])), route)
    path, stage = str(event["rawPath"]), event["requestContext"].get("stage")
    return path.removeprefix(f"/{stage}") if f"{path}/".startswith(f"/{stage}/") else path


def _headers_of_payload_2(headers: Mapping[str, list[str]]) -> Json:
    return {
        "headers": {name: ", ".join(values) for name, values in headers.items() if name.lower() != "set-cookie"},
        "cookies": [value for name, values in headers.items() if name.lower() == "set-cookie" for value in values],
    }


# Load balancers.


def _balanced_request(event: Json) -> _Request:
    if "multiValueHeaders" in event:
        # The last value counts, as a REST API has it; but HTTP/2 may split cookies.
        headers = {
            name: "; ".join(values) if name.lower() == "cookie" else values[-1]
            for name, values in (event["multiValueHeaders"] or {}).items()
        }
        query = event.get("multiValueQueryStringParameters") or {}
    else:
        headers = dict(event.get("headers") or {})
        query = {name: [value] for name, value in (event.get("queryStringParameters") or {}).items()}
    decoded: dict[str, list[str]] = {}
    for name, values in query.items():
        decoded.setdefault(unquote_plus(name), []).extend(map(unquote_plus, values))
    source_ip = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return _Request(event["httpMethod"], _encoded(event["path"]), headers, decoded, {"sourceIp": source_ip})


def _balanced_headers(headers: Mapping[str, list[str]], *, has_many: bool) -> Json:
    """In the shape in which the event came: a load balancer reads no other."""
    if has_many:
        return {"multiValueHeaders": dict(headers)}
    single: dict[str, str] = {}
    for name, values in headers.items():
        if name.lower() == "set-cookie":  # the one header whose values cannot be joined; no name may be there twice
            single.update(zip(_spellings(name), values, strict=False))
        else:
            single[name] = ", ".join(values)
    return {"headers": single}


def _spellings(name: str) -> Iterator[str]:
    """The name with its letters in upper and lower case in all ways; as it is comes first."""
    letters = [index for index, letter in enumerate(name) if letter.isalpha()]
    for number in range(2 ** len(letters)):
        flipped = {index for bit, index in enumerate(letters) if number >> bit & 1}
        yield "".join(letter.swapcase() if index in flipped else letter for index, letter in enumerate(name))


def _described(status: int) -> str:
    from http import HTTPStatus  # which only this door wants

    phrases = {int(each): each.phrase for each in HTTPStatus}
    return f"{status} {phrases.get(status, '')}".strip()
