"""How a fetch comes to its stream, over real sockets: addresses, TLS, redirects and proxies."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chalicelib.errors import (
    ConfigurationError,
    LaunchDarklyUnreachable,
)
from tests.support.streams import (
    BRIEF_CONNECTION,
    DATA_SET,
    HEAD,
    OUT_OF_REACH,
    PUT,
    SDK_KEY,
    Answer,
    Serve,
    chunk,
    closing,
    failure,
    fetch,
    sending,
    status,
    trickling,
)

pytestmark = pytest.mark.usefixtures("nothing_left_behind", "nothing_private_is_logged")


def test_a_refused_connection_is_out_of_reach() -> None:
    with socket.socket() as unused:  # bound but not listening
        unused.bind(("127.0.0.1", 0))
        assert failure(unused.getsockname()[1]) == (LaunchDarklyUnreachable, OUT_OF_REACH)


def test_an_address_that_does_not_answer_is_out_of_reach() -> None:
    with _full_listener() as port:
        assert failure(port, BRIEF_CONNECTION) == (LaunchDarklyUnreachable, OUT_OF_REACH)


@contextmanager
def _full_listener() -> Iterator[int]:
    """A port where no connection is accepted any more: further ones get no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for each in waiting:
            each.close()


def test_a_name_that_is_not_resolved_is_out_of_reach_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but a patch makes a resolver hang that the test has not configured."""
    resolved = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: resolved.wait() and [])
    said = failure(1, BRIEF_CONNECTION, uri="http://stream.invalid:{}")
    assert said == (LaunchDarklyUnreachable, OUT_OF_REACH)
    resolved.set()


def test_of_several_addresses_the_silent_ones_do_not_get_the_whole_time_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with _full_listener() as port:
        silent = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [silent] * 300)
        said = failure(port, BRIEF_CONNECTION, uri="http://stream.invalid:{}")
        assert said == (LaunchDarklyUnreachable, OUT_OF_REACH)


@pytest.mark.parametrize("answer", [sending(), closing, sending(HEAD)], ids=["silent", "closed", "plain"])
def test_tls_to_what_does_not_speak_it(serve: Serve, answer: Answer) -> None:
    server = serve(answer, reads=False)
    said = failure(server.port, BRIEF_CONNECTION, uri="https://127.0.0.1:{}")
    assert said == (LaunchDarklyUnreachable, OUT_OF_REACH)


def test_a_certificate_that_nobody_vouches_for(serve: Serve, tmp_path: Any) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject)
    subprocess.run([*new, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            secured.sendall(HEAD + chunk(PUT))
            secured.recv(1)

    server = serve(answer, reads=False)
    assert failure(server.port, uri="https://127.0.0.1:{}") == (LaunchDarklyUnreachable, OUT_OF_REACH)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_followed(serve: Serve, code: int) -> None:
    answers = iter([sending(status(code, "Location: /elsewhere")), sending(HEAD, chunk(PUT))])
    server = serve(lambda connection: next(answers)(connection))
    assert fetch(server.port) == DATA_SET
    assert [request.split()[1] for request in server.requests] == ["/all", "/elsewhere"]
    assert all(f"Authorization: {SDK_KEY}" in request for request in server.requests)


def test_a_redirect_to_another_host_does_not_carry_the_key(serve: Serve) -> None:
    elsewhere = serve(sending(HEAD, chunk(PUT)))
    server = serve(sending(status(307, f"Location: http://localhost:{elsewhere.port}/all")))
    assert fetch(server.port) == DATA_SET
    assert SDK_KEY not in elsewhere.requests[0]


def test_a_uri_may_end_with_a_slash_and_have_a_path(serve: Serve) -> None:
    server = serve(sending(HEAD, chunk(PUT)))
    fetch(server.port, uri="http://127.0.0.1:{}/relay/")
    assert server.requests[0].startswith("GET /relay/all HTTP/1.1\r\n")


def test_a_proxy_is_asked_for_a_plain_stream(serve: Serve) -> None:
    proxy = serve(sending(HEAD, chunk(PUT)))
    assert fetch(0, uri="http://stream.invalid", http_proxy=f"http://user:hunter2@127.0.0.1:{proxy.port}") == DATA_SET
    assert proxy.requests[0].startswith("GET http://stream.invalid/all HTTP/1.1\r\n")
    credentials = base64.b64encode(b"user:hunter2").decode()
    assert f"proxy-authorization: basic {credentials}".lower() in proxy.requests[0].lower()


def test_a_proxy_is_asked_for_a_tunnel_to_a_secure_stream(serve: Serve) -> None:
    proxy = serve(sending(status(407), then=closing))
    more: Any = {"https_proxy": f"http://127.0.0.1:{proxy.port}", "uri": "https://stream.invalid"}
    assert failure(0, **more) == (LaunchDarklyUnreachable, OUT_OF_REACH)
    assert proxy.requests[0].startswith("CONNECT stream.invalid:443 HTTP/1.")


@pytest.mark.parametrize("answer", [sending(), trickling(b"", HEAD)], ids=["silent", "a byte at a time"])
def test_a_proxy_has_no_more_time_than_launchdarkly(serve: Serve, answer: Answer) -> None:
    more = {"https_proxy": f"http://127.0.0.1:{serve(answer).port}", "uri": "https://stream.invalid"}
    assert failure(0, BRIEF_CONNECTION, **more) == (LaunchDarklyUnreachable, OUT_OF_REACH)


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "*", "example.com, 0.0.1"])
def test_no_proxy_is_asked_where_none_is_wanted(serve: Serve, no_proxy: str) -> None:
    server = serve(sending(HEAD, chunk(PUT)))
    assert fetch(server.port, http_proxy="http://127.0.0.1:9", no_proxy=no_proxy) == DATA_SET


def test_a_proxy_that_is_no_url_is_a_setting_to_mend() -> None:
    with pytest.raises(ConfigurationError) as raised:
        fetch(1, http_proxy="user:hunter2@proxy:3128")
    assert str(raised.value) == "http_proxy or https_proxy is malformed; expected a URL."
