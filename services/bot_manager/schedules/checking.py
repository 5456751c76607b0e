"""Whether the posts that a schedule describes could be made: asked when it is made or changed, so that it does not fail at every time."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from mesh.errors import InvalidArgument, NotFound
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot, Post
from services.bot_manager.domain.policy.facts import max_weight
from services.bot_manager.domain.recurrence import posts as occurrence_posts
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule
from services.bot_manager.domain.text import weighted_length
from services.bot_manager.schedules.drafts import draft_of, occurrence_values, seeded, templates_of

SAMPLE: Final[Mapping[str, Any]] = {
    "item": {
        "title": "Title",
        "link": "https://example.com/",
        "summary": "Summary",
        "author": "Author",
        "published": datetime(2026, 1, 1, tzinfo=UTC),
    }
}
"""News as a feed may hold them."""


class ContentChecker:
    """Implements `domain.schedules.ContentCheck`."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker

    async def __call__(self, bot: Bot, schedule: Schedule, occurrence: Occurrence, now: datetime) -> None:
        """See the port. What the policy checks find is not asked: it depends on what is posted until then."""
        values = {**occurrence_values(occurrence, 1), **SAMPLE}
        for path, template in templates_of(schedule.content):
            try:
                draft = seeded(draft_of(template), schedule, occurrence)
                post = occurrence_posts.made(schedule, occurrence, draft, schedule.id, 0, now)
                if any(part.media_ids for part in post.parts):
                    await self._maker.shelf.check(bot, post)
                post = self._maker.composer.compose(bot, post, occurrence.scheduled_time, values)
                _check_lengths(bot, post, "parts" in template)
            except InvalidArgument as error:
                reason = "INVALID_FIELD" if error.reason == "TEMPLATE_FAILED" else error.reason
                raise InvalidArgument(
                    reason, error.message, field=_field(path, error), metadata=error.metadata
                ) from None
            except NotFound as error:
                raise NotFound(
                    error.reason, error.message, field=_field(path, error), metadata=error.metadata
                ) from None


def _check_lengths(bot: Bot, post: Post, has_parts: bool) -> None:
    """Raises InvalidArgument (INVALID_FIELD) for a text that would be too long at any time. `has_parts`: not written in the short form."""
    most = max_weight(bot)
    for part in post.parts:
        weight = weighted_length(part.sent_text)
        if weight > most:
            field = f"post.parts[{part.index}].text" if has_parts else "post.text"
            raise InvalidArgument(
                "INVALID_FIELD", f"its weighted length is {weight}; X takes {most}", field=field
            )


def _field(path: str, error: InvalidArgument | NotFound) -> str:
    """The field of the post as a field of the schedule."""
    inner = error.violations[0].field.removeprefix("post").removeprefix(".") if error.violations else ""
    short = path == "text" and inner == "text"
    return f"schedule.content.{path}" + (f".{inner}" if inner and not short else "")
