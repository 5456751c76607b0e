"""Laws of Cookie and Set-Cookie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.browser.cookies import MAX_CHARS, ON_LOOPBACK, WITH_TLS, CookieValueError
from gateway.metadata import RequestHeaders
from gateway.transcoding.errors import GatewayError

OCTETS = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '",;\\')


def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    """Every attribute closes a way; a Domain would open one."""
    assert WITH_TLS.keep("guest-refresh", "v", 3600) == (
        b"set-cookie",
        b"__Host-guest-refresh=v; Max-Age=3600; Path=/; HttpOnly; SameSite=Strict; Secure",
    )
    assert ON_LOOPBACK.keep("guest-refresh", "v", 3600) == (
        b"set-cookie",
        b"guest-refresh=v; Max-Age=3600; Path=/; HttpOnly; SameSite=Strict",
    )


def test_a_cookie_is_taken_away_with_the_attributes_it_was_set_with() -> None:
    """A browser ignores a `__Host-` cookie that is not Secure or has another path, also an expired one."""
    assert WITH_TLS.take_away("a")[1] == b"__Host-a=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert ON_LOOPBACK.take_away("a")[1] == b"a=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("", ""),
        ("a=1", "1"),
        ("x=0; a=1; y=2", "1"),
        ("x=0;a=1", "1"),
        ("a=", ""),
        ("a", ""),
        ("A=1", ""),
        ("aa=1; xa=2; a =3", ""),
        ("a=b=c==", "b=c=="),
        ("__Host-a=1", ""),
        ('x="a=1"', ""),
        ("broken\x00; a=1", "1"),
    ],
)
def test_a_cookie_is_found_by_its_whole_name(header: str, value: str) -> None:
    """What other programs of this host keep, well formed or not, is none of our business."""
    assert ON_LOOPBACK.value(header, "a") == value


def test_with_tls_only_the_prefixed_cookie_counts() -> None:
    """One without the prefix may have been planted from a subdomain or over plain HTTP."""
    assert WITH_TLS.value("a=planted; __Host-a=ours", "a") == "ours"
    assert WITH_TLS.value("a=planted; __host-a=planted", "a") == ""


@pytest.mark.parametrize("header", ["a=1; a=2", "a=1; b=0; a=1", "a=; a=1"])
def test_a_cookie_given_twice_is_refused(header: str) -> None:
    """Which one is ours cannot be told; the other may be an attacker's session."""
    with pytest.raises(GatewayError) as caught:
        ON_LOOPBACK.value(header, "a")
    assert (caught.value.code, caught.value.reason) == (3, "MALFORMED_REQUEST")


BAD_VALUES = ["a b", "a\x00b", "a\rb", "a\x7fb", 'a"b', '"quoted"', "a,b", "a\\b", "\xfc", "x" * MAX_CHARS]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_value_that_was_never_set_is_refused(value: str) -> None:
    """It goes into a message for a service; what a browser keeps for us is what we have sent."""
    with pytest.raises(CookieValueError) as caught:
        ON_LOOPBACK.value(f"a={value}", "a")
    assert value not in str(caught.value)


@pytest.mark.parametrize("value", [*BAD_VALUES, "a;b", "a\r\nset-cookie: b=c"])
def test_a_value_that_no_cookie_can_have_is_not_sent(value: str) -> None:
    """A header must not be split by what a service answers."""
    for cookies in (ON_LOOPBACK, WITH_TLS):
        with pytest.raises(CookieValueError):
            cookies.keep("a", value, 1)


@given(st.text(OCTETS, min_size=1, max_size=MAX_CHARS - len("__Host-a")))
def test_what_is_kept_comes_back(value: str) -> None:
    """All cookie-octets, up to what browsers keep."""
    for cookies in (ON_LOOPBACK, WITH_TLS):
        pair = cookies.keep("a", value, 1)[1].decode().partition("; ")[0]
        assert cookies.value(f"x=1; {pair}; y=2", "a") == value


def test_pieces_of_a_cookie_header_are_one() -> None:
    """HTTP/2 splits the header at will (RFC 9113 section 8.2.3); the last piece alone would lose sessions."""
    made = RequestHeaders([(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3")])
    assert made.get(b"cookie") == "a=1; b=2; c=3"
