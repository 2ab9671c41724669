"""Chalice's app with what all routes and functions here have in common: front doors, errors, log lines, CORS, access.

Beside ``app.py`` the only module that imports chalice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chalice.app import Chalice, IAMAuthorizer, Request, Response

from .. import errors
from ..config import is_behind_iam
from ..read.contexts import parse_context
from ..runtime.logs import note, one_line
from ..runtime.metrics import emit, measured_refresh
from ..wiring import Wiring
from .access import check_full_access
from .answers import Answer, Json, error_answer, with_what_to_send
from .cors import cors_headers, preflight_headers
from .gateway import incoming, is_of_rest_api, list_header
from .request import Asked, Incoming, Query, take_apart

if TYPE_CHECKING:
    from ..launchdarkly.sdk import Context
    from ..read.direct import DirectFlags
    from ..read.evaluation import Options
    from ..read.snapshots import Snapshot

View = Callable[..., Any]
"""A view as Chalice takes it, which declares no types: path parameters -> what it answers with."""

_OTHER_EVENTS = ("pure_lambda", "scheduled", "cloudwatch", "sqs", "sns", "s3", "kinesis", "dynamodb", "websocket")
"""What Chalice calls all that invokes a function beside HTTP."""

_LOGGED_KEY_LENGTH = 256
"""As long as a flag key can be at LaunchDarkly; in a request it is the caller's, of whatever length."""

_request: ContextVar[Request] = ContextVar("request")
"""Chalice's own ``current_request`` is one for all threads, and `chalice local` has many."""


class FlagsApp(Chalice):
    """Answers behind API Gateway's REST API, a function URL, an HTTP API and a load balancer."""

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(app_name="serverless-flags", configure_logs=False)
        self._wiring = wiring
        self._authorizer = IAMAuthorizer() if is_behind_iam() else None
        self._open_to_pages: dict[str, str] = {}
        """By path, the method with which pages of ``CORS_ALLOW_ORIGIN`` may call it."""
        self.middleware("http")(self._finish)
        for event_type in _OTHER_EVENTS:
            self.middleware(event_type)(self._leave_events)

    def __call__(self, event: Any, context: Any) -> Any:
        """The answer to a request, in the shape of the door through which it came."""
        if is_of_rest_api(event):
            return super().__call__(event, context)
        from .fronts import answer_at_the_door

        call = functools.partial(super().__call__, context=context)
        return answer_at_the_door(event, self.routes, checked_by_app=self._authorizer, call=call)

    def answers(self, path: str, *methods: str, **options: Any) -> Callable[[Callable[..., Answer]], View]:
        """``route`` for a view that returns an Answer, and raises our errors; it takes the flag key of the path.

        GET where no method is named. The answer to HEAD has no body.
        """

        def decorate(view: Callable[..., Answer]) -> View:
            @functools.wraps(view)
            def answer(flag_key: str | None = None, **_others_in_path: str) -> Response:
                key = None if flag_key is None else unquote(flag_key)
                try:
                    given = view() if key is None else view(key)
                except errors.FlagsError as error:
                    given = self.noted(error)
                    if _is_ofrep():
                        from .ofrep import error_body

                        given = given._replace(body=error_body(error, key))
                body = "" if self.request.method == "HEAD" else given.body
                return Response(body, dict(given.headers), given.status)

            self.route(path, methods=list(methods or ("GET",)), **options)(answer)
            return view

        return decorate

    def evaluates(self, path: str) -> Callable[[Callable[..., Answer]], View]:
        """The same for a route behind ``EVALUATE_AUTH`` that pages may call."""

        def decorate(view: Callable[..., Answer]) -> View:
            self.answers(path, "POST", authorizer=self._authorizer)(view)
            self.open_to_pages(path, "POST")
            return view

        return decorate

    def open_to_pages(self, path: str, method: str) -> None:
        """Pages of ``CORS_ALLOW_ORIGIN`` may call this route, and their browsers ask whether they may."""
        self._open_to_pages[path] = method

        def preflight(_key: str | None = None) -> Answer:
            asked_headers = list_header(self.request, "access-control-request-headers") or ""
            headers = preflight_headers(self._wiring.settings.cors_allow_origin, asked_headers, method)
            return Answer("", {"Allow": f"{method}, OPTIONS", **headers}, 204)

        self.answers(path, "OPTIONS")(preflight)

    def protected_route(self, path: str, **options: Any) -> Callable[[View], View]:
        """``route`` for a route of your own whose callers have to prove themselves as those of ``/evaluate`` do.

        By a token of ``EVALUATE_TOKEN_SHA256``, by API Gateway with ``EVALUATE_AUTH=iam``, or not at all with
        ``none``. The view and the ``options`` are as Chalice takes them.
        """

        def decorate(view: View) -> View:
            @functools.wraps(view)
            def check_and_view(*arguments: Any, **parameters: Any) -> Any:
                try:
                    check_full_access(self._wiring.settings, self.request.headers, self.request.context)
                except errors.FlagsError as error:
                    refusal = self.noted(error)
                    return Response(refusal.body, dict(refusal.headers), refusal.status)
                return view(*arguments, **parameters)

            route: View = self.route(path, authorizer=self._authorizer, **options)(check_and_view)
            return route

        return decorate

    def invoked(self, function: Callable[..., Json]) -> Callable[..., Json]:
        """The function, with one log line for each invocation. Errors are raised, for the caller to see."""

        @functools.wraps(function)
        def invoke(*arguments: object) -> Json:
            with one_line(function=function.__name__):
                try:
                    result = function(*arguments)
                except errors.FlagsError as error:
                    note(status=self.noted(error).status)
                    raise
                note(status=200)
                return result

        return invoke

    @property
    def request(self) -> Request:
        """The request of this thread."""
        return _request.get()

    def incoming(self) -> Incoming:
        """The same as the rest of ``api`` takes it."""
        return incoming(_request.get())

    def asked(
        self, options_of: Callable[[Query], Options], context_of: Callable[[Any], Context] = parse_context
    ) -> Asked:
        """What this request asks about flags. Raises InvalidToken and InvalidRequest."""
        return take_apart(self.incoming(), self._wiring.settings, options_of, context_of)

    def note_flag(self, key: str) -> None:
        """The flag that this request is about goes into the log line."""
        note(flag=key[:_LOGGED_KEY_LENGTH])

    def flags_for(self, asked: Asked) -> Snapshot | DirectFlags:
        """What this request evaluates from, from its start to its end."""
        return self.current_flags(counted=asked.options.events, arrived_at=asked.arrived_at)

    def current_flags(self, *, counted: bool, arrived_at: float | None = None) -> Snapshot | DirectFlags:
        """The same of any invocation; ``counted``: LaunchDarkly may know of it.

        ``arrived_at``: since when it has been there (Unix time), if that is known.
        """
        try:
            flags = self._wiring.current_flags(counted=counted, arrived_at=arrived_at)
        except (errors.StoreUnavailable, errors.StoreNotInitialized):
            emit({"StoreErrors": 1})
            raise
        provenance = flags.provenance
        if provenance.revision is not None:
            note(revision=provenance.revision, stale=provenance.stale)
        if provenance.stale:
            emit({"StaleAnswers": 1})
        return flags

    def refreshed(self, refresh: Callable[[], Json]) -> Json:
        """What has come of this refresh, which is measured and goes into the log line. Raises as it does."""
        with measured_refresh(self._wiring.data_age_seconds):
            outcome = refresh()
        note(revision=outcome["revision"])
        return outcome

    def noted(self, error: errors.FlagsError) -> Answer:
        """The answer to an error, which goes into the log line: in full only if it is not the caller's.

        What is wrong with the configuration stands there alone.
        """
        answer, name = error_answer(error), type(error).__name__
        note(error=f"{name}: {error}" if answer.status >= 500 else name)
        return answer

    def _leave_events(self, event: Any, function: Callable[[Any], Any]) -> Any:
        """Any function of the app, a user's own too, whose end is the time to leave what there is to tell."""
        try:
            return function(event)
        finally:
            self._wiring.end_invocation()

    def _finish(self, request: Request, view: Callable[[Request], Response]) -> Response:
        """One log line for each request, and on each answer, Chalice's own (405, 415, 500) too, what its route has."""
        _request.set(request)
        with one_line(route=f"{request.method} {request.path}"):
            answer = view(request)
            self._wiring.end_invocation()
            note(status=answer.status_code)
            # The shape of Chalice's errors and of ours; what a user's own view answers has any.
            is_error = isinstance(answer.body, dict) and answer.body.keys() == {"Code", "Message"}
            if is_error and answer.status_code in (405, 415):
                answer.body["Message"] = with_what_to_send(answer.body["Message"], request.path)
            if request.path in self._open_to_pages:
                with suppress(errors.ConfigurationError):  # the answer says so already
                    answer.headers.update(cors_headers(self._wiring.settings.cors_allow_origin))
            if is_error and _is_ofrep():
                answer.body = {"errorDetails": answer.body["Message"]}
            return answer


def _is_ofrep() -> bool:
    return _request.get().path.startswith("/ofrep/")
