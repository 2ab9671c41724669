"""The app: its routes and functions. What all of them have in common is in ``chalicelib/api/flags_app.py``.

Importing it opens no connection and needs no environment: the parts are built on first use
(``chalicelib/wiring.py``). What only some requests need is imported where they begin, because every cold
start pays for the imports up here.
"""

from __future__ import annotations

from chalicelib.runtime.deferred import defer

defer("ipaddress")  # urllib.parse imports it, and asks it for addresses in brackets only

from chalicelib.config import evaluates_on_lambda, missing_for_chalice_local
from chalicelib.wiring import wiring

if evaluates_on_lambda():
    wiring.begin_to_read()  # first of all: the network answers while the rest is imported

import logging
import sys
import time
from contextlib import suppress

from chalice.app import LambdaFunctionEvent, Rate

from chalicelib import DELIVER_MINUTES, RECONCILE_MINUTES, errors
from chalicelib.api.answers import (
    CLIENT_SDK_PATHS,
    NO_EVENTS,
    NO_STORE,
    Answer,
    Json,
    evaluation_answer,
    ignored,
    in_format,
    nothing_at_root,
    provenance_fields,
)
from chalicelib.api.flags_app import FlagsApp
from chalicelib.api.gateway import is_forced, seconds_left
from chalicelib.api.request import (
    options_from_query,
    options_of_ofrep,
    options_of_ofrep_in_bulk,
    options_of_one_flag,
    parse_json,
)
from chalicelib.read.evaluation import evaluate_flag, evaluate_flags
from chalicelib.runtime.logs import log_as_json, note
from chalicelib.runtime.metrics import emit

app = FlagsApp(wiring)
log_as_json()


# Routes.


@app.answers("/")
def root() -> Answer:
    """The explorer page, where it is on; else where to go."""
    with suppress(errors.ConfigurationError):  # whatever else is asked says so
        if wiring.settings.has_explorer:
            from chalicelib.api.explorer import page

            return page()
    return nothing_at_root()


@app.answers("/explorer/flags")
def list_flags() -> Answer:
    """What each flag is, whatever the context: for the explorer page."""
    from chalicelib.api.explorer import check_explorer, listing

    check_explorer(wiring.settings, app.incoming())
    return listing(app.current_flags(counted=False), wiring.settings)


@app.answers("/explorer/flags/{flag_key}", "POST")
def change_flag_in_file(key: str) -> Answer:
    """Change a flag in the local stage's flag file, and refresh the store."""
    from chalicelib.api.explorer import change_from, check_explorer
    from chalicelib.flag_file.editing import change_flag

    check_explorer(wiring.settings, app.incoming())
    change, flag_file = change_from(wiring.settings, app.incoming()), wiring.settings.flag_file
    app.note_flag(key)
    assert flag_file is not None  # or nothing can be changed
    change_flag(flag_file, key, change)
    return Answer(app.refreshed(lambda: wiring.refresher.refresh(None).to_json()))


@app.answers("/webhook", "POST")
def webhook() -> Answer:
    """LaunchDarkly announces a change: refresh the store."""
    from chalicelib.refresh.webhook import change_in, verify_webhook

    settings, incoming = wiring.settings, app.incoming()
    if settings.direct_mode:
        return Answer(ignored(NO_STORE))
    body = incoming.read_body()
    verify_webhook(settings, body, incoming.headers.get("x-ld-signature"))
    change = change_in(parse_json(body), settings.environment)
    if change.ignored_because is not None:
        return Answer(ignored(change.ignored_because))
    answer_seconds = wiring.timing.answer_seconds
    within_seconds = min(answer_seconds, seconds_left(app.request.lambda_context, without=answer_seconds))
    return Answer(app.refreshed(lambda: wiring.refresher.refresh(change.announcement, within_seconds).to_json()))


@app.evaluates("/evaluate")
def evaluate_all_flags() -> Answer:
    """All flags, or those in ``?flags=``, for the context in the body."""
    asked = app.asked(options_from_query)
    flags = app.flags_for(asked)
    return evaluation_answer(
        flags, asked, lambda: in_format(evaluate_flags(flags, asked.context, asked.options), asked.options)
    )


@app.evaluates("/evaluate/{flag_key}")
def evaluate_one_flag(key: str) -> Answer:
    """One flag for the context in the body."""
    asked = app.asked(options_of_one_flag)
    app.note_flag(key)
    flags = app.flags_for(asked)
    return evaluation_answer(flags, asked, lambda: evaluate_flag(flags, asked.context, key, asked.options), key)


@app.evaluates("/ofrep/v1/evaluate/flags")
def evaluate_all_flags_by_ofrep() -> Answer:
    """All flags, for OpenFeature's client-side providers."""
    from chalicelib.api.ofrep import answer_bulk, parse_request

    asked = app.asked(options_of_ofrep_in_bulk, parse_request)
    return answer_bulk(app.flags_for(asked), asked)


@app.evaluates("/ofrep/v1/evaluate/flags/{flag_key}")
def evaluate_one_flag_by_ofrep(key: str) -> Answer:
    """One flag, for OpenFeature's server-side providers."""
    from chalicelib.api.ofrep import answer_one, not_found, parse_request

    asked = app.asked(options_of_ofrep, parse_request)
    app.note_flag(key)
    flags = app.flags_for(asked)
    try:
        return answer_one(flags, asked, key)
    except errors.FlagNotFound as error:
        return app.noted(error)._replace(body=not_found(error, key, flags.provenance))


def serve_client_sdk() -> Answer:
    """All flags that a page or a mobile device may see, for the context in the path; or a page's goals."""
    from chalicelib.api.client_sdks import answer_client

    incoming = app.incoming()
    return answer_client(
        incoming, wiring.settings, lambda: app.current_flags(counted=False, arrived_at=incoming.arrived_at)
    )


for path in CLIENT_SDK_PATHS:
    app.answers(path)(serve_client_sdk)
    app.open_to_pages(path, "GET")


@app.evaluates("/track")
def track() -> Answer:
    """Something has happened that a metric of LaunchDarkly's counts."""
    from chalicelib.api.track import custom_event

    ignored_because = wiring.track(*custom_event(app.incoming(), wiring.settings))
    return Answer({"status": "accepted"} if ignored_because is None else ignored(ignored_because), {}, 202)


@app.answers("/status", "GET", "HEAD")
def report_status() -> Answer:
    """Whether evaluations can be answered, from where, and how old the data is; see ``STATUS_AUTH``."""
    from chalicelib.api.access import may_read_status
    from chalicelib.api.status import daemon_status, direct_status, status_answer

    tells_all = may_read_status(wiring.settings, app.incoming().headers)
    if wiring.settings.direct_mode:
        report = direct_status(wiring.direct_flags, wiring.source)
    else:
        report = daemon_status(wiring.reader.kind, wiring.snapshots.current, time.time())
    if tells_all and wiring.settings.records_events:
        report["events"] = wiring.events_status()
    note(condition=report["status"])
    return status_answer(report, in_full=tells_all)


# Functions that are invoked directly.


@app.lambda_function(name="on_event")
@app.invoked
def on_event(event: object, lambda_context: object) -> Json:
    """Flags for the context in the event. Raises with the message of the HTTP API's 400 on bad input."""
    from chalicelib.api.invocations import answer_event, parse_event

    request = parse_event(event)
    flags = app.current_flags(counted=request.options.events)
    return {**answer_event(flags, request), **provenance_fields(flags.provenance)}


@app.schedule(Rate(RECONCILE_MINUTES, unit=Rate.MINUTES), name="reconcile")
@app.invoked
def reconcile(event: LambdaFunctionEvent) -> Json:
    """Refresh the store without a webhook; ``{"force": true}`` also by an empty data set, or another environment's."""
    if wiring.settings.direct_mode:
        return ignored(NO_STORE)
    reconciler = wiring.reconciler(seconds_left(event.context, without=wiring.timing.answer_seconds))
    return app.refreshed(lambda: reconciler.reconcile(force=is_forced(event)).to_json())


@app.schedule(Rate(DELIVER_MINUTES, unit=Rate.MINUTES), name="deliver_events")
@app.invoked
def deliver_events(event: LambdaFunctionEvent) -> Json:
    """Send what evaluations have left in the store to LaunchDarkly; ``{"force": true}`` also when that has just failed.

    Raises EventsRefused for as long as a person has to do something about it.
    """
    if not wiring.settings.records_events:
        return ignored(NO_EVENTS)
    within_seconds = seconds_left(event.context, without=wiring.timing.delivery_seconds)
    delivered = wiring.delivery.deliver(within_seconds, force=is_forced(event))
    emit(delivered.metrics())
    if delivered.status == "refused":
        raise errors.EventsRefused(f"{delivered.reason} The events stay in the store, and are dropped after a week.")
    return delivered.to_json()


# A schedule's event class insists on EventBridge's envelope; `chalice invoke` sends what the user wrote.
reconcile.event_class = deliver_events.event_class = LambdaFunctionEvent


if evaluates_on_lambda():
    wiring.read_ahead()
elif (missing := missing_for_chalice_local(sys.argv[1:])) is not None:
    logging.getLogger("serverless-flags").warning(
        "%s This stage is meant for AWS; without AWS, run: make run, or: chalice local --stage local", missing
    )
