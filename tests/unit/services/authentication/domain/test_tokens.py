"""Tokens: what is issued here is exactly what every service accepts."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.identity.keys import parse_jwks
from mesh.identity.thumbprint import thumbprint
from mesh.identity.tokens import AccessToken, TokenInvalid, verify
from mesh.ids import new_id
from services.authentication.domain.signing import (
    PUBLISHED,
    TRANSITIONS,
    KeyState,
    SigningKey,
    jwks,
)
from services.authentication.domain.tokens import Signer, new_refresh_token, refresh_token_hash

NOW = datetime(2026, 1, 1, 12, 0, 0, 900_000, tzinfo=UTC)
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEY = SigningKey(thumbprint(PUBLIC), KeyState.ACTIVE, PUBLIC, "sealed", NOW, NOW)


def issue() -> tuple[str, str, str]:
    user, session = new_id(), new_id()
    token = Signer(KEY.id, PRIVATE).access_token(
        user_id=user,
        session_id=session,
        token_id=new_id(),
        roles=("admin", "viewer"),
        now=NOW,
        lifetime=timedelta(minutes=5),
    )
    return token, user, session


def test_the_mesh_accepts_what_is_issued_until_it_ends() -> None:
    """Issuer and verifier are written apart; here they meet."""
    token, user, session = issue()
    keys = parse_jwks(jwks([KEY]))
    read = verify(token, keys, NOW.timestamp())
    assert (read.subject, read.session_id, read.roles) == (user, session, ("admin", "viewer"))
    assert read.expires_at - read.issued_at == 300
    with pytest.raises(TokenInvalid):
        verify(token, keys, NOW.timestamp() + 300)


def test_the_key_set_holds_no_private_part_and_no_retired_key() -> None:
    """It is public."""
    retired = SigningKey("old", KeyState.RETIRED, PUBLIC, "sealed", NOW)
    document = json.loads(jwks([retired, KEY]))
    assert document == {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "use": "sig",
                "alg": "EdDSA",
                "kid": KEY.id,
                "x": document["keys"][0]["x"],
            }
        ]
    }


def test_a_key_is_named_by_its_thumbprint() -> None:
    """RFC 8037 appendix A.3."""
    x = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert thumbprint(x) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_key_never_comes_back_to_life() -> None:
    """A token of a retired key must stay refused."""
    assert TRANSITIONS[KeyState.RETIRED] == frozenset()
    assert set(TRANSITIONS) == set(KeyState)
    assert KeyState.RETIRED not in PUBLISHED


def test_secrets_do_not_show() -> None:
    """Tracebacks and logs print representations."""
    assert "sealed" not in repr(KEY)
    assert "Ed25519" not in repr(Signer("k", PRIVATE))


def test_refresh_tokens_are_256_random_bits_and_kept_as_hashes() -> None:
    """Nothing in the database buys a token."""
    token = new_refresh_token()
    assert token != new_refresh_token()
    assert token.startswith("vsr_")
    assert len(token) == 4 + 43
    assert len(refresh_token_hash(token)) == 32


def test_a_token_says_when_a_second_factor_was_proved_and_that_a_password_must_be_changed() -> None:
    """Every service decides by it; what is not so is absent, so that it has one spelling."""
    keys = parse_jwks(jwks([KEY]))

    def issued(**claims: object) -> AccessToken:
        token = Signer(KEY.id, PRIVATE).access_token(
            user_id="u",
            session_id="s",
            token_id="t",
            roles=(),
            now=NOW,
            lifetime=timedelta(minutes=5),
            **claims,  # type: ignore[arg-type]  # what is under test
        )
        return verify(token, keys, NOW.timestamp())

    plain = issued()
    assert (plain.second_factor_time, plain.password_change_required) == (None, False)
    told = issued(second_factor_time=NOW, password_change_required=True)
    assert told.second_factor_time == NOW.replace(microsecond=0)
    assert told.password_change_required
