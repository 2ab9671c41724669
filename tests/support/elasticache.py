"""What ElastiCache has before its Valkey: TLS, and logins by IAM, whose tokens it has AWS check."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from io import BufferedReader
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.certificates import Certificates
from tests.support.network import Listener, TlsProxy

ACCESS = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret/with+signs=",
    "AWS_SESSION_TOKEN": "token//with==signs",
}
"""The environment of the function that may connect."""


class ElastiCache:
    """Lets ``user`` through to the Valkey at ``port``, where anybody else may do everything."""

    def __init__(self, port: int, certificates: Certificates, user: str) -> None:
        self.user = user
        self.tokens: list[str] = []
        """Those that were accepted."""
        self.minutes_ahead = 0
        """How much later it is here than where tokens are signed."""
        self._target = port
        self._door = Listener(lambda client: threading.Thread(target=self._serve, args=(client,), daemon=True).start())
        self._tls = TlsProxy(self._door.port, certificates.certificate, certificates.key)
        self.port = self._tls.port

    def close(self) -> None:
        self._tls.close()
        self._door.close()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), client.makefile("rb") as received:
            words = _command(received)
            if not self._accepts(words):
                client.sendall(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
                while _command(received):
                    client.sendall(b"-NOAUTH Authentication required.\r\n")
                return
            self.tokens.append(words[2].decode())
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                client.sendall(b"+OK\r\n")
                threading.Thread(target=_pass_on, args=(received, server), daemon=True).start()
                while data := server.recv(65_536):
                    client.sendall(data)

    def _accepts(self, words: list[bytes]) -> bool:
        if words[:2] != [b"AUTH", self.user.encode()] or len(words) != 3:
            return False
        token = words[2].decode()
        sent = dict(parse_qsl(urlsplit(f"//{token}").query))
        signed = datetime.strptime(sent["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        age = datetime.now(timezone.utc) + timedelta(minutes=self.minutes_ahead) - signed
        is_fresh = timedelta(seconds=-5) < age < timedelta(seconds=int(sent["X-Amz-Expires"]))
        return is_fresh and sent["User"] == self.user and sent == dict(parse_qsl(signed_by_aws(sent, signed)))


def signed_by_aws(sent: dict[str, str], moment: datetime, access: dict[str, str] = ACCESS) -> str:
    """The query of the request to connect that AWS's SDK signs for the function."""
    names = [name for name in ("Action", "ResourceType", "User") if name in sent]
    request = AWSRequest("GET", "https://flags-cache/", params={name: sent[name] for name in names})
    keys = [access[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    auth = SigV4QueryAuth(
        Credentials(*keys, access.get("AWS_SESSION_TOKEN")), "elasticache", access["AWS_DEFAULT_REGION"], expires=900
    )
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    auth._modify_request_before_signing(request)
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    return f"{urlsplit(request.url).query}&X-Amz-Signature={signature}"


def _command(received: BufferedReader) -> list[bytes]:
    """Its words; none at the end of the connection."""
    words = []
    for _ in range(int(received.readline()[1:] or 0)):
        length = int(received.readline()[1:])
        words.append(received.read(length + 2)[:-2])
    return words


def _pass_on(received: BufferedReader, server: socket.socket) -> None:
    with suppress(OSError, ValueError), closing(server):
        while data := received.read1(65_536):
            server.sendall(data)
