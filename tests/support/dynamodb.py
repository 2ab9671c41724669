"""A DynamoDB that the tests own: an emulator behind a small HTTP proxy, which adds what the emulator lacks.

The proxy counts requests, and it can be slow, throttle, hand work back, and be stopped. Where the emulator
does not serialise the updates of an item, the proxy handles one request after the other.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3

from tests.support.dynamodb_emulators import Emulator, Moto

Json = dict[str, Any]
Answer = tuple[int, Any]
"""Status and body (Any: JSON)."""

Fault = Callable[[str, Json, Callable[[Json], Answer]], Answer]
"""(operation, request, forward) -> the answer, of the emulator by ``forward`` or an invented one."""


class DynamoDb:
    """Tables in memory. ``fault`` decides on every request from now on; None lets all through."""

    def __init__(self, emulator: Emulator | None = None) -> None:
        """moto, if no other ``emulator`` is given; it is closed with this."""
        self.fault: Fault | None = None
        self.delay_seconds = 0.0
        self.operations: list[str] = []
        """Of every request since the last ``reset``."""
        self.signers: list[str] = []
        """The access key IDs that have signed them."""
        self._emulator = emulator or Moto()
        self.emulator_address = self._emulator.address
        self.one_at_a_time: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if self._emulator.serialises_updates else threading.Lock()
        )
        self._proxy: _Proxy | None = None
        self.port = 0
        self.resume()

    @property
    def environment(self) -> dict[str, str]:
        """What boto3, and so the app, needs to find it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }

    def create_table(self) -> str:
        """The name of a new table in LaunchDarkly's format."""
        name = f"flags-{uuid.uuid4().hex}"  # other servers in this process share moto's tables
        names = ("namespace", "key")
        client = self.client()
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in names],
            KeySchema=[
                {"AttributeName": each, "KeyType": kind} for each, kind in zip(names, ("HASH", "RANGE"), strict=True)
            ],
        )
        client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})
        return name

    @functools.cache  # noqa: B019 - an instance lives as long as its process
    def client(self) -> Any:
        """A boto3 client that bypasses the proxy, for the eyes and hands of a test."""
        host, port = self.emulator_address
        return boto3.client(
            "dynamodb",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def items(self, table: str) -> list[Json]:
        pages = self.client().get_paginator("scan").paginate(TableName=table)
        return [item for page in pages for item in page["Items"]]

    def delete_namespace(self, table: str, namespace: str) -> None:
        """Delete the items of one partition, behind the back of the app."""
        for item in self.items(table):
            if item["namespace"]["S"] == namespace:
                key = {name: item[name] for name in ("namespace", "key")}
                self.client().delete_item(TableName=table, Key=key)

    def reset(self) -> None:
        self.fault = None
        self.delay_seconds = 0.0
        self.operations.clear()
        self.signers.clear()

    def stop(self) -> None:
        """Connections are refused from now on; the tables stay."""
        assert self._proxy is not None
        self._proxy.stop()
        self._proxy = None

    def resume(self) -> None:
        """Answers at the same port, if it was stopped."""
        if self._proxy is None:
            self._proxy = _Proxy(("127.0.0.1", self.port), _Handler)
            self._proxy.start(self)
            self.port = self._proxy.server_address[1]

    def close(self) -> None:
        self.stop()
        self._emulator.close()


_FORWARDED = ("Authorization", "Content-Type", "X-Amz-Date", "X-Amz-Target")


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    dynamodb: DynamoDb

    def start(self, dynamodb: DynamoDb) -> None:
        self.dynamodb = dynamodb
        self.connections: set[Any] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self.connections):
            self.shutdown_request(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one packet
    disable_nagle_algorithm = True
    server: _Proxy

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has given up, or the proxy was stopped
            super().handle()

    def do_POST(self) -> None:
        dynamodb = self.server.dynamodb
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        time.sleep(dynamodb.delay_seconds)
        with dynamodb.one_at_a_time:
            dynamodb.operations.append(operation)
            dynamodb.signers.append(self.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
            answer = dynamodb.fault(operation, body, self._forward) if dynamodb.fault else self._forward(body)
        self._send(*answer)

    def _forward(self, body: Json) -> Answer:
        connection = http.client.HTTPConnection(*self.server.dynamodb.emulator_address)
        try:
            headers = {name: self.headers[name] for name in _FORWARDED}
            connection.request("POST", "/", json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _send(self, status: int, answer: Json) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def error(code: str) -> Answer:
    """An error as DynamoDB sends it; its message names what no answer of ours may name."""
    message = "arn:aws:iam::123456789012:role/secret is not happy"
    return 400, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
