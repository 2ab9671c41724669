"""The connection to DynamoDB, apart from the requests over it, so that a cold function can begin with it.

What is imported from here on is imported while the network answers.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from ...timing import Timing
from ..wire import ExchangePatience, Line, Peer, ResolvedAddresses
from .endpoint import Endpoint


class Connection:
    """``line``: one connection to the endpoint, which the first request opens, unless it is being opened already."""

    def __init__(self, endpoint: Endpoint, timing: Timing, *, at_once: bool = False) -> None:
        """``at_once``: open it now, in threads of its own. The first request waits no longer than it would without."""
        self.endpoint = endpoint
        self._begun: tuple[ExchangePatience, float] | None = None
        """By which patience, and until when by the monotonic clock, the line is opened, if nobody has used it yet."""
        addresses = ResolvedAddresses(endpoint.host, endpoint.port, timing)
        addresses.look_up(connects=at_once)
        self.line = Line(_peer_at(addresses, endpoint, timing), timing)
        if at_once:
            seconds = timing.first_exchange_seconds
            patience = ExchangePatience(seconds, timing)
            self._begun = patience, time.monotonic() + seconds
            threading.Thread(target=self._open, args=(patience,), daemon=True).start()

    def _open(self, patience: ExchangePatience) -> None:
        with suppress(OSError):  # the first request meets it again, if it is still so
            self.line.open(patience)

    def begun_patience(self) -> ExchangePatience | None:
        """What is left of that by which the connection is opened, for the first request; None for all others."""
        begun, self._begun = self._begun, None
        return begun[0] if begun is not None and time.monotonic() < begun[1] else None


def _peer_at(addresses: ResolvedAddresses, endpoint: Endpoint, timing: Timing) -> Peer:
    if not endpoint.is_tls:
        return Peer(addresses, timing)
    from ..tls import amazon_or_other_peer  # takes as long to load as the network to answer

    return amazon_or_other_peer(addresses, timing, endpoint.host, ca_file=_all_roots)


def _all_roots() -> str:
    import certifi  # where Amazon's own do not do

    return certifi.where()
