"""A LaunchDarkly that the tests own: its streaming endpoint and its events service over real HTTP, with faults.

Speaks what an SDK's stream does: ``GET /all``, server-sent events in chunked transfer encoding (the SDK
reads in chunks), one ``put`` with the whole data set, then ``patch`` and ``delete`` events.
"""

from __future__ import annotations

import copy
import gzip
import json
import queue
import select
import threading
import time
from collections.abc import Callable
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Json = dict[str, Any]


class Post(NamedTuple):
    """Events that were sent: the headers by their names in lower case, and the answer that they got."""

    path: str
    headers: dict[str, str]
    events: list[Json]
    status: int

    @property
    def payload_id(self) -> str:
        return self.headers["x-launchdarkly-payload-id"]


class Fault(Enum):
    """What goes wrong with every stream that is opened from now on."""

    UNAUTHORIZED = 401
    FORBIDDEN = 403
    UNAVAILABLE = 503
    HANG = "accepts the connection and never answers"
    SILENT = "answers 200 and never sends an event"
    GARBAGE = "sends a put that is not JSON"
    DROP_MID_PUT = "closes the connection in the middle of the data"
    DROP_AFTER_PUT = "closes the connection after the data"


class FakeLaunchDarkly:
    """One environment. Change it with the methods below; open streams are told at once."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self.flags: dict[str, Json] = {}
        self.segments: dict[str, Json] = {}
        self.fault: Fault | None = None
        self.delay_seconds = delay_seconds
        self.sdk_keys: list[str] = []
        self.revoked_sdk_keys: set[str] = set()
        self.put_override: Json | None = None
        """An old or odd data set that new streams start with instead of the current one."""
        self.after_put: Callable[[], object] = lambda: None
        """Called for each new stream, once it is settled which data set that starts with."""
        self.posts: list[Post] = []
        """What came to the events service, accepted or not."""
        self.event_statuses: list[int] = []
        """What the events service answers to the next posts, and then 202; 0 closes the connection."""
        self.most_event_bytes: int | None = None
        """What the events service takes at most of a payload: 413 for more."""
        self.unfit_keys: set[str] = set()
        """Keys of custom events of which the events service takes none: 400 for the payload."""
        self._lock = threading.RLock()
        self._put: bytes | None = None
        """The event with the whole data set, which takes long to write out, while nothing changes."""
        self._streams: list[queue.Queue[bytes | None]] = []
        self._server = _Server(("127.0.0.1", 0), _StreamHandler)
        self._server.launchdarkly = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def stream_count(self) -> int:
        """How often a stream was opened: the number of fetches."""
        return len(self.sdk_keys)

    @property
    def open_streams(self) -> int:
        with self._lock:
            return len(self._streams)

    @property
    def open_connections(self) -> int:
        """Connections that this server still handles, each in a thread of this process."""
        return self._server.handling

    @property
    def accepted(self) -> list[Post]:
        """The payloads that the events service has accepted, each once: it drops what has the id of another one."""
        return list({post.payload_id: post for post in reversed(self.posts) if post.status == 202}.values())[::-1]

    def events(self, kind: str) -> list[Json]:
        """All events of this kind that it has accepted."""
        return [event for post in self.accepted for event in post.events if event["kind"] == kind]

    def replace(self, flags: dict[str, Json], segments: dict[str, Json] | None = None) -> None:
        """The whole data set, without an event."""
        with self._lock:
            self.flags, self.segments = copy.deepcopy(flags), copy.deepcopy(segments or {})
            self._put = None

    def put_flag(self, flag: Json) -> None:
        with self._lock:
            self.flags[flag["key"]] = copy.deepcopy(flag)
            self._tell("patch", {"path": f"/flags/{flag['key']}", "data": flag})

    def put_segment(self, segment: Json) -> None:
        with self._lock:
            self.segments[segment["key"]] = copy.deepcopy(segment)
            self._tell("patch", {"path": f"/segments/{segment['key']}", "data": segment})

    def delete_flag(self, key: str) -> None:
        with self._lock:
            version = self.flags.pop(key)["version"] + 1
            self._tell("delete", {"path": f"/flags/{key}", "version": version})

    def data(self) -> Json:
        with self._lock:
            return copy.deepcopy({"flags": self.flags, "segments": self.segments})

    def drop_streams(self) -> None:
        """Close every open stream; the SDK connects again by itself."""
        with self._lock:
            for stream in self._streams:
                stream.put(None)

    def close(self) -> None:
        self.drop_streams()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _tell(self, event: str, data: Json) -> None:
        self._put = None
        for stream in self._streams:
            stream.put(sse(event, data))

    def open_stream(self, sdk_key: str) -> tuple[bytes, queue.Queue[bytes | None]]:
        """The put event of a new stream and the queue of what follows; no change falls between them."""
        with self._lock:
            self.sdk_keys.append(sdk_key)
            stream: queue.Queue[bytes | None] = queue.Queue()
            self._streams.append(stream)
            if self.put_override is not None:
                return sse("put", {"path": "/", "data": self.put_override}), stream
            if self._put is None:
                data = {"flags": self.flags, "segments": self.segments}
                self._put = sse("put", {"path": "/", "data": data})
            put = self._put
            self.after_put()
            return put, stream

    def forget_stream(self, stream: queue.Queue[bytes | None]) -> None:
        with self._lock:
            self._streams.remove(stream)


def sse(event: str, data: Json) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    launchdarkly: FakeLaunchDarkly

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.handling = 0
        self._counting = threading.Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._counting:
            self.handling += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._counting:
                self.handling -= 1


class _StreamHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        launchdarkly = self.server.launchdarkly
        time.sleep(launchdarkly.delay_seconds)
        sdk_key = self.headers.get("Authorization", "")
        put, stream = launchdarkly.open_stream(sdk_key)
        fault = Fault.UNAUTHORIZED if sdk_key in launchdarkly.revoked_sdk_keys else launchdarkly.fault
        try:
            self._serve(fault, put, stream)
        except OSError:
            pass  # the SDK has hung up
        finally:
            launchdarkly.forget_stream(stream)
            self.close_connection = True

    def do_POST(self) -> None:
        """The events service; diagnostics are accepted and dropped."""
        launchdarkly = self.server.launchdarkly
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = 202
        if self.path.endswith("/bulk"):
            status = launchdarkly.event_statuses.pop(0) if launchdarkly.event_statuses else 202
            headers = {name.lower(): value for name, value in self.headers.items()}
            text = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            if headers["authorization"] in launchdarkly.revoked_sdk_keys:
                status = 401
            elif launchdarkly.most_event_bytes is not None and len(text) > launchdarkly.most_event_bytes:
                status = 413
            elif any(event.get("key") in launchdarkly.unfit_keys for event in json.loads(text)):
                status = 400
            launchdarkly.posts.append(Post(self.path, headers, json.loads(text), status))
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, fault: Fault | None, put: bytes, stream: queue.Queue[bytes | None]) -> None:
        if fault is Fault.HANG:
            self._hang(stream)
            return
        if fault is not None and isinstance(fault.value, int):
            self.send_response(fault.value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if fault is Fault.DROP_MID_PUT:
            self._chunk(put[: len(put) // 2])
            return
        if fault is Fault.GARBAGE:
            put = b"event: put\ndata: {garbage\n\n"
        if fault is not Fault.SILENT:
            self._chunk(put)
        if fault is not Fault.DROP_AFTER_PUT:
            self._hold_open(stream)

    def _hang(self, stream: queue.Queue[bytes | None]) -> None:
        """Send nothing until the server closes or the SDK has hung up."""
        while not select.select([self.connection], [], [], 0.05)[0]:
            if not stream.empty() and stream.get() is None:
                return

    def _hold_open(self, stream: queue.Queue[bytes | None]) -> None:
        """Send what follows until the server closes or, as a heartbeat tells, the SDK has hung up."""
        while True:
            try:
                event = stream.get(timeout=0.1)
            except queue.Empty:
                event = b":\n\n"
            if event is None:
                return
            self._chunk(event)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass
