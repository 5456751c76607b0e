"""Random lives of a schedule against a model: time, stops of product and bot, pauses, changes, posts that go out or are deleted.

The model is a sentence of the contract: each nominal time makes its post at most once, for ever. With it goes what people expect: after
a look of a replica, while schedule and bot are active, every time that the rule says up to the horizon is decided; what went out was
said by the rule, and never later than the schedule allows unless its policy makes up for it.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from cli.embedded import EmbeddedMesh
from mesh.database import Database, open_database
from services.bot_manager.domain.model import BotState
from services.bot_manager.domain.recurrence.model import MisfirePolicy, Notation, Recurrence, ScheduleState
from services.bot_manager.store.tables import posts
from services.bot_manager.store.tables.recurring import occurrences, schedules
from tests.fakes.engines import settings_of

from .world import MINUTE, World

T = TypeVar("T")
STEPS = {"0 * * * *": (60, 0), "30 * * * *": (60, 30), "*/30 * * * *": (30, 0)}
RULES = tuple(Recurrence(Notation.CRON, rule) for rule in STEPS)


class Lives(RuleBasedStateMachine):
    """One schedule of one bot. `out` are the nominal times whose post went out, once for each time that it did."""

    runner: ClassVar[asyncio.Runner]
    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.database)
        self.out: Counter[datetime] = Counter()
        self.deleted: set[datetime] = set()
        self.rules: set[Recurrence] = set()
        self.is_paused = self.is_stopped = self.is_fresh = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(policy=st.sampled_from(MisfirePolicy), recurrence=st.sampled_from(RULES))
    def make(self, policy: MisfirePolicy, recurrence: Recurrence) -> None:
        self.run(self.world.sql("DELETE FROM bots"))
        self.bot = self.run(self.world.bot())
        work = self.world.add(self.bot, misfire_policy=policy, max_catch_up=2, recurrence=recurrence)
        self.schedule = self.run(work)
        self.rules = {recurrence}
        self.recurrence = recurrence

    @rule(minutes=st.sampled_from([1, 7, 30, 60, 95, 600]))
    def wait(self, minutes: int) -> None:
        self.run(self.world.clock.advance(timedelta(minutes=minutes)))
        self.is_fresh = False

    @rule()
    def look(self) -> None:
        """A replica does its round; then every time up to the horizon is decided."""
        self.run(self.world.expander().begin())
        self.is_fresh = True

    @rule()
    def look_side_by_side(self) -> None:
        async def both() -> None:
            await asyncio.gather(self.world.expander("a").look(), self.world.expander("b").look())

        self.run(both())

    @rule()
    def publish(self) -> None:
        """The publisher takes what is due."""
        before = {post.id: post for post in self.run(self.world.made(self.schedule))}
        for post_id in self.run(self.world.publish_due()):
            nominal = before[post_id].occurrence_time
            assert nominal is not None
            self.out[nominal] += 1

    @rule()
    def delete_a_post(self) -> None:
        made = [post for post in self.run(self.world.made(self.schedule)) if post.state != "PUBLISHED"]
        if made:
            assert made[0].occurrence_time is not None
            self.deleted.add(made[0].occurrence_time)
            self.run(self.world.posts.delete(made[0].id, lambda post: None, self.world.now))

    @rule(recurrence=st.sampled_from(RULES))
    def change_the_rule(self, recurrence: Recurrence) -> None:
        self.run(self.world.change(self.schedule, recurrence=recurrence))
        self.rules.add(recurrence)
        self.recurrence = recurrence
        self.is_fresh = False

    @rule(words=st.sampled_from(["one", "two"]))
    def change_the_text(self, words: str) -> None:
        self.run(self.world.change(self.schedule, content={"text": words}))
        self.is_fresh = False

    @precondition(lambda self: not self.is_paused)
    @rule()
    def pause(self) -> None:
        self.run(self.world.change(self.schedule, state=ScheduleState.PAUSED))
        self.is_paused = True

    @precondition(lambda self: self.is_paused)
    @rule()
    def resume(self) -> None:
        self.run(self.world.change(self.schedule, state=ScheduleState.ACTIVE))
        self.is_paused = self.is_fresh = False

    @rule()
    def stop_or_start_the_bot(self) -> None:
        self.is_stopped = not self.is_stopped
        state = BotState.PAUSED if self.is_stopped else BotState.ACTIVE
        self.run(self.world.move(self.bot, state))
        self.is_fresh = False

    @invariant()
    def the_model_holds(self) -> None:
        if self.rules:
            made, decided, count = self.run(self.read())
            self.check_that_no_time_is_said_twice(made)
            assert count == len(decided)
            assert all(minute % 30 == 0 for minute in decided)
            if self.is_paused:
                assert not [state for _, state in made if state == "SCHEDULED"]
            elif self.is_fresh and not self.is_stopped:
                assert self.wanted() <= decided, "an occurrence was forgotten"

    async def read(self) -> tuple[list[tuple[datetime, str]], set[int], int]:
        """Nominal times and states of posts; minutes decided; how many there are by the schedule's own count."""
        of_posts = select(posts.c.occurrence_time, posts.c.state).where(
            posts.c.schedule_id == self.schedule.id
        )
        times = select(occurrences.c.nominal_time).where(occurrences.c.schedule_id == self.schedule.id)
        count = select(schedules.c.occurrence_count).where(schedules.c.id == self.schedule.id)
        async with self.database.read() as connection:
            made = [(row.occurrence_time, row.state) for row in await connection.execute(of_posts)]
            decided = (await connection.execute(times)).scalars()
            minutes = {int((one - self.schedule.create_time) / MINUTE) for one in decided}
            return made, minutes, (await connection.execute(count)).scalar_one()

    def check_that_no_time_is_said_twice(self, made: list[tuple[datetime, str]]) -> None:
        assert all(count == 1 for count in self.out.values())
        assert len({nominal for nominal, _ in made}) == len(made)
        assert not self.deleted & {nominal for nominal, _ in made}, "a deleted post came back"

    def wanted(self) -> set[int]:
        """Minutes at which the rule recurs, from now to the horizon."""
        every, offset = STEPS[self.recurrence.text]
        start = int((self.world.now - self.schedule.create_time) / MINUTE)
        end = start + int(self.world.horizon / MINUTE)
        return {minute for minute in range(start + 1, end + 1) if minute % every == offset}


@pytest.mark.hypothesis
def test_no_life_of_a_schedule_says_a_time_twice_or_forgets_one(engines: EmbeddedMesh, schema: str) -> None:
    """Sequences nobody would think of: repeat posts that fire all at once after an edit or a restart come from these."""
    with asyncio.Runner() as runner:
        Lives.runner = runner

        async def open_() -> Database:
            return open_database(settings_of(engines, "bot_manager"), schema)

        Lives.database = runner.run(open_())
        try:
            profile = settings.get_profile(settings.get_current_profile_name())
            limits = settings(
                profile,
                max_examples=max(profile.max_examples // 16, 1),
                deadline=None,
                stateful_step_count=20,
                suppress_health_check=list(HealthCheck),
            )
            run_state_machine_as_test(Lives, settings=limits)  # type: ignore[no-untyped-call]
        finally:
            runner.run(Lives.database.close())
