"""Look after a stage: `python -m tools.operate status production`; also refresh, flags, explain and logs.

A deployed stage is asked with the caller's own AWS rights; the stage ``local`` is the app that `make run` has started.
``flags`` and ``explain`` read the store as a function would: a Redis in a VPC has to be reached from here, by a tunnel.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import boto3
import requests

from chalicelib.config import VARIABLES, Settings, load_settings
from chalicelib.data_set import FEATURES, SEGMENTS, StoredDataSet
from chalicelib.errors import StoreUnavailable
from chalicelib.timing import Timing
from chalicelib.wiring import Wiring
from tools.command_line import run
from tools.deployment import Deployment, find
from tools.invocations import get_from_api, invoke
from tools.stages import Stage, StageError

Json = dict[str, Any]

LOCAL = "local"
_FROM_AFAR = Timing(
    first_exchange_seconds=5.0, redis_held_seconds=5.0, dynamodb_query_seconds=10.0, dynamodb_held_seconds=5.0
)
"""Whoever operates a stage is further away from its store than a function."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="operate", description="Look after a stage.")
    parser.add_argument("--port", type=int, default=8000, help="of the app that `make run` has started")
    commands = parser.add_subparsers(required=True)
    for name, command, description in (
        ("status", _status, "what is deployed, and whether it can answer"),
        ("refresh", _refresh, "fetch from LaunchDarkly now"),
        ("flags", _flags, "what is in the store"),
        ("explain", _explain, "why a context gets its variation of a flag"),
        ("logs", _logs, "what the functions have logged"),
    ):
        each = commands.add_parser(name, help=description)
        each.add_argument("stage", help="a stage of .chalice/config.json, or local")
        each.set_defaults(command=command)
    commands.choices["refresh"].add_argument("--force", action="store_true", help="also on the word of an empty set")
    commands.choices["flags"].add_argument("--flag", help="show this one whole")
    commands.choices["explain"].add_argument("--flag", required=True)
    commands.choices["explain"].add_argument("--context", required=True, help="a context or a user, as JSON")
    for name in ("flags", "explain"):
        commands.choices[name].add_argument("--redis-url", help="where the stage's Redis is reached from here")
    commands.choices["logs"].add_argument("--minutes", type=float, default=10.0, help="how far back")
    commands.choices["logs"].add_argument("--filter", default="", help="CloudWatch's filter pattern")
    options = parser.parse_args(arguments)
    return run(lambda: options.command(Stage(options.stage), options))


def _status(stage: Stage, options: argparse.Namespace) -> None:
    """Raises StageError, once all has been said, when the stage cannot answer."""
    if stage.name == LOCAL:
        status, report = _ask_local(options.port, "GET", "/status")
    else:
        deployment = find(stage)
        print("\n".join(_lines_of(deployment)))
        status, report = get_from_api(deployment.function_name("api_handler"), "/status")
    print(json.dumps(report, indent=2))
    if status != 200:
        raise StageError(f"Stage {stage.name!r} cannot answer: it is {report.get('status', report.get('Message'))}.")


def _lines_of(deployment: Deployment) -> Iterator[str]:
    yield f"{deployment.stage.deployment} in {deployment.place}"
    yield deployment.url
    for function in deployment.functions.values():
        size = f"{function['MemorySize']} MB, {function['Timeout']} s"
        yield f"{function['FunctionName']}: {function['Runtime']}, {size}, deployed {function['LastModified'][:19]}"
    events = boto3.client("events")
    for name in deployment.rules.values():
        rule = events.describe_rule(Name=name)
        yield f"{name}: {rule['ScheduleExpression']}, {rule['State'].lower()}"


def _refresh(stage: Stage, options: argparse.Namespace) -> None:
    if stage.name != LOCAL:
        outcome = invoke(find(stage).function_name("reconcile"), {"force": True} if options.force else {})
    elif options.force:
        raise StageError(
            "FORCE is for a deployed stage; locally, what the flag file says is taken as it is, unless it is empty."
        )
    else:
        status, outcome = _ask_local(options.port, "POST", "/webhook", {"kind": "flag"})
        if status != 200:
            raise StageError(f"Not refreshed: {outcome.get('Message')}")
    print(sentence_of(outcome))


def sentence_of(outcome: Json) -> str:
    """What a refresh has returned, in words."""
    if outcome["status"] != "refreshed":
        return str(outcome.get("reason", outcome["status"]))
    change = "changed" if outcome["changed"] else "unchanged"
    return f"{outcome['flags']} flags and {outcome['segments']} segments, {change}, revision {outcome['revision']}."


def _ask_local(port: int, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
    try:
        answer = requests.request(method, f"http://127.0.0.1:{port}{path}", json=body, timeout=30)
        return answer.status_code, answer.json()
    except (requests.ConnectionError, requests.exceptions.InvalidURL):
        raise StageError(f"Nothing listens on port {port} here: make run, or say PORT=...") from None
    except requests.JSONDecodeError:
        raise StageError(f"What listens on port {port} here is not this app; say PORT=...") from None


def _flags(stage: Stage, options: argparse.Namespace) -> None:
    stored = stored_data_set(stage, options)
    flags = {key: text for key, text in stored.texts[FEATURES].items() if not _parsed(text).get("deleted")}
    if options.flag is None:
        print("\n".join([*(_line_of(key, flags[key]) for key in sorted(flags)), _footer(stored, len(flags))]))
    elif options.flag in flags:
        print(_whole(flags[options.flag]))
    else:
        close = difflib.get_close_matches(options.flag, flags, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        raise StageError(f"There is no flag {options.flag!r} in the store{hint}")


def _explain(stage: Stage, options: argparse.Namespace) -> None:
    """By the app's own evaluation, over the stage's store."""
    from chalicelib.read.contexts import parse_context
    from chalicelib.read.evaluation import Options, evaluate_flag

    try:
        context = parse_context(json.loads(options.context))
    except ValueError:
        raise StageError('CONTEXT is not JSON; for example: CONTEXT=\'{"kind": "user", "key": "anna"}\'') from None
    wiring = _wiring(stage, options)
    with _told_how_to_reach(wiring.settings):
        flags = wiring.current_flags()
    evaluated = evaluate_flag(flags, context, options.flag, Options(explain=True))
    explanation = evaluated["explanation"]
    value = json.dumps(evaluated["value"], ensure_ascii=False)
    print(f"{evaluated['key']} is {value}. {explanation['summary']}")
    for step in explanation["steps"]:
        print(f"  {step['outcome']}: {step['text']}")


def stored_data_set(stage: Stage, options: argparse.Namespace) -> StoredDataSet:
    """All that the store holds. Raises StageError where there is none, or it is out of reach or empty."""
    wiring = _wiring(stage, options)
    with _told_how_to_reach(wiring.settings):
        record = wiring.reader.read_sync_record()
        stored = wiring.reader.read_snapshot(record, None) if record is not None else None
        stored = stored or wiring.reader.read_items()
    if not stored.initialized:
        raise StageError(f"The store was never filled: make refresh STAGE={stage.name}")
    return stored


def _wiring(stage: Stage, options: argparse.Namespace) -> Wiring:
    """The app's parts as a function of the stage has them, with more patience."""
    return _wiring_with(settings_of(stage, options.redis_url, options.port))


def _wiring_with(settings: Settings) -> Wiring:
    wiring = Wiring(_FROM_AFAR)
    vars(wiring)["settings"] = settings
    return wiring


@contextmanager
def _told_how_to_reach(settings: Settings) -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        hint = "" if settings.redis_url is None else " A cache in a VPC is reached by a tunnel: say REDIS_URL=..."
        raise StageError(f"{error}{hint}") from None


def settings_of(stage: Stage, redis_url: str | None, port: int) -> Settings:
    """As the stage's functions have them, with the caller's own access to AWS. Raises StageError without a store.

    Locally the shell's variables count as well, as they do for `make run`; ``port`` is that of the local app.
    """
    shell = {name: value for name, value in os.environ.items() if stage.name == LOCAL or name not in VARIABLES}
    own = stage.environment("on_event")
    variables = {**own, **shell} if stage.name == LOCAL else {**shell, **own}
    settings = load_settings(variables)
    if settings.direct_mode:
        raise StageError(f"Stage {stage.name!r} has EVALUATION_MODE 'direct', which has no store.")
    if settings.redis_url == "embedded" and redis_url is None:
        redis_url = _embedded_server(port)
    return settings if redis_url is None else load_settings({**variables, "REDIS_URL": redis_url, "DYNAMODB_TABLE": ""})


def _embedded_server(port: int) -> str:
    """Of several, the one that holds what the app on this port answers from: one revision is one content."""
    from chalicelib.stores.redis.embedded import running_servers

    urls = running_servers()
    if not urls:
        raise StageError("No app runs on this machine with an embedded Valkey: make run")
    if len(urls) == 1:
        return urls[0]
    revision = _revision_on(port)
    found = next((url for url in urls if revision is not None and _revision_in(url) == revision), None)
    if found is None:
        raise StageError(
            "Several apps run on this machine; say which one with PORT=..., or its store with REDIS_URL=: "
            f"{', '.join(urls)}"
        )
    return found


def _revision_on(port: int) -> str | None:
    """Of what the app on this port answers from; None where there is none that tells."""
    with suppress(StageError):
        data = _ask_local(port, "GET", "/status")[1].get("data") or {}
        return data.get("revision")
    return None


def _revision_in(url: str) -> str | None:
    """Of what this server holds; None where it holds nothing, or has left nothing but its socket."""
    with suppress(StoreUnavailable):
        record = _wiring_with(load_settings({"REDIS_URL": url})).reader.read_sync_record()
        return None if record is None else record.revision
    return None


def _parsed(text: bytes) -> Json:
    """An item that is no JSON object counts as an empty one."""
    with suppress(ValueError, RecursionError):
        parsed = json.loads(text)
        if isinstance(parsed, dict):
            return parsed
    return {}


def _whole(text: bytes) -> str:
    """Indented, or as it is where it is no JSON object."""
    flag = _parsed(text)
    return json.dumps(flag, indent=2, ensure_ascii=False) if flag else text.decode(errors="replace")


def _line_of(key: str, text: bytes) -> str:
    flag = _parsed(text)
    if "version" not in flag:
        return f"{key:<40}  unreadable  {len(text):>7,} bytes"
    state, rules = "on" if flag.get("on") else "off", len(flag.get("rules") or [])
    return f"{key:<40}  {state:<3}  version {flag['version']:>5}  {rules:>3} rules  {len(text):>7,} bytes"


def _footer(stored: StoredDataSet, flags: int) -> str:
    segments = f"{flags} flags and {len(stored.texts[SEGMENTS])} segments"
    if stored.record is None:
        return f"{segments}; a Relay Proxy or another SDK has filled the store."
    return f"{segments}, refreshed at {stored.record.synced_at}, revision {stored.record.revision}."


def _logs(stage: Stage, options: argparse.Namespace) -> None:
    if stage.name == LOCAL:
        raise StageError("The local stage logs where `make run` was started.")
    if not 0 < options.minutes <= time.time() / 60:
        raise StageError(f"MINUTES is {options.minutes:g}; expected how far back to look, such as 60.")
    deployment = find(stage)
    since_ms = int((time.time() - options.minutes * 60) * 1000)
    names = [function["FunctionName"] for function in deployment.functions.values()]
    events = [event for name in names for event in _events(name, since_ms, options.filter)]
    for moment, name, message in sorted(events):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment / 1000))
        print(f"{at} {name.removeprefix(deployment.stage.deployment + '-')}: {message.rstrip()}")
    if not events:
        raise StageError(
            f"Nothing was logged within {options.minutes:g} minutes in {deployment.place}; say MINUTES=..."
        )


def _events(function: str, since_ms: int, pattern: str) -> Iterator[tuple[int, str, str]]:
    logs = boto3.client("logs")
    pages = logs.get_paginator("filter_log_events")
    with suppress(logs.exceptions.ResourceNotFoundException):  # it has never run
        for page in pages.paginate(logGroupName=f"/aws/lambda/{function}", startTime=since_ms, filterPattern=pattern):
            for event in page["events"]:
                yield event["timestamp"], function, event["message"]


if __name__ == "__main__":
    sys.exit(main())
