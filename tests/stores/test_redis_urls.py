"""One REDIS_URL means one thing: both paths work with it on a real server, or both refuse it in the same words."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from chalicelib.errors import ConfigurationError, StoreUnavailable
from chalicelib.stores import tls
from chalicelib.stores.redis.address import parse_address
from chalicelib.stores.redis.reader import RedisReader
from chalicelib.stores.redis.writer import RedisWriter
from chalicelib.timing import Timing
from tests.stores.test_wire import Resolver
from tests.support.certificates import Certificates, make_certificates
from tests.support.network import TlsProxy
from tests.support.ports import free_port
from tests.support.timings import PATIENT
from tests.support.valkey import ValkeyServer, running_valkey

PATIENT_WITH_BOTH = PATIENT._replace(redis_connect_seconds=30, redis_command_seconds=30)


def through_both_paths(url: str, timing: Timing = PATIENT_WITH_BOTH) -> list[str]:
    """What each path says: nothing when it works."""
    said = []
    for use in (
        lambda: RedisReader(url, "launchdarkly", timing).read_sync_record(),
        lambda: RedisWriter(url, "launchdarkly", timing).read_backlog(),
    ):
        try:
            use()
        except (StoreUnavailable, ConfigurationError) as error:
            said.append(f"{type(error).__name__}: {error}")
        else:
            said.append("")
    return said


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of another authority."""
    return make_certificates(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """With users that need a password, need none, or may do next to nothing."""
    with running_valkey(bind="127.0.0.1 ::1", unixsocket=str(tmp_path_factory.mktemp("v") / "s")) as server:
        server.command("ACL", "SETUSER", "anna", "on", ">p@ss:w/rd#?%", "~*", "+@all")
        server.command("ACL", "SETUSER", "open", "on", "nopass", "~*", "+@all")
        server.command("ACL", "SETUSER", "noreads", "on", "nopass", "~*", "+auth", "+multi", "+exec")
        yield server


@pytest.fixture(scope="module")
def names(server: ValkeyServer, certificates: Certificates, stranger: Certificates) -> Iterator[dict[str, str]]:
    """What stands in braces in the tables."""
    with ExitStack() as running:
        proxies = [
            running.enter_context(closing(TlsProxy(server.port, certificates.certificate, certificates.key, host)))
            for host in ("127.0.0.1", "::1")
        ]
        yield {
            "port": str(server.port),
            "closed": str(free_port()),
            "unknown_name": of_unknown_name("a-name.invalid"),
            "tls": str(proxies[0].port),
            "tls6": str(proxies[1].port),
            "socket": server.command("CONFIG", "GET", "unixsocket")["unixsocket"],
            "ca": certificates.authority,
            "cert": certificates.certificate,
            "key": certificates.key,
            "other_ca": stranger.authority,
        }


SECRET = "p%40ss%3Aw%2Frd%23%3F%25"

WORK = [
    "redis://127.0.0.1:{port}",
    "redis://127.0.0.1:{port}/",
    "redis://127.0.0.1:{port}/3",
    "redis://127.0.0.1:{port}?db=3",
    "redis://127.0.0.1:{port}/3?db=3",
    "redis://localhost:{port}",
    "redis://LOCALHOST:{port}",
    "redis://[::1]:{port}/1",
    "redis://:any@127.0.0.1:{port}/0",  # of a server that needs none
    "redis://open@127.0.0.1:{port}/0",  # a user without a password
    "redis://open:any@127.0.0.1:{port}/0",
    "redis://anna:" + SECRET + "@127.0.0.1:{port}/0",
    "redis://127.0.0.1:{port}/0?username=anna&password=" + SECRET,
    "unix://{socket}",
    "unix://{socket}?db=2",
    "unix://anna:" + SECRET + "@{socket}?db=2",
    "unix://anna@{socket}?db=2&password=" + SECRET,
    "rediss://localhost:{tls}?ssl_ca_certs={ca}",
    "rediss://127.0.0.1:{tls}/1?ssl_ca_certs={ca}&ssl_cert_reqs=required",
    "rediss://[::1]:{tls6}?ssl_ca_certs={ca}&ssl_check_hostname=false",
    "rediss://localhost:{tls}?ssl_cert_reqs=none",
    "rediss://localhost:{tls}?ssl_cert_reqs=optional&ssl_ca_certs={ca}",
    "rediss://anna:" + SECRET + "@localhost:{tls}/0?ssl_ca_certs={ca}&ssl_certfile={cert}&ssl_keyfile={key}",
]


def away(why: str) -> str:
    return f"StoreUnavailable: The flag store cannot be reached ({why})."


def of_unknown_name(name: str) -> str:
    """What this system's resolver says of it."""
    with pytest.raises(socket.gaierror) as raised:
        socket.getaddrinfo(name, 6379)
    return str(raised.value.strerror)


LOGIN = "StoreUnavailable: The flag store refused the user name or password in REDIS_URL."
SLOW = "StoreUnavailable: The flag store did not answer in time."
NOT_TRUSTED = away("unable to get local issuer certificate")

FAIL = {
    "redis://anna:wrong@127.0.0.1:{port}/0": LOGIN,
    "redis://anna@127.0.0.1:{port}/0": LOGIN,
    "redis://nobody:x@127.0.0.1:{port}/0": LOGIN,
    "redis://127.0.0.1:{port}/99": "StoreUnavailable: The flag store has no database of the number in REDIS_URL.",
    "rediss://localhost:{tls}": NOT_TRUSTED,  # an authority that nobody knows
    "rediss://localhost:{tls}?ssl_ca_certs={other_ca}": NOT_TRUSTED,
    "rediss://[::1]:{tls6}?ssl_ca_certs={ca}": away("IP address mismatch"),  # the certificate does not hold it
    "rediss://127.0.0.1:{port}?ssl_cert_reqs=none": SLOW,  # a server without TLS waits for more
    "redis://127.0.0.1:{tls}": away(os.strerror(errno.ECONNRESET)),
    "redis://127.0.0.1:{closed}": away(os.strerror(errno.ECONNREFUSED)),
    "redis://a-name.invalid:{port}": away("{unknown_name}"),
    "unix:///nowhere/to/be/found": away(os.strerror(errno.ENOENT)),
}

ESCAPES = "has a character that must be percent-encoded in a user name or password: # ? / @"

REFUSED = {
    "redis://127.0.0.1/1?db=5": "has two different values for db",
    "redis://127.0.0.1?db=1&db=2": "has the option db twice",
    "redis://127.0.0.1/?db=": "has the option db without a value",
    "redis://127.0.0.1/one": "has a database (db) that is not a number",
    "redis://127.0.0.1/1/2": "has a database (db) that is not a number",
    "redis://127.0.0.1?db=-1": "has a database (db) that is not a number",
    "redis://anna:one@127.0.0.1?password=zwei": "has two different values for password",
    "redis://a..b/0": "has a host that is no host name",
    "redis://-a/0": "has a host that is no host name",
    "redis://" + "a" * 64 + "/0": "has a host that is no host name",
    "redis://[::zz]/0": "cannot be parsed; expected redis://[user:password@]host:port/database",
    "redis://[127.0.0.1": "cannot be parsed; expected redis://[user:password@]host:port/database",
    "redis://127.0.0.1:port/0": "has a port that is not a number from 1 to 65535",
    "redis://127.0.0.1:65536/0": "has a port that is not a number from 1 to 65535",
    "redis://127.0.0.1:0/0": "has a port that is not a number from 1 to 65535",
    "redis://:6543#21@127.0.0.1/0": ESCAPES,
    "redis://:6543?21@127.0.0.1/0": ESCAPES,
    "redis://:6543/21@127.0.0.1/0": ESCAPES,
    "redis://127.0.0.1/0?ssl_cert_reqs=none": "has the option ssl_cert_reqs, which is for rediss://",
    "redis://127.0.0.1/0?socket_timeout=3": "has the unknown option socket_timeout; known are db, username, password",
    "unix:///tmp/s?password=s&21=x": "has the unknown option (not shown); known are db, username, password",
    "rediss://localhost?ssl_cert_reqs=CERT_NONE": "has an ssl_cert_reqs that is not none, optional or required",
    "rediss://localhost?ssl_check_hostname=maybe": "has an ssl_check_hostname that is not true or false",
    "rediss://localhost?ssl_ca_certs=/no/such/21": "has an ssl_ca_certs that names no file that can be read",
    "rediss://localhost?ssl_ca_certs={key}": "has an ssl_ca_certs that holds no certificates",
    "rediss://localhost?ssl_keyfile={key}": "has the option ssl_keyfile without ssl_certfile",
    "rediss://localhost?ssl_certfile={ca}": "has an ssl_certfile or ssl_keyfile that cannot be used",
    "unix://tmp/s": "must have the path of the socket after unix://, beginning with /",
    "unix://": "must have the path of the socket after unix://, beginning with /",
    "http://127.0.0.1": "must start with redis://, rediss:// or unix://",
}


@pytest.mark.parametrize("url", WORK)
def test_both_paths_work(url: str, names: dict[str, str]) -> None:
    assert through_both_paths(url.format(**names)) == ["", ""]


@pytest.mark.parametrize("url", FAIL)
def test_both_paths_fail_in_the_same_words(url: str, names: dict[str, str]) -> None:
    timing = Timing() if FAIL[url] == SLOW else PATIENT_WITH_BOTH
    assert through_both_paths(url.format(**names), timing) == [FAIL[url].format(**names)] * 2


CACHE = "flags.serverless.euc1.cache.amazonaws.com"


@pytest.mark.parametrize("trusts", ["Amazon's roots", "the system's roots", "neither"])
def test_a_cache_of_amazons_is_trusted_by_amazons_roots_and_then_by_all(
    trusts: str, server: ValkeyServer, stranger: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    amazon = make_certificates(tmp_path, CACHE)
    of_amazon, of_system = (amazon if trusts == name else stranger for name in ("Amazon's roots", "the system's roots"))
    monkeypatch.setattr(tls, "AMAZON_ROOTS", of_amazon.authorities())
    monkeypatch.setenv("SSL_CERT_FILE", of_system.authority)
    with closing(TlsProxy(server.port, amazon.certificate, amazon.key)) as proxy:
        Resolver(monkeypatch, proxy.port, CACHE)
        said = through_both_paths(f"rediss://{CACHE}:{proxy.port}")
    assert said == ([NOT_TRUSTED] * 2 if trusts == "neither" else ["", ""])


@pytest.mark.parametrize("url", REFUSED)
def test_both_paths_refuse_it_and_show_nothing_of_it(url: str, names: dict[str, str]) -> None:
    message = f"ConfigurationError: REDIS_URL {REFUSED[url]}."
    assert through_both_paths(url.format(**names)) == [message] * 2
    assert not re.search(r"21|6543|/tmp|zwei", message)


def test_what_a_user_may_not_do_is_said_in_the_servers_words(server: ValkeyServer) -> None:
    reader, writer = through_both_paths(f"redis://noreads@127.0.0.1:{server.port}/0")
    assert reader.startswith("StoreUnavailable: The flag store refused a command: NOPERM ")
    assert "'get'" in reader
    assert writer == reader.replace("'get'", "'hgetall'"), "each in the words about its first command"


def test_too_many_clients_are_reported_as_such() -> None:
    with running_valkey(maxclients="1") as server, server.client() as only:
        only.ping()
        reader, writer = through_both_paths(server.url)
    assert reader == "StoreUnavailable: The flag store has as many clients as it takes (max number of clients reached)."
    assert writer == reader


def test_a_server_that_wants_a_password_says_so() -> None:
    with running_valkey() as server:
        server.command("CONFIG", "SET", "requirepass", "word")
        assert through_both_paths(server.url) == [LOGIN] * 2
        assert through_both_paths(f"redis://:word@127.0.0.1:{server.port}") == ["", ""]


def test_an_address_shows_nothing_of_itself(tmp_path: Path) -> None:
    address = parse_address("redis://anna:secret@store/0")
    assert address.password == "secret"
    assert "secret" not in f"{address} {address!r}"
