"""Prices that no app says otherwise."""

from typing import Final

from services.bot_manager.domain.model import Bot

POST: Final = 15_000
"""https://docs.x.com/x-api/getting-started/pricing, millionths of a US dollar."""
POST_WITH_URL: Final = 200_000


class ListPrices:
    """X's list prices. Implements `ports.Prices`."""

    def post(self, bot: Bot | None, *, has_url: bool) -> int:
        """See the port."""
        return POST_WITH_URL if has_url else POST
