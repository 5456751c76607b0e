"""Access tokens: only the one canonical form, signed by a known key and within bounds, is believed."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mesh.identity.tokens import TokenInvalid, UnknownKey, verify

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
KEYS = {"k1": KEY.public_key()}
HEADER: dict[str, Any] = {"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": "vivesphere",
    "aud": "vivesphere",
    "sub": "user-1",
    "exp": NOW + 300,
    "nbf": NOW,
    "iat": NOW,
    "jti": "t-1",
    "sid": "s-1",
    "client_id": "vivesphere",
    "roles": ["admin"],
}


def segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(header: bytes, payload: bytes, key: Ed25519PrivateKey = KEY) -> str:
    signed = f"{segment(header)}.{segment(payload)}"
    return f"{signed}.{segment(key.sign(signed.encode()))}"


def token(header: dict[str, Any] | None = None, **claims: Any) -> str:
    merged = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    return sign(json.dumps({**HEADER, **(header or {})}).encode(), json.dumps(merged).encode())


def test_a_good_token_is_read() -> None:
    """The base case: everything else below must fail for its own reason, not because nothing passes."""
    read = verify(token(), KEYS, NOW)
    assert (read.subject, read.session_id, read.roles, read.expires_at) == (
        "user-1",
        "s-1",
        ("admin",),
        NOW + 300,
    )


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "other"},
        {"aud": ["vivesphere"]},
        {"aud": "other"},
        {"client_id": "other"},
        {"exp": NOW},
        {"exp": NOW - 1},
        {"exp": str(NOW + 300)},
        {"exp": NOW + 300.5},
        {"exp": True},
        {"exp": NOW + 901, "iat": NOW},
        {"exp": (NOW + 300) * 1000},
        {"nbf": NOW + 60},
        {"nbf": str(NOW)},
        {"iat": 0},
        {"iat": NOW + 100, "nbf": NOW},
        {"sub": ""},
        {"sub": " "},
        {"sub": 7},
        {"sub": "a\u0000b"},
        {"roles": "admin"},
        {"roles": [1]},
        {"roles": ["r"] * 65},
        {"cnf": {"jkt": "x"}},
        {"sid": ...},
        {"jti": ...},
        {"exp": ...},
    ],
    ids=str,
)
def test_claims_out_of_bounds_are_refused(claims: dict[str, Any]) -> None:
    """Each claim has one type and one range (RFC 9068, RFC 8725 section 3.10)."""
    with pytest.raises(TokenInvalid):
        verify(token(**claims), KEYS, NOW)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "eddsa"},
        {"typ": "JWT"},
        {"typ": "at+jwt "},
        {"typ": "text/at+jwt"},
        {"typ": "application/application/at+jwt"},
        {"typ": ["at+jwt"]},
        {"jku": "https://example.test/keys"},
        {"crit": ["exp"]},
        {"kid": "../k1"},
        {"kid": 1},
        {"b64": False},
    ],
    ids=str,
)
def test_headers_of_any_other_form_are_refused(header: dict[str, Any]) -> None:
    """The header is exactly alg, kid and typ; everything else is a way in (RFC 8725 sections 2 and 3)."""
    with pytest.raises(TokenInvalid):
        verify(token(header), KEYS, NOW)


@pytest.mark.parametrize(
    "spelling", ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+JWT"]
)
def test_the_type_is_a_media_type(spelling: str) -> None:
    """Media types know no case and `application/` may be left out (RFC 7515 section 4.1.9, RFC 9068 section 4)."""
    assert verify(token({"typ": spelling}), KEYS, NOW).subject == "user-1"


def test_an_unknown_key_is_told_apart() -> None:
    """Only this failure may lead to a fetch of keys, so it must be recognisable."""
    with pytest.raises(UnknownKey):
        verify(token({"kid": "k2"}), KEYS, NOW)


def test_a_token_of_another_key_is_refused() -> None:
    """The signature is what everything rests on."""
    forged = sign(json.dumps(HEADER).encode(), json.dumps(CLAIMS).encode(), OTHER)
    with pytest.raises(TokenInvalid, match="signature"):
        verify(forged, KEYS, NOW)


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(CLAIMS).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(CLAIMS).encode(),
        json.dumps(CLAIMS).replace('"sub": "user-1"', '"sub": "user-1", "sub": "user-2"').encode(),
        json.dumps(CLAIMS).replace(str(NOW + 300), "1.8e9").encode(),
        json.dumps(CLAIMS).replace(str(NOW + 300), "NaN").encode(),
        b"[]",
        b"null",
        b"[" * 4000,
    ],
    ids=["utf-16", "bom", "duplicate member", "float", "nan", "array", "null", "deep"],
)
def test_payloads_that_are_not_plain_json_are_refused_though_signed(payload: bytes) -> None:
    """Two readers must never see two different tokens, even if our own key signed the bytes."""
    with pytest.raises(TokenInvalid):
        verify(sign(json.dumps(HEADER).encode(), payload), KEYS, NOW)


def test_padding_and_spare_bits_are_refused() -> None:
    """A token has one spelling; PyJWT alone accepts several."""
    good = token()
    head, body, signature = good.split(".")
    for spelled in (
        f"{good}=",
        f"{good}==",
        f"{head}=.{body}.{signature}",
        f" {good}",
        f"{good}\n",
        f"{good}.",
    ):
        with pytest.raises(TokenInvalid):
            verify(spelled, KEYS, NOW)
    flipped = signature[:-1] + chr(ord(signature[-1]) + 1)
    with pytest.raises(TokenInvalid):
        verify(f"{head}.{body}.{flipped}", KEYS, NOW)


def test_a_huge_token_is_refused_before_it_is_decoded() -> None:
    """Work per forged token is bounded."""
    with pytest.raises(TokenInvalid, match="length"):
        verify("a" * 9000, KEYS, NOW)


@given(st.text(max_size=200))
def test_no_text_but_a_token_is_read(text: str) -> None:
    """Rubbish is refused with our own error, never another exception."""
    with pytest.raises(TokenInvalid):
        verify(text, KEYS, NOW)
