"""Parts of `making.Maker` that know nothing: no media, no templates, no policy."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from mesh.errors import InvalidArgument
from services.bot_manager.domain.making import Maker, Planned, Values
from services.bot_manager.domain.model import Bot, Finding, Part, Post
from services.bot_manager.domain.policy.facts import PriceTable


class PlainShelf:
    """Has no media."""

    async def check(self, bot: Bot, post: Post) -> None:
        """See the port."""
        if any(part.media_ids for part in post.parts):
            raise InvalidArgument("INVALID_FIELD", "this test has none", field="post.media_ids")


class PlainComposer:
    """Knows no templates."""

    def compose(self, bot: Bot, post: Post, at: datetime, values: Values) -> Post:
        """See the port."""
        if "template" in post.content:
            raise InvalidArgument("INVALID_FIELD", "this test has none", field="post.template")
        return post


class PlainInspector:
    """Finds nothing."""

    async def inspect(self, bot: Bot, post: Post, at: datetime | None, now: datetime) -> Sequence[Finding]:
        """See the port."""
        return ()

    async def inspect_all(
        self, bot: Bot, planned: Sequence[Planned], now: datetime
    ) -> Sequence[Sequence[Finding]]:
        """See the port."""
        return [()] * len(planned)

    async def prices(self, bot: Bot) -> PriceTable:
        """See the port."""
        return _Free()


class _Free:
    """Costs nothing."""

    def part(self, post: Post, part: Part) -> int:
        """See PriceTable."""
        return 0


PLAIN: Final = Maker(PlainShelf(), PlainComposer(), PlainInspector())
"""Makes posts without media, templates or policy."""
