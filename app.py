"""The app: its routes and functions, wired together. The only module that imports chalice.

Nothing imports this module, and importing it opens no connection and needs no environment: the parts are
built on first use. What only a refresh needs is imported where a refresh begins, because every cold start
pays for the imports up here.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from chalicelib.runtime.deferred import defer_imports

defer_imports()  # before anything that imports the SDK

from chalice.app import Chalice, IAMAuthorizer, LambdaFunctionEvent, Rate, Request, Response

from chalicelib import RECONCILE_MINUTES, errors
from chalicelib.api.access import Access, check_access
from chalicelib.api.cors import cors_headers, preflight_headers
from chalicelib.api.request import checked_size, matches_etag, options_from_query, parse_json
from chalicelib.config import Settings, deployment_name, is_behind_iam, load_settings
from chalicelib.read.contexts import parse_context
from chalicelib.read.evaluation import Options, etag, evaluate_flag, evaluate_flags, select_flags
from chalicelib.read.snapshots import Snapshot, Snapshots
from chalicelib.runtime.logs import log_as_json, note, one_line
from chalicelib.runtime.metrics import metric_line
from chalicelib.stores.port import Store, open_store

if TYPE_CHECKING:
    from chalicelib.read.direct import DirectFlags
    from chalicelib.refresh.refresher import Refresher

app = Chalice(app_name="serverless-flags", configure_logs=False)
log_as_json()

Json = dict[str, Any]
"""A JSON object on its way out (Any: JSON)."""

Headers = dict[str, str | list[str]]

EVALUATION_PATHS = (
    "/evaluate",
    "/evaluate/{flag_key}",
    "/ofrep/v1/evaluate/flags",
    "/ofrep/v1/evaluate/flags/{flag_key}",
)
"""Behind ``EVALUATE_AUTH``, and open to browsers by ``CORS_ALLOW_ORIGIN``."""

_AUTHORIZER = IAMAuthorizer() if is_behind_iam() else None

_LOGGED_KEY_LENGTH = 256
"""As long as a flag key can be at LaunchDarkly."""

_current_request: ContextVar[Request] = ContextVar("current request")
"""Chalice's own ``app.current_request`` is one for all threads, and `chalice local` has many."""

_ANSWERS: dict[type[errors.FlagsError], tuple[int, str, dict[str, str]]] = {
    errors.InvalidRequest: (400, "BadRequestError", {}),
    errors.InvalidSignature: (401, "UnauthorizedError", {"WWW-Authenticate": "Bearer"}),
    errors.InvalidToken: (401, "UnauthorizedError", {"WWW-Authenticate": "Bearer"}),
    errors.FlagNotFound: (404, "NotFoundError", {}),
    errors.FlagsError: (503, "ServiceUnavailableError", {"Retry-After": "5"}),
}
"""Our errors as HTTP: the nearest class of an error's ancestry decides. The only place that knows."""


def answered(view: Callable[..., Response]) -> Callable[..., Response]:
    """The view, with our errors turned into answers of Chalice's shape."""

    @functools.wraps(view)
    def answer(**path_parameters: str) -> Response:
        try:
            return view(**path_parameters)
        except errors.FlagsError as error:
            status, code, headers = _answer_to(error)
            if _is_ofrep(_request()):
                from chalicelib.api.ofrep import error_answer

                key = path_parameters.get("flag_key")
                return Response(error_answer(error, None if key is None else unquote(key)), headers, status)
            return Response({"Code": code, "Message": str(error)}, headers, status)

    return answer


def invoked(function: Callable[..., Json]) -> Callable[..., Json]:
    """The function, with one log line for each invocation. Errors are raised, for the caller to see."""

    @functools.wraps(function)
    def invoke(*arguments: object) -> Json:
        with one_line(function=function.__name__):
            try:
                result = function(*arguments)
            except errors.FlagsError as error:
                note(status=_answer_to(error)[0])
                raise
            note(status=200)
            return result

    return invoke


def _answer_to(error: errors.FlagsError) -> tuple[int, str, Headers]:
    """Status, code and headers. Notes the error for the log: in full only if it is not the caller's."""
    status, code, headers = next(_ANSWERS[each] for each in type(error).__mro__ if each in _ANSWERS)
    name = type(error).__name__
    note(error=f"{name}: {error}" if status >= 500 else name)
    return status, code, {**headers}


@app.middleware("http")
def every_answer(request: Request, view: Callable[[Request], Response]) -> Response:
    """One log line for each request, and on each answer, Chalice's own (405, 415, 500) too, what its route promises."""
    _current_request.set(request)
    with one_line(route=f"{request.method} {request.path}"):
        answer = view(request)
        note(status=answer.status_code)
        if request.path in EVALUATION_PATHS:
            answer.headers.update(cors_headers(_allowed_origin()))
        if _is_ofrep(request) and isinstance(answer.body, dict) and "Code" in answer.body:
            answer.body = {"errorDetails": answer.body["Message"]}
        return answer


def _is_ofrep(request: Request) -> bool:
    return request.path.startswith("/ofrep/")


def _allowed_origin() -> str | None:
    try:
        return settings().cors_allow_origin
    except errors.ConfigurationError:  # the answer says so already
        return None


# Routes.


@app.route("/webhook", methods=["POST"])
@answered
def webhook() -> Response:
    """LaunchDarkly announces a change: refresh the store."""
    from chalicelib.refresh.refresher import ANSWER_SECONDS
    from chalicelib.refresh.webhook import change_in, verify_webhook

    if settings().direct_mode:
        return _ignored("EVALUATION_MODE is 'direct': there is no store to refresh.")
    body = _raw_body()
    verify_webhook(settings(), body, _request().headers.get("x-ld-signature"))
    change = change_in(parse_json(body), settings().environment)
    if isinstance(change, str):
        return _ignored(change)
    with measured_refresh():
        outcome = refresher().refresh(change.announcement, min(ANSWER_SECONDS, _seconds_left()))
    note(revision=outcome.revision)
    return Response(outcome.to_json())


@app.route("/evaluate", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def evaluate_all_flags() -> Response:
    """All flags, or those in ``?flags=``, for the context in the body."""
    access = _check_access()
    options = _narrowed(options_from_query(_query()), access)
    body = parse_json(checked_size(_raw_body()))
    context = parse_context(body)
    source = current_flags()
    return _unless_known(
        source, (body, asdict(options)), lambda: evaluate_flags(select_flags(source, options.flags), context, options)
    )


@app.route("/evaluate/{flag_key}", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def evaluate_one_flag(flag_key: str) -> Response:
    """One flag for the context in the body."""
    options = _narrowed(Options(), _check_access())
    key = _noted_key(flag_key)
    body = parse_json(checked_size(_raw_body()))
    context = parse_context(body)
    source = current_flags()
    return _unless_known(source, (body, key, asdict(options)), lambda: evaluate_flag(source, context, key, options))


@app.route("/ofrep/v1/evaluate/flags", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def evaluate_all_flags_by_ofrep() -> Response:
    """All flags, for OpenFeature's client-side providers."""
    from chalicelib.api.ofrep import evaluate_bulk, parse_request

    options = _narrowed(Options(with_reasons=True), _check_access())
    body = parse_json(checked_size(_raw_body()))
    context = parse_request(body)
    source = current_flags()
    return _unless_known(source, (body, asdict(options)), lambda: evaluate_bulk(source, context, options))


@app.route("/ofrep/v1/evaluate/flags/{flag_key}", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def evaluate_one_flag_by_ofrep(flag_key: str) -> Response:
    """One flag, for OpenFeature's server-side providers."""
    from chalicelib.api.ofrep import evaluate_one, parse_request

    options = _narrowed(Options(), _check_access())
    key = _noted_key(flag_key)
    context = parse_request(parse_json(checked_size(_raw_body())))
    source = current_flags()
    status, evaluation = evaluate_one(source, context, key, options)
    return Response(evaluation, _provenance_headers(source), status)


@answered
def preflight(**_path_parameters: str) -> Response:
    """A browser asks whether a page may call the route."""
    return Response("", {"Allow": "POST, OPTIONS", **preflight_headers(settings().cors_allow_origin)}, 204)


for path in EVALUATION_PATHS:
    app.route(path, methods=["OPTIONS"])(preflight)


@app.route("/status")
@answered
def report_status() -> Response:
    """Whether evaluations can be answered, from where, and how old the data is. Open to everybody."""
    from chalicelib.api.status import can_answer, daemon_status, direct_status

    if settings().direct_mode:
        report = direct_status(direct_flags(), _source_name())
    else:
        found: Snapshot | errors.StoreUnavailable | errors.StoreNotInitialized
        try:
            found = snapshots().current()
        except (errors.StoreUnavailable, errors.StoreNotInitialized) as error:
            found = error
        report = daemon_status(store().kind, found, time.time())
    note(condition=report["status"])
    if can_answer(report):
        return Response(report, {"Cache-Control": "no-store"})
    return Response(report, {"Cache-Control": "no-store", "Retry-After": "5"}, 503)


# Functions that are invoked directly.


@app.lambda_function(name="on_event")
@invoked
def on_event(event: object, lambda_context: object) -> Json:
    """Flags for the context in the event. Raises with the message of the HTTP API's 400 on bad input."""
    from chalicelib.api.invocations import answer_event, parse_event

    request = parse_event(event)
    source = current_flags()
    return {**answer_event(source, request), **_provenance(source)}


@app.schedule(Rate(RECONCILE_MINUTES, unit=Rate.MINUTES), name="reconcile")
@invoked
def reconcile(event: LambdaFunctionEvent) -> Json:
    """Refresh the store without a webhook; ``{"force": true}`` also on the word of an empty data set."""
    if settings().direct_mode:
        return {"status": "ignored", "reason": "EVALUATION_MODE is 'direct': there is no store to refresh."}
    request = event.to_dict()
    with measured_refresh():
        outcome = refresher().reconcile(force=isinstance(request, dict) and request.get("force") is True)
    note(revision=outcome.revision)
    return outcome.to_json()


# A schedule's event class insists on EventBridge's envelope; `chalice invoke` sends what the user wrote.
reconcile.event_class = LambdaFunctionEvent


# The parts, built on first use.

Part = TypeVar("Part")


def once(build: Callable[[], Part]) -> Callable[[], Part]:
    """Calls ``build`` at most once, also when threads meet here (`chalice local` has them). Errors are not kept."""
    lock = threading.RLock()
    built: list[Part] = []

    @functools.wraps(build)
    def part() -> Part:
        with lock:
            if not built:
                built.append(build())
            return built[0]

    return part


@once
def settings() -> Settings:
    return load_settings()


@once
def store() -> Store:
    if settings().redis_url != "embedded":
        return open_store(settings())
    embedded = open_store(settings(), embedded_url())
    _refresher_of(embedded).reconcile(force=False)
    return embedded


@once
def embedded_url() -> str:
    from chalicelib.stores.redis.embedded import start_embedded_server

    return start_embedded_server()


@once
def refresher() -> Refresher:
    return _refresher_of(store())


@once
def snapshots() -> Snapshots:
    return Snapshots(store(), settings().store_cache_seconds)


@once
def direct_flags() -> DirectFlags:
    from chalicelib.read.direct import connect_directly

    return connect_directly(settings())


def current_flags() -> Snapshot | DirectFlags:
    """What this request evaluates from, from its start to its end."""
    if settings().direct_mode:
        return direct_flags()
    try:
        snapshot = snapshots().current()
    except (errors.StoreUnavailable, errors.StoreNotInitialized):
        emit({"StoreErrors": 1})
        raise
    note(revision=snapshot.revision, stale=snapshot.stale)
    if snapshot.stale:
        emit({"StaleAnswers": 1})
    return snapshot


def _refresher_of(store: Store) -> Refresher:
    from chalicelib.refresh.fetch import fetch_data_set
    from chalicelib.refresh.refresher import Refresher

    return Refresher(store, functools.partial(fetch_data_set, settings()), _source_name())


def _source_name() -> str:
    return "launchdarkly" if settings().flag_file is None else "file"


# Metrics, on Lambda only.


@contextmanager
def measured_refresh() -> Iterator[None]:
    begun, failed = time.monotonic(), True
    try:
        yield
        failed = False
    finally:
        milliseconds = round((time.monotonic() - begun) * 1000)
        emit({"RefreshFailures": int(failed), "RefreshMilliseconds": milliseconds, **_data_age()})


def _data_age() -> dict[str, float]:
    try:
        record = store().read_sync_record()
    except errors.FlagsError:  # no store, no age
        return {}
    return {} if record is None else {"DataAgeSeconds": max(0.0, time.time() - record.synced_at_ms / 1000)}


def emit(values: dict[str, float]) -> None:
    deployment = deployment_name()
    if deployment is not None:
        sys.stdout.write(metric_line(deployment, values, int(time.time() * 1000)) + "\n")


# Requests and answers.


def _request() -> Request:
    return _current_request.get()


def _seconds_left() -> float:
    """Until Lambda ends this invocation, but for a second to answer in."""
    lambda_context: Any = _request().lambda_context  # Lambda's own class, which exports no type
    return float(lambda_context.get_remaining_time_in_millis()) / 1000 - 1


def _raw_body() -> bytes:
    try:
        body = _request().raw_body
        return body if isinstance(body, bytes) else body.encode()
    except ValueError:  # a lone surrogate, or base64 that is none
        raise errors.InvalidRequest("The body is not valid UTF-8.") from None


def _query() -> dict[str, list[str]]:
    query = _request().query_params
    return {} if query is None else {name: query.getlist(name) for name in query}


def _check_access() -> Access:
    """Comes first in every view of the evaluation API: nothing else is read of a request that is refused."""
    return check_access(settings(), _request().headers, _request().context)


def _narrowed(options: Options, access: Access) -> Options:
    """The options, whatever they ask for, within what the caller may see."""
    return replace(options, client_side_only=True, conceal=True) if access is Access.CLIENT_SIDE_FLAGS else options


def _noted_key(flag_key: str) -> str:
    """The flag key of a path. In the log it is cut: it is the caller's, of whatever length."""
    key = unquote(flag_key)
    note(flag=key[:_LOGGED_KEY_LENGTH])
    return key


def _ignored(reason: str) -> Response:
    return Response({"status": "ignored", "reason": reason})


def _unless_known(source: Snapshot | DirectFlags, asked: tuple[Any, ...], evaluate: Callable[[], Json]) -> Response:
    """The evaluation with its headers, or a 304 without evaluating when the caller holds the current answer."""
    if not isinstance(source, Snapshot):
        return Response(evaluate())
    tag = etag(source.revision, *asked)
    headers: Headers = {"ETag": tag, **_provenance_headers(source)}
    if matches_etag(_request().headers.get("if-none-match"), tag):
        return Response("", headers, 304)
    return Response(evaluate(), headers)


def _provenance_headers(source: Snapshot | DirectFlags) -> Headers:
    """Which data the answer is from; in direct mode, where the SDK holds it, none of this is known."""
    if not isinstance(source, Snapshot):
        return {}
    headers: Headers = {"X-Flags-Revision": source.revision}
    if source.record is not None:
        headers["X-Flags-Synced-At"] = source.record.synced_at
    if source.stale:
        headers["X-Flags-Stale"] = "true"
    return headers


def _provenance(source: Snapshot | DirectFlags) -> Json:
    if not isinstance(source, Snapshot):
        return {"revision": None, "syncedAt": None, "stale": False}
    synced_at = None if source.record is None else source.record.synced_at
    return {"revision": source.revision, "syncedAt": synced_at, "stale": source.stale}
