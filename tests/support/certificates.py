"""Certificates for servers of the tests, as an authority of their own signs them."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificates(NamedTuple):
    """Paths of files in PEM format."""

    authority: str
    certificate: str
    key: str

    def authorities(self) -> str:
        """A folder with the authority, as OpenSSL looks it up."""
        authority = Path(self.authority)
        folder = authority.parent / "authorities"
        folder.mkdir(exist_ok=True)
        (folder / f"{subject_hash(authority.read_bytes())}.0").write_bytes(authority.read_bytes())
        return str(folder)


def make_certificates(
    folder: Path, host: str = "localhost", address: str | None = "127.0.0.1", *, has_expired: bool = False
) -> Certificates:
    """A certificate for this host (and IP address), and the authority that has signed it.

    They say of their keys whose they are and what for, which Python requires from version 3.13 on.
    """
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("Authority of the tests")
    authority = (
        _begin(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if address is not None:
        names.append(x509.IPAddress(ipaddress.ip_address(address)))
    certificate = (
        _begin(_name(host), authority_name, key, has_expired)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    contents = {
        "authority": authority.public_bytes(encoding),
        "certificate": certificate.public_bytes(encoding),
        "key": key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    }
    for name, content in contents.items():
        (folder / f"{name}.pem").write_bytes(content)
    return Certificates(**{name: str(folder / f"{name}.pem") for name in contents})


_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def subject_hash(certificate: bytes) -> str:
    """The hash by which OpenSSL looks for a certificate, which is in PEM, in a folder.

    Source: https://docs.openssl.org/3.0/man1/openssl-x509/ (``-subject_hash``)
    """
    encoded = b""
    for attributes in x509.load_pem_x509_certificate(certificate).subject.rdns:
        (attribute,) = attributes
        identifier = x509.Name([attribute]).public_bytes()[6:]  # inside of a sequence, a set and a sequence
        words = " ".join(str(attribute.value).lower().split()).encode()
        pair = identifier[: 2 + identifier[1]] + _der(0x0C, words)
        encoded += _der(0x31, _der(0x30, pair))
    return f"{int.from_bytes(hashlib.sha1(encoded).digest()[:4], 'little'):08x}"


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 128  # longer ones are written otherwise
    return bytes([tag, len(content)]) + content


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, has_expired: bool = False
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=-1 if has_expired else 30))
    )
