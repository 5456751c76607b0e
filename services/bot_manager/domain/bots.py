"""Use cases of bots: make, find, change, activate, pause, archive, delete. Credentials are in `domain/credentials.py`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, InvalidArgument
from services.bot_manager.domain.lifecycle import BotEvent, next_state
from services.bot_manager.domain.listing import Page, Query
from services.bot_manager.domain.model import Bot, BotState, Document, StateDetail
from services.bot_manager.domain.versions import check_etag
from services.bot_manager.store.ports import BotStore, RequestKey


@dataclass(frozen=True, slots=True)
class BotDraft:
    """A bot as somebody described it."""

    handle: str = ""
    display_name: str = ""
    time_zone: str = ""
    language: str = ""
    app_id: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    automation: Document | None = None
    policy: Document | None = None
    budget: Document | None = None
    slots: tuple[Document, ...] = ()


class Bots:
    """See the module. `new_id` makes ids."""

    def __init__(self, store: BotStore, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    async def create(self, draft: BotDraft, actor: str, key: RequestKey | None) -> Bot:
        """A bot in DRAFT. Raises InvalidArgument, NotFound (APP_NOT_FOUND), AlreadyExists (HANDLE_TAKEN)."""
        now = self._clock.now()
        empty = Bot(self._new_id(), "", BotState.DRAFT, now, now, creator=actor)
        bot = replace(_described(empty, draft), state_detail=StateDetail(actor=actor, time=now))
        return await self._store.create(bot, key)

    async def get(self, bot_id: str) -> Bot:
        """Raises NotFound (BOT_NOT_FOUND)."""
        return await self._store.get(bot_id)

    async def list(self, query: Query) -> Page[Bot]:
        """A page of bots."""
        return await self._store.list(query)

    async def update(self, bot_id: str, etag: str, describe: Callable[[Bot], BotDraft]) -> Bot:
        """Change what `describe` says; it sees the bot under its lock. Raises Aborted, FailedPrecondition and as `create` does."""

        def edit(bot: Bot) -> Bot:
            check_etag(etag, bot.version)
            if bot.state is BotState.ARCHIVED:
                raise FailedPrecondition("BOT_ARCHIVED", "the bot is archived")
            changed = _described(bot, describe(bot))
            return bot if changed == bot else changed

        return await self._store.change(bot_id, edit, self._clock.now())

    async def activate(self, bot_id: str, etag: str, actor: str) -> Bot:
        """Let the bot publish. Raises FailedPrecondition (CREDENTIALS_MISSING, BOT_ARCHIVED, INVALID_STATE), Aborted."""

        def check(bot: Bot) -> None:
            if bot.credentials is None and bot.state is not BotState.ARCHIVED:
                raise FailedPrecondition("CREDENTIALS_MISSING", "the bot has no credentials yet")

        return await self._move(bot_id, etag, BotEvent.ACTIVATE, actor, "", check)

    async def pause(self, bot_id: str, etag: str, actor: str, reason: str) -> Bot:
        """Stop the bot at once. Raises FailedPrecondition (BOT_ARCHIVED, INVALID_STATE), Aborted."""
        return await self._move(bot_id, etag, BotEvent.PAUSE, actor, reason)

    async def archive(self, bot_id: str, etag: str, actor: str, reason: str) -> Bot:
        """Retire the bot and call off its posts. Raises FailedPrecondition (INVALID_STATE) while one is under way, Aborted."""
        return await self._move(bot_id, etag, BotEvent.ARCHIVE, actor, reason, settled=True)

    async def delete(self, bot_id: str, etag: str, actor: str) -> None:
        """Archive the bot, so that nothing of it can begin any more, then delete it. Raises as `archive`, and NotFound."""
        await self._move(
            bot_id, etag, BotEvent.ARCHIVE, actor, "to be deleted", settled=True, concludes=False
        )
        await self._store.delete(bot_id, self._clock.now())

    async def _move(
        self,
        bot_id: str,
        etag: str,
        event: BotEvent,
        actor: str,
        reason: str,
        check: Callable[[Bot], None] = lambda bot: None,
        *,
        settled: bool = False,
        concludes: bool = True,
    ) -> Bot:
        now = self._clock.now()

        def edit(bot: Bot) -> Bot:
            check_etag(etag, bot.version)
            check(bot)
            state = next_state(bot.state, event)
            if state is bot.state:
                return bot
            return replace(bot, state=state, state_detail=StateDetail(message=reason, actor=actor, time=now))

        return await self._store.change(bot_id, edit, now, settled=settled, concludes=concludes)


def max_lateness(bot: Bot, default: timedelta) -> timedelta:
    """How late a post of the bot may go out: its policy's word, else the setting's."""
    text = (bot.policy or {}).get("max_lateness")
    return default if text is None else timedelta(seconds=float(str(text).removesuffix("s")))


def _described(bot: Bot, draft: BotDraft) -> Bot:
    """The bot with everything that the draft says. Raises InvalidArgument. Whether the app exists, the store knows."""
    if not draft.handle:
        raise InvalidArgument("INVALID_FIELD", "a bot needs the handle of its account", field="bot.handle")
    time_zone = draft.time_zone or "UTC"
    _check_zone(time_zone)
    return replace(
        bot,
        handle=draft.handle,
        display_name=draft.display_name or draft.handle,
        time_zone=time_zone,
        language=draft.language,
        app_id=draft.app_id,
        labels=draft.labels,
        automation=draft.automation,
        policy=draft.policy,
        budget=draft.budget,
        slots=draft.slots,
    )


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            "INVALID_FIELD", "is not an IANA time zone known here", field="bot.time_zone"
        ) from None
