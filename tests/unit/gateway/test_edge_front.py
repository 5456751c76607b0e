"""Laws of TLS, hosts and proxies."""

import pytest
from pydantic import ValidationError

from gateway.browser.sessions import Browsers
from gateway.edge.front import Front
from gateway.metadata import RequestHeaders
from gateway.proxies import Proxies, parse_networks
from gateway.settings import Limits
from gateway.transcoding.errors import GatewayError
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.unit.gateway.support import guest_set


def headers(**values: str) -> RequestHeaders:
    """Headers by name with underscores for dashes."""
    return RequestHeaders(
        [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]
    )


YEAR = "max-age=31536000"
STS = b"strict-transport-security"


def look(
    given: RequestHeaders, peer: str, scheme: str, trusted: str = "10.0.0.0/8", hsts: str = YEAR
) -> bool:
    """Whether HSTS is sent."""
    return (
        dict(Front(Proxies(parse_networks(trusted)), None, hsts).look(given, peer, scheme)).get(STS)
        == YEAR.encode()
    )


@pytest.mark.parametrize(
    ("peer", "scheme", "proto", "host", "sent"),
    [
        ("192.0.2.1", "https", None, "bots.example", True), ("192.0.2.1", "http", None, "bots.example", False), ("192.0.2.1", "http", "https", "bots.example", False),
        ("10.0.0.1", "http", "https", "bots.example", True), ("10.0.0.1", "http", "HTTPS", "bots.example", True), ("10.0.0.1", "http", "https, http", "bots.example", False),
        ("10.0.0.1", "http", "http, https", "bots.example", True), ("10.0.0.1", "https", "http", "bots.example", False), ("127.0.0.1", "https", None, "localhost:8443", False),
        ("10.0.0.1", "http", "https", "[::1]", False),
    ],
)  # fmt: skip
def test_tls_is_what_the_connection_or_a_trusted_proxy_says(
    peer: str, scheme: str, proto: str | None, host: str, sent: bool
) -> None:
    """Anybody can send the header; HSTS over plain HTTP means nothing and on loopback too much."""
    given = headers(host=host) if proto is None else headers(host=host, x_forwarded_proto=proto)
    assert look(given, peer, scheme) is sent
    assert not look(given, peer, scheme, hsts="")


def test_the_host_is_the_one_that_the_browser_asked_for() -> None:
    """A proxy that writes its own Host says the browser's in X-Forwarded-Host; it decides about cookies and origins."""
    given = headers(host="127.0.0.1:8080", x_forwarded_host="bots.example", x_forwarded_proto="https")
    look(given, "192.0.2.1", "http")
    assert (given.get(b"host"), given.secure) == ("127.0.0.1:8080", False)
    look(given, "10.0.0.1", "http")
    assert (given.get(b"host"), given.secure) == ("bots.example", True)


def test_a_forwarded_host_that_is_none_is_refused() -> None:
    """It came through a proxy that the operator trusts and is nobody's host."""
    with pytest.raises(GatewayError, match="x-forwarded-host"):
        look(headers(host="h", x_forwarded_host="a/b"), "10.0.0.1", "http")


@pytest.mark.parametrize("value", ["max-age=1", "max-age=63072000; includeSubDomains; preload", ""])
def test_hsts_is_the_operators_to_say(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Subdomains are not ours to bind."""
    monkeypatch.setenv("VIVESPHERE_GATEWAY_HSTS", value)
    assert Limits().hsts == value


@pytest.mark.parametrize("value", ["1", "max-age=x", "max-age=1\r\nset-cookie: a=b"])
def test_an_hsts_header_that_is_none_refuses_the_start(value: str) -> None:
    """Browsers would ignore it without a word."""
    with pytest.raises(ValidationError, match="hsts"):
        Limits(hsts=value)


def test_over_tls_cookies_are_secure_even_on_loopback() -> None:
    """Behind a proxy on the same machine the gateway sees loopback and the browser does not."""
    schema = Schema(guest_set())
    transcoder = Transcoder(schema)
    browsers = Browsers(schema, transcoder.endpoints)
    leave, _ = transcoder.route("POST", "/api/v1/leave")
    given = headers(host="127.0.0.1:8080", sec_fetch_site="same-origin")
    for secure in (False, True):
        given.secure = secure
        call = browsers.enter(given, "POST", leave)
        assert call is not None
        _, cookies = call.keep(b"")
        assert cookies[0][1].startswith(b"__Host-") is secure
        assert (b"; Secure" in cookies[0][1]) is secure
