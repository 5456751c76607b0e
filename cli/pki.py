"""The mesh's own certificate authority: who a process is, as far as mutual TLS is concerned.

One P-256 authority signs one leaf a name, good as server and as client: `spiffe://vivesphere/<name>` as its only URI, the
dashed name and `localhost` as DNS names, and the loopback addresses. P-256 because gRPC's BoringSSL, Go and OpenSSL all take
it with every default. Files that are there and valid long enough are kept, so running this again is free; leaves are renewed
when less than a quarter of their life is left, and when the authority has changed.

In production cert-manager or SPIRE mounts files of the same names and this module is not used.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cli.layout import DataDir, TlsFiles, write_private

TRUST_DOMAIN = "vivesphere"
OTHER_IDENTITIES = (
    "gateway",
    "nats",
    "openbao",
    "vault",
    "postgres",
    "setup",
    "supervisor",
)  # beside the services
AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=397)  # the longest that common clients take
_BACKDATED = timedelta(minutes=5)  # for clocks that differ between machines


@dataclass(frozen=True, slots=True)
class Authority:
    """The certificate that signs, and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def spiffe_id(name: str) -> str:
    """The SPIFFE ID of a process of the mesh; also its NATS user."""
    return f"spiffe://{TRUST_DOMAIN}/{name}"


def issue_certificates(data: DataDir, names: Iterable[str], now: datetime | None = None) -> list[str]:
    """Makes the authority and a certificate for each of `names` where missing or near expiry.

    Returns the names that got a new certificate. Raises ValueError for an unreadable file in the directory.
    """
    moment = now or datetime.now(UTC)
    authority = _ensure_authority(data.tls / "ca", moment)
    return [name for name in names if _ensure_leaf(data, authority, name, moment)]


def _near_expiry(certificate: x509.Certificate, now: datetime) -> bool:
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < life / 4


def _ensure_authority(folder: Path, now: datetime) -> Authority:
    certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
    if certificate_file.exists() and key_file.exists():
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file.name}: not an elliptic curve key")
        if not _near_expiry(certificate, now):
            return Authority(certificate, key)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_authority(key, now)
    write_private(key_file, _key_pem(key))
    write_private(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(certificate, key)


def _builder(
    subject: str, public_key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign_authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = f"{TRUST_DOMAIN} mesh authority"
    return (
        _builder(name, key.public_key(), now, AUTHORITY_LIFE)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _sign_leaf(
    authority: Authority, name: str, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    alternative_names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(spiffe_id(name)),
        x509.DNSName(name.replace("_", "-")),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return (
        _builder(name, key.public_key(), now, LEAF_LIFE)
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        .add_extension(authority_key, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _is_good(files: TlsFiles, authority: Authority, now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(files.cert_file.read_bytes())
    key = serialization.load_pem_private_key(files.key_file.read_bytes(), password=None)
    if key.public_key() != certificate.public_key():  # a run was cut off between the two files
        return False
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, InvalidSignature):
        return False
    return not _near_expiry(certificate, now)


def _ensure_leaf(data: DataDir, authority: Authority, name: str, now: datetime) -> bool:
    files = data.tls_files(name)
    complete = all(path.exists() for path in (files.cert_file, files.key_file, files.ca_file))
    if complete and _is_good(files, authority, now):
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_leaf(authority, name, key, now)
    write_private(files.key_file, _key_pem(key))
    write_private(files.cert_file, certificate.public_bytes(serialization.Encoding.PEM))
    write_private(files.ca_file, authority.certificate.public_bytes(serialization.Encoding.PEM))
    return True
