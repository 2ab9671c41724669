"""What is in the log: one JSON line for each request or invocation, and nothing of what must not be there."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ldclient
import pytest
import requests
from awslambdaric.bootstrap import LambdaLoggerFilter, LambdaLoggerHandler, LambdaLoggerHandlerWithFrameType
from awslambdaric.lambda_runtime_log_utils import _JSON_FRAME_TYPES, _TEXT_FRAME_TYPES

from chalicelib import errors
from chalicelib.runtime.logs import JsonFormatter, log_as_json, note, one_line
from tests.support.app import App, Environment, LoadApp
from tests.support.chalice_local import chalice_local
from tests.support.data import EXAMPLES, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.support.waiting import eventually

TOKEN = "the-callers-token"
SECRET = "the-webhooks-secret"
CONTEXT = {"kind": "user", "key": "key-of-anna", "email": "anna@example.com", "plan": "plan-of-anna"}
OFREP = {"context": {"targetingKey": "key-of-anna", "email": "anna@example.com", "plan": "plan-of-anna"}}
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
NEVER_LOGGED = ("anna", TOKEN, SECRET, "sdk-key", "marker-in-the-body")


@pytest.fixture
def closed_app(load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly) -> App:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    app = load_app(
        {
            **environment,
            "EVALUATE_AUTH": "token",
            "EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
            "LAUNCHDARKLY_WEBHOOK_SECRET": SECRET,
        }
    )
    app.invoke("reconcile", {})
    return app


class Log:
    """The lines since the last look, as the app's formatter writes them."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def lines(self) -> list[dict[str, Any]]:
        texts = [JsonFormatter().format(record) for record in self._caplog.records]
        self._caplog.clear()
        assert not any(secret in text for text in texts for secret in NEVER_LOGGED), texts
        return [without_time(json.loads(text)) for text in texts]

    def line(self) -> dict[str, Any]:
        """The only line, without the time it took."""
        (line,) = self.lines()
        assert 0 <= line.pop("milliseconds") < 600_000
        return line


def without_time(line: dict[str, Any]) -> dict[str, Any]:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    return line


@pytest.fixture
def log(closed_app: App, caplog: pytest.LogCaptureFixture) -> Log:
    caplog.clear()
    return Log(caplog)


def test_an_evaluation_is_one_line(closed_app: App, log: Log) -> None:
    answer = closed_app.post("/evaluate", CONTEXT, AUTHORIZED)
    expected = {"level": "INFO", "status": 200, "revision": answer.headers["X-Flags-Revision"], "stale": False}
    assert log.line() == {"route": "POST /evaluate", **expected}

    closed_app.post("/evaluate/shiny", CONTEXT, AUTHORIZED)
    assert log.line() == {"route": "POST /evaluate/{flag_key}", "flag": "shiny", **expected}

    closed_app.post("/evaluate", CONTEXT, {**AUTHORIZED, "If-None-Match": answer.headers["ETag"]})
    assert log.line() == {"route": "POST /evaluate", **expected, "status": 304}

    closed_app.post("/ofrep/v1/evaluate/flags/shiny", OFREP, AUTHORIZED)
    assert log.line() == {"route": "POST /ofrep/v1/evaluate/flags/{flag_key}", "flag": "shiny", **expected}

    closed_app.post("/ofrep/v1/evaluate/flags", OFREP, AUTHORIZED)
    assert log.line() == {"route": "POST /ofrep/v1/evaluate/flags", **expected}


def refused(route: str, status: int, **others: object) -> dict[str, object]:
    return {"level": "INFO", "route": route, "status": status, **others}


def test_a_refused_request_is_one_line_that_names_the_kind_of_error(closed_app: App, log: Log) -> None:
    closed_app.post("/evaluate", CONTEXT, {"X-API-Key": TOKEN + "x"})
    assert log.line() == refused("POST /evaluate", 401, error="InvalidToken")
    closed_app.post(f"/evaluate?token={TOKEN}&context=anna", CONTEXT)
    assert log.line() == refused("POST /evaluate", 401, error="InvalidToken")
    closed_app.post("/evaluate", b'{"key": "anna', AUTHORIZED)
    assert log.line() == refused("POST /evaluate", 400, error="InvalidRequest")
    closed_app.post("/evaluate", {**CONTEXT, "kind": "kind of anna"}, AUTHORIZED)
    assert log.line() == refused("POST /evaluate", 400, error="InvalidContext")
    closed_app.post("/evaluate", {**CONTEXT, "plan": "anna \ud800"}, AUTHORIZED)
    assert log.line() == refused("POST /evaluate", 400, error="InvalidContext")
    closed_app.post("/evaluate", CONTEXT, {**AUTHORIZED, "Content-Type": "text/anna"})
    assert log.line() == refused("POST /evaluate", 415)
    closed_app.client.http.get("/evaluate")
    assert log.line() == refused("GET /evaluate", 405)
    closed_app.client.http.options("/evaluate")
    assert log.line() == refused("OPTIONS /evaluate", 204)


def test_a_flag_key_is_logged_at_no_more_than_its_longest(closed_app: App, log: Log) -> None:
    closed_app.post("/evaluate/" + "k" * 4096, CONTEXT, AUTHORIZED)
    line = log.line()
    assert (line["status"], line["flag"], line["error"]) == (404, "k" * 256, "FlagNotFound")


def test_a_flag_key_cannot_start_a_line_of_its_own(closed_app: App, log: Log) -> None:
    closed_app.post("/evaluate/a%0A%7B%22level%22:%22ERROR%22%7D", CONTEXT, AUTHORIZED)
    assert log.line()["flag"] == 'a\n{"level":"ERROR"}'


def test_a_webhook_is_one_line_and_nothing_of_its_entry(
    closed_app: App, log: Log, launchdarkly: FakeLaunchDarkly
) -> None:
    entry = {"kind": "flag", "member": {"email": "anna@example.com"}, "comment": "marker-in-the-body"}
    revision = closed_app.webhook(**entry)["revision"]
    assert log.line() == {"level": "INFO", "route": "POST /webhook", "status": 200, "revision": revision}

    closed_app.webhook(**{**entry, "kind": "anna"})
    assert log.line() == {"level": "INFO", "route": "POST /webhook", "status": 200}

    closed_app.post("/webhook", entry, {"X-LD-Signature": SECRET})
    assert log.line() == refused("POST /webhook", 401, error="InvalidSignature")


def test_a_failure_is_an_error_that_says_why(closed_app: App, log: Log, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.fault = Fault.UNAUTHORIZED
    assert closed_app.post("/webhook", {"kind": "flag"}).status_code == 503
    lines = log.lines()
    assert lines[-1].pop("milliseconds") > 0
    assert lines[-1] == {
        "level": "ERROR",
        "route": "POST /webhook",
        "status": 503,
        "error": "SdkKeyRejected: LaunchDarkly rejected the SDK key (HTTP 401).",
    }
    ours = [line for line in lines if line.get("logger", "").startswith("chalicelib")]
    assert [line["level"] for line in ours] == ["WARNING"]


def test_our_own_bug_is_an_error_with_its_traceback_in_one_line(
    closed_app: App, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_app.module.app, "current_flags", lambda **_: 1 // 0)
    assert closed_app.post("/evaluate", CONTEXT, AUTHORIZED).status_code == 500
    bug, request = log.lines()
    assert "ZeroDivisionError" in bug.pop("exception")
    assert bug == {"level": "ERROR", "logger": "serverless-flags", "message": "Caught exception for path /evaluate"}
    assert (request["level"], request["route"], request["status"]) == ("ERROR", "POST /evaluate", 500)


def test_a_status_is_one_line_with_what_it_said(closed_app: App, log: Log) -> None:
    closed_app.client.http.get("/status")
    assert log.line() == {"level": "INFO", "route": "GET /status", "status": 200, "condition": "healthy"}


def test_an_invocation_is_one_line(closed_app: App, log: Log) -> None:
    revision = closed_app.invoke("on_event", {"context": CONTEXT, "flag": "shiny"})["revision"]
    expected = {"level": "INFO", "function": "on_event", "status": 200, "revision": revision, "stale": False}
    assert log.line() == expected
    closed_app.invoke("on_event", {"contexts": [CONTEXT, "anna", {"key": 7}]})
    assert log.line() == expected
    with pytest.raises(Exception, match="key"):
        closed_app.invoke("on_event", {"user": {"key": ["anna"]}})
    assert log.line() == {**expected, "status": 400, "error": "InvalidContext"}
    closed_app.invoke("reconcile", {})
    assert log.line() == {"level": "INFO", "function": "reconcile", "status": 200, "revision": revision}


def test_an_invocation_that_fails_is_an_error(closed_app: App, log: Log, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.fault = Fault.FORBIDDEN
    with pytest.raises(Exception, match="SDK key"):
        closed_app.invoke("reconcile", {})
    line = log.lines()[-1]
    assert (line["level"], line["function"], line["status"]) == ("ERROR", "reconcile", 503)
    assert line["error"] == "SdkKeyRejected: LaunchDarkly rejected the SDK key (HTTP 403)."


def test_notes_without_a_request_go_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    note(flag="shiny")
    with one_line(route="some"):
        note(status=200)
    (record,) = caplog.records
    assert {**without_time(json.loads(JsonFormatter().format(record))), "milliseconds": 0} == {
        "level": "INFO",
        "route": "some",
        "status": 200,
        "milliseconds": 0,
    }


def test_lambdas_runtime_writes_whole_lines_with_the_request_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler writes what the formatter returns, without a line end of its own."""
    written = io.StringIO()
    handler = LambdaLoggerHandler(Sink(written))
    handler.addFilter(LambdaLoggerFilter())
    monkeypatch.setattr("awslambdaric.bootstrap._GLOBAL_AWS_REQUEST_ID", "id-of-the-request")
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    log_as_json()
    with one_line(route="some"):
        note(status=200)
    logging.getLogger("chalicelib.read.snapshots").error("serving without the store: %s", "gone")
    logging.getLogger("ldclient.util").info("not ours, and not important")
    lines = [without_time(json.loads(line)) for line in written.getvalue().splitlines()]
    assert lines[0].pop("milliseconds") >= 0
    assert lines == [
        {"level": "INFO", "route": "some", "status": 200, "requestId": "id-of-the-request"},
        {
            "level": "ERROR",
            "logger": "chalicelib.read.snapshots",
            "message": "serving without the store: gone",
            "requestId": "id-of-the-request",
        },
    ]


class Sink:
    """Where Lambda's handler writes to."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream
        self.frame_types: list[object] = []

    def log(self, message: str, frame_type: object = None) -> None:
        self._stream.write(message)
        self.frame_types.append(frame_type)


LEVELS: list[tuple[str, list[str]]] = [
    ("", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
    ("TRACE", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
    ("DEBUG", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
    ("INFO", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
    ("WARN", ["WARNING", "ERROR", "CRITICAL"]),
    ("error", ["ERROR", "CRITICAL"]),
    ("FATAL", ["CRITICAL"]),
    ("nonsense", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
]


@pytest.mark.parametrize(("level", "logged"), LEVELS)
def test_the_functions_log_level_is_followed(
    level: str, logged: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", level)
    log_as_json()
    for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        for logger in ("serverless-flags", "chalicelib.read.snapshots", "ldclient.util", "ldclient.flag"):
            logging.getLogger(logger).log(getattr(logging, name), "something")
    of_the_sdk = [name for name in logged if name not in ("DEBUG", "INFO")]
    for logger, expected in {
        "serverless-flags": logged,
        "chalicelib.read.snapshots": logged,
        "ldclient.util": of_the_sdk,
        "ldclient.flag": of_the_sdk,
    }.items():
        assert [record.levelname for record in caplog.records if record.name == logger] == expected


@pytest.mark.parametrize(("log_format", "frames"), [("JSON", _JSON_FRAME_TYPES), ("Text", _TEXT_FRAME_TYPES)])
def test_each_line_is_announced_to_lambda_in_the_format_that_the_function_is_configured_with(
    log_format: str, frames: dict[int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its JSON format, Lambda itself looks at the level and the time of each line."""
    sink = Sink(io.StringIO())
    monkeypatch.setattr(logging.getLogger(), "handlers", [LambdaLoggerHandlerWithFrameType(sink)])
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", log_format)
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "DEBUG")
    log_as_json()
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    for level in levels:
        logging.getLogger("chalicelib").log(level, "something")
    assert sink.frame_types == [frames[level] for level in levels]


# What the SDK logs.

MESSAGES: list[tuple[str, str]] = [
    (
        "Unexpected error while evaluating feature flag \"f\": UnicodeEncodeError('utf-8', 'f.salt.anna', 8, 9, 'no')",
        'Unexpected error while evaluating feature flag "f": UnicodeEncodeError',
    ),
    (
        "Error evaluating flag \"f\" in all_flags_state: KeyError('anna')",
        'Error evaluating flag "f" in all_flags_state: KeyError',
    ),
    (
        "Unexpected error while evaluating feature flag \"f\": UnicodeEncodeError('x', 'x\": Then anna', 8, 9, 'no')",
        'Unexpected error while evaluating feature flag "f": UnicodeEncodeError',
    ),
    (
        "Unexpected error while retrieving feature flag \"f\": Whatever('anna\\nanna')",
        'Unexpected error while retrieving feature flag "f": Whatever',
    ),
    (
        "Error on stream connection (will retry): ConnectTimeoutError('anna', 'x')",
        "Error on stream connection (will retry): ConnectTimeoutError",
    ),
    (
        "Received HTTP error 401 (invalid SDK key) for stream connection (giving up permanently)",
        "Received HTTP error 401 (invalid SDK key) for stream connection (giving up permanently)",
    ),
    ("cannot reach https://anna:s3cret@relay:8030/all?key=anna now", "cannot reach https://relay:8030 now"),
    ("cannot reach redis://:p@ss/anna@cache:6379/0", "cannot reach redis://cache:6379"),
    ("Failed to parse: anna:s3cret@relay", "Failed to parse: relay"),
    ("Missing prereq flag: f", "Missing prereq flag: f"),
]


@pytest.mark.parametrize(("message", "logged"), MESSAGES)
def test_what_the_sdk_logs_holds_no_context_and_no_credentials(
    message: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    log_as_json()
    logging.getLogger("ldclient.util").warning(message)
    logging.getLogger("ldclient.flag").error("%s", message)
    assert caplog.messages == [logged] * (1 if "flag" in logged else 2)


def test_the_sdk_has_no_logger_that_goes_round_the_gate() -> None:
    named = re.compile(r"""getLogger\(['"](ldclient[^'"]*)['"]\)|getLogger\((__name__)\)""")
    sources = [path.read_text() for path in Path(ldclient.__file__).parent.rglob("*.py")]
    names = {"".join(match) for source in sources for match in named.findall(source)}
    assert names == {"ldclient.util", "ldclient.flag"}


def test_an_exception_in_the_sdk_is_named_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    log_as_json()
    try:
        raise ValueError("anna")
    except ValueError:
        logging.getLogger("ldclient.util").error("Unhandled exception in event processor", exc_info=True)
    assert caplog.messages == ["Unhandled exception in event processor (ValueError)"]
    assert "anna" not in JsonFormatter().format(caplog.records[0])


@pytest.fixture
def open_app(load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly) -> App:
    """An app with flags that the SDK complains about at every evaluation."""
    launchdarkly.replace(
        by_key(
            boolean_flag("salted", fallthrough=HALVES, salt="\ud800"),
            boolean_flag("ring", prerequisites=[{"key": "ring", "variation": 0}]),
            boolean_flag("dangling", prerequisites=[{"key": "no-such-flag", "variation": 0}]),
        )
    )
    app = load_app(environment)
    app.invoke("reconcile", {})
    return app


HALVES = {"rollout": {"variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]}}
COMPLAINTS = {
    "salted": "flag 'salted' cannot be evaluated (UnicodeEncodeError)",
    "ring": "circular reference",
    "dangling": "Missing prereq flag",
}


def test_what_the_sdk_says_of_a_flag_is_logged_once_for_each_revision(
    open_app: App, launchdarkly: FakeLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(caplog)

    def complaints() -> list[str]:
        return [line["message"] for line in log.lines() if "message" in line]

    for _ in range(3):
        open_app.post("/evaluate", CONTEXT)
    first = complaints()
    assert len(first) == 3
    for said in COMPLAINTS.values():
        assert sum(said in message for message in first) == 1
    open_app.post("/evaluate?flags=salted,ring", CONTEXT)
    open_app.invoke("on_event", {"contexts": [CONTEXT] * 5})
    assert complaints() == []

    launchdarkly.put_flag(boolean_flag("another"))
    open_app.invoke("reconcile", {})
    complaints()
    open_app.post("/evaluate", CONTEXT)
    assert sorted(complaints()) == sorted(first)


def test_choosing_flags_adds_no_line(closed_app: App, log: Log) -> None:
    closed_app.post("/evaluate?flags=shiny", CONTEXT, AUTHORIZED)
    assert log.line()["route"] == "POST /evaluate"


def test_a_refresh_does_not_log_where_it_connects_to(closed_app: App, log: Log, launchdarkly: FakeLaunchDarkly) -> None:
    closed_app.invoke("reconcile", {})
    for fault in (Fault.UNAUTHORIZED, Fault.UNAVAILABLE):
        launchdarkly.fault = fault
        with pytest.raises(errors.FlagsError):
            closed_app.module.reconcile({}, None)
    assert not any(launchdarkly.uri + "/" in json.dumps(line) for line in log.lines())


def test_requests_at_the_same_time_are_not_mixed_up(closed_app: App, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither looks at its headers before both have come in; `chalice local` has threads, and Chalice one request."""
    asked, both_are_in = closed_app.module.app.asked, threading.Barrier(2, timeout=60)

    def wait_for_the_other(*arguments: Any) -> Any:
        both_are_in.wait()
        return asked(*arguments)

    monkeypatch.setattr(closed_app.module.app, "asked", wait_for_the_other)

    def ask(key: str, token: str) -> int:
        status: int = closed_app.post(f"/evaluate/{key}", CONTEXT, {"X-API-Key": token}).status_code
        return status

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask, "shiny", TOKEN), pool.submit(ask, "other", "wrong")]
    assert [each.result() for each in answers] == [200, 401]
    assert {(line["status"], line.get("flag")) for line in log.lines()} == {(200, "shiny"), (401, None)}


def test_chalice_local_prints_whole_lines(tmp_path: Path) -> None:
    environment = {
        "REDIS_URL": "embedded",
        "LAUNCHDARKLY_FLAG_FILE": str(EXAMPLES),
        "EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
    }
    with chalice_local(environment, tmp_path) as server:

        def ask(number: int) -> tuple[int, object]:
            headers = AUTHORIZED if number % 2 else {"Authorization": "Bearer wrong"}
            answer = requests.post(f"{server.url}/evaluate/flag-{number}", json=CONTEXT, headers=headers, timeout=60)
            return answer.status_code, answer.json()["Message"]

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(ask, range(200)))
        assert answers == [
            (404, f"There is no flag 'flag-{number}'.") if number % 2 else (401, "The token is not accepted.")
            for number in range(200)
        ]
        eventually(lambda: len(request_lines(server.output)) == 200)
        text = server.output.read_text()
        assert not any(secret in text for secret in NEVER_LOGGED)
        logged = request_lines(server.output)
        assert sorted(line["flag"] for line in logged if line["status"] == 404) == sorted(
            f"flag-{number}" for number in range(1, 200, 2)
        )
        assert len([line for line in logged if line["status"] == 401]) == 100


def request_lines(output: Path) -> list[dict[str, Any]]:
    """The last line may not have come whole yet."""
    whole = output.read_text().rpartition("\n")[0].splitlines()
    lines = [json.loads(line) for line in whole if line.startswith("{")]
    return [line for line in lines if "route" in line]
