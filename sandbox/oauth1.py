"""OAuth 1.0a (RFC 5849) as X verifies it: who signed this request?

Every request of a user carries an `Authorization: OAuth …` header with an HMAC-SHA1 over the method, the URL as the
client wrote it (scheme, host, port and path), the query and the header's own parameters. A JSON body is not signed.
The checks run in this order: header complete → timestamp within 300 s → keys known → signature right → nonce new.
A nonce is remembered only after a right signature, so a stranger cannot burn somebody's nonces.

Not here: form bodies (X's v2 has none), RSA and PLAINTEXT (X takes neither), OAuth 2.0 (`oauth2`).
Nonces are kept in memory: after a restart a request younger than 300 s could be replayed once.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from oauthlib.common import Request
from oauthlib.oauth1.rfc5849 import signature, utils

from sandbox.clock import Clock

TIMESTAMP_TOLERANCE_SECONDS = 300
MAX_NONCES = 200_000
"""Oldest are forgotten beyond this; far more than the rate limits let through in the tolerance."""

_REQUIRED = (
    "oauth_consumer_key",
    "oauth_token",
    "oauth_signature_method",
    "oauth_signature",
    "oauth_timestamp",
    "oauth_nonce",
)


class Refused(Exception):
    """The request is not proven to come from an account; the message says which check failed."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The four strings of an account."""

    user_id: str
    consumer_key: str
    consumer_secret: str
    access_token: str
    access_token_secret: str


@dataclass(frozen=True, slots=True)
class _SignedRequest:
    """What oauthlib's verification reads."""

    http_method: str
    uri: str
    params: list[tuple[str, str]]
    signature: str


class Verifier:
    """Tells which account signed a request. `find` maps an access token to its credentials."""

    def __init__(self, find: Callable[[str], Credentials | None], clock: Clock) -> None:
        self._find = find
        self._clock = clock
        self._nonces: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def verify(self, method: str, url: str, authorization: str) -> str:
        """The user id behind the signature.

        Args:
            method: HTTP method.
            url: absolute URL as the client signed it, with its raw query.
            authorization: value of the header, empty when absent.

        Raises:
            Refused: any check failed.
        """
        oauth = _parameters(authorization)
        self._check_timestamp(oauth["oauth_timestamp"])
        credentials = self._find(oauth["oauth_token"])
        if credentials is None or credentials.consumer_key != oauth["oauth_consumer_key"]:
            raise Refused("unknown consumer key or access token")
        if not _signature_matches(method, url, authorization, oauth["oauth_signature"], credentials):
            raise Refused("signature does not match")
        self._remember(oauth["oauth_token"], oauth["oauth_timestamp"], oauth["oauth_nonce"])
        return credentials.user_id

    def _check_timestamp(self, text: str) -> None:
        if not (text.isascii() and text.isdecimal() and len(text) <= 12):
            raise Refused("oauth_timestamp is not a number of seconds")
        if abs(int(text) - self._clock()) > TIMESTAMP_TOLERANCE_SECONDS:
            raise Refused("oauth_timestamp is more than 300 seconds off")

    def _remember(self, token: str, timestamp: str, nonce: str) -> None:
        now = self._clock()
        while self._nonces and (next(iter(self._nonces.values())) < now or len(self._nonces) >= MAX_NONCES):
            self._nonces.popitem(last=False)
        key = (token, timestamp, nonce)
        if key in self._nonces:
            raise Refused("oauth_nonce was used before")
        # The timestamp may lie up to the tolerance in the future, and stays good for the tolerance after that.
        self._nonces[key] = now + 2 * TIMESTAMP_TOLERANCE_SECONDS


def _parameters(authorization: str) -> dict[str, str]:
    try:
        oauth = {
            name: utils.unescape(value) for name, value in utils.parse_authorization_header(authorization)
        }
    except ValueError as error:
        raise Refused("no OAuth 1.0a Authorization header") from error
    missing = [name for name in _REQUIRED if not oauth.get(name)]
    if missing:
        raise Refused(f"{missing[0]} is missing")
    if oauth["oauth_signature_method"] != "HMAC-SHA1" or oauth.get("oauth_version", "1.0") != "1.0":
        raise Refused("only HMAC-SHA1 of OAuth 1.0 is accepted")
    return oauth


def _signature_matches(
    method: str, url: str, authorization: str, claimed: str, credentials: Credentials
) -> bool:
    try:
        parameters = signature.collect_parameters(
            uri_query=urlsplit(url).query, headers={"Authorization": authorization}
        )
        # It reads four attributes, and is typed as if it needed the whole class; it compares in constant time.
        request = cast("Request", _SignedRequest(method, url, parameters, claimed))
        return bool(
            signature.verify_hmac_sha1(request, credentials.consumer_secret, credentials.access_token_secret)
        )
    except ValueError:  # a query or host that no client can have signed
        return False
