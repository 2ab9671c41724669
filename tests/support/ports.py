"""Ports for the tests' servers."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

_ports = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens.

    It lies below those that Linux and macOS hand out by themselves: no connection and no other server takes it
    before its own server does, or while that server is away.
    """
    while True:
        port = _ports.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def accepts_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
