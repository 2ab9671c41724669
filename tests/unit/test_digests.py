"""What is hashed without OpenSSL is what Python's own modules say."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.digests import are_same, hmac_sha256, sha256_of


@given(st.binary(max_size=300))
def test_a_digest_is_that_of_hashlib(data: bytes) -> None:
    assert sha256_of(data) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("count", [1 << 16, (1 << 16) + 1, 1 << 20])
def test_so_is_that_of_much_data(count: int) -> None:
    assert sha256_of(b"x" * count) == hashlib.sha256(b"x" * count).hexdigest()


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_an_hmac_is_that_of_hmac(key: bytes, message: bytes) -> None:
    assert hmac_sha256(key, message) == hmac.digest(key, message, "sha256")


@pytest.mark.parametrize("length", [63, 64, 65])
def test_so_is_one_with_a_key_of_about_a_block(length: int) -> None:
    assert hmac_sha256(b"k" * length, b"message") == hmac.digest(b"k" * length, b"message", "sha256")


@pytest.mark.parametrize(
    ("other", "same"),
    [("abc", True), ("abd", False), ("ab", False), ("abcd", False), ("", False), ("abæ", False), ("ab\ud83d", False)],
)
def test_texts_are_compared(other: str, same: bool) -> None:
    assert are_same("abc", other) is same
