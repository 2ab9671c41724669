"""`python` and `chalice` for `make`, which need not import boto3 and Chalice each time: that takes most of their time.

Run as a process, this module has imported them, and goes on in a fork for each program that somebody starts: with the
arguments, the environment, the folder, and the standard streams of a small program that waits for its exit code.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import runpy
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

_SERVICES = ("apigateway", "events", "iam", "lambda", "logs", "sqs", "ssm", "sts")
_PROGRAM = """#!{python} -IS
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    words = [os.getcwd(), *map("=".join, os.environ.items()), "", *sys.argv]
    socket.send_fds(server, [b"-"], [0, 1, 2])
    server.sendall(os.fsencode("\\0".join(words)))
    server.shutdown(socket.SHUT_WR)
    status = server.recv(1)
    sys.exit(status[0] if status else "The program has ended without an exit code.")
"""


@contextlib.contextmanager
def warm_programs() -> Iterator[Path]:
    """The folder in which they are, until the block ends."""
    from tests.support.processes import PYTHON, OwnProcess  # not for the process that serves

    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listener:
        folder = Path(name)
        address = str(folder / "socket")
        listener.bind(address)
        listener.listen()
        for program in ("python", "chalice"):
            (folder / program).write_text(_PROGRAM.format(python=PYTHON, address=address))
            (folder / program).chmod(0o755)
        with OwnProcess([PYTHON, __file__], stdin=listener.fileno(), stderr=None):
            yield folder


def _serve() -> None:
    """Until it is killed, or the tests have ended without doing so."""
    del sys.path[0]  # this folder, which no program knows
    parent = os.getppid()
    _import()
    with socket.socket(fileno=0) as listener:
        listener.settimeout(5)
        while os.getppid() == parent:
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                if os.fork() == 0:
                    _run(connection)
                connection.close()
            while _reap():
                pass


def _import() -> None:
    """Also the service models, which botocore reads for each session anew."""
    import botocore.session
    import chalice.cli  # noqa: F401 - for the forks

    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    session = botocore.session.Session()
    for name in _SERVICES:
        session.get_service_model(name)
    gc.freeze()  # so that no fork looks for garbage in what it shares with the others, and so copies it


def _reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return False


def _run(connection: socket.socket) -> None:
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    with connection, connection.makefile("rb") as source:
        folder, *variables_and_words = os.fsdecode(source.read()).split("\0")
        end = variables_and_words.index("")
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(each.partition("=")[::2] for each in variables_and_words[:end])
        status = _status(*variables_and_words[end + 1 :])
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([status]))
    os._exit(0)


def _status(program: str, *arguments: str) -> int:
    """The exit code of what has run in this process."""
    try:
        if Path(program).name == "chalice":
            from chalice.cli import main

            sys.argv = [program, *arguments]
            return int(main())
        if arguments[0] == "-m":
            sys.path.insert(0, os.getcwd())
            sys.argv = [*arguments[1:]]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            sys.argv = [*arguments]
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve()
