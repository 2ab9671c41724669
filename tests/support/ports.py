"""Ports for the tests' servers."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

_ports = random.SystemRandom()
_reserved: list[socket.socket] = []
"""UDP sockets that nobody speaks to. Their ports are this process's until it ends, whoever else asks for one."""


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, and that no other test is given.

    It lies below those that Linux and macOS hand out by themselves: no connection and no other server takes it
    before its own server does, or while that server is away.
    """
    while True:
        port = _ports.randrange(20_000, 32_000)
        reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reservation.bind(("127.0.0.1", port))
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        return port


def accepts_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
