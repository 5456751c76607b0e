"""Public keys of authentication: read once, kept through failures, and never fetched in a storm."""

import base64
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.errors import Unavailable
from mesh.identity.keys import KeySource, parse_jwks
from tests.fakes.clock import ManualClock


def jwks(*names: str, **changes: str) -> bytes:
    keys = []
    for name in names:
        raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        entry = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": name}
        keys.append({**entry, "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), **changes})
    return json.dumps({"keys": keys}).encode()


class Server:
    """A key set that counts how often it is fetched, and fails when told to."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.fetches = 0
        self.failing = False

    async def fetch(self) -> bytes:
        self.fetches += 1
        if self.failing:
            raise Unavailable("SERVICE_UNAVAILABLE", "away")
        return self.document


async def test_before_the_first_read_tokens_cannot_be_judged() -> None:
    """Unknown is not the same as forged: callers are told to come back."""
    with pytest.raises(Unavailable):
        KeySource(Server(jwks("a")).fetch, ManualClock()).current()


async def test_forged_key_ids_cause_one_fetch_a_minute() -> None:
    """Ten thousand forged tokens must not become ten thousand fetches."""
    server, clock = Server(jwks("a")), ManualClock()
    source = KeySource(server.fetch, clock)
    for number in range(50):
        await source.refresh_for(f"forged-{number}")
    assert server.fetches == 1
    await clock.advance(timedelta(seconds=61))
    await source.refresh_for("forged-again")
    assert server.fetches == 2


async def test_a_failed_refresh_keeps_the_keys() -> None:
    """Authentication being away must not sign everybody out."""
    server, clock = Server(jwks("a")), ManualClock()
    source = KeySource(server.fetch, clock)
    assert set(await source.refresh_for("a")) == {"a"}
    server.failing = True
    assert set(await source.refresh_for("b")) == {"a"}
    assert set(source.current()) == {"a"}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        jwks("a", "a"),
        jwks("a", use="enc"),
        jwks("a", kty="oct"),
        jwks("a", x="AA"),
        jwks(*map(str, range(17))),
    ],
)
def test_key_sets_that_are_not_ours_are_refused_whole(document: bytes) -> None:
    """Half a key set is a way in: symmetric keys, duplicates and foreign uses spoil all of it."""
    with pytest.raises(ValueError, match=r"."):
        parse_jwks(document)
