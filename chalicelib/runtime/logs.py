"""Logs as JSON: one line for each request or invocation, and every other line in the same form.

The line of a request says what was asked for and how it went. It never holds a context, a token, a secret
or a body: only what :func:`note` is given goes into it. What the SDK logs passes through one gate,
:class:`SdkGate`, because the SDK puts both into its messages.

Lambda's log level is followed. Its log format only decides how a line is announced to Lambda: the lines are
JSON in both.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..config import log_level, logs_json_frames

logger = logging.getLogger("serverless-flags")

_line: ContextVar[dict[str, object]] = ContextVar("line")
"""The fields of the request under way; `chalice local` answers several at a time, each in its own thread."""


def log_as_json() -> None:
    """Give the process's log handlers the JSON format, and let our own lines through from Lambda's level on.

    The handlers are those of the host (Lambda's runtime, `chalice local`): it knows where logs go.
    """
    json_frames = logs_json_frames()
    for handler in logging.getLogger().handlers:
        # A stream handler ends its lines itself; Lambda's handler writes what it is given.
        end = "" if isinstance(handler, logging.StreamHandler) else "\n"
        handler.setFormatter(JsonFormatter(end, json_frames=json_frames))
    level = log_level()
    for name in ("serverless-flags", "chalicelib"):
        logging.getLogger(name).setLevel(level)
    gate = SdkGate()
    for name in _OF_THE_SDK:
        sdk_logger = logging.getLogger(name)
        for earlier in [each for each in sdk_logger.filters if isinstance(each, SdkGate)]:
            sdk_logger.removeFilter(earlier)
        sdk_logger.addFilter(gate)
        sdk_logger.setLevel(max(logging.WARNING, logging.getLogger("chalicelib").level))


def gate_evaluator() -> None:
    """Put the gate before the evaluator's lines where nobody has: in a function that is not this app's."""
    evaluators = logging.getLogger(_EVALUATORS)
    if not any(isinstance(each, SdkGate) for each in evaluators.filters):
        evaluators.addFilter(SdkGate())


_EVALUATORS = f"{__name__.partition('.')[0]}.launchdarkly.evaluators"

_OF_THE_SDK = (
    "ldclient.util",
    "ldclient.flag",
    _EVALUATORS,
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
"""All loggers that the SDK has, the one that we lend to its evaluator, and those with which its connections complain.

A filter is asked only for what its own logger logs, not for what the loggers below it do.
"""


class SdkGate(logging.Filter):
    """Passes on what the SDK logs from WARNING on, without contexts and credentials.

    Below WARNING the SDK logs the payloads of events, which hold contexts, the addresses that it connects to, and
    each client that is made. What it says of a flag is passed on once for each revision, not at each evaluation.
    """

    def __init__(self) -> None:
        super().__init__()
        self._revision: object = None
        self._passed: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = without_secrets(record.getMessage())
        if _FALSE_ALARM in message or self._is_repeated(message):
            return False
        if record.exc_info and record.exc_info[0] is not None:
            message += f" ({record.exc_info[0].__name__})"
        record.msg, record.args = message, None
        record.exc_info = record.exc_text = record.stack_info = None
        return True

    def _is_repeated(self, message: str) -> bool:
        revision = _line.get({}).get("revision")
        if revision is None and not re.match(_OF_A_FLAG, message):
            return False  # not an evaluation: a fetch that fails again is news
        if revision != self._revision or len(self._passed) > _MOST_REMEMBERED:
            self._revision = revision
            self._passed.clear()
        if message in self._passed:
            return True
        self._passed.add(message)
        return False


_FALSE_ALARM = "Initialization timeout exceeded"
"""The SDK warns of every client whose constructor does not wait; those of a fetch wait elsewhere, and say so."""

_MOST_REMEMBERED = 10_000

# Patterns are compiled by whoever first uses them: a function that logs nothing but its answers has no use for these.

_OF_A_FLAG = (
    r"Could not evaluate flag|Error evaluating flag|Unexpected error while \w+ feature flag|Missing prereq flag|flag '"
)
_FAILED_FLAG = r'(?s)((?:Error evaluating flag|Unexpected error while \w+ feature flag) ".*?"[^"]*?: \w+).*'
"""The SDK goes on with the exception as Python writes it, which may hold the context's key."""

_EXCEPTION = r"(?s)\b([A-Z]\w*(?:Error|Exception|Timeout|Warning|Interrupt|Exit))\(.*"
_URI = r"""([A-Za-z][A-Za-z0-9+.-]*://)(?:\S*@)?([^\s/?#'"]*)[^\s'"]*"""
_USER_INFORMATION = r"""[^\s'"/]*:[^\s'"]*@"""


def without_secrets(message: str) -> str:
    """The message without what an exception holds, and with no more of an address than scheme, host and port."""
    message = re.sub(_FAILED_FLAG, r"\1", message)
    message = re.sub(_EXCEPTION, r"\1", message)
    return re.sub(_USER_INFORMATION, "", re.sub(_URI, r"\1\2", message))


@contextmanager
def one_line(**fields: object) -> Iterator[None]:
    """Logs one line when the block ends: these fields, what was noted meanwhile, and ``milliseconds``.

    ``status`` is 500 unless something else is noted; from 500 on the line is an error.
    """
    line: dict[str, object] = {**fields, "status": 500, "milliseconds": 0.0}
    token = _line.set(line)
    begun = time.perf_counter()
    try:
        yield
    finally:
        _line.reset(token)
        line["milliseconds"] = round((time.perf_counter() - begun) * 1000, 1)
        failed = isinstance(line["status"], int) and line["status"] >= 500
        level = logging.ERROR if failed else logging.INFO
        logger.log(level, "%s", line.get("error", "answered"), extra={"fields": line})


def note(**fields: object) -> None:
    """Adds to the line of the request under way, if there is one."""
    _line.get({}).update(fields)


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record: of a request what was noted, of anything else its logger and message."""

    def __init__(self, end: str = "", *, json_frames: bool = False) -> None:
        super().__init__()
        self._end = end
        self._json_frames = json_frames

    def format(self, record: logging.LogRecord) -> str:
        if self._json_frames:
            # How Lambda's runtime announces a line of JSON of this level to Lambda; it has no other name for it.
            record._frame_type = (0xA55A0002 + 4 * (record.levelno // 10 + 1)).to_bytes(4, "big")
        # RFC 3339 in UTC, with milliseconds.
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        timestamp = f"{moment}.{int(record.created * 1000) % 1000:03d}Z"
        line: dict[str, object] = {"timestamp": timestamp, "level": record.levelname}
        line.update(getattr(record, "fields", None) or {"logger": record.name, "message": record.getMessage()})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        request_id = getattr(record, "aws_request_id", None)  # set by Lambda's runtime
        if request_id:
            line["requestId"] = request_id
        return json.dumps(line, default=str) + self._end
