"""The app: its routes and functions, wired together. The only module that imports chalice.

Nothing imports this module, and importing it opens no connection and needs no environment: the parts are
built on first use. What only a refresh needs is imported where a refresh begins, because every cold start
pays for the imports up here.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from chalicelib.deferred import defer_imports

defer_imports()  # before anything that imports the SDK

from chalice.app import Chalice, LambdaFunctionEvent, Rate, Request, Response

from chalicelib import errors
from chalicelib.access import check_access
from chalicelib.config import Settings, deployment_name, load_settings
from chalicelib.contexts import parse_context
from chalicelib.evaluation import etag, evaluate_flag, evaluate_flags, select_flags
from chalicelib.metrics import metric_line
from chalicelib.request import checked_size, matches_etag, options_from_query, parse_json
from chalicelib.snapshot import Snapshot, Snapshots
from chalicelib.stores import Store, open_store

if TYPE_CHECKING:
    from chalicelib.direct import DirectFlags
    from chalicelib.refresh import Refresher

app = Chalice(app_name="serverless-flags")
logger = logging.getLogger("serverless-flags")

Json = dict[str, Any]
"""A JSON object on its way out (Any: JSON)."""

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
            status, code, headers = next(_ANSWERS[each] for each in type(error).__mro__ if each in _ANSWERS)
            if status >= 500:
                logger.error("%s: %s", type(error).__name__, error)
            return Response({"Code": code, "Message": str(error)}, dict(headers), status)

    return answer


# Routes.


@app.route("/webhook", methods=["POST"])
@answered
def webhook() -> Response:
    """LaunchDarkly announces a change: refresh the store."""
    from chalicelib.refresh import ANSWER_SECONDS
    from chalicelib.webhook import change_in, verify_webhook

    if settings().direct_mode:
        return _ignored("EVALUATION_MODE is 'direct': there is no store to refresh.")
    body = _raw_body()
    verify_webhook(settings(), body, _request().headers.get("x-ld-signature"))
    change = change_in(parse_json(body), settings().environment)
    if isinstance(change, str):
        return _ignored(change)
    with measured_refresh():
        within_seconds = min(ANSWER_SECONDS, _seconds_left())
        return Response(refresher().refresh(change.announcement, within_seconds).to_json())


@app.route("/evaluate", methods=["POST"])
@answered
def evaluate_all_flags() -> Response:
    """All flags, or those in ``?flags=``, for the context in the body."""
    _check_access()
    options = options_from_query(_query())
    body = parse_json(checked_size(_raw_body()))
    context = parse_context(body)
    source = current_flags()
    return _unless_known(
        source, (body, asdict(options)), lambda: evaluate_flags(select_flags(source, options.flags), context, options)
    )


@app.route("/evaluate/{flag_key}", methods=["POST"])
@answered
def evaluate_one_flag(flag_key: str) -> Response:
    """One flag for the context in the body."""
    _check_access()
    key = unquote(flag_key)
    body = parse_json(checked_size(_raw_body()))
    context = parse_context(body)
    source = current_flags()
    return _unless_known(source, (body, key), lambda: evaluate_flag(source, context, key))


# Functions that are invoked directly.


@app.lambda_function(name="on_event")
def on_event(event: object, lambda_context: object) -> Json:
    """Flags for the context in the event. Raises with the message of the HTTP API's 400 on bad input."""
    from chalicelib.events import answer_event, parse_event

    request = parse_event(event)
    source = current_flags()
    return {**answer_event(source, request), **_provenance(source)}


@app.schedule(Rate(5, unit=Rate.MINUTES), name="reconcile")
def reconcile(event: LambdaFunctionEvent) -> Json:
    """Refresh the store without a webhook; ``{"force": true}`` also on the word of an empty data set."""
    if settings().direct_mode:
        return {"status": "ignored", "reason": "EVALUATION_MODE is 'direct': there is no store to refresh."}
    with measured_refresh():
        return refresher().reconcile(force=event.to_dict().get("force") is True).to_json()


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
    from chalicelib.stores.embedded import start_embedded_server

    return start_embedded_server()


@once
def refresher() -> Refresher:
    return _refresher_of(store())


@once
def snapshots() -> Snapshots:
    return Snapshots(store(), settings().store_cache_seconds)


@once
def direct_flags() -> DirectFlags:
    from chalicelib.direct import connect_directly

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
    if snapshot.stale:
        emit({"StaleAnswers": 1})
    return snapshot


def _refresher_of(store: Store) -> Refresher:
    from chalicelib.fetch import fetch_data_set
    from chalicelib.refresh import Refresher

    source = "launchdarkly" if settings().flag_file is None else "file"
    return Refresher(store, functools.partial(fetch_data_set, settings()), source)


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
    request = app.current_request
    assert request is not None  # Chalice sets it before it calls a view
    return request


def _seconds_left() -> float:
    """Until Lambda ends this invocation, but for a second to answer in."""
    remaining_ms: float = app.lambda_context.get_remaining_time_in_millis()
    return remaining_ms / 1000 - 1


def _raw_body() -> bytes:
    try:
        body = _request().raw_body
        return body if isinstance(body, bytes) else body.encode()
    except ValueError:  # a lone surrogate, or base64 that is none
        raise errors.InvalidRequest("The body is not valid UTF-8.") from None


def _query() -> dict[str, list[str]]:
    query = _request().query_params
    return {} if query is None else {name: query.getlist(name) for name in query}


def _check_access() -> None:
    check_access(settings(), _request().headers, _request().context)


def _ignored(reason: str) -> Response:
    return Response({"status": "ignored", "reason": reason})


def _unless_known(source: Snapshot | DirectFlags, asked: tuple[Any, ...], evaluate: Callable[[], Json]) -> Response:
    """The evaluation with its headers, or a 304 without evaluating when the caller holds the current answer."""
    if not isinstance(source, Snapshot):
        return Response(evaluate())
    tag = etag(source.revision, *asked)
    headers: dict[str, str | list[str]] = {"ETag": tag, "X-Flags-Revision": source.revision}
    if source.record is not None:
        headers["X-Flags-Synced-At"] = _rfc3339(source.record.synced_at_ms)
    if source.stale:
        headers["X-Flags-Stale"] = "true"
    if matches_etag(_request().headers.get("if-none-match"), tag):
        return Response("", headers, 304)
    return Response(evaluate(), headers)


def _provenance(source: Snapshot | DirectFlags) -> Json:
    if not isinstance(source, Snapshot):
        return {"revision": None, "syncedAt": None, "stale": False}
    synced_at = None if source.record is None else _rfc3339(source.record.synced_at_ms)
    return {"revision": source.revision, "syncedAt": synced_at, "stale": source.stale}


def _rfc3339(unix_ms: int) -> str:
    moment = datetime.fromtimestamp(unix_ms / 1000, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
