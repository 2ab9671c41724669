"""What Redis' errors mean, in our words: the same on both paths."""

from __future__ import annotations

_CLUSTER = (
    "The flag store is a Redis Cluster: STORE_PREFIX must be a hash tag such as {launchdarkly}, and REDIS_URL "
    "must name the node that holds its slot."
)
_LOGIN = "The flag store refused the user name or password in REDIS_URL."

BY_IAM = "IAM "
"""What stands before the server's words about a login by IAM."""

_TOKEN = (
    "The flag store refused the IAM token of the user in REDIS_URL: the function's role needs elasticache:Connect on "
    "the cache and on the user, whose type must be IAM and whose name must be its ID, in the cache's user group."
)

_CONDITIONS = {
    f"{BY_IAM}WRONGPASS": _TOKEN,
    f"{BY_IAM}NOAUTH": _TOKEN,
    f"{BY_IAM}ERR invalid username-password pair": _TOKEN,
    "WRONGPASS": _LOGIN,
    "NOAUTH": _LOGIN,
    "ERR invalid password": _LOGIN,
    "ERR invalid username-password pair": _LOGIN,
    "ERR max number of clients": "The flag store has as many clients as it takes (max number of clients reached).",
    "ERR DB index is out of range": "The flag store has no database of the number in REDIS_URL.",
    "ERR invalid DB index": "The flag store has no database of the number in REDIS_URL.",
    "LOADING": "The flag store is still loading its data.",
    "READONLY": "The flag store is a read-only replica; REDIS_URL must name the primary.",
    "MASTERDOWN": "The flag store is a replica that has lost its primary.",
    "OOM": "The flag store is out of memory (OOM command not allowed).",
    "CLUSTERDOWN": "The flag store is a Redis Cluster that is down.",
    "CROSSSLOT": _CLUSTER,
    "MOVED": _CLUSTER,
    "ASK": _CLUSTER,
}
"""By the beginning of the server's words."""

NEEDS_NO_PASSWORD = ("ERR AUTH <password> called without any password", "ERR Client sent AUTH, but no password is set")
"""How the server begins to say that it would have let us in without the password. So it does."""


def meaning(words: str, variable: str = "REDIS_URL") -> str:
    """One of the usual conditions, or else the server's own words; never an address, nor what was sent.

    ``variable`` is the setting that says where the server is.
    """
    for beginning, message in _CONDITIONS.items():
        if words.startswith(beginning):
            return message.replace("REDIS_URL", variable)
    words = words.removeprefix(BY_IAM)
    return f"The flag store refused a command: {words.partition(', with args')[0]}"


def out_of_reach(error: BaseException | None) -> str:
    """Why there is no talking to the server, as the system or OpenSSL says it; never an address."""
    if not isinstance(error, OSError):
        return "The flag store cannot be reached."
    not_verified = getattr(error, "verify_message", "").partition(",")[0]  # a name that it does not hold comes after it
    why = not_verified or getattr(error, "reason", None) or error.strerror or error
    return f"The flag store cannot be reached ({why})."
