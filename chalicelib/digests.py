"""SHA-256 for a cold start: by the module beneath ``hashlib``.

``hashlib``, and ``hmac`` with it, load a part of OpenSSL that TLS does not need, which takes a cold start longer than a
hundred signatures (decision 0020). Much data is left to them: OpenSSL is five times as fast.
"""

from __future__ import annotations

from _operator import _compare_digest

try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]  # until Python 3.11
    except ImportError:  # a Python that was built without
        from hashlib import sha256

_MUCH_BYTES = 1 << 16
_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def sha256_of(data: bytes) -> str:
    """In lower-case hexadecimal digits."""
    if len(data) > _MUCH_BYTES:
        import hashlib

        return hashlib.sha256(data).hexdigest()
    digest: str = sha256(data).hexdigest()
    return digest


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Source: https://www.rfc-editor.org/rfc/rfc2104"""
    block = (key if len(key) <= _BLOCK_BYTES else sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(block.translate(_INNER) + message).digest()
    digest: bytes = sha256(block.translate(_OUTER) + inner).digest()
    return digest


def are_same(digest: str, presented: str) -> bool:
    """In a time that does not tell where they differ, as ``hmac.compare_digest``; anything may have been presented."""
    same: bool = _compare_digest(digest.encode(), presented.encode("utf-8", "replace"))
    return same
