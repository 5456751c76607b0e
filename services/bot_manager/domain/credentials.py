"""Credentials of bots: tried at X first, then given to secure_bot_data to keep. Nothing of them stays here but their status.

What X refuses is not stored, nor what belongs to another account than the bot's, or to another bot's: two bots on one account would
share its limits and not know of each other's posts. If X does not answer, what a person has typed is stored unverified, since X may be
away for long; the first call or VerifyCredentials settles it. What comes out of a connect flow is not: it can be had again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from mesh.clock import Clock
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, MeshError
from mesh.secret import Secret
from services.bot_manager.domain.given import Given, of_oauth1, of_tokens
from services.bot_manager.domain.lifecycle import BotEvent, next_state
from services.bot_manager.domain.limits import WHO_AM_I, CallCount, free_of_charge
from services.bot_manager.domain.model import ACTOR, Bot, BotState, CredentialsStatus, StateDetail
from services.bot_manager.store.ports import BotStore
from services.bot_manager.tokens.port import AppClients, TokenPair
from services.bot_manager.x.port import XAccount, XCredentials, XPort

REFUSALS: Final = frozenset({"X_CREDENTIALS_REJECTED", "X_REJECTED", "X_ACCOUNT_SUSPENDED"})
"""Answers of X that say something about the credentials; every other one says only that X could not be asked."""
CLIENT_ID: Final = "client_id"


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Stored credentials for one call, and their version."""

    credentials: XCredentials
    version: int


class SecretKeeper(Protocol):
    """secure_bot_data, as far as credentials go. Raises Unavailable."""

    async def store(self, bot_id: str, given: Given) -> int:
        """Store them in place of those before; the version they became."""
        ...

    async def lease(self, bot_id: str, reason: str) -> Borrowed:
        """Borrow what is stored. Raises FailedPrecondition (CREDENTIALS_MISSING, X_CREDENTIALS_REJECTED)."""
        ...

    async def renew(self, bot_id: str, refused: int, reason: str) -> Borrowed:
        """X refused version `refused`: a newer one where there can be one, else the same. Raises as `lease`."""
        ...


@dataclass(frozen=True, slots=True)
class Verification:
    """What X said. `account` is None unless it confirmed; then `failure` says why, if it said anything."""

    bot: Bot
    account: XAccount | None
    failure: MeshError | None = None


class Credentials:
    """See the module. `count` is told of calls that X has answered."""

    def __init__(
        self,
        bots: BotStore,
        secrets: SecretKeeper,
        x: XPort,
        apps: AppClients,
        clock: Clock,
        count: CallCount = free_of_charge,
    ) -> None:
        self._bots = bots
        self._secrets = secrets
        self._x = x
        self._apps = apps
        self._clock = clock
        self._count = count

    async def set_oauth1(self, bot_id: str, fields: Mapping[str, Secret], *, verify: bool) -> Verification:
        """Try and store the four strings.

        Raises FailedPrecondition (BOT_ARCHIVED, X_CREDENTIALS_REJECTED, X_ACCOUNT_MISMATCH), AlreadyExists (X_ACCOUNT_TAKEN), Unavailable.
        """
        return await self._set(await self._living(bot_id), of_oauth1(fields), verify=verify)

    async def set_oauth2(
        self, bot_id: str, pair: TokenPair, client: Mapping[str, Secret], *, verify: bool
    ) -> Verification:
        """Try and store tokens that were obtained elsewhere. `client` are the keys of the client they were issued to, as far as given.

        Raises as `set_oauth1`, and InvalidArgument for tokens with which the bot could not post.
        """
        bot = await self._living(bot_id)
        if pair.refresh_token and not client.get(CLIENT_ID):
            client = {**client, CLIENT_ID: Secret(await self._client_of(bot))}
        return await self._set(bot, of_tokens(pair, client, self._clock.now()), verify=verify)

    async def connect(self, bot_id: str, given: Given) -> Verification:
        """Store what a connect flow brought, once X has said that it is this bot's account. Raises as `set_oauth1`, and if X is away."""
        bot = await self._living(bot_id)
        account = await self._account(bot, given.credentials)
        return await self._store(bot, given, account)

    async def verify(self, bot_id: str) -> Verification:
        """Ask X whose the stored credentials are; a refusal is an answer. Raises as `set_oauth1` does, and if X cannot be asked."""
        bot = await self._living(bot_id)
        if bot.credentials is None:
            raise FailedPrecondition("CREDENTIALS_MISSING", "the bot has no credentials yet")
        try:
            account, version = await self._account_of_stored(bot)
        except (FailedPrecondition, AlreadyExists) as error:
            if error.reason == "CREDENTIALS_MISSING":
                raise
            return Verification(await self._refuse(bot_id, error, self._clock.now()), None, error)
        now, kind = self._clock.now(), bot.credentials.kind

        def status_of(bot: Bot) -> CredentialsStatus | None:
            known = bot.credentials
            if known is None or known.kind != kind or known.version > version:
                return None
            return replace(known, version=version, verified=True, verify_time=now, failure_reason="")

        return Verification(await self._confirm(bot_id, status_of, account, now), account)

    async def _set(self, bot: Bot, given: Given, *, verify: bool) -> Verification:
        if not verify:
            return await self._store(bot, given, None)
        try:
            account = await self._account(bot, given.credentials)
        except MeshError as error:
            if error.reason in REFUSALS:
                raise FailedPrecondition(
                    "X_CREDENTIALS_REJECTED", error.message, metadata=error.metadata
                ) from None
            if isinstance(error, FailedPrecondition | AlreadyExists):
                raise
            return await self._store(bot, given, None, error)
        return await self._store(bot, given, account)

    async def _store(
        self, bot: Bot, given: Given, account: XAccount | None, failure: MeshError | None = None
    ) -> Verification:
        version = await self._secrets.store(bot.id, given)
        now = self._clock.now()
        status = given.status(version, now if account else None)

        def status_of(bot: Bot) -> CredentialsStatus | None:
            known = bot.credentials
            newer = known is not None and known.kind == status.kind and known.version > status.version
            return None if newer else status

        return Verification(await self._confirm(bot.id, status_of, account, now), account, failure)

    async def _account(self, bot: Bot, credentials: XCredentials) -> XAccount:
        """Whose they are, if they may be the bot's. Raises what X answers, X_ACCOUNT_MISMATCH, X_ACCOUNT_TAKEN."""
        account = await self._x.get_me(credentials)
        self._count(bot.id, WHO_AM_I, 1)
        _check_account(bot, account)
        holder = await self._bots.holder_of(account.user_id)
        if holder not in ("", bot.id):
            raise taken(account.handle, holder)
        return account

    async def _account_of_stored(self, bot: Bot) -> tuple[XAccount, int]:
        reason = "verify credentials"
        borrowed = await self._secrets.lease(bot.id, reason)
        try:
            return await self._account(bot, borrowed.credentials), borrowed.version
        except FailedPrecondition as error:
            if error.reason != "X_CREDENTIALS_REJECTED":
                raise
            newer = await self._secrets.renew(bot.id, borrowed.version, reason)
            if newer.version == borrowed.version:
                raise
        return await self._account(bot, newer.credentials), newer.version

    async def _client_of(self, bot: Bot) -> str:
        client_id = await self._apps.client_of(bot.app_id) if bot.app_id else ""
        if not client_id:
            raise InvalidArgument(
                "INVALID_FIELD",
                "is needed to refresh the tokens, since the bot has no app with a client",
                field="oauth2.client_id",
            )
        return client_id

    async def _living(self, bot_id: str) -> Bot:
        bot = await self._bots.get(bot_id)
        if bot.state is BotState.ARCHIVED:
            raise FailedPrecondition("BOT_ARCHIVED", "the bot is archived")
        return bot

    async def _confirm(
        self,
        bot_id: str,
        status_of: Callable[[Bot], CredentialsStatus | None],
        account: XAccount | None,
        now: datetime,
    ) -> Bot:
        """Note the status and, if X confirmed it, whose account it is; the bot's state follows. No status: the bot has moved on."""

        def edit(bot: Bot, *, rename: bool) -> Bot:
            status = status_of(bot)
            if status is None:
                return bot
            noted = replace(bot, credentials=status)
            if account is None:
                return noted
            _check_account(bot, account)
            state = next_state(bot.state, BotEvent.VERIFY)
            return replace(
                noted,
                x_user_id=account.user_id,
                handle=account.handle if rename else bot.handle,
                state=state,
                state_detail=bot.state_detail if state is bot.state else StateDetail(actor=ACTOR, time=now),
            )

        try:
            return await self._bots.change(bot_id, lambda bot: edit(bot, rename=True), now)
        except AlreadyExists as error:
            if error.reason != "HANDLE_TAKEN":
                raise
            # Another bot has the handle that X reports; the account is right all the same.
            return await self._bots.change(bot_id, lambda bot: edit(bot, rename=False), now)

    async def _refuse(self, bot_id: str, error: MeshError, now: datetime) -> Bot:
        event = _EVENTS.get(error.reason)
        if event is not None:
            await self._bots.apply(bot_id, event, now, error.reason, error.message)

        def note(bot: Bot) -> Bot:
            if bot.credentials is None:
                return bot
            status = replace(bot.credentials, verified=False, verify_time=now, failure_reason=error.reason)
            return replace(bot, credentials=status)

        return await self._bots.change(bot_id, note, now)


_EVENTS: Final[Mapping[str, BotEvent]] = {
    "X_CREDENTIALS_REJECTED": BotEvent.REFUSE_CREDENTIALS,
    "X_ACCOUNT_MISMATCH": BotEvent.REFUSE_CREDENTIALS,
    "X_ACCOUNT_TAKEN": BotEvent.REFUSE_CREDENTIALS,
    "X_ACCOUNT_SUSPENDED": BotEvent.SUSPEND,
}
"""What a refusal does to the bot; others say nothing about the account."""


def taken(handle: str, holder: str) -> AlreadyExists:
    """Another bot manages the account."""
    return AlreadyExists(
        "X_ACCOUNT_TAKEN",
        f"another bot manages the account @{handle}" if handle else "another bot manages the account",
        metadata={"botId": holder} if holder else {},
    )


def _check_account(bot: Bot, account: XAccount) -> None:
    """Raises FailedPrecondition (X_ACCOUNT_MISMATCH) if the bot is known to be another account. Its handle follows the account."""
    if bot.x_user_id not in ("", account.user_id):
        raise FailedPrecondition(
            "X_ACCOUNT_MISMATCH",
            f"these are the credentials of @{account.handle}, not of @{bot.handle}",
            metadata={"handle": account.handle, "expectedHandle": bot.handle},
        )
