"""TLS to DynamoDB, with few certificates to read.

Reading the hundred and more roots of certifi takes a cold start longer than the handshake. Amazon's endpoints
need one of five, which ``tools/build_bytecode.py`` picks from certifi's bundle when the package is built. All
of certifi's remain for other hosts, and for the day on which Amazon's certificates come from another root.

Source: https://www.amazontrust.com/repository/
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...timing import Timing
from ..wire import ExchangePatience, Peer, ResolvedAddresses, Stream

if TYPE_CHECKING:
    from ssl import SSLContext

AMAZON_ROOTS_FILE = os.path.join(os.path.dirname(__file__), "amazon-roots.pem")
"""In a deployment package; not in the repository."""


def peer_of(url: str, timing: Timing) -> Peer:
    """The server of an origin, which begins with ``https://`` or ``http://``."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    addresses = ResolvedAddresses(host, parts.port or (443 if parts.scheme == "https" else 80), timing)
    if parts.scheme == "http":
        return Peer(addresses, timing)
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and os.path.exists(AMAZON_ROOTS_FILE):
        return _AmazonPeer(addresses, timing, _trusting(AMAZON_ROOTS_FILE), host)
    return Peer(addresses, timing, _trusting_all(), host)


class _AmazonPeer(Peer):
    """Trusts Amazon's roots, and all others once a server has a certificate of another one."""

    def connect(self, patience: ExchangePatience) -> Stream:
        from ssl import SSLCertVerificationError

        try:
            return super().connect(patience)
        except SSLCertVerificationError:
            self.tls = _trusting_all()
            return super().connect(patience)


def _trusting(file: str) -> SSLContext:
    import ssl  # only where the endpoint is https://

    return ssl.create_default_context(cafile=file)


def _trusting_all() -> SSLContext:
    import certifi

    return _trusting(certifi.where())
