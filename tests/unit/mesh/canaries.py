"""Secrets of every shape that this product meets, made of random parts at run time, each in a text as a log would hold it.

A canary is the text and what of it must not be found again. No constant here looks like a secret, so that scanners of repositories stay
quiet.
"""

import base64
import json
import random
import string
import urllib.parse
from collections.abc import Iterable
from typing import NamedTuple

MIXED = string.ascii_letters + string.digits
URL_SAFE = MIXED + "-_"
REMAINS = 9
"""Characters of a secret that may not be found again in a row."""


class Canary(NamedTuple):
    """`secrets` are the parts of `text` that must be gone."""

    name: str
    text: str
    secrets: tuple[str, ...]


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def make_canaries(seed: int) -> list[Canary]:
    """All of them; the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - made-up secrets

    def chars(count: int, alphabet: str = MIXED) -> str:
        # One of each kind, so that what is long looks as random as it is.
        made = "".join(dice.choice(alphabet) for _ in range(count - 3))
        return dice.choice("bdfgh") + made + dice.choice("KLMNP") + dice.choice("456789")

    def jwt() -> str:
        head = base64.urlsafe_b64encode(json.dumps({"alg": "EdDSA", "typ": "at+jwt"}).encode()).decode()
        return f"{head.rstrip('=')}.{chars(60, URL_SAFE)}.{chars(43, URL_SAFE)}"

    word = chars(18)
    x_bearer = "A" * 22 + chars(8) + "%2B" + chars(30) + "%3D" + chars(30)
    access_token = f"{dice.randrange(10**18, 10**19)}-{chars(30)}"
    access_secret, consumer_key, consumer_secret = chars(45), chars(25), chars(50)
    oauth2 = _encoded(f"{chars(40)}:1700000000000:1:0:at:1")
    token = jwt()
    vault = "hvs." + chars(40, URL_SAFE)
    old_vault = "s." + chars(24)
    own_key = "vsk_" + chars(36, URL_SAFE)
    own_device = "vsd_" + chars(22, URL_SAFE)
    own_refresh = "vsr_" + chars(22, URL_SAFE)
    secret_id = "-".join("".join(dice.choice("0123456789abcdef") for _ in range(n)) for n in (8, 4, 4, 4, 12))
    key_lines = [chars(64), chars(64), chars(30)]
    pem = "\n".join(["-----BEGIN PRIVATE" + " KEY-----", *key_lines, "-----END PRIVATE" + " KEY-----"])
    aws_id, aws_secret = "AKIA" + "".join(dice.choice(string.ascii_uppercase) for _ in range(16)), chars(40)
    github, github_fine = "ghp_" + chars(36), "github" + "_pat_" + chars(22) + "_" + chars(59)
    slack = "xoxb-" + "123456789012-" + chars(24)
    stripe = "sk_" + "live_" + chars(24)
    google = "AIza" + chars(35, URL_SAFE)
    google_oauth = "ya29." + chars(60, URL_SAFE)
    gitlab, npm = "glpat-" + chars(20), "npm_" + chars(36)
    basic = _encoded(f"{chars(6)}:{word}")
    session, cookie = chars(32), chars(24)
    quote, twice = (
        urllib.parse.quote,
        lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    )
    shapes: list[tuple[str, str, Iterable[str]]] = [
        ("x app-only bearer", f"using {x_bearer} now", [x_bearer]),
        ("x bearer header", f"Authorization: Bearer {x_bearer}", [x_bearer]),
        (
            "oauth1 4-tuple repr",
            f"('{chars(25)}', '{consumer_secret}', '{access_token}', '{access_secret}')",
            [consumer_secret, access_token, access_secret],
        ),
        (
            "oauth1 4-tuple named",
            f"consumer_key={consumer_key} consumer_secret={consumer_secret} access_token={access_token} access_token_secret={access_secret}",
            [consumer_key, consumer_secret, access_token, access_secret],
        ),
        (
            "oauth1 header",
            f'OAuth oauth_consumer_key="{consumer_key}", oauth_token="{access_token}", oauth_signature="{quote(basic, safe="")}"',
            [consumer_key, access_token, quote(basic, safe="")],
        ),
        ("oauth2 access token", json.dumps({"access_token": oauth2, "expires_in": 7200}), [oauth2]),
        ("oauth2 refresh token", f"refresh_token={oauth2}&grant_type=refresh_token", [oauth2]),
        ("oauth2 code verifier", f"code_verifier={word}", [word]),
        ("oauth2 client secret", f"client_secret: {word}", [word]),
        ("own api key", f"key {own_key} used", [own_key]),
        ("own device token", f"device {own_device} known", [own_device]),
        ("own refresh token", f"refreshed {own_refresh}", [own_refresh]),
        ("jwt", f"verified {token}", [token]),
        ("jwt in base64", f"blob {_encoded(token)}", [_encoded(token)]),
        ("jwt in url", f"GET /callback?id_token={token}&state=1", [token]),
        ("jwt in websocket protocol", f"Sec-WebSocket-Protocol: bearer, {token}", [token]),
        ("vault token", f"renewed {vault}", [vault]),
        ("vault token header", f"X-Vault-Token: {old_vault}", [old_vault]),
        ("vault token old", f"login gave {old_vault} for an hour", [old_vault]),
        ("vault token in base64", f"blob {_encoded(vault)}", [_encoded(vault)]),
        ("approle secret id", f"role_id=reader secret_id={secret_id}", [secret_id]),
        ("approle secret id json", json.dumps({"secret_id": secret_id}), [secret_id]),
        ("pem", f"loaded {pem} from disk", key_lines),
        ("pem escaped", repr(pem), key_lines),
        ("pem in json", json.dumps({"key": pem}), key_lines),
        ("pem in base64", f"file {_encoded(pem)}", [_encoded(pem)]),
        ("pem url-encoded", f"body {quote(pem)}", key_lines),
        ("pem cut off", pem[:80], [pem[30:80]]),
        ("basic auth url", f"https://bot:{word}@example.org/x", [word]),
        ("database url", f"postgresql+psycopg://someone:{word}@127.0.0.1:5432/db", [word]),
        ("basic header", f"authorization: basic {basic}", [basic]),
        ("basic alone", f"tried Basic {basic}", [basic]),
        ("cookie", f"Cookie: theme=dark; session={cookie}", [cookie]),
        ("cookie host", f"kept __Host-session={session} for later", [session]),
        ("set-cookie", f"Set-Cookie: sid={cookie}; HttpOnly; Path=/", [cookie]),
        ("aws", f"aws_access_key_id={aws_id} aws_secret_access_key={aws_secret}", [aws_id, aws_secret]),
        ("aws alone", f"{aws_id} {aws_secret}", [aws_id, aws_secret]),
        ("github", f"remote said {github}", [github]),
        ("github fine grained", f"remote said {github_fine}", [github_fine]),
        ("gitlab", f"remote said {gitlab}", [gitlab]),
        ("npm", f"registry said {npm}", [npm]),
        ("slack", f"hook {slack}", [slack[5:]]),
        ("stripe", f"charged with {stripe}", [stripe]),
        ("google api key", f"maps {google}", [google]),
        ("google oauth", f"got {google_oauth}", [google_oauth]),
        ("url-encoded pair", f"body password%3D{word}%26user%3Da", [word]),
        ("double-encoded pair", f"body {twice(f'password={word}')}", [word]),
        ("url-encoded json", quote(json.dumps({"password": word})), [word]),
        ("double-encoded json", twice(json.dumps({"password": word})), [word]),
        ("header in base64", f"blob {_encoded(f'Bearer {word}')}", [_encoded(f"Bearer {word}")]),
        ("pair in base64", f"blob {_encoded(f'password={word}')}", [_encoded(f"password={word}")]),
        ("dict repr", repr({"user": "a", "password": word}), [word]),
        ("dict repr of bytes", repr({b"password": word.encode()}), [word]),
        ("bytes repr", repr(f"Authorization: Bearer {word}".encode()), [word]),
        ("nested json", json.dumps({"body": json.dumps({"body": json.dumps({"token": word})})}), [word]),
        ("header list", repr([("Accept", "*/*"), ("Authorization", word)]), [word]),
        ("header list of bytes", repr([(b"cookie", f"a={word}".encode())]), [word]),
        ("header list of lists", json.dumps([["x-api-key", word]]), [word]),
        ("name and value", json.dumps({"name": "Authorization", "value": word}), [word]),
        ("multi-line header", f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Token {word}\r\n\r\n", [word]),
        ("multi-line yaml", f"database:\n  password: {word}\n  port: 5432", [word]),
        ("multi-line value", f"password:\n    {word}\nuser: a", [word]),
        ("upper case", f"PASSWORD={word} API_KEY={cookie}", [word, cookie]),
        ("lower case", f"apikey: {word}, clientsecret: {cookie}", [word, cookie]),
        ("camel case", f"accessToken: {word}, clientSecret: {cookie}", [word, cookie]),
        ("flag", f"run --db-password {word} --verbose", [word]),
        ("flag with sign", f"run --db-password={word} --verbose", [word]),
        ("argv", repr(["run", "--token", word]), [word]),
        ("environment", f"export POSTGRES_PASSWORD='{word}'", [word]),
        ("otp uri", f"otpauth://totp/x:y?secret={word.upper()}&issuer=x", [word.upper()]),
        ("recovery codes", f"recovery_codes: {word}", [word]),
        ("long random", f"found {access_secret} there", [access_secret]),
    ]
    return [Canary(name, text, tuple(secrets)) for name, text, secrets in shapes]


def leaks(canaries: Iterable[Canary], place: str) -> list[str]:
    """The names of canaries of which something is found in `place`, also escaped as JSON or for URLs."""
    return [
        canary.name
        for canary in canaries
        if any(_found(secret, place) for whole in canary.secrets for secret in _forms(whole))
    ]


def _forms(secret: str) -> set[str]:
    return {secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe="")}


def _found(secret: str, place: str) -> bool:
    return any(secret[at : at + REMAINS] in place for at in range(max(1, len(secret) - REMAINS + 1)))
