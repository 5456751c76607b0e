"""X's list prices, without apps and settings."""

from typing import Final

from services.bot_manager.domain.marks import urls
from services.bot_manager.domain.model import Bot, Part, Post
from services.bot_manager.domain.policy.facts import PriceTable

POST: Final = 15_000
"""https://docs.x.com/x-api/getting-started/pricing, millionths of a US dollar."""
POST_WITH_URL: Final = 200_000


class ListPrices:
    """X's list prices, for every bot. Implements `ports.Prices` and is the table itself."""

    async def table(self, bot: Bot) -> PriceTable:
        """See the port."""
        return self

    def part(self, post: Post, part: Part) -> int:
        """See PriceTable."""
        return POST_WITH_URL if urls(part.sent_text) else POST
