"""The network between function and store: TLS, distance and bandwidth, which servers on one machine do not have.

A process of its own, so that it takes no turns with what is measured: ``python -m benchmarks.link '{"port": ...}'``.
Each line that it reads asks what has passed since the last one; it answers in a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

from tests.support.processes import PYTHON, OwnProcess

_OPERATION = re.compile(rb"x-amz-target: *DynamoDB_20120810\.(\w+)", re.IGNORECASE)


class Passed(NamedTuple):
    """What has passed. ``operations`` are DynamoDB's, by name; they are seen only where no TLS hides them."""

    connections: int
    to_store: int
    from_store: int
    operations: dict[str, int]


class Link(OwnProcess):
    """Forwards from ``port`` to ``target``."""

    def __init__(
        self,
        target: int,
        round_trip_seconds: float = 0.0,
        bytes_per_second: float | None = None,
        certificate: tuple[str, str] | None = None,
    ) -> None:
        """``certificate``: files with a certificate and its key, by which TLS ends here.

        A connection begins a round trip late, as TCP's handshake makes it. ``bytes_per_second`` are those from
        the store, of all connections together.
        """
        options = {
            "target": target,
            "one_way_seconds": round_trip_seconds / 2,
            "bytes_per_second": bytes_per_second,
            "certificate": certificate,
        }
        super().__init__(
            [PYTHON, "-m", "benchmarks.link", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
        )
        self.port = int(self.read_line())

    def passed(self) -> Passed:
        """Since it was asked last."""
        self.write_line("")
        return Passed(**json.loads(self.read_line()))


class _Bucket:
    """Lets so many bytes a second through, in the order in which they ask, and 10 milliseconds' worth at once."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        if self._rate is None:
            return
        self._free_at = max(self._free_at, time.monotonic() - 0.01) + count / self._rate
        await asyncio.sleep(max(0.0, self._free_at - time.monotonic()))


class _Forwarder:
    def __init__(
        self,
        target: int,
        one_way_seconds: float,
        bytes_per_second: float | None,
        certificate: tuple[str, str] | None,
    ) -> None:
        self._target = target
        self._one_way_seconds = one_way_seconds
        self._down = _Bucket(bytes_per_second)
        self._tls = None if certificate is None else ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self._tls is not None and certificate is not None:
            self._tls.load_cert_chain(*certificate)
        self._counts: Counter[str] = Counter()
        self._operations: Counter[str] = Counter()

    async def serve(self) -> None:
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0, ssl=self._tls, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            fields = {name: self._counts[name] for name in ("connections", "to_store", "from_store")}
            print(json.dumps({**fields, "operations": self._operations}), flush=True)
            self._counts.clear()
            self._operations.clear()

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._counts["connections"] += 1
        try:
            store, to_store = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            to_client.close()
            return
        await asyncio.gather(
            self._pass(client, to_store, "to_store", begins_after=2 * self._one_way_seconds),
            self._pass(store, to_client, "from_store"),
        )

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: str, begins_after: float = 0.0
    ) -> None:
        """Bytes arrive as much later as the way is long, however many are on it."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(on_the_way, target, way))
        begun = time.monotonic() + begins_after
        data = b"begun"
        while data and not arriving.done():  # nobody sends to a client that has hung up
            with suppress(OSError):
                data = b""
                # Small parts, so that connections share the bandwidth evenly.
                data = await source.read(16 * 1024 if way == "from_store" else 1 << 18)
            if way == "from_store":
                await self._down.take(len(data))
            self._count(way, data)
            on_the_way.put_nowait((max(begun, time.monotonic()) + self._one_way_seconds, data))
        await arriving

    async def _arrive(
        self, on_the_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter, way: str
    ) -> None:
        with suppress(OSError):
            while True:
                arrives_at, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, arrives_at - time.monotonic()))
                if not data:
                    break
                target.write(data)
                await target.drain()
        target.close()

    def _count(self, way: str, data: bytes) -> None:
        self._counts[way] += len(data)
        if way == "to_store":
            self._operations.update(name.decode() for name in _OPERATION.findall(data))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_Forwarder(**json.loads(sys.argv[1])).serve())
