"""What happens to the rendered text of a post that is changed, tried again or approved."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain import rules
from services.bot_manager.domain.making import Maker, Values
from services.bot_manager.domain.model import ACTOR, Bot, BotState, Origin, Part, Post, PostState
from services.bot_manager.domain.posts import Posts
from services.bot_manager.domain.rules import Draft
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.posts import PostgresPosts
from tests.fakes.clock import ManualClock
from tests.fakes.making import PlainInspector, PlainShelf

from .conftest import LATENESS, NOW

HOUR = timedelta(hours=1)
ALL = {"approval": "APPROVAL_POLICY_ALL_POSTS"}


class Dated:
    """Renders each text with the hour that it is to go out at."""

    def compose(self, bot: Bot, post: Post, at: datetime, values: Values) -> Post:
        """See Composer."""
        return replace(
            post, parts=tuple(replace(one, rendered_text=f"{one.text} {at:%H}") for one in post.parts)
        )


@pytest.fixture
async def cases(database: Database) -> Posts:
    store, bots = PostgresPosts(database, "test-1"), PostgresBots(database, "test-1")
    maker = Maker(PlainShelf(), Dated(), PlainInspector())
    return Posts(store, bots, ManualClock(NOW), new_id, lambda: LATENESS, maker)


async def made(database: Database, origin: Origin) -> Post:
    """A post that somebody else wrote, or a schedule, and that waits for a second person."""
    bots = PostgresBots(database, "test-1")
    bot = await bots.create(Bot(new_id(), "acme", BotState.ACTIVE, NOW, NOW, policy=ALL), None)
    creator = "ann" if origin is Origin.MANUAL else ACTOR
    parts = (Part(0, "at", rendered_text="at 13"),)
    post = Post(new_id(), bot.id, PostState.DRAFT, parts, NOW, NOW, origin=origin, creator=creator)
    change = rules.create(post, NOW + HOUR, LATENESS, waits=True)
    return await PostgresPosts(database, "test-1").create(change.post, change.entries, None)


def to(hours: int) -> Draft:
    return Draft(text="at", scheduled_time=NOW + hours * HOUR)


async def test_a_new_time_renders_anew_and_needs_a_new_approval(cases: Posts, database: Database) -> None:
    """What was approved named another hour."""
    post = await made(database, Origin.MANUAL)
    approved = await cases.approve(post.id, "", "ben", "")
    assert (approved.state, approved.parts[0].sent_text) == (PostState.SCHEDULED, "at 13")
    moved = await cases.update(post.id, "", lambda _: to(2), "ann")
    assert (moved.state, moved.parts[0].sent_text, moved.editor) == (
        PostState.PENDING_APPROVAL,
        "at 14",
        "ann",
    )
    await cases.approve(post.id, "", "ben", "")
    await cases.cancel(post.id, "", "ann", "")
    again = await cases.retry(post.id, "", NOW + 3 * HOUR, "ann", None)
    assert (again.state, again.parts[0].sent_text) == (PostState.PENDING_APPROVAL, "at 15")


async def test_what_a_schedule_rendered_stays(cases: Posts, database: Database) -> None:
    """The item that it was made of is not known any more; only new words are rendered."""
    post = await made(database, Origin.SCHEDULE)
    await cases.approve(post.id, "", "ben", "")
    moved = await cases.update(post.id, "", lambda _: to(2), "ann")
    assert (moved.state, moved.parts[0].sent_text) == (PostState.SCHEDULED, "at 13")
    await cases.cancel(post.id, "", "ann", "")
    again = await cases.retry(post.id, "", None, "ann", None)
    assert (again.state, again.parts[0].sent_text) == (PostState.SCHEDULED, "at 13")
    changed = await cases.update(post.id, "", lambda _: replace(to(3), text="now at"), "ann")
    assert (changed.state, changed.parts[0].sent_text) == (PostState.PENDING_APPROVAL, "now at 15")
