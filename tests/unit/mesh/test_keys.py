"""Public keys of authentication: read once, kept through failures, taken whole or not at all, and never fetched in a storm."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.errors import Unavailable
from mesh.identity.keys import (
    FIELD_PRIME,
    LONGEST_RETRY,
    REFRESH_INTERVAL,
    SMALL_ORDER,
    KeySource,
    parse_jwks,
)
from mesh.identity.strict import encode_base64url
from mesh.identity.thumbprint import thumbprint
from tests.fakes.clock import ManualClock, settle


def entry(raw: bytes | None = None, **changes: Any) -> dict[str, Any]:
    """A key as authentication publishes it; `...` leaves a member out."""
    raw = raw or Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    good = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}
    members = {**good, "kid": thumbprint(raw), "x": encode_base64url(raw), **changes}
    return {name: value for name, value in members.items() if value is not ...}


def jwks(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


class Server:
    """A key set that counts how often it is fetched, fails when told to, and can be made to wait."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.document = jwks(*entries)
        self.fetches = 0
        self.failing = False
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> bytes:
        self.fetches += 1
        await self.open.wait()
        if self.failing:
            raise Unavailable("SERVICE_UNAVAILABLE", "away")
        return self.document


async def test_before_the_first_read_tokens_cannot_be_judged() -> None:
    """Unknown is not the same as forged: callers are told to come back."""
    with pytest.raises(Unavailable):
        KeySource(Server(entry()).fetch, ManualClock()).current()


async def test_forged_key_ids_cause_one_fetch_a_minute() -> None:
    """Ten thousand forged tokens must not become ten thousand fetches, one after the other or all at once."""
    server, clock = Server(entry()), ManualClock()
    source = KeySource(server.fetch, clock)
    for number in range(50):
        await source.refresh_for(f"forged-{number}")
    assert server.fetches == 1
    await clock.advance(timedelta(seconds=61))
    await asyncio.gather(*(source.refresh_for(f"forged-{number}") for number in range(1000)))
    assert server.fetches == 2


async def test_a_caller_that_hangs_up_does_not_use_up_the_look_of_the_minute() -> None:
    """Else one forged token a minute, cancelled at once, would keep every new key unknown."""
    known, new = entry(), entry()
    server, clock = Server(known), ManualClock()
    source = KeySource(server.fetch, clock)
    task = asyncio.ensure_future(source.run())
    await settle()
    server.open.clear()
    caller = asyncio.ensure_future(source.refresh_for("forged"))
    await settle()
    caller.cancel()
    server.document = jwks(known, new)
    server.open.set()
    await settle()
    assert set(source.current()) == {known["kid"], new["kid"]}
    assert server.fetches == 3
    task.cancel()


async def test_a_failed_refresh_keeps_the_keys() -> None:
    """Authentication being away must not sign everybody out."""
    known = entry()
    server, clock = Server(known), ManualClock()
    source = KeySource(server.fetch, clock)
    assert set(await source.refresh_for(known["kid"])) == {known["kid"]}
    server.failing = True
    assert set(await source.refresh_for("b")) == {known["kid"]}
    assert set(source.current()) == {known["kid"]}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b'{"keys": []}',
        b"{}",
        b"[]",
        b"null",
        b'{"keys": [{}]}',
        b"\xff\xfe",
        jwks(*(entry() for _ in range(17))),
    ],
    ids=[
        "nothing",
        "a page",
        "an empty set",
        "no set",
        "a list",
        "null",
        "half a key",
        "no text",
        "too many",
    ],
)
async def test_rubbish_in_place_of_the_key_set_changes_nothing(document: bytes) -> None:
    """JWT-093: the last good set stays, by schedule and by request, and the next good one is taken."""
    known, new = entry(), entry()
    server, clock = Server(known), ManualClock()
    source = KeySource(server.fetch, clock)
    task = asyncio.ensure_future(source.run())
    await settle()
    server.document = document
    assert set(await source.refresh_for("forged")) == {known["kid"]}
    await clock.advance(REFRESH_INTERVAL)
    assert set(source.current()) == {known["kid"]}
    assert server.fetches > 2
    server.document = jwks(known, new)
    await clock.advance(LONGEST_RETRY)
    assert set(source.current()) == {known["kid"], new["kid"]}
    task.cancel()


async def test_a_source_that_hangs_holds_up_nobody_whose_key_is_known() -> None:
    """JWT-093: `current` never waits; whoever brings an unknown key waits for the fetch, whose own bound is the channel's deadline."""
    known, new = entry(), entry()
    server, clock = Server(known), ManualClock()
    source = KeySource(server.fetch, clock)
    await source.refresh_for(known["kid"])
    server.open.clear()
    await clock.advance(timedelta(minutes=2))
    stranger = asyncio.ensure_future(source.refresh_for(new["kid"]))
    await settle()
    assert not stranger.done()
    assert set(source.current()) == {known["kid"]}
    server.failing = True  # the deadline passes
    server.open.set()
    assert set(await stranger) == {known["kid"]}


async def test_a_key_that_is_given_up_is_never_used_again() -> None:
    """Whoever stole it signs what we would believe, however long a lagging replica publishes it; its successor is read at once."""
    stolen, successor = entry(), entry()
    server, clock = Server(stolen), ManualClock()
    source = KeySource(server.fetch, clock)
    task = asyncio.ensure_future(source.run())
    await settle()
    await source.refresh_for("forged")  # the minute's one look is used up
    server.document = jwks(stolen, successor)
    source.give_up(stolen["kid"])
    assert source.current() == {}
    await settle()
    assert set(source.current()) == {successor["kid"]}
    assert set(await source.refresh_for(stolen["kid"])) == {successor["kid"]}
    assert server.fetches == 3
    task.cancel()


GOOD = entry()
HOSTILE_SETS = {
    "nothing": b"",
    "not an object": b"[]",
    "no keys": b"{}",
    "an empty set": jwks(),
    "keys that are no list": json.dumps({"keys": GOOD}).encode(),
    "a page": b"<!doctype html><title>Sign in</title>",
    "utf-16": jwks(GOOD).decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + jwks(GOOD),
    "more than keys": json.dumps({"keys": [GOOD], "next": "https://keys.example"}).encode(),
    "keys twice": b'{"keys": [], "keys": [' + json.dumps(GOOD).encode() + b"]}",
    "deep": b'{"keys": ' + b"[" * 100_000,
    "a key that is a text": json.dumps({"keys": ["x"]}).encode(),
    "the same key twice": jwks(GOOD, GOOD),
    "one name for two keys": jwks(GOOD, entry(kid=GOOD["kid"])),
    "too many": jwks(*(entry() for _ in range(17))),
    "one bad among good": jwks(GOOD, entry(use="enc")),
    "for encryption": jwks(entry(use="enc")),
    "no use": jwks(entry(use=...)),
    "symmetric": jwks({"kty": "oct", "alg": "HS256", "use": "sig", "kid": "k", "k": "c2VjcmV0"}),
    "another type": jwks(entry(kty="EC")),
    "another curve": jwks(entry(crv="X25519")),
    "another algorithm": jwks(entry(alg="ES256")),
    "algorithm none": jwks(entry(alg="none")),
    "no algorithm": jwks(entry(alg=...)),
    "with its private half": jwks(entry(d="AAAA")),
    "a certificate along": jwks(entry(x5c=["AAAA"])),
    "an address along": jwks(entry(x5u="https://keys.example")),
    "for signing": jwks(entry(key_ops=["sign"])),
    "for verifying and more": jwks(entry(key_ops=["verify", "sign"])),
    "operations that are a text": jwks(entry(key_ops="verify")),
    "no name": jwks(entry(kid=...)),
    "a name that is not its own": jwks(entry(kid="key-1")),
    "a name that is no text": jwks(entry(kid=1)),
    "a path for a name": jwks(entry(kid="../../dev/null")),
    "no point": jwks(entry(x=...)),
    "a point that is no text": jwks(entry(x=7)),
    "too short": jwks(entry(b"\x02" * 31)),
    "too long": jwks(entry(b"\x02" * 33)),
    "padded": jwks(entry(x=GOOD["x"] + "=", kid=GOOD["kid"])),
    "not canonical": jwks(entry(x=GOOD["x"][:-1] + chr(ord(GOOD["x"][-1]) + 1), kid=GOOD["kid"])),
    "not on the curve": jwks(entry((2).to_bytes(32, "little"))),
    "a coordinate beyond the field": jwks(entry((2**255 - 1).to_bytes(32, "little"))),
}


@pytest.mark.parametrize("document", HOSTILE_SETS.values(), ids=HOSTILE_SETS)
async def test_key_sets_that_are_not_ours_are_refused_whole(document: bytes) -> None:
    """Half a key set is a way in: the last good one stays in force."""
    with pytest.raises(ValueError, match=r"."):
        parse_jwks(document)
    server, clock = Server(GOOD), ManualClock()
    source = KeySource(server.fetch, clock)
    await source.refresh_for("first")
    server.document = document
    await clock.advance(timedelta(minutes=2))
    assert set(await source.refresh_for("unknown")) == {GOOD["kid"]}
    assert server.fetches == 2


def test_a_key_may_say_that_it_verifies() -> None:
    """The one thing a public key is for (RFC 7517 section 4.3)."""
    assert set(parse_jwks(jwks(entry(key_ops=["verify"])))) != set()


def test_points_of_small_order_are_refused() -> None:
    """Everybody can sign for them: (0, 1) "verifies" S = 0. Found anew here by arithmetic on the curve, in all spellings."""
    ys = _small_order_ys()
    assert ys == SMALL_ORDER
    for y in (*ys, FIELD_PRIME, FIELD_PRIME + 1):
        for sign in (0, 1):
            with pytest.raises(ValueError, match="point"):
                parse_jwks(jwks(entry((y | sign << 255).to_bytes(32, "little"))))


def _small_order_ys() -> set[int]:
    """y of every point P with 8 P = (0, 1): what is left of points of the curve times the order of its large subgroup."""
    order = 2**252 + 27742317777372353535851937790883648493
    d = -121665 * pow(121666, -1, FIELD_PRIME) % FIELD_PRIME

    def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        product = d * a[0] * b[0] * a[1] * b[1]
        x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, FIELD_PRIME)
        y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, FIELD_PRIME)
        return x % FIELD_PRIME, y % FIELD_PRIME

    found, y = set(), 2
    while len(found) < 5:
        x_squared = (y * y - 1) * pow(d * y * y + 1, -1, FIELD_PRIME) % FIELD_PRIME
        x = pow(x_squared, (FIELD_PRIME + 3) // 8, FIELD_PRIME)
        if x * x % FIELD_PRIME != x_squared:
            x = x * pow(2, (FIELD_PRIME - 1) // 4, FIELD_PRIME) % FIELD_PRIME
        if x * x % FIELD_PRIME == x_squared:
            point, rest = (0, 1), (x, y)
            for bit in bin(order)[2:]:
                point = add(point, point)
                if bit == "1":
                    point = add(point, rest)
            found.add(point[1])
        y += 1
    return found
