"""Lambda's runtime client where Amazon's names lead to this machine: there is no DNS to ask for them."""

import _socket
import sys
from typing import Any

_resolve = _socket.getaddrinfo


def _resolve_here(host: Any, *arguments: Any, **options: Any) -> Any:
    """As ``_socket.getaddrinfo``, whose types these are."""
    name = host.decode() if isinstance(host, bytes) else str(host)
    is_question = not options.get("flags", 0) & _socket.AI_NUMERICHOST
    return _resolve(b"127.0.0.1" if is_question and name.endswith(".amazonaws.com") else host, *arguments, **options)


if __name__ == "__main__":
    _socket.getaddrinfo = _resolve_here
    from awslambdaric.__main__ import main

    main(sys.argv)
