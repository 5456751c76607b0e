"""Every step of a bot's life from every state that a life can reach, against a model written from the contract's sentences on BotState.

Over the real store and a fake X. What has to hold in whatever order: only a person lets a stopped bot go on, only X's word or a
person's stops one, what X refuses is not stored, an archived bot stays archived, and a bot that is ACTIVE has credentials.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import text

from mesh.database import Database
from mesh.errors import FailedPrecondition, MeshError, Unavailable
from mesh.ids import new_id
from mesh.secret import Secret
from services.bot_manager.domain.bots import BotDraft, Bots
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import BotState
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.x.port import OAUTH1_FIELDS
from tests.fakes.apps import NoApps
from tests.fakes.clock import ManualClock

from .conftest import NOW
from .fakes import FakeSecrets, FakeX

S = BotState
KEYS = {name: Secret(name) for name in OAUTH1_FIELDS}
REFUSED = FailedPrecondition("X_CREDENTIALS_REJECTED", "X refused the credentials")
SUSPENDED = FailedPrecondition("X_ACCOUNT_SUSPENDED", "X has suspended the account")
AWAY = Unavailable("X_UNAVAILABLE", "X does not answer")


class Seen(NamedTuple):
    """What the model knows of a bot; two lives that end here have the same future."""

    state: BotState
    has_credentials: bool
    is_verified: bool


class Life:
    """One bot that lives a life. `state`, `has_credentials` and `is_verified` are the model."""

    def __init__(self, database: Database) -> None:
        clock = ManualClock(NOW)
        self.database = database
        self.store, self.x, self.secrets = PostgresBots(database, "test-1"), FakeX(), FakeSecrets()
        self.bots = Bots(self.store, clock, new_id)
        self.credentials = Credentials(self.store, self.secrets, self.x, NoApps(), clock)
        self.state, self.has_credentials, self.is_verified = S.DRAFT, False, False

    async def begin(self) -> None:
        # Two bots cannot act for one account, so the one before has to go.
        async with self.database.transaction() as connection:
            await connection.execute(text("DELETE FROM bots"))
        self.bot = await self.bots.create(BotDraft(handle="acme"), "ann", None)

    @property
    def seen(self) -> Seen:
        return Seen(self.state, self.has_credentials, self.is_verified)

    async def activate(self) -> None:
        """A person lets it go, unless there is nothing to go with, or X refuses what there is."""
        expected = ""
        if self.state is S.ARCHIVED:
            expected = "BOT_ARCHIVED"
        elif not self.has_credentials:
            expected = "CREDENTIALS_MISSING"
        elif self.state is S.REAUTH_REQUIRED:
            expected = "INVALID_STATE"
        assert await refused(self.bots.activate(self.bot.id, "", "ann")) == expected
        self.state = self.state if expected else S.ACTIVE

    async def pause(self) -> None:
        expected = {S.ARCHIVED: "BOT_ARCHIVED", S.DRAFT: "INVALID_STATE"}.get(self.state, "")
        assert await refused(self.bots.pause(self.bot.id, "", "ann", "enough")) == expected
        self.state = self.state if expected else S.PAUSED

    async def archive(self) -> None:
        assert not await refused(self.bots.archive(self.bot.id, "", "ann", ""))
        self.state = S.ARCHIVED

    async def set_credentials(self, answer: MeshError | None) -> None:
        """Stored unless X refuses them; only what X confirmed brings a bot to life, or back to it."""
        stored = len(self.secrets.versions.get(self.bot.id, ()))
        if answer is not None and self.state is not S.ARCHIVED:
            self.x.fail_next(answer)
        reason = await refused(self.credentials.set_oauth1(self.bot.id, KEYS, verify=True))
        if self.state is S.ARCHIVED:
            assert reason == "BOT_ARCHIVED"
        elif answer in (REFUSED, SUSPENDED):
            assert reason == "X_CREDENTIALS_REJECTED"
        else:
            assert reason == ""
            stored += 1
            self.has_credentials, self.is_verified = True, answer is None
            if answer is None and self.state in (S.DRAFT, S.REAUTH_REQUIRED):
                self.state = S.ACTIVE
        assert len(self.secrets.versions.get(self.bot.id, ())) == stored

    async def verify(self, answer: MeshError | None) -> None:
        """X is asked; its refusal is an answer and stops what is active."""
        if self.state is S.ARCHIVED or not self.has_credentials:
            reason = await refused(self.credentials.verify(self.bot.id))
            assert reason == ("BOT_ARCHIVED" if self.state is S.ARCHIVED else "CREDENTIALS_MISSING")
            return
        if answer is not None:
            self.x.fail_next(answer)
        assert await refused(self.credentials.verify(self.bot.id)) == (
            "X_UNAVAILABLE" if answer is AWAY else ""
        )
        if answer is None:
            self.is_verified = True
            self.state = S.ACTIVE if self.state in (S.DRAFT, S.REAUTH_REQUIRED) else self.state
        elif answer is not AWAY:
            self.is_verified = False
            self.hear(answer is SUSPENDED)

    async def publisher_hears(self, is_suspended: bool) -> None:
        """X refuses a post's credentials, or the account."""
        event = BotEvent.SUSPEND if is_suspended else BotEvent.REFUSE_CREDENTIALS
        await self.store.apply(self.bot.id, event, NOW, "X_REJECTED", "X says no")
        self.is_verified = self.is_verified and is_suspended
        self.hear(is_suspended)

    def hear(self, is_suspended: bool) -> None:
        """X's word stops what is active, and outweighs its earlier word; what a person stopped stays as it is."""
        if self.state is S.ACTIVE:
            self.state = S.SUSPENDED if is_suspended else S.REAUTH_REQUIRED
        elif self.state is S.REAUTH_REQUIRED and is_suspended:
            self.state = S.SUSPENDED

    async def check(self) -> None:
        """The model is what the store says."""
        found = await self.store.get(self.bot.id)
        assert found.state is self.state
        assert (found.credentials is not None) == self.has_credentials
        assert found.state is not S.ACTIVE or found.credentials is not None
        if found.credentials is not None and found.state is not S.ARCHIVED:
            assert found.credentials.verified == self.is_verified


async def refused(work: Awaitable[Any]) -> str:
    """Why it is refused; empty if it is not."""
    try:
        await work
    except MeshError as error:
        return error.reason
    return ""


ANSWERS: Final[Mapping[str, MeshError | None]] = {
    "yes": None,
    "refused": REFUSED,
    "suspended": SUSPENDED,
    "away": AWAY,
}
STEPS: Final[Mapping[str, Callable[[Life], Awaitable[None]]]] = {
    "activate": Life.activate,
    "pause": Life.pause,
    "archive": Life.archive,
    **{f"set, X: {word}": partial(Life.set_credentials, answer=answer) for word, answer in ANSWERS.items()},
    **{f"verify, X: {word}": partial(Life.verify, answer=answer) for word, answer in ANSWERS.items()},
    "a post is refused": partial(Life.publisher_hears, is_suspended=False),
    "a post finds the account suspended": partial(Life.publisher_hears, is_suspended=True),
}


async def live(database: Database, steps: tuple[str, ...]) -> Seen:
    """A new bot lives the steps; whatever differs from the model fails with the steps in the message."""
    life = Life(database)
    await life.begin()
    for index, step in enumerate(steps):
        try:
            await STEPS[step](life)
            await life.check()
        except AssertionError as error:
            raise AssertionError(f"after {steps[:index]}: {step}") from error
    return life.seen


async def test_no_life_of_a_bot_differs_from_what_the_contract_says(database: Database) -> None:
    """A bot that goes on after its kill switch, or never comes back, hides in an order of steps nobody would think of."""
    ways: dict[Seen, tuple[str, ...]] = {await live(database, ()): ()}
    unwalked = list(ways.values())
    while unwalked:
        way = unwalked.pop(0)
        for step in STEPS:
            seen = await live(database, (*way, step))
            if seen not in ways:
                ways[seen] = (*way, step)
                unwalked.append(ways[seen])
    assert {seen.state for seen in ways} == set(S), "a state that no life reaches"
