"""TLS is what Python's ``ssl`` would make of it, although that is not imported."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from chalicelib.stores.tls import TlsPeer, client_context
from chalicelib.stores.wire import ExchangePatience, ResolvedAddresses, Stream
from chalicelib.timing import Timing
from tests.support.certificates import Certificates, make_certificates
from tests.support.network import Listener, TlsProxy

TIMING = Timing()

Connect = Callable[[Certificates, str, Certificates], Stream]
"""The server's certificates, the name by which it is asked for, and whose authority is trusted."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections to a server that says each line twice, and then hangs up."""

    def say_twice(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            connection.sendall(2 * lines.readline())

    def connect(of_server: Certificates, name: str, trusted: Certificates) -> Stream:
        server = opened.enter_context(closing(Listener(say_twice)))
        proxy = opened.enter_context(closing(TlsProxy(server.port, of_server.certificate, of_server.key)))
        addresses = ResolvedAddresses("127.0.0.1", proxy.port, TIMING)
        peer = TlsPeer(addresses, TIMING, client_context(trusted.authority), name)
        return opened.enter_context(closing(peer.connect(ExchangePatience(20, TIMING))))

    with ExitStack() as opened:
        yield connect


def test_a_context_protects_as_one_of_pythons_does() -> None:
    ours, pythons = client_context(None), ssl.create_default_context()
    for name in (
        "protocol",
        "verify_mode",
        "check_hostname",
        "verify_flags",
        "options",
        "minimum_version",
        "maximum_version",
        "security_level",
        "_host_flags",
    ):
        assert getattr(ours, name) == getattr(pythons, name), name
    assert ours.get_ciphers() == pythons.get_ciphers()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_what_is_said_arrives_and_the_end_is_noticed(name: str, connect: Connect, certificates: Certificates) -> None:
    stream = connect(certificates, name, certificates)
    stream.sendall(b"anna\r\n")
    assert (stream.line(), stream.line()) == (b"anna", b"anna")
    with pytest.raises(ConnectionResetError):
        stream.line()


def test_a_certificate_for_another_name_is_refused(connect: Connect, certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        connect(certificates, "store.example.com", certificates)


def test_a_certificate_of_another_authority_is_refused(
    connect: Connect, certificates: Certificates, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        connect(make_certificates(tmp_path), "localhost", certificates)


def test_a_certificate_that_has_expired_is_refused(connect: Connect, tmp_path: Path) -> None:
    expired = make_certificates(tmp_path, has_expired=True)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(expired, "localhost", expired)
