"""Connecting an account, the authorization code flow of OAuth 2.0 with PKCE (RFC 6749, 7636, 9207).

    start      state and verifier are made; the hash of the one and the encrypted other are kept for ten minutes
    take       X has sent the browser back: the state opens its flow, once, and not for the bot that was connected anew meanwhile
    complete   the code is exchanged at once, since X lets it live for 30 seconds; X says whose the tokens are; then they are stored

Nothing is stored unless X has confirmed that it is this bot's account and that the bot may post: whoever is signed in to X with another
account than they think must not overwrite what works. What was exchanged and not stored is forgotten, and can be had again.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, InvalidArgument, MeshError, OutcomeUnknown, Unavailable
from mesh.secret import Secret
from services.bot_manager.connect.addresses import Addresses
from services.bot_manager.connect.sealing import Sealer
from services.bot_manager.domain.credentials import CLIENT_ID, Credentials, Verification
from services.bot_manager.domain.given import WRITE, of_tokens
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.store.ports import BotStore, OAuthConnect, OAuthConnects
from services.bot_manager.tokens.port import (
    AppClients,
    AuthorizationCode,
    ClientKeys,
    CodeEndpoint,
    TokenPair,
)

LIFE: Final = timedelta(minutes=10)
STATE_BYTES: Final = 32
VERIFIER_BYTES: Final = 64
"""86 characters; RFC 7636 takes 43 to 128."""
SCOPES: Final = ("tweet.read", "tweet.write", "users.read", "media.write", "offline.access")
"""The least that a bot needs, and go on needing nobody."""
NEEDED: Final = ("tweet.read", WRITE, "users.read")
"""Without these a bot can neither post nor be told whose it is."""


@dataclass(frozen=True, slots=True)
class Started:
    """What the person is shown. `page` holds the state."""

    page: Secret
    callback_url: str
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Redirect:
    """The parameters with which X sent the browser back."""

    code: Secret
    error: str = ""
    error_description: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Connected:
    """How it went. `lasting`: X gave a refresh token too."""

    verification: Verification
    scopes: tuple[str, ...]
    lasting: bool


@dataclass(frozen=True, slots=True)
class ConnectFlow:
    """See the module. `new_id` makes ids, `token` gives so many bytes of randomness as text for addresses."""

    bots: BotStore
    connects: OAuthConnects
    apps: AppClients
    keys: ClientKeys
    endpoint: CodeEndpoint
    credentials: Credentials
    sealer: Sealer
    addresses: Addresses
    clock: Clock
    new_id: Callable[[], str]
    token: Callable[[int], str] = secrets.token_urlsafe

    async def start(self, bot_id: str, scopes: Sequence[str], return_path: str, actor: str) -> Started:
        """Begin. Raises NotFound, InvalidArgument, FailedPrecondition (BOT_ARCHIVED, APP_CREDENTIALS_MISSING), Unavailable."""
        wanted = tuple(scopes) or SCOPES
        if missing := [scope for scope in NEEDED if scope not in wanted]:
            raise InvalidArgument(
                "INVALID_FIELD", f"a bot cannot do without {', '.join(missing)}", field="scopes"
            )
        bot = await self._living(bot_id)
        client_id = await self._client_of(bot)
        state, verifier, connect_id = self.token(STATE_BYTES), self.token(VERIFIER_BYTES), self.new_id()
        sealed = await self.sealer.seal(Secret(verifier), connect_id)
        now = self.clock.now()
        connect = OAuthConnect(
            id=connect_id,
            bot_id=bot.id,
            state_hash=_hash(state),
            verifier=sealed,
            client_id=client_id,
            redirect_uri=self.addresses.callback_url,
            scopes=wanted,
            return_path=return_path or f"/bots/{bot.id}",
            creator=actor,
            create_time=now,
            expire_time=now + LIFE,
        )
        await self.connects.begin(connect)
        page = self.addresses.page(client_id, state, _challenge(verifier), wanted)
        return Started(Secret(page), connect.redirect_uri, connect.expire_time)

    async def take(self, state: str) -> OAuthConnect:
        """The flow that the state belongs to; it is used up. Raises InvalidArgument (CONNECT_STATE_INVALID)."""
        connect = await self.connects.take(_hash(state))
        if connect is None or connect.expire_time <= self.clock.now():
            raise InvalidArgument(
                "CONNECT_STATE_INVALID",
                "this link is unknown, was used already, or is older than ten minutes; start again",
                field="state",
            )
        return connect

    async def complete(self, connect: OAuthConnect, redirect: Redirect) -> Connected:
        """Exchange, confirm, store.

        Raises FailedPrecondition (CONNECT_REFUSED, X_ACCOUNT_MISMATCH, BOT_ARCHIVED), AlreadyExists (X_ACCOUNT_TAKEN), Unavailable; then
        nothing is stored.
        """
        self._check(redirect)
        await self._living(connect.bot_id)
        pair = await self._exchange(connect, redirect.code)
        scopes = tuple(pair.scope.split()) or connect.scopes
        if WRITE not in scopes:
            raise FailedPrecondition(
                "CONNECT_REFUSED",
                f"X did not grant {WRITE}: the bot could not post",
                metadata={"scopes": " ".join(scopes)},
            )
        whole = TokenPair(pair.access_token, pair.refresh_token, pair.expire_time, " ".join(scopes))
        given = of_tokens(whole, {CLIENT_ID: Secret(connect.client_id)}, self.clock.now())
        try:
            found = await self.credentials.connect(connect.bot_id, given)
        except FailedPrecondition as refused:
            if refused.reason in ("X_CREDENTIALS_REJECTED", "X_REJECTED", "X_ACCOUNT_SUSPENDED"):
                raise _refused("X does not take the tokens that it gave", refused) from None
            raise
        return Connected(found, scopes, pair.refresh_token is not None)

    def _check(self, redirect: Redirect) -> None:
        if redirect.issuer and not self.addresses.is_issuer(redirect.issuer):
            raise FailedPrecondition(
                "CONNECT_REFUSED", "the answer comes from somebody else than X", metadata={"field": "iss"}
            )
        if redirect.error or not redirect.code:
            told = {"error": redirect.error, "errorDescription": redirect.error_description}
            raise FailedPrecondition(
                "CONNECT_REFUSED",
                "X, or the person, refused" if redirect.error else "X sent no code",
                metadata={name: value for name, value in told.items() if value},
            )

    async def _exchange(self, connect: OAuthConnect, code: Secret) -> TokenPair:
        try:
            verifier = await self.sealer.open(connect.verifier, connect.id)
            secret = await self.keys.secret_of(connect.client_id)
            granted = AuthorizationCode(code, verifier, connect.client_id, connect.redirect_uri)
            return await self.endpoint.exchange_code(granted, secret)
        except OutcomeUnknown:
            raise Unavailable("X_UNAVAILABLE", "X's answer was lost; start again") from None
        except FailedPrecondition as refused:
            raise _refused("X did not take the code", refused) from None

    async def _client_of(self, bot: Bot) -> str:
        client_id = await self.apps.client_of(bot.app_id) if bot.app_id else ""
        if not client_id:
            raise FailedPrecondition(
                "APP_CREDENTIALS_MISSING",
                "the bot's app has no client id" if bot.app_id else "the bot has no app",
            )
        return client_id

    async def _living(self, bot_id: str) -> Bot:
        bot = await self.bots.get(bot_id)
        if bot.state is BotState.ARCHIVED:
            raise FailedPrecondition("BOT_ARCHIVED", "the bot is archived")
        return bot


def _refused(message: str, cause: MeshError) -> FailedPrecondition:
    words = cause.metadata.get("errorDescription") or cause.metadata.get("problemDetail") or cause.message
    return FailedPrecondition("CONNECT_REFUSED", f"{message}: {words}", metadata=cause.metadata)


def _hash(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).digest()


def _challenge(verifier: str) -> str:
    """S256 of RFC 7636, section 4.2."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
