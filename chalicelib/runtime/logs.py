"""Logs as JSON: one line for each request or invocation, and every other line in the same form.

The line of a request says what was asked for and how it went. It never holds a context, a token, a secret
or a body: only what :func:`note` is given goes into it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

logger = logging.getLogger("serverless-flags")

_line: ContextVar[dict[str, object]] = ContextVar("line")
"""The fields of the request under way; `chalice local` answers several at a time, each in its own thread."""


def log_as_json() -> None:
    """Give the process's log handlers the JSON format, and let our own lines through from INFO on.

    The handlers are those of the host (Lambda's runtime, `chalice local`): it knows where logs go.
    """
    for handler in logging.getLogger().handlers:
        # A stream handler ends its lines itself; Lambda's handler writes what it is given.
        handler.setFormatter(JsonFormatter(end="" if isinstance(handler, logging.StreamHandler) else "\n"))
    for name in ("serverless-flags", "chalicelib"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("ldclient.util").addFilter(_is_no_false_alarm)


def _is_no_false_alarm(record: logging.LogRecord) -> bool:
    """The SDK warns of every client whose constructor does not wait; those of a fetch wait elsewhere, and say so."""
    return "Initialization timeout exceeded" not in record.getMessage()


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
    def __init__(self, end: str = "") -> None:
        super().__init__()
        self._end = end

    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname, **_fields(record)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        request_id = getattr(record, "aws_request_id", None)  # set by Lambda's runtime
        if request_id:
            line["requestId"] = request_id
        return json.dumps(line, default=str) + self._end


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] | None = getattr(record, "fields", None)
    return {"logger": record.name, "message": record.getMessage()} if fields is None else fields
