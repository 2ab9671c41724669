"""TLS to a store, for a cold start: on the module beneath ``ssl``, and with few certificates to read.

``ssl`` and ``socket`` make enumerations of all of OpenSSL's and the system's constants as they are imported, which
takes a cold start longer than a handshake. What they do for a client beyond that is here; that it is no less than
``ssl.create_default_context`` does is tested (decision 0020).

Reading the hundred and more roots of certifi, or of the system, takes as long again. Amazon's endpoints need one of
five, which ``tools/build_bytecode.py`` picks from certifi's bundle when the package is built. All others remain
for other hosts, and for the day on which Amazon's certificates come from another root.

Source: https://www.amazontrust.com/repository/
"""

from __future__ import annotations

import _ssl
import os.path
import sys
from typing import TYPE_CHECKING, Any

from ..timing import Timing
from .wire import Addresses, ExchangePatience, Peer, Socket, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

AMAZON_ROOTS = os.path.join(os.path.dirname(__file__), "amazon-roots")
"""A folder in a deployment package; not in the repository. Of its certificates only the one that is needed is read."""

_AMAZONS_NAMES = (".amazonaws.com", ".amazonaws.com.cn")

CERT_NONE = _ssl.CERT_NONE
_VERIFY_X509_PARTIAL_CHAIN = 0x80000
_VERIFY_X509_STRICT = 0x20

TlsContext = Any
"""``_ssl._SSLContext``, the base of ``ssl.SSLContext``, of which mypy knows only a part."""


def client_context(ca_file: str | None, ca_folder: str | None = None) -> TlsContext:
    """What ``ssl.create_default_context`` makes: certificates are required, and host names checked.

    The roots that are trusted are in a PEM file, or in a folder of such files that OpenSSL finds by their names;
    where neither is given, the system's are. The keys of connections are written nowhere: ``SSLKEYLOGFILE`` is not
    followed, because stores know no environment. Raises OSError.
    """
    context: TlsContext = _ssl._SSLContext(_ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= _VERIFY_X509_PARTIAL_CHAIN | _VERIFY_X509_STRICT
    if ca_file is None and ca_folder is None:
        context.set_default_verify_paths()
    else:
        context.load_verify_locations(ca_file, ca_folder)
    return context


class TlsSocket:
    """A connection over which TLS was agreed upon. Waits as the socket's time-out says."""

    def __init__(self, connected: Socket, context: TlsContext, name: str) -> None:
        """``name`` is the one that the server's certificate has to hold. Raises OSError, and leaves the socket open."""
        self._connected = connected
        self._tls = context._wrap_socket(connected, False, name)
        self._tls.do_handshake()

    def settimeout(self, seconds: float) -> None:
        self._connected.settimeout(seconds)

    def send(self, data: memoryview) -> int:
        sent: int = self._tls.write(data)
        return sent

    def recv_into(self, buffer: Any) -> int:  # Any: the type of a buffer has a name from Python 3.12 on
        """0 at the end, also where the server has not announced it."""
        try:
            count: int = self._tls.read(len(buffer), buffer)
        except _ssl.SSLEOFError:
            return 0
        return count

    def recv(self, count: int) -> bytes:
        """The same for what has come unasked."""
        data = bytearray(count)
        return bytes(data[: self.recv_into(data)])

    def close(self) -> None:
        self._connected.close()


class TlsPeer(Peer):
    """A server behind TLS."""

    def __init__(self, addresses: Addresses, timing: Timing, context: TlsContext, name: str) -> None:
        """``name`` is the one that the server's certificate has to hold."""
        super().__init__(addresses, timing)
        self._context = context
        self._name = name

    def _agreed(self, connected: Socket, patience: ExchangePatience) -> TlsSocket:
        with patience.waiting() as seconds:
            connected.settimeout(seconds)
            return TlsSocket(connected, self._context, self._name)


class AmazonPeer(TlsPeer):
    """Trusts Amazon's roots, and all others once a server has a certificate of another one."""

    def __init__(self, addresses: Addresses, timing: Timing, name: str, ca_file: Callable[[], str | None]) -> None:
        """``ca_file`` says where all others are, as for :func:`client_context`."""
        super().__init__(addresses, timing, client_context(None, AMAZON_ROOTS), name)
        self._ca_file = ca_file

    def connect(self, patience: ExchangePatience) -> Stream:
        try:
            return super().connect(patience)
        except _ssl.SSLCertVerificationError:
            self._context = client_context(self._ca_file())
            return super().connect(patience)


def amazon_or_other_peer(addresses: Addresses, timing: Timing, name: str, ca_file: Callable[[], str | None]) -> TlsPeer:
    """A server whose certificate has to hold ``name``, of Amazon's or not."""
    if name.endswith(_AMAZONS_NAMES) and os.path.exists(AMAZON_ROOTS):
        return AmazonPeer(addresses, timing, name, ca_file)
    return TlsPeer(addresses, timing, client_context(ca_file()), name)
