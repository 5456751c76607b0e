"""Time-based one-time passwords: RFC 6238, and nothing of our own."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.authentication.domain import totp

# RFC 6238 appendix B, SHA-1: the shared secret, and Unix time with the eight digits, of which ours are the last six.
SECRET = b"12345678901234567890"
VECTORS = [
    (59, "94287082"),
    (1111111109, "07081804"),
    (1111111111, "14050471"),
    (1234567890, "89005924"),
    (2000000000, "69279037"),
    (20000000000, "65353130"),
]
NOW = datetime(2026, 1, 1, 12, 0, 15, tzinfo=UTC)


@pytest.mark.parametrize(("seconds", "digits"), VECTORS)
def test_codes_are_those_of_the_standard(seconds: int, digits: str) -> None:
    """RFC 6238 appendix B: else no authenticator app would show them."""
    now = datetime.fromtimestamp(seconds, UTC)
    assert totp.code(SECRET, totp.step_at(now)) == digits[-6:]
    assert totp.matching_step(SECRET, digits[-6:], now) == seconds // 30


@pytest.mark.parametrize(("steps", "accepted"), [(-2, False), (-1, True), (0, True), (1, False)])
def test_the_code_of_now_and_the_one_before_are_accepted(steps: int, accepted: bool) -> None:
    """Typing takes time; a code of the future was not read from a device."""
    step = totp.step_at(NOW) + steps
    found = totp.matching_step(SECRET, totp.code(SECRET, step), NOW)
    assert found == (step if accepted else None)


def test_a_step_begins_and_ends_on_the_half_minute() -> None:
    """Server and device must agree on the edges."""
    edge = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
    assert totp.step_at(edge) == totp.step_at(edge - timedelta(microseconds=1)) + 1
    assert totp.step_at(edge) == totp.step_at(edge + timedelta(seconds=29, microseconds=999_999))


@given(st.text(max_size=40))
def test_whatever_was_typed_is_compared_and_raises_nothing(text: str) -> None:
    """An error would show it."""
    accepted = {totp.code(SECRET, totp.step_at(NOW) - back) for back in (0, 1)}
    assert (totp.matching_step(SECRET, text, NOW) is not None) == (text in accepted)
    assert totp.looks_like_code(text) == (len(text) == 6 and set(text) <= set("0123456789"))


@pytest.mark.parametrize("username", ["ann", "ann+ops@example.com", "straße", "李小龍", "a:b?c&d=e/f%g"])
def test_the_uri_says_everything_that_an_app_needs(username: str) -> None:
    """Also for names that mean something in a URI."""
    uri = totp.key_uri(SECRET, username)
    parts = urlsplit(uri)
    assert uri.isascii()
    assert (parts.scheme, parts.netloc, parts.fragment) == ("otpauth", "totp", "")
    assert parts.path.count(":") == 1
    assert unquote(parts.path) == f"/ViveSphere:{username}"
    assert parse_qs(parts.query, strict_parsing=True) == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        "issuer": ["ViveSphere"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }


def test_a_secret_is_typed_in_without_padding() -> None:
    """160 bits are 32 characters of Base32."""
    text = totp.base32(b"\xff" * totp.SECRET_BYTES)
    assert text == "7" * 32
    assert base64.b32decode(text) == b"\xff" * 20
