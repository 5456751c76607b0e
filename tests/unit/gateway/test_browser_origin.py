"""Laws of who is a browser, and of the cross-origin check."""

import pytest

from gateway.browser import authority, origin
from gateway.metadata import RequestHeaders
from gateway.transcoding.errors import GatewayError


def headers(**values: str) -> RequestHeaders:
    """Headers by name with underscores for dashes."""
    return RequestHeaders(
        [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]
    )


def is_ours(**values: str) -> bool:
    """Whether an unsafe request with these headers passes."""
    try:
        origin.require_ours(headers(**values))
    except GatewayError as error:
        return (error.code, error.reason) != (7, "CROSS_ORIGIN_REFUSED")
    return True


def test_a_browser_is_known_by_what_scripts_cannot_leave_out() -> None:
    """curl and clients send neither header and get their tokens in the body."""
    assert origin.is_browser(headers(sec_fetch_site="cross-site"))
    assert origin.is_browser(headers(origin="null"))
    assert not origin.is_browser(
        headers(host="h", cookie="a=b", user_agent="Mozilla/5.0", referer="http://h/")
    )


@pytest.mark.parametrize(
    ("site", "passes"),
    [("same-origin", True), ("none", True), ("same-site", False), ("cross-site", False), ("", False), ("new-word", False)],
)  # fmt: skip
def test_fetch_metadata_decides_where_it_is_sent(site: str, passes: bool) -> None:
    """The browser compares real addresses; a sibling subdomain is not us, and an unknown word is no permission."""
    assert (
        is_ours(host="h", sec_fetch_site=site, origin="http://elsewhere" if passes else "http://h") is passes
    )


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("https://bots.example", "bots.example"),
        ("https://bots.example", "bots.example:443"),
        ("http://bots.example", "Bots.Example:80"),
        ("https://bots.example:8443", "bots.example:8443"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_an_origin_is_ours_by_host_and_port(given: str, host: str) -> None:
    """Over plain HTTP away from loopback browsers send no fetch metadata; a default port may be written or not."""
    assert is_ours(origin=given, host=host)


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("null", "bots.example"),
        ("", "bots.example"),
        ("http://bots.example.evil", "bots.example"),
        ("http://evil.bots.example", "bots.example"),
        ("http://bots.example:8080", "bots.example"),
        ("http://bots.example", "bots.example:8080"),
        ("https://bots.example", "bots.example:80"),
        ("http://user@bots.example", "bots.example"),
        ("http://bots.example/", "bots.example"),
        ("http://bots.example http://evil.example", "bots.example"),
        ("moz-extension://bots.example", "bots.example"),
        ("file://", ""),
        ("http://localhost:8080", "127.0.0.1:8080"),
        ("http://bots.example", ""),
        ("http://bots.example:999999", "bots.example"),
    ],
)
def test_any_other_origin_is_refused(given: str, host: str) -> None:
    """Nearly the same is not the same, and what cannot be read is not ours."""
    assert not is_ours(origin=given, host=host)


def test_an_origin_without_a_host_to_compare_with_is_refused() -> None:
    """Unknown is no."""
    assert not is_ours(origin="http://bots.example")


@pytest.mark.parametrize("name", [b"origin", b"sec-fetch-site"])
def test_what_the_check_reads_is_given_once(name: bytes) -> None:
    """Of two values a proxy may have looked at the other one."""
    with pytest.raises(GatewayError) as caught:
        RequestHeaders([(name, b"same-origin"), (name, b"cross-site")])
    assert caught.value.reason == "MALFORMED_REQUEST"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("LOCALHOST:8080", True), ("console.localhost:80", True), ("127.0.0.1:8080", True),
        ("127.255.3.4", True), ("[::1]:8080", True), ("[::1]", True), ("128.0.0.1", False), ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False), ("notlocalhost", False), ("[::2]", False), ("bots.example", False),
    ],
)  # fmt: skip
def test_loopback_is_what_browsers_trust_without_tls(host: str, loopback: bool) -> None:
    """Everywhere else a cookie without Secure would travel in the clear."""
    found = authority.parse(host)
    assert found is not None
    assert authority.is_loopback(found[0]) is loopback


@pytest.mark.parametrize("host", ["", "::1", "a b", "a/b", "user@a", "a:port", "a:1:2", "[a", "a\\b"])
def test_what_is_no_host_has_none(host: str) -> None:
    """A header made to confuse must not come out as loopback."""
    assert authority.parse(host) is None
