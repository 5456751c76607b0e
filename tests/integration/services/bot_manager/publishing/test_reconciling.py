"""Posts of unknown outcome: found and adopted, sent again where policy allows, or left to a person; never on X twice."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from mesh.errors import ResourceExhausted, Unavailable
from mesh.tasks import TaskSet
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import BotState, EntryKind, Post, PostState
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.x.port import XCredentials, XPort, XTimeline
from tests.integration.services.bot_manager.publishing.rig import (
    CLOCK,
    HASTY,
    SECOND,
    Rig,
    eventually,
    now,
)

S, E = PostState, EntryKind


class Reads(XPort):
    """Reading as X does it, or as a test wants it; keeps count."""

    def __init__(self, port: XPort) -> None:
        self._port = port
        self.since: list[datetime] = []
        self.failures: list[Exception] = []
        self.incomplete = False

    async def own_posts(
        self, credentials: XCredentials, user_id: str, since: datetime, limit: int = 100
    ) -> XTimeline:
        self.since.append(since)
        if self.failures:
            raise self.failures.pop(0)
        timeline = await self._port.own_posts(credentials, user_id, since, limit)
        return replace(timeline, complete=timeline.complete and not self.incomplete)


@pytest.fixture
def hasty(rig: Rig) -> Rig:
    rig.settings = HASTY
    return rig


@pytest.mark.parametrize("kind", ["timeout_after", "reset_after", "error_500_after", "no_id"])
async def test_what_x_took_without_saying_so_is_adopted(hasty: Rig, kind: str) -> None:
    """The post is on X once, and the record knows its id."""
    bot = await hasty.bot()
    await hasty.fault(kind)
    post = await hasty.post(bot, "hello & <welcome> https://example.com/a?b=c")
    async with hasty.replica(reconcile=True):
        post = await hasty.until(post, S.PUBLISHED)
    [shown] = await hasty.shown()
    assert post.x_post_ids == (shown["id"],)
    assert await hasty.outcomes(post) == ["UNKNOWN"]
    looks = await looks_of(hasty, post)
    assert looks[-1]["x_post_id"] == shown["id"]
    assert looks[-1]["clean"] is True
    assert (looks[-1]["posts_seen"], looks[-1]["candidates"]) == (1, 1)
    assert (await hasty.kinds(post))[-3:] == [E.RECONCILE_READ, E.ADOPTED, E.PUBLISHED]


async def looks_of(rig: Rig, post: Post) -> list[dict[str, Any]]:
    """What its story tells of looks at the account."""
    story = await rig.posts.story(post.id, 0, 1000)
    return [entry.details["reconcile"] for entry in story if entry.kind is E.RECONCILE_READ]
