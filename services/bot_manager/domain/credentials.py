"""Credentials of bots: tried at X first, then given to secure_bot_data to keep. Nothing of them stays here but their status.

What X refuses is not stored. If X does not answer they are stored unverified, since the person has typed them once and X may be away
for long; the first call or VerifyCredentials settles it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from mesh.clock import Clock
from mesh.errors import AlreadyExists, FailedPrecondition, MeshError
from mesh.secret import Secret
from services.bot_manager.domain.lifecycle import BotEvent, next_state
from services.bot_manager.domain.model import ACTOR, Bot, BotState, CredentialsStatus, StateDetail
from services.bot_manager.store.ports import BotStore
from services.bot_manager.x.port import OAuth1Credentials, XAccount, XPort

OAUTH1: Final = "OAUTH1"
REFUSALS: Final = frozenset({"X_CREDENTIALS_REJECTED", "X_REJECTED", "X_ACCOUNT_SUSPENDED"})
"""Answers of X that say something about the credentials; every other one says only that X could not be asked."""


class SecretKeeper(Protocol):
    """secure_bot_data, as far as credentials go. Raises Unavailable."""

    async def store(self, bot_id: str, fields: Mapping[str, Secret]) -> int:
        """Store the four strings; the version they became."""
        ...

    async def lease(self, bot_id: str, reason: str) -> OAuth1Credentials:
        """Borrow them for one call. Raises FailedPrecondition (CREDENTIALS_MISSING)."""
        ...


@dataclass(frozen=True, slots=True)
class Verification:
    """What X said. `account` is None unless it confirmed; then `failure` says why, if it said anything."""

    bot: Bot
    account: XAccount | None
    failure: MeshError | None = None


class Credentials:
    """See the module."""

    def __init__(self, bots: BotStore, secrets: SecretKeeper, x: XPort, clock: Clock) -> None:
        self._bots = bots
        self._secrets = secrets
        self._x = x
        self._clock = clock

    async def set(self, bot_id: str, fields: Mapping[str, Secret], *, verify: bool) -> Verification:
        """Try and store. Raises FailedPrecondition (BOT_ARCHIVED, X_CREDENTIALS_REJECTED, X_ACCOUNT_MISMATCH), Unavailable."""
        bot = await self._living(bot_id)
        account: XAccount | None = None
        failure: MeshError | None = None
        if verify:
            try:
                account = await self._x.get_me(OAuth1Credentials(**fields))
            except MeshError as error:
                if error.reason in REFUSALS:
                    raise FailedPrecondition(
                        "X_CREDENTIALS_REJECTED", error.message, metadata=error.metadata
                    ) from None
                failure = error
            _check_account(bot, account)
        version = await self._secrets.store(bot_id, fields)
        now = self._clock.now()
        status = CredentialsStatus(
            OAUTH1,
            version,
            verified=account is not None,
            verify_time=now if account else None,
        )
        return Verification(await self._confirm(bot_id, status, account, now), account, failure)

    async def verify(self, bot_id: str) -> Verification:
        """Ask X whose the stored credentials are; a refusal is an answer. Raises as `set` does, and if X cannot be asked."""
        bot = await self._living(bot_id)
        if bot.credentials is None:
            raise FailedPrecondition("CREDENTIALS_MISSING", "the bot has no credentials yet")
        credentials = await self._secrets.lease(bot_id, "verify credentials")
        now = self._clock.now()
        try:
            account = await self._x.get_me(credentials)
            _check_account(bot, account)
        except FailedPrecondition as error:
            return Verification(await self._refuse(bot_id, error, now), None, error)
        status = replace(bot.credentials, verified=True, verify_time=now, failure_reason="")
        return Verification(await self._confirm(bot_id, status, account, now), account)

    async def _living(self, bot_id: str) -> Bot:
        bot = await self._bots.get(bot_id)
        if bot.state is BotState.ARCHIVED:
            raise FailedPrecondition("BOT_ARCHIVED", "the bot is archived")
        return bot

    async def _confirm(
        self, bot_id: str, status: CredentialsStatus, account: XAccount | None, now: datetime
    ) -> Bot:
        """Note the status and, if X confirmed it, whose account it is; the bot's state follows."""

        def edit(bot: Bot, *, rename: bool) -> Bot:
            if bot.credentials is not None and bot.credentials.version > status.version:
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
        except AlreadyExists:
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
    "X_ACCOUNT_SUSPENDED": BotEvent.SUSPEND,
}
"""What a refusal does to the bot; others say nothing about the account."""


def _check_account(bot: Bot, account: XAccount | None) -> None:
    """Raises FailedPrecondition (X_ACCOUNT_MISMATCH) if the bot is known to be another account. Its handle follows the account."""
    if account is None:
        return
    if bot.x_user_id not in ("", account.user_id):
        raise FailedPrecondition(
            "X_ACCOUNT_MISMATCH",
            f"these are the credentials of @{account.handle}, not of @{bot.handle}",
            metadata={"handle": account.handle, "expectedHandle": bot.handle},
        )
