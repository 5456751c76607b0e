"""What follows for a bot from a refresh: what is shown of its tokens, and when it is stopped."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from mesh.errors import FailedPrecondition, MeshError, OutcomeUnknown, Unavailable
from mesh.ids import new_id
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import OAUTH1, OAUTH2, Bot, BotState, CredentialsStatus
from services.bot_manager.tokens.fresh import ASK_A_PERSON, FreshTokens
from tests.fakes.clock import ManualClock

CLOCK = ManualClock()
END = CLOCK.now() + timedelta(hours=2)


class OneBot:
    """A store of one bot, as far as tokens go."""

    def __init__(self, status: CredentialsStatus | None) -> None:
        now = CLOCK.now()
        self.bot = Bot(new_id(), "acme", BotState.ACTIVE, now, now, credentials=status)
        self.applied: list[tuple[BotEvent, str, str]] = []
        self.away = False

    async def get(self, bot_id: str) -> Bot:
        """See BotStore."""
        return self.bot

    async def apply(self, bot_id: str, event: BotEvent, now: datetime, reason: str, message: str) -> Bot:
        """See BotStore."""
        self.applied.append((event, reason, message))
        return self.bot

    async def change(self, bot_id: str, edit: Callable[[Bot], Bot], now: datetime, **more: Any) -> Bot:
        """See BotStore."""
        if self.away:
            raise Unavailable("DATABASE_UNAVAILABLE", "away")
        self.bot = edit(self.bot)
        return self.bot


class Answers:
    """A refresher that gives the same answer to everybody."""

    def __init__(self, answer: int | MeshError) -> None:
        self._answer = answer

    async def refresh(self, bot_id: str, stale_version: int) -> int:
        """See Refresher."""
        if isinstance(self._answer, MeshError):
            raise self._answer
        return self._answer


def status(version: int = 3, kind: str = OAUTH2) -> CredentialsStatus:
    """Confirmed credentials of a version."""
    return CredentialsStatus(kind, version, verified=True, scopes=("tweet.write",))


def fresh(bots: OneBot, answer: int | MeshError = 4) -> FreshTokens:
    """Tokens of the bot."""
    return FreshTokens(bots, Answers(answer), lambda: timedelta(minutes=5), CLOCK)  # type: ignore[arg-type]  # all it uses


async def test_only_a_refusal_for_good_stops_the_bot_and_says_what_to_do() -> None:
    """An answer that was lost, or a vault that is away, may be settled by the next try."""
    for error, stops in (
        (FailedPrecondition("X_CREDENTIALS_REJECTED", "invalid_grant"), True),
        (FailedPrecondition("CREDENTIALS_MISSING", "no refresh token"), True),
        (FailedPrecondition("X_REJECTED", "invalid_client"), False),
        (OutcomeUnknown("X_OUTCOME_UNKNOWN", "lost"), False),
        (Unavailable("VAULT_SEALED", "sealed"), False),
    ):
        bots = OneBot(status())
        with pytest.raises(MeshError) as raised:
            await fresh(bots, error).replace(bots.bot.id, 3)
        assert raised.value is error
        expected = [(BotEvent.REFUSE_CREDENTIALS, error.reason, ASK_A_PERSON)] if stops else []
        assert bots.applied == expected


async def test_a_bot_that_has_other_credentials_by_now_is_not_stopped() -> None:
    """Somebody connected it anew while X refused the old tokens."""
    for known in (status(4), status(1, OAUTH1), None):
        bots = OneBot(known)
        await fresh(bots).give_up(bots.bot.id, 3, "X_CREDENTIALS_REJECTED")
        assert bots.applied == []


async def test_a_new_version_is_shown_and_an_older_one_or_another_kind_is_not() -> None:
    """What people see is what is in use; a record that is away stops no post."""
    bots = OneBot(status())
    tokens = fresh(bots)
    await tokens.note(bots.bot.id, 4, END)
    assert bots.bot.credentials == replace(status(4), expire_time=END)
    await tokens.note(bots.bot.id, 3, None)
    assert bots.bot.credentials == replace(status(4), expire_time=END)
    other = OneBot(status(1, OAUTH1))
    await fresh(other).note(other.bot.id, 9, END)
    assert other.bot.credentials == status(1, OAUTH1)
    bots.away = True
    await tokens.note(bots.bot.id, 5, END)


async def test_a_bot_without_credentials_is_asked_for_those_of_oauth1() -> None:
    """Which says that there are none."""
    for known, kind in ((None, OAUTH1), (status(), OAUTH2), (status(1, OAUTH1), OAUTH1)):
        bots = OneBot(known)
        assert await fresh(bots).kind_of(bots.bot.id) == kind
    assert [fresh(bots).is_due(timedelta(minutes=minutes)) for minutes in (4, 5, 6)] == [True, True, False]
