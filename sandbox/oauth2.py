"""OAuth 2.0 as X grants it: authorization codes with PKCE, access tokens that end, refresh tokens that are good once.

    client    somebody's developer app: confidential with a secret, or public; redirect addresses are compared exactly
    code      what a person's consent gives: good once, for 30 seconds, for one client, redirect and challenge (S256 only)
    family    everything that came from one code: each refresh gives the next pair; a token of it that is shown a second time ends it all

Tokens are kept as SHA-256 only, so the state file holds none that a client uses. Every change is a record for the journal first.
Not here: HTTP (`oauth2_api`), the page that asks for consent (`oauth2_page`).
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

from sandbox.clock import Clock
from sandbox.journal import Record

CODE_SECONDS = 30
OFFLINE = "offline.access"
SCOPES = frozenset(
    {
        "tweet.read",
        "tweet.write",
        "tweet.moderate.write",
        "users.read",
        "media.write",
        "follows.read",
        "follows.write",
        "like.read",
        "like.write",
        OFFLINE,
    }
)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class Refused(Exception):
    """An error answer of RFC 6749: its code, words in X's own style, and the HTTP status."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


class BadToken(Exception):
    """A bearer token that opens nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class Client:
    """A developer app. `secret_hash` is empty for a public client."""

    client_id: str
    secret_hash: str
    redirect_uris: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Code:
    """What a person agreed to. `family` is set once it was exchanged."""

    client_id: str
    user_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    challenge: str
    end: float
    family: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """An access or refresh token of a family; `end` is None for refresh tokens, `used` once one was exchanged."""

    family: str
    client_id: str
    user_id: str
    scopes: tuple[str, ...]
    end: float | None = None
    used: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """What a client is given; the refresh token is empty without `offline.access`."""

    access_token: str
    refresh_token: str
    scopes: tuple[str, ...]
    seconds: int


class OAuth2:
    """Clients, codes and tokens. `commit` writes a record and hands it to `apply`."""

    def __init__(self, commit: Callable[[Record], None], clock: Clock, access_seconds: int) -> None:
        self._commit = commit
        self._clock = clock
        self._access_seconds = access_seconds
        self._clients: dict[str, Client] = {}
        self._codes: dict[str, Code] = {}
        self._access: dict[str, Token] = {}
        self._refresh: dict[str, Token] = {}
        self._ended: set[str] = set()

    def add_client(
        self, name: str, redirect_uris: Sequence[str], *, confidential: bool
    ) -> tuple[Client, str]:
        """A new client and its secret, which is shown this once; empty for a public client."""
        secret = secrets.token_urlsafe(37) if confidential else ""
        client = Client(
            client_id=secrets.token_urlsafe(25),
            secret_hash=_digest(secret) if secret else "",
            redirect_uris=tuple(redirect_uris),
            name=name,
        )
        self._commit({"record": "client", **asdict(client)})
        return client, secret

    def client(self, client_id: str) -> Client | None:
        """The client with this id."""
        return self._clients.get(client_id)

    def grant(
        self, client: Client, user_id: str, redirect_uri: str, scopes: Sequence[str], challenge: str
    ) -> str:
        """A code for what the person agreed to."""
        code = secrets.token_urlsafe(48)
        granted = Code(
            client.client_id, user_id, redirect_uri, tuple(scopes), challenge, self._clock() + CODE_SECONDS
        )
        self._commit({"record": "code", "hash": _digest(code), **asdict(granted)})
        return code

    def authenticated(self, client_id: str, secret: str | None) -> Client:
        """The client that asks. `secret` is None where none was sent. Raises Refused."""
        client = self._clients.get(client_id)
        if client is None:
            raise Refused("invalid_client", "Unknown client.", 401)
        if client.secret_hash and secret is None:
            raise Refused("unauthorized_client", "Missing valid authorization header", 401)
        if client.secret_hash and not hmac.compare_digest(_digest(secret or ""), client.secret_hash):
            raise Refused("invalid_client", "The client's secret is wrong.", 401)
        return client

    def exchange_code(self, client: Client, code: str, redirect_uri: str, verifier: str) -> Pair:
        """The first pair of a family. Raises Refused; a code that comes a second time ends what the first gave."""
        digest = _digest(code)
        found = self._codes.get(digest)
        wrong = Refused("invalid_request", "Value passed for the authorization code was invalid.")
        if found is None or found.client_id != client.client_id:
            raise wrong
        if found.family:
            self._end(found.family)
            raise wrong
        if found.end <= self._clock() or found.redirect_uri != redirect_uri:
            raise wrong
        if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(
            challenge_of(verifier), found.challenge
        ):
            raise Refused(
                "invalid_request", "Value passed for the code verifier did not match the code challenge."
            )
        family = secrets.token_hex(16)
        self._commit({"record": "code_used", "hash": digest, "family": family})
        return self._issue(Token(family, client.client_id, found.user_id, found.scopes))

    def refresh(self, client: Client, refresh_token: str) -> Pair:
        """The next pair. Raises Refused; a token that was used before ends its family."""
        found = self._refresh.get(_digest(refresh_token))
        wrong = Refused("invalid_request", "Value passed for the token was invalid.")
        if found is None or found.client_id != client.client_id or found.family in self._ended:
            raise wrong
        if found.used:
            self._end(found.family)
            raise wrong
        return self._issue(found, _digest(refresh_token))

    def revoke(self, client: Client, token: str) -> bool:
        """End the family of a token; whether it was one of the client's. A token that is unknown is no error (RFC 7009)."""
        digest = _digest(token)
        found = self._refresh.get(digest) or self._access.get(digest)
        if found is None or found.client_id != client.client_id:
            return False
        self._end(found.family)
        return True

    def end_access(self, user_id: str) -> int:
        """End every access token of a user, as X may at any time; refresh tokens stay. How many there were."""
        now = self._clock()
        ended = [
            digest
            for digest, token in self._access.items()
            if token.user_id == user_id and (token.end or 0) > now and token.family not in self._ended
        ]
        for digest in ended:
            self._commit({"record": "access_end", "hash": digest})
        return len(ended)

    def user_of(self, access_token: str, scopes: Sequence[str]) -> tuple[str, list[str]]:
        """Whose token it is, and which of the scopes it lacks. Raises BadToken."""
        found = self._access.get(_digest(access_token))
        if found is None or found.family in self._ended:
            raise BadToken("unknown or revoked access token")
        if (found.end or 0) <= self._clock():
            raise BadToken("the access token has expired")
        return found.user_id, [scope for scope in scopes if scope not in found.scopes]

    def apply(self, record: Mapping[str, object]) -> None:
        """Take a record over. Raises KeyError, TypeError or ValueError for one that was not written here."""
        fields = {name: value for name, value in record.items() if name != "record"}
        match record["record"]:
            case "client":
                client = Client(**_tuples(fields, "redirect_uris"))  # type: ignore[arg-type]  # wrong fields are damage
                self._clients[client.client_id] = client
            case "code":
                digest = cast("str", fields.pop("hash"))
                self._codes[digest] = Code(**_tuples(fields, "scopes"))  # type: ignore[arg-type]  # as above
            case "code_used":
                digest = cast("str", fields["hash"])
                used = asdict(self._codes[digest]) | {"family": fields["family"]}
                self._codes[digest] = Code(**_tuples(used, "scopes"))  # type: ignore[arg-type]  # as above
            case "tokens":
                self._apply_tokens(fields)
            case "access_end":
                digest = cast("str", fields["hash"])
                self._access.pop(digest)
            case "family_end":
                self._ended.add(cast("str", fields["family"]))
            case unknown:
                raise ValueError(f"an unknown record {unknown!r}")

    def _issue(self, source: Token, replaces: str = "") -> Pair:
        access, refresh = secrets.token_urlsafe(64), secrets.token_urlsafe(64)
        offline = OFFLINE in source.scopes
        self._commit(
            {
                "record": "tokens",
                "family": source.family,
                "client_id": source.client_id,
                "user_id": source.user_id,
                "scopes": list(source.scopes),
                "access": _digest(access),
                "end": self._clock() + self._access_seconds,
                "refresh": _digest(refresh) if offline else "",
                "replaces": replaces,
            }
        )
        return Pair(access, refresh if offline else "", source.scopes, self._access_seconds)

    def _apply_tokens(self, fields: dict[str, object]) -> None:
        access, refresh, replaces = (
            cast("str", fields.pop(name)) for name in ("access", "refresh", "replaces")
        )
        end = cast("float", fields.pop("end"))
        token = Token(**_tuples(fields, "scopes"))  # type: ignore[arg-type]  # as above
        owner = (token.family, token.client_id, token.user_id, token.scopes)
        self._access[access] = Token(*owner, end=end)
        if refresh:
            self._refresh[refresh] = token
        if replaces:
            self._refresh[replaces] = Token(*owner, used=True)

    def _end(self, family: str) -> None:
        if family not in self._ended:
            self._commit({"record": "family_end", "family": family})


RECORDS = frozenset({"client", "code", "code_used", "tokens", "access_end", "family_end"})
"""Kinds of records that are `OAuth2.apply`'s."""


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636, section 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _tuples(fields: dict[str, object], name: str) -> dict[str, object]:
    return fields | {name: tuple(cast("Sequence[str]", fields[name]))}
