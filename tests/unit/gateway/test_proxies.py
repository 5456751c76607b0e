"""Who the client is when proxies stand in front: an address that anybody can write must not become one that is believed."""

import pytest

from gateway.metadata import RequestHeaders, relayed_metadata
from gateway.proxies import Proxies, parse_networks
from gateway.settings import Limits

BEHIND = Proxies(parse_networks("10.0.0.0/8, ::1"))


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("198.51.100.7", "203.0.113.1", "198.51.100.7"),  # nobody we trust says so
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        (
            "10.0.0.1",
            "203.0.113.66, 203.0.113.1",
            "203.0.113.1",
        ),  # the first one was written by the client itself
        ("10.0.0.1", "203.0.113.1, 10.2.3.4", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.66, 203.0.113.1 , 10.2.3.4,10.9.9.9", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1:4711", "203.0.113.1"),
        ("::1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1, _hidden, 10.2.3.4", "10.2.3.4"),
        ("10.0.0.1", "203.0.113.1," + "10.2.3.4," * 40 + "10.2.3.4", "10.2.3.4"),
        ("10.0.0.1", "x" * 5_000, "10.0.0.1"),
        ("", "203.0.113.1", ""),
    ],
)
def test_the_client_is_the_nearest_hop_that_is_no_trusted_proxy(
    peer: str, header: str | None, client: str
) -> None:
    """Failed sign-ins are counted by address: whoever could choose theirs would never be slowed down, or slow down others."""
    assert BEHIND.client(peer, header) == client


def test_by_default_nobody_is_believed() -> None:
    """A gateway without a proxy in front must not be told who its client is."""
    assert Limits().trusted_proxies == ()
    assert Proxies().client("10.0.0.1", "203.0.113.1") == "10.0.0.1"


def test_every_line_of_the_header_counts() -> None:
    """Some proxies add a line instead of a comma; the last one is the nearest."""
    lines = [(b"x-forwarded-for", b"203.0.113.66"), (b"x-forwarded-for", b"203.0.113.1")]
    assert RequestHeaders(lines).get(b"x-forwarded-for") == "203.0.113.66,203.0.113.1"
    incoming = [("x-forwarded-for", "203.0.113.66"), ("x-forwarded-for", "203.0.113.1")]
    made, _ = relayed_metadata(incoming, "10.0.0.1", BEHIND)
    assert [value for key, value in made if key == "x-forwarded-for"] == ["203.0.113.1"]


def test_networks_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake stops the start instead of trusting something else."""
    monkeypatch.setenv("VIVESPHERE_GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8,2001:db8::/32")
    assert [str(network) for network in Limits().trusted_proxies] == ["10.0.0.0/8", "2001:db8::/32"]
    monkeypatch.setenv("VIVESPHERE_GATEWAY_TRUSTED_PROXIES", "10.0.0.1/8")
    with pytest.raises(ValueError, match="has host bits set"):
        Limits()
