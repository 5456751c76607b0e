"""Random lives of a bot against a model written from the contract's sentences on BotState, over the real store and a fake X.

What has to hold whatever happens in whatever order: only a person lets a stopped bot go on, only X's word or a person's stops one, what X
refuses is not stored, an archived bot stays archived, and a bot that is ACTIVE has credentials.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.database import Database, open_database
from mesh.errors import FailedPrecondition, MeshError, Unavailable
from mesh.ids import new_id
from mesh.secret import Secret
from services.bot_manager.domain.bots import BotDraft, Bots
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.x.port import OAUTH1_FIELDS
from tests.fakes.apps import NoApps
from tests.fakes.clock import ManualClock
from tests.fakes.engines import settings_of

from .conftest import NOW
from .fakes import FakeSecrets, FakeX

T = TypeVar("T")
S = BotState
KEYS = {name: Secret(name) for name in OAUTH1_FIELDS}
REFUSED = FailedPrecondition("X_CREDENTIALS_REJECTED", "X refused the credentials")
SUSPENDED = FailedPrecondition("X_ACCOUNT_SUSPENDED", "X has suspended the account")
AWAY = Unavailable("X_UNAVAILABLE", "X does not answer")


class Lives(RuleBasedStateMachine):
    """One bot. `state`, `has_credentials` and `is_verified` are the model."""

    runner: ClassVar[asyncio.Runner]
    database: ClassVar[Database]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def refused(self, work: Coroutine[Any, Any, Any]) -> str:
        """Why it is refused; empty if it is not."""
        try:
            self.run(work)
        except MeshError as error:
            return error.reason
        return ""

    @initialize()
    def make(self) -> None:
        async def begin() -> Bot:
            async with self.database.transaction() as connection:
                await connection.execute(text("DELETE FROM bots"))
            return await self.bots.create(BotDraft(handle="acme"), "ann", None)

        clock = ManualClock(NOW)
        self.store, self.x, self.secrets = PostgresBots(self.database, "test-1"), FakeX(), FakeSecrets()
        self.bots = Bots(self.store, clock, new_id)
        self.credentials = Credentials(self.store, self.secrets, self.x, NoApps(), clock)
        self.bot = self.run(begin())
        self.state, self.has_credentials, self.is_verified = S.DRAFT, False, False

    @rule()
    def activate(self) -> None:
        """A person lets it go, unless there is nothing to go with, or X refuses what there is."""
        expected = ""
        if self.state is S.ARCHIVED:
            expected = "BOT_ARCHIVED"
        elif not self.has_credentials:
            expected = "CREDENTIALS_MISSING"
        elif self.state is S.REAUTH_REQUIRED:
            expected = "INVALID_STATE"
        assert self.refused(self.bots.activate(self.bot.id, "", "ann")) == expected
        self.state = self.state if expected else S.ACTIVE

    @rule()
    def pause(self) -> None:
        expected = {S.ARCHIVED: "BOT_ARCHIVED", S.DRAFT: "INVALID_STATE"}.get(self.state, "")
        assert self.refused(self.bots.pause(self.bot.id, "", "ann", "enough")) == expected
        self.state = self.state if expected else S.PAUSED

    @rule(sure=st.integers(0, 5))
    def archive(self, sure: int) -> None:
        """Seldom, since it is the end."""
        if sure == 0:
            assert not self.refused(self.bots.archive(self.bot.id, "", "ann", ""))
            self.state = S.ARCHIVED

    @rule(answer=st.sampled_from([None, REFUSED, SUSPENDED, AWAY]))
    def set_credentials(self, answer: MeshError | None) -> None:
        """Stored unless X refuses them; only what X confirmed brings a bot to life, or back to it."""
        stored = len(self.secrets.versions.get(self.bot.id, ()))
        if answer is not None and self.state is not S.ARCHIVED:
            self.x.fail_next(answer)
        reason = self.refused(self.credentials.set_oauth1(self.bot.id, KEYS, verify=True))
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

    @rule(answer=st.sampled_from([None, REFUSED, SUSPENDED, AWAY]))
    def verify(self, answer: MeshError | None) -> None:
        """X is asked; its refusal is an answer and stops what is active."""
        if self.state is S.ARCHIVED or not self.has_credentials:
            reason = self.refused(self.credentials.verify(self.bot.id))
            assert reason == ("BOT_ARCHIVED" if self.state is S.ARCHIVED else "CREDENTIALS_MISSING")
            return
        if answer is not None:
            self.x.fail_next(answer)
        assert self.refused(self.credentials.verify(self.bot.id)) == (
            "X_UNAVAILABLE" if answer is AWAY else ""
        )
        if answer is None:
            self.is_verified = True
            self.state = S.ACTIVE if self.state in (S.DRAFT, S.REAUTH_REQUIRED) else self.state
        elif answer is not AWAY:
            self.is_verified = False
            self.hear(answer is SUSPENDED)

    @rule(is_suspended=st.booleans())
    def publisher_hears(self, is_suspended: bool) -> None:
        """X refuses a post's credentials, or the account."""
        event = BotEvent.SUSPEND if is_suspended else BotEvent.REFUSE_CREDENTIALS
        self.run(self.store.apply(self.bot.id, event, NOW, "X_REJECTED", "X says no"))
        self.is_verified = self.is_verified and is_suspended
        self.hear(is_suspended)

    def hear(self, is_suspended: bool) -> None:
        """X's word stops what is active, and outweighs its earlier word; what a person stopped stays as it is."""
        if self.state is S.ACTIVE:
            self.state = S.SUSPENDED if is_suspended else S.REAUTH_REQUIRED
        elif self.state is S.REAUTH_REQUIRED and is_suspended:
            self.state = S.SUSPENDED

    @invariant()
    def the_model_holds(self) -> None:
        if not hasattr(self, "state"):
            return
        found = self.run(self.store.get(self.bot.id))
        assert found.state is self.state
        assert (found.credentials is not None) == self.has_credentials
        assert found.state is not S.ACTIVE or found.credentials is not None
        if found.credentials is not None and found.state is not S.ARCHIVED:
            assert found.credentials.verified == self.is_verified


@pytest.mark.hypothesis
def test_no_life_of_a_bot_differs_from_what_the_contract_says(engines: EmbeddedMesh, schema: str) -> None:
    """A bot that goes on after its kill switch, or never comes back, is found by orders nobody would think of."""
    with asyncio.Runner() as runner:
        Lives.runner = runner

        async def open_() -> Database:
            return open_database(settings_of(engines, "bot_manager"), schema)

        Lives.database = runner.run(open_())
        try:
            profile = settings.get_profile(settings.get_current_profile_name())
            limits = settings(
                profile,
                max_examples=max(profile.max_examples // 8, 1),
                deadline=None,
                stateful_step_count=20,
                suppress_health_check=list(HealthCheck),
            )
            run_state_machine_as_test(Lives, settings=limits)  # type: ignore[no-untyped-call]
        finally:
            runner.run(Lives.database.close())
