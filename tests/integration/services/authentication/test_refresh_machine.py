"""Random lives of one session against a model: refreshes, lost answers, retries, replays by a thief, sign-outs, restarts, time.

The model is the sentence of the contract: a token is good once; its successor is given again for ten seconds while it is unused; any
other second use ends the session. From it follows what the machine checks at every step: there are never two tokens that both live, and a
client that keeps to its newest token, and asks again in time when an answer was lost, stays signed in.
"""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from mesh.errors import Unauthenticated
from services.authentication.domain.sessions import GRACE

from .support import CLIENT, PASSWORD, World, build, open_schema, wipe

IDLE, ABSOLUTE = timedelta(days=1), timedelta(days=3)
T = TypeVar("T")


class Lives(RuleBasedStateMachine):
    """One session. `tokens` are all that were ever given out, oldest first; a client may hold any of them."""

    runner: ClassVar[asyncio.Runner]
    database: ClassVar[Database]
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.world: World = self.build()
        self.tokens: list[str] = []
        self.used: dict[int, datetime] = {}
        self.alive = True
        self.idle_end = self.end = self.world.clock.now()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def build(self) -> World:
        """A replica of the service that has just started."""

        async def start() -> World:
            made = build(self.database)
            await made.keyring.refresh()
            await made.server_secret.refresh()
            return made

        return self.run(start())

    @initialize(target=held)
    def sign_in(self) -> int:
        self.run(wipe(self.database))
        self.world.hashing.close()
        self.world = self.build()
        self.run(self.world.user())
        pair = self.run(self.world.sign_in.sign_in("ann", PASSWORD, CLIENT))
        self.session_id = pair.session_id
        self.tokens.append(pair.refresh_token)
        self.end = self.world.clock.now() + ABSOLUTE
        self.idle_end = self.world.clock.now() + IDLE
        return 0

    def lives(self) -> bool:
        return self.alive and self.world.clock.now() < min(self.idle_end, self.end)

    def present(self, index: int) -> int | None:
        """Use the token; holds the answer against the model. Index of the token that came back."""
        newest, now = len(self.tokens) - 1, self.world.clock.now()
        rotates = self.lives() and index == newest
        again = self.lives() and index == newest - 1 and now - self.used[index] <= GRACE
        try:
            answered = self.run(self.world.sessions.refresh(self.tokens[index], CLIENT)).refresh_token
        except Unauthenticated:
            assert not rotates, "an honest client was signed out"
            assert not again, "a lost answer signed somebody out"
            if index < newest:
                self.alive = False
            return None
        assert rotates or again, "a used token bought a pair"
        if rotates:
            self.used[index] = now
            self.tokens.append(answered)
            self.idle_end = now + IDLE
        assert answered == self.tokens[-1], "two successors"
        return len(self.tokens) - 1

    @rule(target=held)
    def refresh(self) -> int:
        """The honest client, with the newest token."""
        got = self.present(len(self.tokens) - 1)
        return len(self.tokens) - 1 if got is None else got

    @rule(index=held)
    def replay(self, index: int) -> None:
        """A token that somebody has held before: a retry after a lost answer, or a thief."""
        self.present(index)

    @rule()
    def retry(self) -> None:
        """The answer to the last refresh was lost, or a thief has read the request."""
        self.present(max(0, len(self.tokens) - 2))

    @rule(together=st.integers(2, 5))
    def refresh_at_once(self, together: int) -> None:
        """Several tabs of one browser wake up at the same moment."""
        lived, newest = self.lives(), len(self.tokens) - 1

        async def race() -> list[Any]:
            uses = (self.world.sessions.refresh(self.tokens[newest], CLIENT) for _ in range(together))
            return await asyncio.gather(*uses, return_exceptions=True)

        answers = self.run(race())
        if not lived:
            assert all(isinstance(answer, Unauthenticated) for answer in answers)
            return
        [successor] = {answer.refresh_token for answer in answers}
        self.used[newest] = self.world.clock.now()
        self.tokens.append(successor)
        self.idle_end = self.world.clock.now() + IDLE

    @rule()
    def sign_out(self) -> None:
        user = self.run(self.owner())
        self.run(self.world.sessions.sign_out(user, self.session_id, everywhere=False))
        self.alive = False

    @rule()
    def restart(self) -> None:
        """The process dies; another one goes on from what was committed."""
        now = self.world.clock.now()
        self.world.hashing.close()
        self.world = self.build()
        self.run(self.world.clock.advance(now - self.world.clock.now()))

    @rule(seconds=st.sampled_from([0.5, 5, 9, 11, 3600, 86_399]))
    def wait(self, seconds: float) -> None:
        self.run(self.world.clock.advance(timedelta(seconds=seconds)))

    async def owner(self) -> str:
        async with self.database.read() as connection:
            return str((await connection.execute(text("SELECT id FROM users"))).scalar_one())

    @invariant()
    def at_most_one_token_lives(self) -> None:
        async def unused() -> int:
            query = text("SELECT count(*) FROM refresh_tokens WHERE use_time IS NULL")
            async with self.database.read() as connection:
                return int((await connection.execute(query)).scalar_one())

        if self.tokens:
            assert self.run(unused()) == 1

    @invariant()
    def whoever_was_ended_is_in_the_feed(self) -> None:
        async def revoked() -> int:
            query = text("SELECT count(*) FROM revocations WHERE target_id = :id")
            async with self.database.read() as connection:
                return int((await connection.execute(query, {"id": self.session_id})).scalar_one())

        if self.tokens:
            assert self.run(revoked()) == (0 if self.alive else 1)

    def teardown(self) -> None:
        self.world.hashing.close()


@pytest.mark.hypothesis
def test_no_sequence_gives_two_living_tokens_or_signs_an_honest_client_out(engines: EmbeddedMesh) -> None:
    """Sequences nobody would think of: the market's rotations fail in exactly these (CVE-2026-1035, better-auth#8512)."""
    with asyncio.Runner() as runner:
        Lives.runner = runner

        async def open_() -> Database:
            return open_schema(engines.environment("authentication"))

        Lives.database = runner.run(open_())
        try:
            profile = settings.get_profile(settings.get_current_profile_name())
            limits = settings(
                profile,
                max_examples=profile.max_examples // 2,
                deadline=None,
                stateful_step_count=25,
                suppress_health_check=list(HealthCheck),
            )
            run_state_machine_as_test(Lives, settings=limits)  # type: ignore[no-untyped-call]
        finally:
            runner.run(wipe(Lives.database))
            runner.run(Lives.database.close())
