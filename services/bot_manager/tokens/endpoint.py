"""X's token endpoint over HTTP. Implements `port.TokenEndpoint` and `port.CodeEndpoint`.

    seen                                                what it means
    no connection                                       Unavailable: X was surely not asked
    a pair                                              done
    an OAuth error about the token, code or verifier    X_CREDENTIALS_REJECTED; X names it `invalid_grant` or, as observed, `invalid_request`
    an OAuth error about the client, any other 4xx      X_REJECTED: the app's keys are wrong; the token stays as it was
    429                                                 X_RATE_LIMITED
    408, 409, 3xx, 5xx, no answer, half a pair          OutcomeUnknown: X may have given a pair

A confidential client proves itself by HTTP Basic, a public one names itself in the form. Errors hold X's words, never a token.
"""

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, MeshError, OutcomeUnknown, ResourceExhausted, Unavailable
from mesh.secret import Secret
from services.bot_manager.domain.outcomes import AMBIGUOUS_STATUSES, NO_RESET_PAUSE, Exchange
from services.bot_manager.tokens.port import (
    ACCESS_TOKEN,
    REFRESH_TOKEN,
    AuthorizationCode,
    ClientKeys,
    TokenPair,
)
from services.bot_manager.x.http import BROKEN, NEVER_SENT, XHttp, cause

TOKEN_PATH: Final = "/2/oauth2/token"  # noqa: S105 - a path, not a secret
REVOKE_PATH: Final = "/2/oauth2/revoke"
REFUSED_GRANT: Final = "invalid_grant"
ABOUT_THE_GRANT: Final = ("token was invalid", "authorization code", "code verifier", "refresh token")
"""Words by which X's `invalid_request` means the token or code that was shown."""
MAX_WORDS: Final = 300
LONGEST_LIFE: Final = timedelta(days=365)


class HttpTokenEndpoint:
    """`clients` knows the secrets of the apps' clients."""

    def __init__(self, http: XHttp, clients: ClientKeys, clock: Clock) -> None:
        self._http = http
        self._clients = clients
        self._clock = clock

    async def exchange(self, fields: Mapping[str, Secret]) -> TokenPair:
        """See TokenEndpoint."""
        client_id, secret = await self._client(fields)
        form = {"grant_type": REFRESH_TOKEN, REFRESH_TOKEN: fields[REFRESH_TOKEN].reveal()}
        return await self._pair(form, client_id, secret)

    async def exchange_code(self, granted: AuthorizationCode, secret: Secret | None) -> TokenPair:
        """See CodeEndpoint."""
        form = {
            "grant_type": "authorization_code",
            "code": granted.code.reveal(),
            "redirect_uri": granted.redirect_uri,
            "code_verifier": granted.verifier.reveal(),
        }
        return await self._pair(form, granted.client_id, secret)

    async def revoke(self, fields: Mapping[str, Secret]) -> None:
        """See CodeEndpoint."""
        client_id, secret = await self._client(fields)
        token = fields.get(REFRESH_TOKEN) or fields[ACCESS_TOKEN]
        exchange = await self._send(REVOKE_PATH, {"token": token.reveal()}, client_id, secret)
        if exchange.status != 200:
            raise _refusal(exchange)

    async def _client(self, fields: Mapping[str, Secret]) -> tuple[str, Secret | None]:
        """Who the tokens were issued to. Raises FailedPrecondition (APP_CREDENTIALS_MISSING), Unavailable: X was not asked."""
        client_id = fields.get("client_id")
        if not client_id:
            raise FailedPrecondition(
                "APP_CREDENTIALS_MISSING", "it is not known which client the tokens were issued to"
            )
        own = fields.get("client_secret")
        if own:
            return client_id.reveal(), own
        try:
            return client_id.reveal(), await self._clients.secret_of(client_id.reveal())
        except FailedPrecondition:
            raise
        except MeshError as error:
            raise Unavailable(
                error.reason, "the keys of the app could not be had", retry_after=error.retry_after
            ) from None

    async def _pair(self, form: Mapping[str, str], client_id: str, secret: Secret | None) -> TokenPair:
        exchange = await self._send(TOKEN_PATH, form, client_id, secret)
        if exchange.status != 200:
            raise _refusal(exchange)
        document = exchange.document()
        access = _text(document, ACCESS_TOKEN)
        if not access:
            raise OutcomeUnknown("X_OUTCOME_UNKNOWN", "X answered without a token")
        refresh = _text(document, REFRESH_TOKEN)
        return TokenPair(
            Secret(access),
            Secret(refresh) if refresh else None,
            self._clock.now() + life if (life := _life(document)) else None,
            _text(document, "scope"),
        )

    async def _send(
        self, path: str, form: Mapping[str, str], client_id: str, secret: Secret | None
    ) -> Exchange:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if secret is None:
            form = {**form, "client_id": client_id}
        else:
            headers["Authorization"] = f"Basic {_basic(client_id, secret)}"
        try:
            return await self._http.send(
                "POST", self._http.base_url + path, headers, data=urlencode(form).encode()
            )
        except NEVER_SENT as error:
            raise Unavailable("X_UNAVAILABLE", f"X was not reached: {cause(error)}") from None
        except BROKEN as error:
            raise OutcomeUnknown("X_OUTCOME_UNKNOWN", f"X's answer was lost: {cause(error)}") from None


def _refusal(exchange: Exchange) -> MeshError:
    status, document = exchange.status, exchange.document()
    if not 400 <= status < 500 or status in AMBIGUOUS_STATUSES:
        return OutcomeUnknown(
            "X_OUTCOME_UNKNOWN", f"X answered {status}", metadata={"httpStatus": str(status)}
        )
    if status == 429:
        return ResourceExhausted("X_RATE_LIMITED", "X's rate limit is used up", retry_after=NO_RESET_PAUSE)
    code, words = _text(document, "error")[:MAX_WORDS], _text(document, "error_description")[:MAX_WORDS]
    told = {"httpStatus": str(status), "error": code, "errorDescription": words}
    metadata = {name: value for name, value in told.items() if value}
    if code == REFUSED_GRANT or any(phrase in words.lower() for phrase in ABOUT_THE_GRANT):
        return FailedPrecondition("X_CREDENTIALS_REJECTED", "X refused the token", metadata=metadata)
    return FailedPrecondition(
        "X_REJECTED", f"X refused to give tokens ({code or status}): {words}", metadata=metadata
    )


def _basic(client_id: str, secret: Secret) -> str:
    """RFC 6749, section 2.3.1."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"
    return base64.b64encode(pair.encode()).decode()


def _life(document: object) -> timedelta | None:
    seconds: Any = document.get("expires_in") if isinstance(document, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        return None
    return min(timedelta(seconds=min(seconds, LONGEST_LIFE.total_seconds())), LONGEST_LIFE)


def _text(document: object, name: str) -> str:
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, str) else ""
