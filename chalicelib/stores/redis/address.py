"""Where Redis is and how to log in, from ``REDIS_URL`` or its like. Both paths connect by what is parsed here.

What is unknown, impossible or contradicts itself is refused. No message shows the URL or an unknown part of
it: a password that is not percent-encoded may be anywhere.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ...errors import ConfigurationError

_LABEL = re.compile(r"(?!-)[\w-]{1,63}(?<!-)", re.ASCII)
_OPTION_NAME = r"[a-z][a-z_]{1,30}"
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Tls(NamedTuple):
    """What ``rediss://`` and its options ask for. Paths are of files in PEM format."""

    verify: bool
    check_hostname: bool
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None


class Address(NamedTuple):
    """``host`` and ``port``, or the ``path`` of a Unix socket."""

    host: str | None
    port: int
    path: str | None
    username: str | None
    password: str | None
    database: int
    tls: Tls | None
    variable: str
    """The setting that holds it."""
    iam_cache: str | None = None
    """The option of that name: which cache of ElastiCache it is, where the host does not tell."""
    token: Callable[[], str] | None = None
    """With ``REDIS_AUTH=iam``, what makes the password for each connection."""

    def __repr__(self) -> str:
        return f"Address of {self.variable}"


def address_of(url: str, variable: str, iam: Mapping[str, str] | None) -> Address:
    """The address to connect to from here, as :func:`with_login`: the files that it names can be read.

    Raises ConfigurationError about ``variable``.
    """
    address = with_login(parse_address(url, variable), iam)
    if address.tls is not None:
        _check_files(address.tls, variable)
    return address


def with_login(address: Address, iam: Mapping[str, str] | None) -> Address:
    """The address; ``iam``: the environment variables of AWS's SDK where IAM is to log in, else None.

    Another Redis than the flag store may have a password all the same. Raises ConfigurationError.
    """
    if iam is None or (address.variable != "REDIS_URL" and address.password is not None):
        if address.iam_cache is not None:
            raise ConfigurationError(f"{address.variable} has the option iam_cache, but no login by IAM.")
        return address
    from .iam import with_token

    return with_token(address, iam)


def parse_address(url: str, variable: str = "REDIS_URL") -> Address:
    """The address in a ``redis://``, ``rediss://`` or ``unix://`` URL. Raises ConfigurationError about ``variable``."""
    try:
        return _parsed(url, variable)
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable} {error}.") from None


def _parsed(url: str, variable: str) -> Address:
    parts = _split(url)
    options = _options(parts.query)
    local = parts.scheme == "unix"
    tls = parts.scheme == "rediss"
    known = ("db", "username", "password", *((*_TLS_OPTIONS, "iam_cache") if tls else ()))
    for name in options:
        if name not in known:
            raise _unknown(name, tls, known)
    userinfo, _, host = parts.netloc.rpartition("@")
    username, separator, password = userinfo.partition(":")
    return Address(
        host=None if local else _host(host),
        port=_port(parts),
        path=_path(parts, host) if local else None,
        username=_once("username", unquote(username) or None, options.get("username")),
        password=_once("password", unquote(password) if separator else None, options.get("password")) or None,
        database=_database("" if local else parts.path, options.get("db")),
        tls=_tls(options) if tls else None,
        variable=variable,
        iam_cache=options.get("iam_cache"),
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _refusal("cannot be parsed; expected redis://[user:password@]host:port/database") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise _refusal("must start with redis://, rediss:// or unix://")
    if parts.fragment or "#" in url or "@" in parts.query or ("@" in parts.path and parts.scheme != "unix"):
        raise _refusal("has a character that must be percent-encoded in a user name or password: # ? / @")
    return parts


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise _refusal(f"has the option {_shown(name)} twice")
        if not value:
            raise _refusal(f"has the option {_shown(name)} without a value")
        options[name] = value
    return options


def _unknown(name: str, tls: bool, known: tuple[str, ...]) -> ConfigurationError:
    if name in _TLS_OPTIONS and not tls:
        return _refusal(f"has the option {name}, which is for rediss://")
    return _refusal(f"has the unknown option {_shown(name)}; known are {', '.join(known)}")


def _shown(name: str) -> str:
    return name if re.fullmatch(_OPTION_NAME, name) else "(not shown)"


def _host(netloc: str) -> str:
    """Raises ConfigurationError for what cannot be a host; ``localhost`` when there is none, as in redis-py."""
    if netloc.startswith("["):
        address, bracket, rest = netloc[1:].partition("]")
        if not bracket or not re.fullmatch(r"[0-9A-Fa-f:.]+(%25\w+)?", address) or not re.fullmatch(r"(:\d*)?", rest):
            raise _refusal("has a host in brackets that is no IPv6 address")
        return unquote(address)
    host = unquote(netloc.partition(":")[0])
    if host and not all(map(_LABEL.fullmatch, host.removesuffix(".").split("."))):
        raise _refusal("has a host that is no host name")
    return host or "localhost"


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise _refusal("has a port that is not a number from 1 to 65535")
    return port or 6379


def _path(parts: SplitResult, host: str) -> str:
    if host or not parts.path.strip("/"):
        raise _refusal("must have the path of the socket after unix://, beginning with /")
    return unquote(parts.path)


def _database(path: str, option: str | None) -> int:
    in_path = path.removeprefix("/") or None
    chosen = _once("db", in_path, option)
    if chosen is not None and not re.fullmatch(r"[0-9]{1,9}", chosen):
        raise _refusal("has a database (db) that is not a number")
    return int(chosen or 0)


def _once(name: str, in_url: str | None, option: str | None) -> str | None:
    if None not in (in_url, option) and in_url != option:
        raise _refusal(f"has two different values for {name}")
    return option if in_url is None else in_url


def _tls(options: dict[str, str]) -> Tls:
    values: dict[str, Any] = {  # Any: each option has a type of its own
        name: parse(name, options[name]) for name, parse in _TLS_OPTIONS.items() if name in options
    }
    if "ssl_keyfile" in values and "ssl_certfile" not in values:
        raise _refusal("has the option ssl_keyfile without ssl_certfile")
    verify = values.get("ssl_cert_reqs") != "none"
    return Tls(
        verify=verify,
        check_hostname=verify and values.get("ssl_check_hostname", True),
        ca_file=values.get("ssl_ca_certs"),
        certificate_file=values.get("ssl_certfile"),
        key_file=values.get("ssl_keyfile"),
    )


def _word(name: str, value: str) -> str:
    if value not in ("none", "optional", "required"):
        raise _refusal(f"has an {name} that is not none, optional or required")
    return value


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise _refusal(f"has an {name} that is not true or false")
    return _BOOLEANS[value.lower()]


def _path_of_file(_name: str, value: str) -> str:
    """Whether it is there is looked at where it is used: a tool may have an address that is for Lambda."""
    return value


_TLS_OPTIONS: dict[str, Callable[[str, str], str | bool]] = {
    "ssl_cert_reqs": _word,
    "ssl_check_hostname": _boolean,
    "ssl_ca_certs": _path_of_file,
    "ssl_certfile": _path_of_file,
    "ssl_keyfile": _path_of_file,
}


def _check_files(tls: Tls, variable: str) -> None:
    paths = {"ssl_ca_certs": tls.ca_file, "ssl_certfile": tls.certificate_file, "ssl_keyfile": tls.key_file}
    for name, path in paths.items():
        if path is None:
            continue
        try:
            open(path, "rb").close()
        except (OSError, ValueError):
            raise ConfigurationError(f"{variable} has an {name} that names no file that can be read.") from None


def _refusal(what: str) -> ConfigurationError:
    """``what`` goes on with a sentence that begins with the name of the variable."""
    return ConfigurationError(what)
