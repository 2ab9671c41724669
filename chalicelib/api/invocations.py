"""The event of ``on_event``: what a direct invocation, EventBridge or Step Functions asks for, and its answer.

Pure over a flag source.
"""

from typing import Any, NamedTuple

from ..errors import InvalidContext, InvalidRequest
from ..launchdarkly.sdk import Context
from ..read.contexts import parse_context
from ..read.evaluation import FlagSource, Options, evaluate_flag, evaluate_flags

_FORMS = (
    "a context or user itself, {'context': ...}, {'user': ...}, or {'contexts': [...]}, "
    "with optional flag, flags, withReasons, clientSideOnly and events"
)


_OPTIONS = ("flag", "flags", "withReasons", "clientSideOnly", "events")
_SUBJECTS = ("context", "user", "contexts")


class EventRequest(NamedTuple):
    """What to evaluate. ``contexts`` are not yet parsed, so that a bad one is an error in its place."""

    contexts: tuple[object, ...]
    options: Options
    flag: str | None = None
    is_batch: bool = False


def parse_event(event: object) -> EventRequest:
    """Raises InvalidRequest for anything that is not one of the documented forms."""
    if not isinstance(event, dict):
        raise InvalidRequest(f"The event must be a JSON object: {_FORMS}.")
    request: dict[str, Any] = event
    if not _is_context(event) and "detail-type" in event and isinstance(event.get("detail"), dict):
        request = event["detail"]  # an EventBridge envelope
    if _is_context(request):
        _check_is_context_alone(request)
        return EventRequest(contexts=(request,), options=Options())
    subjects = [name for name in _SUBJECTS if name in request]
    if len(subjects) != 1:
        raise InvalidRequest(f"The event must hold exactly one subject: {_FORMS}.")
    for name in request:
        if name not in (*subjects, *_OPTIONS):
            raise InvalidRequest(f"The event's {name[:100]!r} is not known: it must be {_FORMS}.")
    return _wrapped(request, subjects[0])


def _is_context(event: dict[str, Any]) -> bool:
    """A context or user itself."""
    return "kind" in event or "key" in event


def _check_is_context_alone(event: dict[str, Any]) -> None:
    """What would be an option or a subject beside a context is no attribute of one: nobody could tell which is meant.

    The properties of a multi-context are kinds, which may have any name. ``events`` came later than contexts that have
    an attribute of this name: only a boolean could be meant as the option.
    """
    if event.get("kind") == "multi":
        return
    for name in (*_SUBJECTS, *_OPTIONS):
        if name in event and (name != "events" or isinstance(event[name], bool)):
            raise InvalidRequest(
                f"The event's {name!r} stands beside 'kind' or 'key': it is ambiguous whether it belongs to the "
                "context. Put the context into {'context': ...}, or the user into {'user': ...}."
            )


def _wrapped(event: dict[str, Any], subject: str) -> EventRequest:
    is_batch = subject == "contexts"
    if is_batch and not isinstance(event[subject], list):
        raise InvalidRequest("The event's 'contexts' must be an array of contexts.")
    flag = event.get("flag")
    if flag is not None and (is_batch or not isinstance(flag, str)):
        raise InvalidRequest("The event's 'flag' must be a flag key, and cannot go with 'contexts'; use 'flags'.")
    if flag is not None and event.get("flags") is not None:
        raise InvalidRequest("The event holds 'flag' and 'flags'; expected one of them.")
    return EventRequest(
        contexts=tuple(event[subject]) if is_batch else (event[subject],),
        options=Options(
            with_reasons=_boolean(event, "withReasons"),
            client_side_only=_boolean(event, "clientSideOnly"),
            flags=_flags(event),
            events=_boolean(event, "events", default=True),
        ),
        flag=flag,
        is_batch=is_batch,
    )


def _boolean(event: dict[str, Any], name: str, *, default: bool = False) -> bool:
    value = event.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"The event's {name!r} must be true or false.")
    return value


def _flags(event: dict[str, Any]) -> tuple[str, ...] | None:
    keys = event.get("flags")
    if keys is None:
        return None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InvalidRequest("The event's 'flags' must be an array of flag keys.")
    return tuple(dict.fromkeys(keys))


def answer_event(source: FlagSource, request: EventRequest) -> dict[str, Any]:
    """``{"flags"}``, ``{"flag"}`` or, for a batch, ``{"results"}`` in the order of the contexts.

    Raises InvalidContext and FlagNotFound, except in a batch, where a bad context is an error in its place.
    """
    if request.flag is not None:
        return {"flag": evaluate_flag(source, parse_context(request.contexts[0]), request.flag, request.options)}
    if not request.is_batch:
        return {"flags": evaluate_flags(source, parse_context(request.contexts[0]), request.options)}
    return {"results": _results(source, request)}


class _Subject(NamedTuple):
    """One of the contexts of a batch, or what is wrong with it."""

    context: Context | None
    error: str = ""


def _results(source: FlagSource, request: EventRequest) -> list[dict[str, Any]]:
    subjects = [_parsed(context) for context in request.contexts]
    if source.memberships is not None:
        source.memberships.expect([each.context for each in subjects if each.context is not None])
    return [
        {"error": each.error}
        if each.context is None
        else {"flags": evaluate_flags(source, each.context, request.options)}
        for each in subjects
    ]


def _parsed(data: object) -> _Subject:
    try:
        return _Subject(parse_context(data))
    except InvalidContext as error:
        return _Subject(None, str(error))
