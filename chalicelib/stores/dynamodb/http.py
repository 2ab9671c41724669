"""HTTP/1.1 as far as DynamoDB needs it: POST over a kept connection whose waits are bounded.

Our own, because of cold starts and of waits: what the standard library and urllib3 have costs a cold start 50
milliseconds of CPU, and their time-outs are for each byte. Redirects, cookies, proxies and compression do not occur.

Source: https://www.rfc-editor.org/rfc/rfc9112
"""

from collections.abc import Mapping
from typing import NamedTuple

from ..wire import Stream

_MOST_HEADERS = 100


class HttpAnswer(NamedTuple):
    """An answer that has come whole."""

    status: int
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes


def post(stream: Stream, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
    """The answer to a POST to ``/``. Raises OSError, TimeoutError among them, also for one that is not HTTP/1.1's.

    The connection ends with a server's error, too: perhaps another server can do what this one cannot.
    """
    head = [f"{name}: {value}" for name, value in (*headers.items(), ("content-length", len(body)))]
    stream.sendall("\r\n".join(["POST / HTTP/1.1", *head, "", ""]).encode("latin-1") + body)
    try:
        status = _status(stream)
        while 100 <= status < 200:
            _headers(stream)
            status = _status(stream)
        answer = _headers(stream)
        stream.is_spent = status >= 500 or answer.get("connection", "").lower() == "close"
        return HttpAnswer(status, answer, _body(stream, answer))
    except ValueError:
        raise ConnectionResetError("the server does not speak HTTP/1.1") from None


def _status(stream: Stream) -> int:
    version, status, *_ = stream.line().split(b" ", 2)
    if not version.startswith(b"HTTP/1."):
        raise ValueError
    return int(status)


def _headers(stream: Stream) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_MOST_HEADERS):
        name, colon, value = stream.line().decode("latin-1").partition(":")
        if not name:
            return headers
        if not colon:
            break
        headers[name.lower()] = value.strip()
    raise ValueError


def _body(stream: Stream, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return b"".join(iter(lambda: _chunk(stream), b""))
    return stream.exactly(int(headers.get("content-length", "missing")))


def _chunk(stream: Stream) -> bytes:
    """The next chunk; the last one is empty, and more headers may follow it."""
    chunk = stream.exactly(int(stream.line().partition(b";")[0], 16))
    if not chunk:
        _headers(stream)
    elif stream.line():
        raise ValueError
    return chunk
