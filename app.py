"""The app: its routes and functions. The only module that imports chalice.

Importing it opens no connection and needs no environment: the parts are built on first use
(``chalicelib/wiring.py``). What only some requests need is imported where they begin, because every cold
start pays for the imports up here.
"""

from __future__ import annotations

from chalicelib.config import evaluates_on_lambda, is_behind_iam, missing_for_chalice_local
from chalicelib.wiring import wiring

if evaluates_on_lambda():
    wiring.begin_to_read()  # first of all: the network answers while the rest is imported

import functools
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chalice.app import Chalice, IAMAuthorizer, LambdaFunctionEvent, Rate, Request, Response

from chalicelib import DELIVER_MINUTES, RECONCILE_MINUTES, errors
from chalicelib.api.access import check_full_access
from chalicelib.api.answers import (
    CLIENT_SDK_PATHS,
    Answer,
    Json,
    error_answer,
    evaluation_answer,
    in_format,
    nothing_at_root,
    provenance_fields,
    provenance_headers,
    with_what_to_send,
)
from chalicelib.api.cors import cors_headers, preflight_headers
from chalicelib.api.gateway import incoming, is_of_rest_api, seconds_left
from chalicelib.api.request import (
    Asked,
    Incoming,
    Query,
    options_from_query,
    options_of_ofrep,
    options_of_ofrep_in_bulk,
    options_of_one_flag,
    parse_json,
    take_apart,
)
from chalicelib.read.evaluation import Options, evaluate_flag, evaluate_flags
from chalicelib.read.snapshots import Snapshot
from chalicelib.runtime.logs import log_as_json, note, one_line
from chalicelib.runtime.metrics import emit, measured_refresh

if TYPE_CHECKING:
    from chalicelib.read.direct import DirectFlags


class FrontDoors(Chalice):
    """The app behind API Gateway's REST API, a function URL, an HTTP API and a load balancer."""

    def __call__(self, event: Any, context: Any) -> Any:
        """The answer to a request, in the shape of the door through which it came."""
        if is_of_rest_api(event):
            return super().__call__(event, context)
        from chalicelib.api.fronts import answer_at_the_door

        call = functools.partial(super().__call__, context=context)
        return answer_at_the_door(event, self.routes, checked_by_app=_AUTHORIZER, call=call)


app = FrontDoors(app_name="serverless-flags", configure_logs=False)
log_as_json()

EVALUATION_PATHS = (
    "/evaluate",
    "/evaluate/{flag_key}",
    "/ofrep/v1/evaluate/flags",
    "/ofrep/v1/evaluate/flags/{flag_key}",
    "/track",
)
"""Behind ``EVALUATE_AUTH``, and open to browsers by ``CORS_ALLOW_ORIGIN``, as are those of the client SDKs."""

_AUTHORIZER = IAMAuthorizer() if is_behind_iam() else None

_LOGGED_KEY_LENGTH = 256
"""As long as a flag key can be at LaunchDarkly; in a request it is the caller's, of whatever length."""

_current_request: ContextVar[Request] = ContextVar("current request")
"""Chalice's own ``app.current_request`` is one for all threads, and `chalice local` has many."""


def answered(view: Callable[..., Answer]) -> Callable[..., Response]:
    """The view as Chalice calls it, with our errors turned into answers."""

    @functools.wraps(view)
    def answer(flag_key: str | None = None, **_others_in_path: str) -> Response:
        key = None if flag_key is None else unquote(flag_key)
        try:
            given = view() if key is None else view(key)
        except errors.FlagsError as error:
            given = _noted(error)
            if _is_ofrep():
                from chalicelib.api.ofrep import error_body

                given = given._replace(body=error_body(error, key))
        return Response(given.body, dict(given.headers), given.status)

    return answer


def invoked(function: Callable[..., Json]) -> Callable[..., Json]:
    """The function, with one log line for each invocation. Errors are raised, for the caller to see."""

    @functools.wraps(function)
    def invoke(*arguments: object) -> Json:
        with one_line(function=function.__name__):
            try:
                result = function(*arguments)
            except errors.FlagsError as error:
                note(status=_noted(error).status)
                raise
            finally:
                wiring.end_invocation()
            note(status=200)
            return result

    return invoke


def _noted(error: errors.FlagsError) -> Answer:
    """The answer to an error, which goes into the log line: in full only if it is not the caller's.

    What is wrong with the configuration stands there alone.
    """
    answer, name = error_answer(error), type(error).__name__
    note(error=f"{name}: {error}" if answer.status >= 500 else name)
    return answer


@app.middleware("http")
def every_answer(request: Request, view: Callable[[Request], Response]) -> Response:
    """One log line for each request, and on each answer, Chalice's own (405, 415, 500) too, what its route promises."""
    _current_request.set(request)
    with one_line(route=f"{request.method} {request.path}"):
        answer = view(request)
        wiring.end_invocation()
        note(status=answer.status_code)
        if answer.status_code in (405, 415):
            answer.body["Message"] = with_what_to_send(answer.body["Message"], request.path)
        if request.path in EVALUATION_PATHS or request.path in CLIENT_SDK_PATHS:
            answer.headers.update(cors_headers(_allowed_origin()))
        if _is_ofrep() and isinstance(answer.body, dict) and "Code" in answer.body:
            answer.body = {"errorDetails": answer.body["Message"]}
        return answer


def _is_ofrep() -> bool:
    return _current_request.get().path.startswith("/ofrep/")


def _allowed_origin() -> str | None:
    try:
        return wiring.settings.cors_allow_origin
    except errors.ConfigurationError:  # the answer says so already
        return None


def protected_route(path: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``@app.route`` for a route of your own whose callers have to prove themselves as those of ``/evaluate`` do.

    By a token of ``EVALUATE_TOKEN_SHA256``, by API Gateway with ``EVALUATE_AUTH=iam``, or not at all with ``none``.
    The view and the ``options`` are as Chalice takes them (``Any``: it declares no types).
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def check_and_view(*arguments: Any, **parameters: Any) -> Any:
            request = _current_request.get()
            try:
                check_full_access(wiring.settings, request.headers, request.context)
            except errors.FlagsError as error:
                refusal = _noted(error)
                return Response(refusal.body, dict(refusal.headers), refusal.status)
            return view(*arguments, **parameters)

        route: Callable[..., Any] = app.route(path, authorizer=_AUTHORIZER, **options)(check_and_view)
        return route

    return decorate


# Routes.


@app.route("/")
@answered
def root() -> Answer:
    """The explorer page, where it is on; else where to go."""
    try:
        has_explorer = wiring.settings.has_explorer
    except errors.ConfigurationError:  # whatever else is asked says so
        has_explorer = False
    if not has_explorer:
        return nothing_at_root()
    from chalicelib.api.explorer import page

    return page()


@app.route("/explorer/flags")
@answered
def list_flags() -> Answer:
    """What each flag is, whatever the context: for the explorer page."""
    from chalicelib.api.explorer import check_explorer, listing

    check_explorer(wiring.settings, _incoming())
    flags = current_flags(counted=False)
    headers = {"Cache-Control": "no-store", **provenance_headers(flags.provenance)}
    return Answer(listing(flags, wiring.settings), headers)


@app.route("/explorer/flags/{flag_key}", methods=["POST"])
@answered
def change_flag_in_file(key: str) -> Answer:
    """Change a flag in the local stage's flag file, and refresh the store."""
    from chalicelib.api.explorer import change_from, check_explorer
    from chalicelib.flag_file.editing import change_flag

    check_explorer(wiring.settings, _incoming())
    change, flag_file = change_from(wiring.settings, _incoming()), wiring.settings.flag_file
    note(flag=key[:_LOGGED_KEY_LENGTH])
    assert flag_file is not None  # or nothing can be changed
    change_flag(flag_file, key, change)
    outcome = wiring.refresher.refresh(None)
    note(revision=outcome.revision)
    return Answer(outcome.to_json())


@app.route("/webhook", methods=["POST"])
@answered
def webhook() -> Answer:
    """LaunchDarkly announces a change: refresh the store."""
    from chalicelib.refresh.webhook import change_in, verify_webhook

    settings, request = wiring.settings, _current_request.get()
    if settings.direct_mode:
        return Answer(_NO_STORE)
    body = _incoming().read_body()
    verify_webhook(settings, body, request.headers.get("x-ld-signature"))
    change = change_in(parse_json(body), settings.environment)
    if change.ignored_because is not None:
        return Answer({"status": "ignored", "reason": change.ignored_because})
    with measured_refresh(wiring.data_age_seconds):
        within_seconds = min(wiring.timing.answer_seconds, seconds_left(request.lambda_context))
        outcome = wiring.refresher.refresh(change.announcement, within_seconds)
    note(revision=outcome.revision)
    return Answer(outcome.to_json())


@app.route("/evaluate", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def evaluate_all_flags() -> Answer:
    """All flags, or those in ``?flags=``, for the context in the body."""
    asked = take_apart(_incoming(), wiring.settings, options_from_query)
    flags = current_flags(counted=asked.options.events)
    return evaluation_answer(
        flags, asked, lambda: in_format(evaluate_flags(flags, asked.context, asked.options), asked.options)
    )


@app.route("/evaluate/{flag_key}", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def evaluate_one_flag(key: str) -> Answer:
    """One flag for the context in the body."""
    asked = take_apart(_incoming(), wiring.settings, options_of_one_flag)
    note(flag=key[:_LOGGED_KEY_LENGTH])
    flags = current_flags(counted=asked.options.events)
    return evaluation_answer(flags, asked, lambda: evaluate_flag(flags, asked.context, key, asked.options), key)


@app.route("/ofrep/v1/evaluate/flags", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def evaluate_all_flags_by_ofrep() -> Answer:
    """All flags, for OpenFeature's client-side providers."""
    from chalicelib.api.ofrep import answer_bulk

    asked = _asked_by_ofrep(options_of_ofrep_in_bulk)
    return answer_bulk(current_flags(counted=asked.options.events), asked)


@app.route("/ofrep/v1/evaluate/flags/{flag_key}", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def evaluate_one_flag_by_ofrep(key: str) -> Answer:
    """One flag, for OpenFeature's server-side providers."""
    from chalicelib.api.ofrep import answer_one, not_found

    asked = _asked_by_ofrep(options_of_ofrep)
    note(flag=key[:_LOGGED_KEY_LENGTH])
    flags = current_flags(counted=asked.options.events)
    try:
        return answer_one(flags, asked, key)
    except errors.FlagNotFound as error:
        return _noted(error)._replace(body=not_found(error, key, flags.provenance))


@answered
def serve_client_sdk() -> Answer:
    """All flags that a page or a mobile device may see, for the context in the path; or a page's goals."""
    from chalicelib.api.client_sdks import answer_client

    return answer_client(_incoming(), wiring.settings, lambda: current_flags(counted=False))


@app.route("/track", methods=["POST"], authorizer=_AUTHORIZER)
@answered
def track() -> Answer:
    """Something has happened that a metric of LaunchDarkly's counts."""
    from chalicelib.api.track import custom_event

    event = custom_event(_incoming(), wiring.settings)
    ignored_because = wiring.track(*event)
    if ignored_because is not None:
        return Answer({"status": "ignored", "reason": ignored_because}, {}, 202)
    return Answer({"status": "accepted"}, {}, 202)


@answered
def preflight(_key: str | None = None) -> Answer:
    """A browser asks whether a page may call the route."""
    request = _current_request.get()
    method = "GET" if request.path in CLIENT_SDK_PATHS else "POST"
    asked_headers = request.headers.get("access-control-request-headers", "")
    headers = preflight_headers(wiring.settings.cors_allow_origin, asked_headers, method)
    return Answer("", {"Allow": f"{method}, OPTIONS", **headers}, 204)


for path in CLIENT_SDK_PATHS:
    app.route(path, methods=["GET"])(serve_client_sdk)
for path in (*EVALUATION_PATHS, *CLIENT_SDK_PATHS):
    app.route(path, methods=["OPTIONS"])(preflight)


@app.route("/status")
@answered
def report_status() -> Answer:
    """Whether evaluations can be answered, from where, and how old the data is; see ``STATUS_AUTH``."""
    from chalicelib.api.access import may_read_status
    from chalicelib.api.status import can_answer, daemon_status, daemon_status_without_data, direct_status, in_short

    tells_all = may_read_status(wiring.settings, _current_request.get().headers)
    if wiring.settings.direct_mode:
        report = direct_status(wiring.direct_flags, wiring.source)
    else:
        try:
            report = daemon_status(wiring.reader.kind, wiring.snapshots.current(), time.time())
        except (errors.StoreUnavailable, errors.StoreNotInitialized) as error:
            report = daemon_status_without_data(wiring.reader.kind, error)
        if tells_all and wiring.settings.records_events:
            report["events"] = wiring.events_status()
    note(condition=report["status"])
    body = report if tells_all else in_short(report)
    if can_answer(report):
        return Answer(body, {"Cache-Control": "no-store"})
    return Answer(body, {"Cache-Control": "no-store", "Retry-After": "5"}, 503)


# Functions that are invoked directly.

_NO_STORE: Json = {"status": "ignored", "reason": "EVALUATION_MODE is 'direct': there is no store to refresh."}
_NO_EVENTS: Json = {
    "status": "ignored",
    "reason": "EVENTS is 'off', or EVALUATION_MODE 'direct': no events are left in the store.",
}


@app.lambda_function(name="on_event")
@invoked
def on_event(event: object, lambda_context: object) -> Json:
    """Flags for the context in the event. Raises with the message of the HTTP API's 400 on bad input."""
    from chalicelib.api.invocations import answer_event, parse_event

    request = parse_event(event)
    flags = current_flags(counted=request.options.events)
    return {**answer_event(flags, request), **provenance_fields(flags.provenance)}


@app.schedule(Rate(RECONCILE_MINUTES, unit=Rate.MINUTES), name="reconcile")
@invoked
def reconcile(event: LambdaFunctionEvent) -> Json:
    """Refresh the store without a webhook; ``{"force": true}`` also by an empty data set, or another environment's."""
    if wiring.settings.direct_mode:
        return _NO_STORE
    request = event.to_dict()
    reconciler = wiring.reconciler(0.0 if event.context is None else seconds_left(event.context))
    with measured_refresh(wiring.data_age_seconds):
        outcome = reconciler.reconcile(force=isinstance(request, dict) and request.get("force") is True)
    note(revision=outcome.revision)
    return outcome.to_json()


@app.schedule(Rate(DELIVER_MINUTES, unit=Rate.MINUTES), name="deliver_events")
@invoked
def deliver_events(event: LambdaFunctionEvent) -> Json:
    """Send what evaluations have left in the store to LaunchDarkly; ``{"force": true}`` also when that has just failed.

    Raises EventsRefused for as long as a person has to do something about it.
    """
    if not wiring.settings.records_events:
        return _NO_EVENTS
    request = event.to_dict()
    force = isinstance(request, dict) and request.get("force") is True
    within_seconds = wiring.timing.delivery_seconds if event.context is None else seconds_left(event.context)
    delivered = wiring.delivery.deliver(within_seconds, force=force)
    emit(delivered.metrics())
    if delivered.status == "refused":
        raise errors.EventsRefused(f"{delivered.reason} The events stay in the store, and are dropped after a week.")
    return delivered.to_json()


# A schedule's event class insists on EventBridge's envelope; `chalice invoke` sends what the user wrote.
reconcile.event_class = deliver_events.event_class = LambdaFunctionEvent


# What requests have in common.


def current_flags(*, counted: bool) -> Snapshot | DirectFlags:
    """What this request evaluates from, from its start to its end; ``counted``: LaunchDarkly may know of it."""
    try:
        flags = wiring.current_flags(counted=counted)
    except (errors.StoreUnavailable, errors.StoreNotInitialized):
        emit({"StoreErrors": 1})
        raise
    provenance = flags.provenance
    if provenance.revision is not None:
        note(revision=provenance.revision, stale=provenance.stale)
    if provenance.stale:
        emit({"StaleAnswers": 1})
    return flags


def _asked_by_ofrep(options_of: Callable[[Query], Options]) -> Asked:
    from chalicelib.api.ofrep import parse_request

    return take_apart(_incoming(), wiring.settings, options_of, parse_request)


def _incoming() -> Incoming:
    return incoming(_current_request.get())


if evaluates_on_lambda():
    wiring.read_ahead()
elif (missing := missing_for_chalice_local(sys.argv[1:])) is not None:
    logging.getLogger("serverless-flags").warning(
        "%s This stage is meant for AWS; without AWS, run: make run, or: chalice local --stage local", missing
    )
