"""Certificates of the mesh: who a process is."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cli.layout import DataDir
from cli.pki import AUTHORITY_LIFE, LEAF_LIFE, issue_certificates

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


def leaf(data: DataDir, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(data.tls_files(name).cert_file.read_bytes())


def test_a_leaf_carries_its_spiffe_id_names_and_both_uses(data: DataDir) -> None:
    """Servers, clients, NATS and gRPC each look at a different one of these."""
    issue_certificates(data, ["bot_manager"], NOW)
    names = leaf(data, "bot_manager").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://vivesphere/bot_manager"]
    assert names.get_values_for_type(x509.DNSName) == ["bot-manager", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    uses = leaf(data, "bot_manager").extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_private_keys_are_readable_by_their_owner_alone(data: DataDir) -> None:
    """A key that others can read is everybody's identity."""
    issue_certificates(data, ["logging"], NOW)
    files = [path for path in data.root.rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in files} == {0o700}


def test_good_certificates_are_kept(data: DataDir) -> None:
    """A restart must not change identities."""
    assert issue_certificates(data, ["logging"], NOW) == ["logging"]
    before = leaf(data, "logging").serial_number
    assert issue_certificates(data, ["logging", "gateway"], NOW + timedelta(days=30)) == ["gateway"]
    assert leaf(data, "logging").serial_number == before


def test_a_leaf_near_its_end_is_renewed_by_the_same_authority(data: DataDir) -> None:
    """Expiry must not stop a mesh that is restarted now and then."""
    issue_certificates(data, ["logging"], NOW)
    authority = (data.tls / "ca" / "ca.crt").read_bytes()
    assert issue_certificates(data, ["logging"], NOW + LEAF_LIFE * 0.8) == ["logging"]
    assert (data.tls / "ca" / "ca.crt").read_bytes() == authority


def test_a_new_authority_renews_every_leaf(data: DataDir) -> None:
    """Leaves of an authority nobody trusts any more are worthless."""
    issue_certificates(data, ["logging", "gateway"], NOW)
    later = NOW + AUTHORITY_LIFE * 0.8
    assert issue_certificates(data, ["logging", "gateway"], later) == ["logging", "gateway"]
    authority = x509.load_pem_x509_certificate(data.tls_files("logging").ca_file.read_bytes())
    leaf(data, "logging").verify_directly_issued_by(authority)


def test_a_key_that_does_not_fit_its_certificate_is_replaced(data: DataDir) -> None:
    """A run that was cut off between two files must heal itself."""
    issue_certificates(data, ["logging", "gateway"], NOW)
    data.tls_files("logging").key_file.write_bytes(data.tls_files("gateway").key_file.read_bytes())
    assert issue_certificates(data, ["logging", "gateway"], NOW) == ["logging"]
